"""Announcements: published once, in force until withdrawn or expired, bounded in number and size."""

from __future__ import annotations

from typing import Any

import pytest

from node.exchange import rejects
from node.exchange.commands import PublishAnnouncement, RegisterUser, WithdrawAnnouncement
from node.exchange.events import AnnouncementPublished, AnnouncementWithdrawn, RequestRepeated
from node.exchange.types import ANNOUNCEMENTS_MAX, AnnouncementKind, AnnouncementPriority, Role
from tests.exchange.driver import Driver
from tests.exchange.refusals import refused

ADMIN = "U00000001"
SYSTEM, NORMAL = int(AnnouncementKind.SYSTEM), int(AnnouncementPriority.NORMAL)


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    driver.do(RegisterUser("admin", "$2b$hash", int(Role.ADMIN)))
    return driver


def announcement(**fields: Any) -> PublishAnnouncement:
    told: dict[str, Any] = {
        "title": "夜盘暂停",
        "content": "今晚无夜盘。\nNo night session today.",
        "kind": SYSTEM,
        "priority": NORMAL,
        "by": ADMIN,
    }
    return PublishAnnouncement(**(told | fields))


def test_an_announcement_is_published_and_withdrawn(driver):
    assert driver.do(announcement(priority=3, expires_ns=10**18)) == [AnnouncementPublished(1)]
    published_ns = driver.machine.time_ns
    told = driver.machine.announcements[1]
    assert (told.title, told.author, told.published_ns, told.priority) == ("夜盘暂停", ADMIN, published_ns, 3)
    assert told.in_force(driver.machine.time_ns)
    assert driver.do(WithdrawAnnouncement(1, ADMIN)) == [AnnouncementWithdrawn(1)]
    assert not told.in_force(driver.machine.time_ns)
    assert told.withdrawn_ns == driver.machine.time_ns


def test_an_announcement_ends_at_its_time(driver):
    expires_ns = driver.machine.time_ns + 10_000
    driver.do(announcement(expires_ns=expires_ns))
    told = driver.machine.announcements[1]
    assert told.in_force(expires_ns - 1)
    assert not told.in_force(expires_ns)


def test_an_announcement_is_published_once_for_a_request_id_of_its_author(driver):
    driver.do(RegisterUser("second", "$2b$hash", int(Role.ADMIN)))
    assert driver.do(announcement(request_id="r1")) == [AnnouncementPublished(1)]
    (again,) = driver.do(announcement(request_id="r1"))
    assert isinstance(again, RequestRepeated)
    assert (again.code, again.ref, len(driver.machine.announcements)) == (0, "1", 1)
    refused(driver, announcement(request_id="r1", title="other"), rejects.REQUEST_ID_REUSED)
    assert driver.do(announcement(request_id="r1", by="U00000002")) == [AnnouncementPublished(2)]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"title": ""}, "title must be 1 to 200 characters"),
        ({"title": "x" * 201}, "title must be"),
        ({"title": "a\nb"}, "title must be"),
        ({"content": ""}, "content must be 1 to 10000 characters"),
        ({"content": "x" * 10_001}, "content must be"),
        ({"content": "a\x1b[31m"}, "content holds a control character"),
        ({"kind": 5}, "kind 5 is unknown"),
        ({"kind": -1}, "kind -1 is unknown"),
        ({"priority": 4}, "priority 4 is unknown"),
        ({"expires_ns": 1}, "expires_ns 1 is past at"),
        ({"expires_ns": -1}, "expires_ns -1 is past at"),
        ({"by": "", "request_id": "r"}, "request_id: it belongs to a user"),
    ],
)
def test_an_announcement_that_cannot_be_shown_is_refused(driver, fields, said):
    detail = refused(driver, announcement(**fields), rejects.BAD_ANNOUNCEMENT)
    assert said in detail


def test_a_request_id_that_is_too_long_is_refused(driver):
    refused(driver, announcement(request_id="r" * 65), rejects.BAD_ANNOUNCEMENT)


def test_the_largest_announcement_passes(driver):
    driver.do(announcement(title="x" * 200, content="沪" * 10_000))
    assert len(driver.machine.announcements[1].content) == 10_000


def test_the_node_itself_may_announce(driver):
    assert driver.do(announcement(by="")) == [AnnouncementPublished(1)]


def test_an_author_who_does_not_exist_is_refused(driver):
    refused(driver, announcement(by="U00000009"), rejects.USER_NOT_FOUND)


def test_what_is_not_in_force_cannot_be_withdrawn(driver):
    refused(driver, WithdrawAnnouncement(1), rejects.ANNOUNCEMENT_NOT_FOUND)
    driver.do(announcement())
    driver.do(WithdrawAnnouncement(1))
    detail = refused(driver, WithdrawAnnouncement(1), rejects.ANNOUNCEMENT_NOT_FOUND)
    assert detail == "announcement_id 1 is withdrawn already"


def test_the_oldest_that_is_no_longer_in_force_makes_room_and_none_that_is(driver, monkeypatch):
    assert ANNOUNCEMENTS_MAX == 1_000
    monkeypatch.setattr("node.exchange.announcements.ANNOUNCEMENTS_MAX", 3)
    for _ in range(3):
        driver.do(announcement())
    detail = refused(driver, announcement(), rejects.BAD_ANNOUNCEMENT)
    assert detail == "3 announcements are in force, the limit; withdraw one first"
    driver.do(WithdrawAnnouncement(3))
    driver.do(WithdrawAnnouncement(2))
    assert driver.do(announcement()) == [AnnouncementPublished(4)]
    assert list(driver.machine.announcements) == [1, 3, 4]
