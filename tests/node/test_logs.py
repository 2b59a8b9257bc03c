"""One line per event, whatever a client puts into it."""

from __future__ import annotations

import io
import logging
import re

import pytest

from node.logs import RoleLog, configure, fields


@pytest.fixture
def lines():
    """Configure logging as a node does, and return what it wrote so far as lines."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    stream = io.StringIO()
    configure("n1", "INFO", stream)
    yield lambda: stream.getvalue().splitlines()
    root.handlers[:], root.level = before
    logging.captureWarnings(False)


def test_a_line_is_time_level_node_event_and_pairs(lines):
    logging.getLogger("x").info("elected", extra=fields(term=4, quorum="2 of 3", took_ms=1.23456789))
    (line,) = lines()
    assert re.fullmatch(
        r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO    n1 elected term=4 quorum="2 of 3" took_ms=1.23457', line
    )


def test_text_from_outside_cannot_begin_a_line(lines):
    logging.getLogger("x").warning("bad name %s", "a\nb\x1b[0m", extra=fields(peer='x\r\n" y=1'))
    (line,) = lines()
    assert line.endswith('bad name a\\nb\\x1b[0m peer="x\\\\r\\\\n\\" y=1"')


def test_a_traceback_follows_its_line_behind_a_margin(lines):
    try:
        raise OSError("No space left\non device")
    except OSError:
        logging.getLogger("x").exception("commit failed")
    first, *rest = lines()
    assert first.endswith('ERROR   n1 commit failed exception="OSError: No space left\\\\non device"')
    assert rest
    assert all(line.startswith("    | ") for line in rest)


def test_a_huge_message_is_cut(lines):
    logging.getLogger("x").info("x" * 100_000)
    assert len(lines()[0]) < 9_000


def test_below_the_level_nothing_is_written_and_libraries_are_quiet(lines):
    logging.getLogger("x").debug("no")
    logging.getLogger("httpx").info("no")
    assert lines() == []


def test_every_change_of_role_is_one_line(lines):
    role = RoleLog("n1")
    role.changed("follower", None, 0)
    role.changed("candidate", None, 1)
    role.changed("candidate", None, 2)
    role.changed("leader", "n1", 2)
    role.changed("leader", "n1", 2)
    role.changed("follower", "n2", 3)
    role.changed("follower", "n2", 3)
    role.changed("follower", None, 3)
    role.changed("follower", "n3", 4)
    events = [re.sub(r"^\S+ (\S+) +n1 ", r"\1 ", line) for line in lines()]
    assert events == [
        "WARNING no leader heard: stands for election term=1",
        "INFO elected: this node leads term=2",
        "WARNING stepped down term=3 leader=n2",
        "WARNING lost its leader term=3 was=n2",
        "INFO follows leader=n3 term=4",
    ]
