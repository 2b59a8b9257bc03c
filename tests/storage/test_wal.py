from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.sim.clock import virtual_time
from chaos.sim.disk import installed
from storage.errors import Damaged, DirectoryInUse, WriteFailed
from storage.files import replace
from storage.record import END_MARK, HEADER, Record
from storage.wal import Segment, Wal

SEGMENT = 4096


def opened(directory: Path) -> tuple[Wal, list[bytes]]:
    records: list[Record] = []
    wal = Wal(directory, lambda record, _segment: records.append(record), lambda _: (), segment_bytes=SEGMENT)
    return wal, [record.payload for record in records]


def content(path: Path) -> bytes:
    """What was written to a segment, without what was preallocated."""
    return path.read_bytes().rstrip(b"\0")


def pending(directory: Path) -> list[Path]:
    return list(directory.glob("*.wal.new"))


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
    whole = content(path)
    for preallocated in (0, SEGMENT):
        for lost in range(1, HEADER.size + 36 + len(END_MARK)):
            path.write_bytes(whole[: len(whole) - lost] + bytes(preallocated))
            wal, replayed = opened(tmp_path)
            assert replayed == payloads[:-1]
            wal.append(1, payloads[-1])
            wal.close()
            assert content(path) == whole


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


def test_a_crash_before_a_new_segment_was_synced_loses_nothing_that_was_durable(tmp_path: Path) -> None:
    wal, _ = opened(tmp_path)
    kept = []
    while not pending(tmp_path):
        wal.sync()
        kept.append(b"%06d" % len(kept) * 20)
        wal.append(1, kept[-1])
    wal.append(1, b"also in the new segment")
    wal.write()
    durable = wal.durable_position
    wal.abandon()
    os.truncate(tmp_path / "00000000.wal", durable)
    wal, replayed = opened(tmp_path)
    assert replayed == kept[:-1]
    assert not pending(tmp_path)
    wal.append(1, b"more")
    wal.close()
    assert opened(tmp_path)[1] == [*kept[:-1], b"more"]


def test_a_full_segment_makes_nobody_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wal, _ = opened(tmp_path)

    def refuse(_fd: int) -> None:
        raise AssertionError("a sync on the thread of the owner")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", refuse)
        patch.setattr(os, "fsync", refuse)
        for _ in range(100):
            wal.append(1, b"x" * 100)
        wal.write()
    assert len(pending(tmp_path)) > 1
    wal.sync()
    assert not pending(tmp_path)
    wal.close()
    assert opened(tmp_path)[1] == [b"x" * 100] * 100


def test_segments_are_deleted_from_the_front_and_the_rest_is_a_log(tmp_path: Path) -> None:
    payloads = filled(tmp_path, 200)
    wal, _ = opened(tmp_path)
    third = wal.segments[2]
    wal.prune(third.start - 1)
    wal.sync()
    assert wal.segments[0].number == 1
    wal.prune(third.start)
    wal.append(1, b"more")
    assert (tmp_path / "00000001.wal").exists(), "deleted before what replaces it is durable"
    wal.sync()
    assert sorted(path.name for path in tmp_path.glob("*.wal"))[0] == "00000002.wal"
    wal.prune(1 << 60)
    wal.sync()
    assert len(wal.segments) == 1, "the last one stays"
    wal.close()
    again, replayed = opened(tmp_path)
    assert replayed == [*payloads, b"more"][-len(replayed) :]
    assert again.end_position > 200 * 100


def test_a_gap_after_deletions_is_still_found(tmp_path: Path) -> None:
    filled(tmp_path, 200)
    wal, _ = opened(tmp_path)
    wal.prune(wal.segments[1].start)
    wal.close()
    (tmp_path / "00000002.wal").unlink()
    with pytest.raises(Damaged, match=r"00000002\.wal.*missing"):
        opened(tmp_path)


def test_every_segment_begins_with_the_preamble(tmp_path: Path) -> None:
    asked: list[int] = []

    def preamble(segment: Segment) -> list[tuple[int, bytes]]:
        asked.append(segment.number)
        return [(9, b"preamble %d" % segment.number)]

    seen: list[tuple[int, bytes]] = []
    wal = Wal(tmp_path, lambda *_: None, preamble, segment_bytes=SEGMENT)
    for _ in range(100):
        wal.append(1, b"x" * 100)
    wal.close()
    Wal(
        tmp_path, lambda record, segment: seen.append((segment.number, record.payload)), preamble, segment_bytes=SEGMENT
    ).close()
    assert asked == list(range(len(asked)))
    assert len(asked) > 2
    for number in asked:
        assert next(payload for found, payload in seen if found == number) == b"preamble %d" % number


def test_a_second_process_cannot_open_the_directory(tmp_path: Path) -> None:
    wal, _ = opened(tmp_path)
    program = (
        "import pathlib, sys; from storage.wal import Wal; from storage.errors import DirectoryInUse\n"
        "try: Wal(pathlib.Path(sys.argv[1]), print, lambda _: ())\n"
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


def test_a_segment_gets_its_name_only_after_the_one_before_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "00000000.wal", tmp_path / "00000001.wal"
    synced: list[bool] = []  # of the first segment, when it was full: whether the second had its name

    def note(fd: int) -> None:
        if os.fstat(fd).st_ino == first.stat().st_ino and pending(tmp_path):
            synced.append(second.exists())

    wal, _ = opened(tmp_path)
    monkeypatch.setattr(os, "fdatasync", note)
    while not pending(tmp_path):
        wal.append(1, b"x" * 100)
    wal.sync()
    assert synced == [False]
    assert second.exists()
    assert first.stat().st_size == len(content(first)), "what was preallocated is given back"
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
    real = os.pwrite

    def half(fd: int, data: memoryview, offset: int) -> int:
        if len(data) < 60:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data[: len(data) // 2], offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", half)
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


def test_what_a_failed_sync_left_in_the_page_cache_is_written_again_at_the_next_start(tmp_path: Path) -> None:
    with virtual_time():
        disk = installed()
        wal, _ = opened(tmp_path)
        wal.sync()
        wal.append(1, b"replayed")
        disk.failing.add(tmp_path)
        with pytest.raises(WriteFailed):
            wal.sync()
        disk.failing.clear()
        wal.abandon()
        wal, payloads = opened(tmp_path)
        assert payloads == [b"replayed"], "the page cache has it, and whoever reads it may promise it"
        wal.append(1, b"more")
        wal.sync()
        wal.abandon()
        disk.power_loss(tmp_path)
        wal, payloads = opened(tmp_path)
        wal.close()
        assert payloads == [b"replayed", b"more"]
