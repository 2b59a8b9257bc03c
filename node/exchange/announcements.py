"""Announcements of the exchange to its users. They end by themselves: a reader compares `expires_ns` with the time."""

from __future__ import annotations

from typing import Final

from node.exchange import rejects
from node.exchange.commands import PublishAnnouncement, WithdrawAnnouncement
from node.exchange.events import AnnouncementPublished, AnnouncementWithdrawn, Event
from node.exchange.rejects import Refused
from node.exchange.requests import Once
from node.exchange.state import Handlers, State
from node.exchange.texts import is_label, is_printable
from node.exchange.types import ANNOUNCEMENTS_MAX, AnnouncementKind, AnnouncementPriority

TITLE_MAX: Final = 200  # characters
CONTENT_MAX: Final = 10_000


class Announcement:
    """One announcement, in force from its publication until it is withdrawn or expires."""

    __slots__ = (
        "announcement_id",
        "author",
        "content",
        "expires_ns",
        "kind",
        "priority",
        "published_ns",
        "title",
        "withdrawn_ns",
    )

    def __init__(
        self,
        announcement_id: int,
        title: str,
        content: str,
        kind: int,
        priority: int,
        author: str,
        published_ns: int,
        expires_ns: int,
    ) -> None:
        self.announcement_id = announcement_id
        self.title = title
        self.content = content
        self.kind = kind  # types.AnnouncementKind
        self.priority = priority  # types.AnnouncementPriority
        self.author = author  # user id; empty: the node itself
        self.published_ns = published_ns
        self.expires_ns = expires_ns  # 0: never
        self.withdrawn_ns = 0  # 0: not withdrawn

    def in_force(self, time_ns: int) -> bool:
        return not self.withdrawn_ns and not 0 < self.expires_ns <= time_ns


def publish(state: State, command: PublishAnnouncement, raw: bytes, events: list[Event]) -> None:
    """Publish, at most once for a request id of the user who does it (the node itself sends none)."""
    if not command.by:
        if command.request_id:
            raise Refused(rejects.BAD_ANNOUNCEMENT, "request_id: it belongs to a user, and by is empty")
        _publish(state, command, events)
        return
    user = state.user(command.by)
    with Once(state, user.requests, command.request_id, raw, events, "", rejects.BAD_ANNOUNCEMENT) as request:
        if not request.repeated:
            request.ref = str(_publish(state, command, events))


def _publish(state: State, command: PublishAnnouncement, events: list[Event]) -> int:
    if not is_label(command.title, TITLE_MAX):
        raise Refused(
            rejects.BAD_ANNOUNCEMENT, f"title must be 1 to {TITLE_MAX} characters, no control character, no outer blank"
        )
    if not 1 <= len(command.content) <= CONTENT_MAX:
        raise Refused(rejects.BAD_ANNOUNCEMENT, f"content must be 1 to {CONTENT_MAX} characters")
    if not is_printable(command.content.replace("\n", "").replace("\t", "")):
        raise Refused(rejects.BAD_ANNOUNCEMENT, "content holds a control character other than line feed and tab")
    if not 0 <= command.kind <= AnnouncementKind.PROMOTION:
        raise Refused(rejects.BAD_ANNOUNCEMENT, f"kind {command.kind} is unknown")
    if not 0 <= command.priority <= AnnouncementPriority.URGENT:
        raise Refused(rejects.BAD_ANNOUNCEMENT, f"priority {command.priority} is unknown")
    if command.expires_ns and command.expires_ns <= state.time_ns:
        raise Refused(rejects.BAD_ANNOUNCEMENT, f"expires_ns {command.expires_ns} is past at {state.time_ns}")
    _make_room(state)
    state.announcement_count = announcement_id = state.announcement_count + 1
    state.announcements[announcement_id] = Announcement(
        announcement_id,
        command.title,
        command.content,
        command.kind,
        command.priority,
        command.by,
        state.time_ns,
        command.expires_ns,
    )
    events.append(AnnouncementPublished(announcement_id))
    return announcement_id


def _make_room(state: State) -> None:
    """Displace the oldest announcement that is no longer in force, if there are too many. Raises Refused.

    One that is in force is never displaced: somebody may rely on it, so an administrator has to withdraw it.
    """
    if len(state.announcements) < ANNOUNCEMENTS_MAX:
        return
    for announcement_id, announcement in state.announcements.items():
        if not announcement.in_force(state.time_ns):
            del state.announcements[announcement_id]
            return
    raise Refused(
        rejects.BAD_ANNOUNCEMENT, f"{ANNOUNCEMENTS_MAX} announcements are in force, the limit; withdraw one first"
    )


def withdraw(state: State, command: WithdrawAnnouncement, raw: bytes, events: list[Event]) -> None:
    announcement = state.announcements.get(command.announcement_id)
    if announcement is None:
        raise Refused(
            rejects.ANNOUNCEMENT_NOT_FOUND, f"announcement_id {command.announcement_id} does not exist, or no longer"
        )
    if announcement.withdrawn_ns:
        raise Refused(rejects.ANNOUNCEMENT_NOT_FOUND, f"announcement_id {command.announcement_id} is withdrawn already")
    announcement.withdrawn_ns = state.time_ns
    events.append(AnnouncementWithdrawn(announcement.announcement_id))


HANDLERS: Final[Handlers] = {PublishAnnouncement: publish, WithdrawAnnouncement: withdraw}
