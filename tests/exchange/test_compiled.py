"""The hot modules, compiled by mypyc from the same files, give the same digests as interpreted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.compiled import ROOT, build

SCRIPT = """
import sys
from hashlib import blake2b
from node.exchange import machine, matching, trading
from tests.exchange.stream import run
machines = [run(seed=seed, commands=4_000)[0] for seed in (3, 4, 5)]
snapshots = [b"".join(one.snapshot()) for one in machines]
assert [b"".join(machine.Machine.restore([each]).snapshot()) for each in snapshots] == snapshots
digests = [one.digest().hex() for one in machines] + [blake2b(each).hexdigest() for each in snapshots]
print([module.__file__.rpartition(".")[2] for module in (machine, matching, trading)], *digests)
"""


def digests(*path: Path) -> list[str]:
    """The kinds of the modules, and the digests of some streams, with `path` first in what Python imports."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))},
        cwd=path[0],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.rpartition("]")[0::2]  # type: ignore[return-value]


@pytest.mark.timeout(300)
def test_compiled_and_interpreted_machines_give_equal_digests(tmp_path: Path) -> None:
    compiled, interpreted = digests(build(tmp_path), ROOT), digests(ROOT)
    assert compiled[0].count("'so'") == 3, compiled
    assert interpreted[0].count("'py'") == 3, interpreted
    assert compiled[1] == interpreted[1]
