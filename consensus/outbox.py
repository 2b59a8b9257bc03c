"""The frames that wait for one outgoing link. Bounded in bytes; frames that a newer one replaces are dropped."""

from __future__ import annotations

from collections import deque

HIGH_WATER_BYTES = 1024 * 1024  # above it PySyncObj is told that the peer is away, and stops sending entries
LOW_WATER_BYTES = 256 * 1024  # below it the peer is back
BYTES_MAX = 8 * 1024 * 1024  # beyond it the link is reset; Raft finds out what the peer lacks


class Outbox:
    """A queue of frames. `overfull` says that the link must be reset."""

    def __init__(self) -> None:
        self._frames: deque[tuple[bytes, str | None]] = deque()
        self.size = 0
        self.overfull = False

    def put(self, frame: bytes, replaces: str | None = None) -> None:
        """Add a frame. Two neighbours with the same `replaces` become one: the newer says all that the older did."""
        if self._frames and replaces is not None and self._frames[-1][1] == replaces:
            self.size -= len(self._frames.pop()[0])
        if self.size + len(frame) > BYTES_MAX:
            self.overfull = True
            return
        self._frames.append((frame, replaces))
        self.size += len(frame)

    def take(self) -> bytes:
        """Everything that waits, in order, as one piece to write."""
        data = self._frames[0][0] if len(self._frames) == 1 else b"".join([frame for frame, _ in self._frames])
        self._frames.clear()
        self.size = 0
        return data

    def clear(self) -> None:
        self._frames.clear()
        self.size = 0
        self.overfull = False

    def __len__(self) -> int:
        return len(self._frames)
