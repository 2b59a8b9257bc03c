from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from storage.errors import WriteFailed
from storage.snapshot_store import DamagedSnapshot, Header, Snapshot, SnapshotStore, verify

HEADER = Header("test", 42, 3, 1_000_000_007, "ab" * 32, ("a", "b", "c"))


def written(store: SnapshotStore, index: int = 42, body: bytes = b"the state") -> Snapshot:
    draft = store.begin(replace(HEADER, index=index))
    os.write(draft.fd, body)
    return store.complete(draft)


def indexes(store: SnapshotStore) -> list[int]:
    return [snapshot.header.index for snapshot in store.sound()]


def test_a_snapshot_is_found_again_with_its_header_and_its_body(tmp_path: Path) -> None:
    body = os.urandom(600_000)
    made = written(SnapshotStore(tmp_path), body=body)
    (found,) = SnapshotStore(tmp_path).sound()
    assert found == made
    assert found.header == HEADER
    assert b"".join(found.body()) == body
    assert all(len(chunk) <= 256 * 1024 for chunk in found.body())


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    for index in (5, 900, 1_000, 20_000):
        written(store, index)
    assert indexes(store) == [20_000, 1_000]
    assert len(list(tmp_path.iterdir())) == 2


def test_every_flipped_byte_and_every_cut_is_noticed(tmp_path: Path) -> None:
    path = written(SnapshotStore(tmp_path)).path
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        with pytest.raises(DamagedSnapshot):
            verify(path)
        path.write_bytes(whole[:place])
        with pytest.raises(DamagedSnapshot):
            verify(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(DamagedSnapshot):
        verify(path)


def test_a_damaged_one_is_kept_aside_told_and_the_older_one_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = SnapshotStore(tmp_path)
    written(store, 10)
    path = written(store, 20).path
    data = bytearray(path.read_bytes())
    data[-60] ^= 1
    path.write_bytes(data)
    assert indexes(store) == [10]
    assert "its checksum is wrong" in caplog.text and "Keep the file" in caplog.text
    assert path.with_name(path.name + ".damaged").read_bytes() == data
    written(store, 30)
    written(store, 40)
    assert path.with_name(path.name + ".damaged").exists(), "never deleted"


def test_a_snapshot_under_the_name_of_another_entry_is_not_used(tmp_path: Path) -> None:
    path = written(SnapshotStore(tmp_path)).path
    moved = path.rename(path.with_name(path.name.replace("42", "43")))
    with pytest.raises(DamagedSnapshot, match="the file was renamed"):
        verify(moved)


def test_what_was_never_finished_is_gone_at_the_next_start_and_harms_nothing(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    written(store, 10)
    draft = store.begin(replace(HEADER, index=20))
    os.write(draft.fd, b"half")
    assert indexes(SnapshotStore(tmp_path)) == [10]
    assert len(list(tmp_path.iterdir())) == 1
    os.close(draft.fd)


def test_an_aborted_draft_leaves_nothing(tmp_path: Path) -> None:
    draft = SnapshotStore(tmp_path).begin(HEADER)
    draft.abort()
    draft.abort()
    assert list(tmp_path.iterdir()) == []


def test_a_snapshot_that_the_disk_gives_back_changed_replaces_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SnapshotStore(tmp_path)
    written(store, 10)
    written(store, 20)
    real = os.fsync

    def lies(fd: int) -> None:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            os.pwrite(fd, b"?", 90)
        real(fd)

    draft = store.begin(replace(HEADER, index=30))
    os.write(draft.fd, b"the state")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lies)
        with pytest.raises(DamagedSnapshot):
            store.complete(draft)
    assert indexes(store) == [20, 10]


def test_nothing_has_the_name_of_a_snapshot_before_it_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SnapshotStore(tmp_path)
    draft = store.begin(HEADER)

    def fails(_fd: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(WriteFailed):
            store.complete(draft)
    draft.abort()
    assert store.sound() == []
