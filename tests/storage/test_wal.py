from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from storage.errors import Damaged, DirectoryInUse, WriteFailed
from storage.files import replace
from storage.record import HEADER, Record, frame
from storage.wal import Wal

SEGMENT = 4096


def opened(directory: Path) -> tuple[Wal, list[bytes]]:
    records: list[Record] = []
    wal = Wal(directory, records.append, segment_bytes=SEGMENT)
    return wal, [record.payload for record in records]


def filled(directory: Path, count: int, size: int = 100) -> list[bytes]:
    """A closed log of `count` records; returns their payloads."""
    wal, _ = opened(directory)
    payloads = [b"%06d" % number + os.urandom(size) for number in range(count)]
    for payload in payloads:
        wal.append(1, payload)
    wal.close()
    return payloads


def test_a_log_gives_back_what_was_appended_over_many_segments(tmp_path: Path) -> None:
    payloads = filled(tmp_path, 200)
    assert len(list(tmp_path.glob("*.wal"))) > 4
    wal, replayed = opened(tmp_path)
    assert replayed == payloads
    wal.append(1, b"more")
    wal.close()
    assert opened(tmp_path)[1] == [*payloads, b"more"]


def test_every_byte_torn_off_the_last_record_leaves_a_clean_log(tmp_path: Path) -> None:
    payloads = filled(tmp_path, 5, 30)
    (path,) = tmp_path.glob("*.wal")
    whole = path.read_bytes()
    for lost in range(1, HEADER.size + 36):
        path.write_bytes(whole[: len(whole) - lost])
        wal, replayed = opened(tmp_path)
        assert replayed == payloads[:-1]
        wal.append(1, payloads[-1])
        wal.close()
        assert path.read_bytes() == whole


def test_a_torn_segment_that_is_not_the_last_is_refused(tmp_path: Path) -> None:
    filled(tmp_path, 200)
    first = tmp_path / "00000000.wal"
    os.truncate(first, first.stat().st_size - 1)
    with pytest.raises(Damaged, match=r"00000000\.wal, offset \d+: the file ends inside a record"):
        opened(tmp_path)


def test_a_flipped_bit_names_the_file_the_offset_and_what_to_do(tmp_path: Path) -> None:
    filled(tmp_path, 5)
    (path,) = tmp_path.glob("*.wal")
    data = bytearray(path.read_bytes())
    data[200] ^= 4
    path.write_bytes(data)
    with pytest.raises(Damaged, match=r"00000000\.wal, offset \d+: .*checksum.*Keep a copy"):
        opened(tmp_path)


def test_a_missing_segment_is_refused(tmp_path: Path) -> None:
    filled(tmp_path, 200)
    (tmp_path / "00000001.wal").unlink()
    with pytest.raises(Damaged, match="missing"):
        opened(tmp_path)


def test_a_segment_from_another_place_is_refused(tmp_path: Path) -> None:
    filled(tmp_path, 200)
    (tmp_path / "00000002.wal").write_bytes((tmp_path / "00000001.wal").read_bytes())
    with pytest.raises(Damaged, match=r"00000002\.wal, offset 0"):
        opened(tmp_path)


@pytest.mark.parametrize("size", [0, 1, 20])
def test_a_crash_while_a_segment_is_created_loses_nothing(tmp_path: Path, size: int) -> None:
    payloads = filled(tmp_path, 200)
    newest = max(tmp_path.glob("*.wal"))
    following = tmp_path / f"{int(newest.stem) + 1:08d}.wal"
    position = sum(path.stat().st_size for path in tmp_path.glob("*.wal"))
    following.write_bytes(frame(position, 0, b"QAXWAL\x00\x01" + bytes(8))[:size])
    wal, replayed = opened(tmp_path)
    assert replayed == payloads
    wal.append(1, b"more")
    wal.close()
    assert opened(tmp_path)[1] == [*payloads, b"more"]


