"""What the simulated nodes replicate."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any


class Chain:
    """Appends every command to a list and chains a hash over (index, time, commands)."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []
        self.indexes: list[int] = []
        self.times: list[int] = []
        self._digest = bytes(32)

    def apply(self, index: int, term: int, time_ns: int, commands: Sequence[bytes]) -> list[Any]:
        first = len(self.commands)
        self.commands += commands
        self.indexes.append(index)
        self.times.append(time_ns)
        chained = hashlib.blake2b(self._digest + index.to_bytes(8, "little"), digest_size=32)
        chained.update(time_ns.to_bytes(8, "little"))
        for command in commands:
            chained.update(len(command).to_bytes(4, "little") + command)
        self._digest = chained.digest()
        return [first + offset for offset in range(len(commands))]

    def digest(self) -> bytes:
        return self._digest
