"""Snapshots of a live machine: written by a child, which leaves no trace and cannot outlive its bounds."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from node.exchange import codec, commands, snapshot
from node.exchange.machine import Machine
from node.snapshotting import SnapshotFailed, Snapshotter
from tests.exchange.stream import run

ROOT = Path(__file__).parents[2]
PIPE_BYTES = 1 << 16  # what Linux buffers


@pytest.fixture
def machine() -> Machine:
    """A state whose snapshot fits no pipe, so that a child which nobody reads from stands still."""
    machine, _ = run(3, 500)
    next(iter(machine.accounts.values())).statements.extend([bytes(PIPE_BYTES // 16)] * 80)
    assert len(b"".join(machine.snapshot())) > 4 * PIPE_BYTES
    return machine


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """(read end, write end); both may be closed by the test."""
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def snapshotter(stall_s: float = 20.0, total_s: float = 60.0) -> Snapshotter:
    return Snapshotter(stall_s=stall_s, total_s=total_s)


def go_on(machine: Machine, commands_more: int) -> None:
    account_id = next(iter(machine.accounts))
    for _ in range(commands_more):
        machine.apply(
            machine.index + 1, machine.time_ns + 1, [codec.encode_command(commands.Deposit(account_id, 10_000))]
        )


async def read_all(fd: int) -> bytes:
    with os.fdopen(fd, "rb") as file:
        return await trio.to_thread.run_sync(file.read)


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(60):
        while not condition():  # noqa: ASYNC110 - another process, of which no event tells
            await trio.sleep(0.002)


async def child_of(writer: Snapshotter) -> int:
    await until(lambda: writer.pid is not None)
    assert writer.pid is not None
    return writer.pid


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def gone(pid: int) -> bool:
    """It has ended; where nobody waits for orphans, it stays as a zombie."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_the_child_writes_what_the_machine_writes(machine: Machine, tmp_path: Path) -> None:
    with (tmp_path / "snapshot").open("wb") as file:
        summary = await snapshotter().write(machine, file.fileno())
    data = (tmp_path / "snapshot").read_bytes()
    assert data == b"".join(machine.snapshot())
    assert summary == snapshot.verify([data])
    assert (summary.index, summary.digest, summary.size_bytes) == (machine.index, machine.digest(), len(data))
    assert Machine.restore([data]).digest() == machine.digest()


async def test_the_snapshot_is_of_the_moment_of_the_call_whatever_is_applied_meanwhile(
    machine: Machine, pipe: tuple[int, int]
) -> None:
    asked = b"".join(machine.snapshot())
    index = machine.index
    writer = snapshotter()
    found: list[bytes] = []

    async def read(child: int) -> None:
        found.append(await read_all(pipe[0]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.write, machine, pipe[1])
        await child_of(writer)
        os.close(pipe[1])  # the child's is the last one
        go_on(machine, 500)
        nursery.start_soon(read, 0)
    assert found == [asked]
    assert machine.index == index + 500
    assert b"".join(machine.snapshot()) != asked


async def test_the_loop_turns_while_the_child_writes(machine: Machine, pipe: tuple[int, int]) -> None:
    writer = snapshotter()
    turns = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.write, machine, pipe[1])
        await child_of(writer)
        os.close(pipe[1])
        for _ in range(100):
            await trio.lowlevel.checkpoint()
            turns += 1
            assert writer.pid is not None
        nursery.start_soon(read_all, pipe[0])
    assert turns == 100
    assert writer.pid is None


async def test_one_snapshot_is_written_at_a_time(machine: Machine, pipe: tuple[int, int]) -> None:
    writer = snapshotter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.write, machine, pipe[1])
        pid = await child_of(writer)
        with pytest.raises(SnapshotFailed, match=f"process {pid} is writing one already"):
            await writer.write(machine, pipe[1])
        os.close(pipe[1])
        nursery.start_soon(read_all, pipe[0])


async def test_the_childs_reason_is_the_parents(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "read-only").touch()
    with (tmp_path / "read-only").open("rb") as file, pytest.raises(SnapshotFailed, match=r"OSError: .*descriptor"):
        await snapshotter().write(machine, file.fileno())
    full = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(SnapshotFailed, match="No space left"):
        await snapshotter().write(machine, full)
    os.close(full)
    machine.external_units = object()  # type: ignore[assignment]
    with (tmp_path / "unused").open("wb") as file, pytest.raises(SnapshotFailed, match="no plain value"):
        await snapshotter().write(machine, file.fileno())