def test_a_second_process_cannot_open_the_directory(tmp_path: Path) -> None:
    wal, _ = opened(tmp_path)
    program = (
        "import pathlib, sys; from storage.wal import Wal; from storage.errors import DirectoryInUse\n"
        "try: Wal(pathlib.Path(sys.argv[1]), print)\n"
        "except DirectoryInUse as error: print(error); sys.exit(3)"
    )
    root = Path(__file__).parents[2]
    second = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=root, capture_output=True, text=True)
    assert (second.returncode, "in use by another process" in second.stdout) == (3, True), second.stderr
    with pytest.raises(DirectoryInUse):
        opened(tmp_path)
    wal.close()
    opened(tmp_path)[0].close()


def test_nothing_is_durable_before_its_sync_was_finished(tmp_path: Path) -> None:
    wal, _ = opened(tmp_path)
    before = wal.durable_position
    first = wal.append(1, b"first")
    job = wal.begin_sync()
    assert job is not None
    second = wal.append(1, b"second")
    assert wal.begin_sync() is None, "one job at a time"
    job.run()
    assert wal.durable_position == before
    wal.finish_sync(job)
    assert wal.durable_position == first < second
    wal.sync()
    assert wal.durable_position == second
    assert wal.begin_sync() is None


def test_what_was_not_written_is_lost_in_a_crash(tmp_path: Path) -> None:
    wal, _ = opened(tmp_path)
    wal.append(1, b"synced")
    wal.sync()
    wal.append(1, b"only appended")
    wal.abandon()
    assert opened(tmp_path)[1] == [b"synced"]


def test_a_rotation_during_a_sync_leaves_the_file_to_the_sync_thread(tmp_path: Path) -> None:
    wal, _ = opened(tmp_path)
    wal.append(1, b"x" * SEGMENT)
    job = wal.begin_sync()
    assert job is not None
    wal.append(1, b"in the next segment")
    job.run()
    wal.finish_sync(job)
    wal.close()
    assert opened(tmp_path)[1] == [b"x" * SEGMENT, b"in the next segment"]


def test_a_segment_is_durable_before_the_next_one_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "00000000.wal", tmp_path / "00000001.wal"
    durable = 0  # bytes of the first segment that were synced while it was the last one
    datasync = os.fdatasync

    def note(fd: int) -> None:
        nonlocal durable
        datasync(fd)
        if not second.exists() and os.fstat(fd).st_ino == first.stat().st_ino:
            durable = os.fstat(fd).st_size

    monkeypatch.setattr(os, "fdatasync", note)
    wal, _ = opened(tmp_path)
    while not second.exists():
        wal.append(1, b"x" * 100)
    assert durable == first.stat().st_size > SEGMENT
    wal.abandon()


def test_a_failed_sync_is_never_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wal, _ = opened(tmp_path)
    wal.append(1, b"a")

    def fail(_fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(WriteFailed, match="fdatasync failed: Input/output error; check the disk"):
            wal.sync()
    with pytest.raises(WriteFailed, match="fdatasync"):
        wal.sync()
    with pytest.raises(WriteFailed):
        wal.append(1, b"b")
        wal.write()


def test_a_full_disk_stops_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wal, _ = opened(tmp_path)
    wal.append(1, b"a" * 100)
    real = os.write

    def half(fd: int, data: memoryview) -> int:
        if len(data) < 60:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data[: len(data) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        with pytest.raises(WriteFailed, match="No space left on device"):
            wal.write()
    with pytest.raises(WriteFailed):
        wal.begin_sync()
    wal.abandon()
    assert opened(tmp_path)[1] == [], "the half-written record is a torn tail"


def test_replace_leaves_the_old_or_the_new_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    replace(path, b"old")
    replace(path, b"new")
    assert path.read_bytes() == b"new"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", lambda fd: (_ for _ in ()).throw(OSError(errno.EIO, "io")))
        with pytest.raises(WriteFailed):
            replace(path, b"newer")
    assert path.read_bytes() == b"new"
