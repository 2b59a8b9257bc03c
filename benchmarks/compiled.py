"""The machine compiled by mypyc: a wheel of the packages as they stand, built and unpacked beside the checkout.

python -m benchmarks.compiled DIR    prints the path to put first in PYTHONPATH
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


class BuildError(Exception):
    """The compiled build failed; the text is what the build said last."""


def build(folder: Path) -> Path:
    """Build into an empty folder; returns the path to import from. mypyc builds in place, so it gets a copy.

    Needs a C compiler and the `dev` extras; about 15 s. Raises BuildError.
    """
    source, wheels, unpacked = folder / "source", folder / "wheels", folder / "unpacked"
    source.mkdir()
    for package in ("node", "consensus", "api", "storage", "chaos"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source / file)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-index", "--no-deps", "--no-build-isolation", "-w", wheels, source],
        env=os.environ | {"HATCH_BUILD_HOOK_ENABLE_MYPYC": "1", "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildError(done.stdout[-4_000:] + done.stderr[-2_000:])
    (wheel,) = wheels.iterdir()
    zipfile.ZipFile(wheel).extractall(unpacked)
    return unpacked


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    print(build(folder.resolve()))
