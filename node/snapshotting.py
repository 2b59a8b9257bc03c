"""A snapshot of the live machine without stopping the node: a forked child writes what the state was at the fork.

Why a fork. A snapshot has to be of one log index, and encoding takes the time of some hundred thousand commands. A
pause would stop the node for all of it, a copy of the state for about as long and in twice the memory; a second machine
that replays the log would cost each node twice its work, always. `fork` gives the child the state of one instant by
copying page tables; from then on the kernel copies the pages that either side writes.

What it costs (benchmarks/snapshot.py; 10 000 accounts, 100 instruments, 300 000 orders, 560 MB; two shared cores of an
AMD EPYC): the fork stops the node for 12 to 18 ms, which grows with the memory. While the child writes, a command takes
15 % more CPU at its p50 and p99.9 (18 and 82 µs), the longest 0.3 ms. The child needs 2 s of a core, writes 69 MB, and
comes to own 440 MB, because it counts references in most of what it reads. `gc.freeze` before the fork changes none of
this as long as the node collects by `node.collector`, which leaves old objects alone; so there is none here.

What the child may do. Only the thread that forked lives on in it, so it touches nothing that another thread may hold:
no trio, no logging, no imports, no buffered file. It closes every descriptor but the two that it writes to, at once:
otherwise it would hold the parent's sockets open, and the locks of its files beyond the parent's death. It leaves by
`os._exit`, so that no buffer is flushed twice and no handler of the parent runs. It collects no garbage: that would
write to every object. It is nicer than the node, the first to go when memory ends, and a timer of the kernel ends it
even if the parent is gone.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NoReturn

import msgspec
import trio

from node.exchange import snapshot
from node.exchange.machine import Machine
from node.exchange.snapshot import Summary

NICENESS: Final = 10
REASON_MAX: Final = 2_000  # characters
MESSAGE_BYTES_MAX: Final = 16_384

# What the child reports: bytes written so far, at last the summary, or the reason why there is none.
_encode: Final = msgspec.msgpack.Encoder().encode
_decoder: Final[msgspec.msgpack.Decoder[int | str | Summary]] = msgspec.msgpack.Decoder(int | str | Summary)


class SnapshotFailed(Exception):
    """No snapshot was written; the text says why. What is in the file is to be thrown away."""


class Snapshotter:
    """Writes snapshots, one at a time.

    `stall_s` bounds the time between two chunks, `total_s` the life of the child; it is killed at either.
    """

    def __init__(self, *, stall_s: float, total_s: float) -> None:
        self._stall_s = stall_s
        self._total_s = total_s
        self.pid: int | None = None  # of the child that is writing

    async def write(self, machine: Machine, fd: int, before: Callable[[], Iterable[bytes]] = tuple) -> Summary:
        """Write the state that the machine has now to a blocking descriptor; the machine may go on applying meanwhile.

        `before` is called in the child: what stands in front of the machine's stream, of the same instant.

        The caller syncs and closes the file. When this returns, the stream is whole, and its index and digest are the
        machine's at the time of the call.

        Raises:
            SnapshotFailed: one is being written already, or the child failed, died, stalled or took too long.
        """
        if self.pid is not None:
            raise SnapshotFailed(f"process {self.pid} is writing one already")
        index, digest = machine.index, machine.digest()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with trio.socket.from_stdlib_socket(ours) as reports:
            try:
                pid = self.pid = self._fork(machine, fd, theirs, before)
            finally:
                theirs.close()
            message: Summary | str | None = None
            try:
                message = await self._follow(reports)
            finally:
                with trio.CancelScope(shield=True):
                    status = await _end(pid)
                self.pid = None
        if isinstance(message, str):
            raise SnapshotFailed(message)
        if message is None:
            raise SnapshotFailed(f"process {pid} {_how_it_ended(status)} before the snapshot was whole")
        if (message.index, message.digest) != (index, digest):
            raise SnapshotFailed(f"it is of index {message.index}, digest {message.digest.hex()}; asked was {index}")
        return message

    def _fork(self, machine: Machine, fd: int, report: socket.socket, before: Callable[[], Iterable[bytes]]) -> int:
        """The pid of the child. Signals wait until the child has parted with the parent's handlers."""
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                _child(machine, before, fd, report.fileno(), mask, self._total_s)
            return pid
        except OSError as error:
            raise SnapshotFailed(f"no process can be made: {error}") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    async def _follow(self, reports: trio.socket.SocketType) -> Summary | str | None:
        """The summary, the reason of a failure, or None if the child has gone without a word."""
        written = 0
        with trio.move_on_after(self._total_s):
            while True:
                with trio.move_on_after(self._stall_s) as patience:
                    data = await reports.recv(MESSAGE_BYTES_MAX)
                if patience.cancelled_caught:
                    return f"nothing was written for {self._stall_s:g} s, after {written} bytes"
                if not data:
                    return None
                message = _decoder.decode(data)
                if not isinstance(message, int):
                    return message
                written = message
        return f"it took longer than {self._total_s:g} s; {written} bytes were written"


async def _end(pid: int) -> int:
    """Make sure that a child is gone, and take its wait status. Only its own pid is ever signalled."""
    os.kill(pid, signal.SIGKILL)  # it is not waited for yet, so the pid is still its own
    _, status = await trio.to_thread.run_sync(os.waitpid, pid, 0)
    return status


def _how_it_ended(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"ended with status {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"


def _child(
    machine: Machine,
    before: Callable[[], Iterable[bytes]],
    fd: int,
    report: int,
    mask: Iterable[int],
    total_s: float,
) -> NoReturn:
    """All that the child does."""
    status = 1
    try:
        gc.disable()
        _part(fd, report, mask, total_s)
        for _ in _written(before(), fd, report):
            pass
        summary = snapshot.verify(_written(machine.snapshot(), fd, report))
        os.write(report, _encode(summary))
        status = 0
    except BaseException as error:
        with contextlib.suppress(BaseException):
            os.write(report, _encode(f"{type(error).__name__}: {error}"[:REASON_MAX]))
    finally:
        os._exit(status)


def _part(fd: int, report: int, mask: Iterable[int], total_s: float) -> None:
    """Let go of everything that is the parent's: signals first, they are still blocked; then descriptors."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, total_s)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    first, second = sorted((fd, report))
    os.closerange(0, first)
    os.closerange(first + 1, second)
    os.closerange(second + 1, os.sysconf("SC_OPEN_MAX"))
    os.nice(NICENESS)
    with contextlib.suppress(OSError):  # another kernel, or no right to: then it is as likely to go as the node
        Path("/proc/self/oom_score_adj").write_text("1000")


def _written(chunks: Iterable[bytes], fd: int, report: int) -> Iterator[bytes]:
    """Each chunk, once it is written and reported. A parent that is gone makes the report fail, and ends the child."""
    total = 0
    for chunk in chunks:
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(fd, rest) :]
        total += len(chunk)
        os.write(report, _encode(total))
        yield chunk