async def test_a_digest_that_is_not_the_machines_is_no_success(machine: Machine, tmp_path: Path) -> None:
    class Forgetful(Machine):
        def snapshot(self) -> Iterator[bytes]:
            return Machine().snapshot()

    machine.__class__ = Forgetful
    with (tmp_path / "snapshot").open("wb") as file, pytest.raises(SnapshotFailed, match="it is of index 0"):
        await snapshotter().write(machine, file.fileno())


async def test_a_killed_child_is_noticed_and_leaves_no_zombie(machine: Machine, pipe: tuple[int, int]) -> None:
    writer = snapshotter()
    async with trio.open_nursery() as nursery:

        async def fails() -> None:
            with pytest.raises(SnapshotFailed, match="was killed by SIGKILL before the snapshot was whole"):
                await writer.write(machine, pipe[1])

        nursery.start_soon(fails)
        pid = await child_of(writer)
        os.kill(pid, signal.SIGKILL)
    assert not exists(pid)


@pytest.mark.parametrize(
    ("stall_s", "total_s", "message"),
    [(0.3, 60.0, "nothing was written for 0.3 s"), (60.0, 0.3, "SIGALRM|took longer than 0.3 s")],
)
async def test_a_hung_child_is_killed_in_time(
    stall_s: float, total_s: float, message: str, machine: Machine, pipe: tuple[int, int]
) -> None:
    writer = snapshotter(stall_s, total_s)
    pids: list[int] = []

    async def watch() -> None:
        pids.append(await child_of(writer))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        with pytest.raises(SnapshotFailed, match=message):
            await writer.write(machine, pipe[1])
    assert not exists(pids[0])
    assert writer.pid is None


async def test_a_cancelled_snapshot_takes_its_child_with_it(machine: Machine, pipe: tuple[int, int]) -> None:
    writer = snapshotter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.write, machine, pipe[1])
        pid = await child_of(writer)
        nursery.cancel_scope.cancel()
    assert not exists(pid)
    assert writer.pid is None


async def test_the_child_holds_no_descriptor_of_the_parent(machine: Machine, pipe: tuple[int, int]) -> None:
    writer = snapshotter()
    ours, peers = socket.socketpair()
    above = fcntl.fcntl(ours, fcntl.F_DUPFD, 900)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.write, machine, pipe[1])
            pid = await child_of(writer)
            await until(lambda: descriptors(pid) == 2)
            ours.close()
            os.close(above)
            assert peers.recv(1) == b""  # it is closed although the child lives
            assert exists(pid)
            nursery.cancel_scope.cancel()
    peers.close()


SCRIPT = """
import atexit, os, sys, trio
from pathlib import Path
from node.exchange.machine import Machine
from node.snapshotting import Snapshotter
atexit.register(lambda: Path(sys.argv[1]).open("a").write("left "))
print("begun", end=" ")  # stays in the buffer, because standard output is no terminal
async def main():
    writer = Snapshotter(stall_s=20, total_s=60)
    with open(os.devnull, "wb") as file:
        print((await writer.write(Machine(), file.fileno())).index, end=" ")
trio.run(main)
"""


async def test_the_child_flushes_no_buffer_and_runs_no_handler_of_the_parent(tmp_path: Path) -> None:
    record = tmp_path / "record"
    result = await trio.run_process([sys.executable, "-c", SCRIPT, str(record)], cwd=ROOT, capture_stdout=True)
    assert result.stdout == b"begun 0 "
    assert record.read_text() == "left "


ORPHAN = """
import fcntl, os, signal, struct, sys, termios, trio
from node.snapshotting import Snapshotter
from tests.exchange.stream import run
machine = run(3, 500)[0]
next(iter(machine.accounts.values())).statements.extend([bytes(1 << 12)] * 80)
async def main():
    async with trio.open_nursery() as nursery:
        writer = Snapshotter(stall_s=60, total_s=float(sys.argv[1]))
        nursery.start_soon(writer.write, machine, 1)
        while writer.pid is None:
            await trio.sleep(0.001)
        print(writer.pid, file=sys.stderr, flush=True)
        while struct.unpack("i", fcntl.ioctl(1, termios.FIONREAD, bytes(4)))[0] < 1 << 15:
            await trio.sleep(0.001)  # until the child stands still, because nobody reads
        os.kill(os.getpid(), signal.SIGKILL)
trio.run(main)
"""


@pytest.mark.parametrize(("total_s", "reads"), [("100", True), ("3", False)], ids=["written on", "timer"])
async def test_a_child_whose_parent_was_killed_ends(total_s: str, reads: bool) -> None:
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", ORPHAN, total_s], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with trio.fail_after(60):
        pid = int((await process.stderr.receive_some()).decode())
        await process.wait()
        if reads:
            async for _ in process.stdout:
                pass
        await until(lambda: gone(pid))
    await process.stdout.aclose()
    await process.stderr.aclose()
