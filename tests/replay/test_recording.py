"""Turning a recording into steps: small hand-made days, and what is wrong with bad ones."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from node.lobster import BUY, SELL, Cancel, CheckBook, Fill, Level, LobsterError, Place, Reduce, Step, read_day

EMPTY_ASK, EMPTY_BID = "9999999999,0", "-9999999999,0"
BEFORE = "34209.5,5,0,1,1000050,1"
ASKS, BIDS = [(1001, 30), (1002, 5)], [(1000, 20), (999, 7)]
# what the book of `BEFORE` holds: nobody refers to any of it later unless a test does


def book_line(asks: list[tuple[int, int]], bids: list[tuple[int, int]]) -> str:
    columns = []
    for level in range(10):
        for side, empty in ((asks, EMPTY_ASK), (bids, EMPTY_BID)):
            columns.append(f"{side[level][0] * 100},{side[level][1]}" if level < len(side) else empty)
    return ",".join(columns)


def write(folder: Path, messages: list[str], books: list[str], name: str = "X_2020-01-02_1_2") -> Path:
    (folder / f"{name}_message_10.csv").write_text("".join(f"{line}\n" for line in messages))
    (folder / f"{name}_orderbook_10.csv").write_text("".join(f"{line}\n" for line in books))
    return folder


def steps(folder: Path, *rows: tuple[str, list[tuple[int, int]], list[tuple[int, int]]]) -> list[Step]:
    messages = [BEFORE, *(row[0] for row in rows)]
    books = [book_line(ASKS, BIDS), *(book_line(row[1], row[2]) for row in rows)]
    return list(read_day(write(folder, messages, books)))


def test_the_visible_book_is_entered_before_the_first_event(tmp_path: Path) -> None:
    done = steps(tmp_path, ("34211.0,1,50,4,998" + "00,1", ASKS, [*BIDS, (998, 4)]))
    assert done == [
        Place(0, 1, 0, SELL, 1001, 30),
        Place(0, 2, 0, SELL, 1002, 5),
        Place(0, 3, 0, BUY, 1000, 20),
        Place(0, 4, 0, BUY, 999, 7),
        Place(1, 5, 50, BUY, 998, 4),
        CheckBook(1, tuple(Level(*level) for level in ASKS), (Level(1000, 20), Level(999, 7), Level(998, 4))),
    ]


def test_orders_that_later_rows_name_stand_in_the_order_of_their_ids_before_the_rest_of_the_level(
    tmp_path: Path,
) -> None:
    done = steps(
        tmp_path,
        ("34211.0,3,9,8,100100,-1", [(1001, 22), (1002, 5)], BIDS),
        ("34211.5,4,7,10,100100,-1", [(1001, 12), (1002, 5)], BIDS),
        ("34212.0,1,60,1,99800,1", [(1001, 12), (1002, 5)], [*BIDS, (998, 1)]),
    )
    assert [step for step in done if isinstance(step, Place) and step.price_ticks == 1001 and step.row == 0] == [
        Place(0, 1, 7, SELL, 1001, 10),
        Place(0, 2, 9, SELL, 1001, 8),
        Place(0, 3, 0, SELL, 1001, 12),
    ]


def test_executions_of_one_moment_and_side_are_one_incoming_order(tmp_path: Path) -> None:
    done = steps(
        tmp_path,
        ("34211.0,4,7,30,100100,-1", [(1002, 5)], BIDS),
        ("34211.0,5,0,3,100150,-1", [(1002, 5)], BIDS),
        ("34211.0,4,8,2,100200,-1", [(1002, 3)], BIDS),
        ("34211.0,4,8,1,100200,-1", [(1002, 2)], BIDS),
        ("34211.1,4,8,1,100200,-1", [(1002, 1)], BIDS),
    )
    trades = [step for step in done if isinstance(step, Place) and step.fills]
    assert trades == [
        Place(1, 6, 0, BUY, 1002, 33, True, (Fill(1, 1001, 30), Fill(2, 1002, 3))),
        Place(5, 7, 0, BUY, 1002, 1, True, (Fill(2, 1002, 1),)),
    ]
    assert [step.row for step in done if isinstance(step, CheckBook)] == [4, 5]


def test_a_new_order_that_crosses_at_the_moment_of_the_executions_is_their_remainder(tmp_path: Path) -> None:
    done = steps(
        tmp_path,
        ("34211.0,4,7,30,100100,-1", [(1002, 5)], BIDS),
        ("34211.0,1,60,4,100100,1", [(1002, 5)], [(1001, 4), *BIDS]),
        ("34212.0,2,60,1,100100,1", [(1002, 5)], [(1001, 3), *BIDS]),
        ("34213.0,3,60,3,100100,1", [(1002, 5)], BIDS),
    )
    order = next(step for step in done if isinstance(step, Place) and step.fills)
    assert order == Place(1, order.order, 60, BUY, 1001, 34, False, (Fill(1, 1001, 30),))
    assert done[-4:-1] == [
        Reduce(3, order.order, volume=33, left=3),
        CheckBook(3, (Level(1002, 5),), (Level(1001, 3), Level(1000, 20), Level(999, 7))),
        Cancel(4, order.order, left=3),
    ]


def test_an_execution_of_a_hidden_order_changes_nothing_but_its_book_is_checked(tmp_path: Path) -> None:
    done = steps(tmp_path, ("34211.0,5,0,3,100050,-1", ASKS, BIDS))
    assert [type(step) for step in done[4:]] == [CheckBook]


def test_an_id_that_comes_back_is_another_order(tmp_path: Path) -> None:
    done = steps(
        tmp_path,
        ("34211.0,1,60,4,99800,1", ASKS, [*BIDS, (998, 4)]),
        ("34211.1,3,60,4,99800,1", ASKS, BIDS),
        ("34211.2,1,60,2,100300,-1", [*ASKS, (1003, 2)], BIDS),
        ("34211.3,3,60,2,100300,-1", ASKS, BIDS),
    )
    assert [(step.order, step.direction) for step in done if isinstance(step, Place) and step.row] == [
        (5, BUY),
        (6, SELL),
    ]
    assert [step.order for step in done if isinstance(step, Cancel)] == [5, 6]


def test_a_level_that_comes_back_into_sight_is_put_right(tmp_path: Path) -> None:
    ladder = [(1001 + tick, 10) for tick in range(10)]
    wider = [(1000, 1), *ladder[:9]]
    folder = write(
        tmp_path,
        [
            "34209.5,5,0,1,1000050,1",
            "34211.0,1,60,1,100000,-1",  # the tenth level drops out of sight
            "34212.0,3,60,1,100000,-1",  # and comes back with another size and another order, named later
            "34213.0,3,55,4,101000,-1",
        ],
        [book_line(ladder, []), book_line(wider, []), book_line([*ladder[:9], (1010, 6)], []),
         book_line([*ladder[:9], (1010, 2)], [])],
    )  # fmt: skip
    done = list(read_day(folder))
    assert done[:2] == [Place(0, 1, 0, SELL, 1001, 10), Place(0, 2, 0, SELL, 1002, 10)]
    tenth = next(step for step in done if isinstance(step, Place) and step.recorded_id == 55)
    assert (tenth.price_ticks, tenth.volume) == (1010, 4)
    assert done[-1] == CheckBook(3, tuple(Level(*level) for level in [*ladder[:9], (1010, 2)]), ())


def test_rows_max_ends_after_so_many_events_and_reads_xz(tmp_path: Path) -> None:
    rows = [(f"3421{second}.0,5,0,3,100050,-1", ASKS, BIDS) for second in range(1, 6)]
    plain = steps(tmp_path, *rows)
    packed = tmp_path / "packed"
    packed.mkdir()
    for path in tmp_path.glob("*.csv"):
        (packed / f"{path.name}.xz").write_bytes(lzma.compress(path.read_bytes()))
    assert list(read_day(packed)) == plain
    assert list(read_day(packed, rows_max=2)) == plain[:6]


GOOD = "34211.0,1,60,4,99800,1"


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        (["34211.0,1,60,4,99800"], "row 1: 5 columns instead of 6"),
        (["x,1,60,4,99800,1"], "row 1 column 0: 'x' is not a time"),
        (["34211.0000000001,1,60,4,99800,1"], "column 0: '34211.0000000001' is not a time"),
        ([GOOD, "34210.0,3,60,4,99800,1"], "row 2 column 0: '34210.0' is before the row above"),
        (["34211.0,1,sixty,4,99800,1"], "row 1 column 2: 'sixty' is not an integer"),
        (["34211.0,7,0,0,0,0"], "row 1 column 1: 7 is not an event type"),
        (["34211.0,1,0,4,99800,1"], "row 1 column 2: 0 is not an order id"),
        (["34211.0,1,60,0,99800,1"], "row 1 column 3: 0 is not a size"),
        (["34211.0,1,60,4,99850,1"], "row 1 column 4: 99850 is not a positive multiple of 100"),
        (["34211.0,1,60,4,99800,2"], "row 1 column 5: 2 is neither 1 nor -1"),
        ([GOOD, "34212.0,3,60,5,99800,1"], "row 2 column 3: 5 is more than is left of order 60"),
        ([GOOD, "34212.0,3,60,3,99800,1"], "row 2 column 3: 3, but the deleted order has 4 left"),
        ([GOOD, "34212.0,3,60,4,99700,1"], "row 2 column 4: order 60 stands at"),
        (["34211.0,3,61,4,99800,1"], "row 1 column 2: order 61 is not in the book"),
    ],
)
def test_a_malformed_message_names_file_row_column_and_value(
    tmp_path: Path, messages: list[str], complaint: str
) -> None:
    books = [book_line(ASKS, BIDS)] * (len(messages) + 1)
    with pytest.raises(LobsterError) as caught:
        list(read_day(write(tmp_path, [BEFORE, *messages], books)))
    assert complaint in str(caught.value)
    assert "X_2020-01-02_1_2_message_10.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("book", "complaint"),
    [
        ("1,2,3", "row 1: 3 columns instead of 40"),
        (book_line(ASKS, BIDS).replace("100100", "x", 1), "row 1 column 0: 'x' is not an integer"),
        (book_line([(1000, 5)], BIDS), "row 1 column 2: the best bid 100000 crosses the best ask 100000"),
        (book_line([(1002, 5), (1001, 5)], BIDS), "row 1 column 4: 100100 is not worse than the level above, 100200"),
        (book_line([(1001, -5)], BIDS), "row 1 column 1: -5 is not a size"),
        (book_line(ASKS, BIDS).replace("100100", "100101", 1), "row 1 column 0: 100101 is not a positive multiple"),
    ],
)
def test_a_malformed_book_names_file_row_column_and_value(tmp_path: Path, book: str, complaint: str) -> None:
    with pytest.raises(LobsterError) as caught:
        list(read_day(write(tmp_path, [BEFORE, GOOD], [book_line(ASKS, BIDS), book])))
    assert complaint in str(caught.value)
    assert "X_2020-01-02_1_2_orderbook_10.csv" in str(caught.value)


@pytest.mark.parametrize(("books", "complaint"), [(1, "ends before row 1"), (3, "goes on after row 1")])
def test_files_of_different_length_are_refused(tmp_path: Path, books: int, complaint: str) -> None:
    with pytest.raises(LobsterError, match=complaint):
        list(read_day(write(tmp_path, [BEFORE, GOOD], [book_line(ASKS, BIDS)] * books)))


def test_a_recording_without_a_book_to_begin_with_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LobsterError, match="no row before 34210 s"):
        list(read_day(write(tmp_path, [GOOD], [book_line(ASKS, BIDS)])))


def test_a_folder_without_the_files_or_with_two_days_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LobsterError, match="is not a folder"):
        list(read_day(tmp_path / "absent"))
    with pytest.raises(LobsterError, match="must hold one"):
        list(read_day(tmp_path))
    write(tmp_path, [BEFORE], [book_line(ASKS, BIDS)])
    write(tmp_path, [BEFORE], [book_line(ASKS, BIDS)], name="Y_2020-01-02_1_2")
    with pytest.raises(LobsterError, match=r"X_2020-01-02_1_2_message_10.csv, Y_2020-01-02_1_2_message_10.csv"):
        list(read_day(tmp_path))


def test_a_damaged_archive_is_refused_by_name(tmp_path: Path) -> None:
    folder = write(tmp_path, [BEFORE, GOOD], [book_line(ASKS, BIDS)] * 2)
    messages = folder / "X_2020-01-02_1_2_message_10.csv"
    (folder / f"{messages.name}.xz").write_bytes(lzma.compress(messages.read_bytes())[:-20])
    messages.unlink()
    with pytest.raises(LobsterError, match=r"message_10\.csv\.xz row .*: cannot be read"):
        list(read_day(folder))
