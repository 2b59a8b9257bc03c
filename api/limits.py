"""The bounds of the front door, and the one that is kept here: REST requests that run at the same time.

| what | bound | beyond it |
|---|---|---|
| open connections | `connections_max` | 503 and closed |
| REST requests in progress | REQUESTS_IN_FLIGHT_MAX | 503 OVERLOADED |
| logins and registrations waiting | passwords.WAITING_MAX | 503 OVERLOADED |
| request head | HEAD_BYTES_MAX | 431 by Hypercorn, 400 for /ws |
| request body | `body_bytes_max` | 413 |
| time for a head / a body | HEAD_TIMEOUT_S / BODY_TIMEOUT_S | closed / 408 |
| one WebSocket message | `frame_bytes_max` | close 1009 |
| commands of one socket in flight | ws.session.IN_FLIGHT_MAX | reply OVERLOADED |
| bytes waiting for one socket | ws.outbox.OUTBOX_BYTES_MAX | close 4408 |
| private events kept for resume, all users | ws.private.EVENTS_KEPT_MAX | `reset` with a snapshot |
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from api.errors import OVERLOADED, Unavailable

REQUESTS_IN_FLIGHT_MAX: Final = 512
HEAD_BYTES_MAX: Final = 16 * 1024
HEAD_TIMEOUT_S: Final = 10.0
BODY_TIMEOUT_S: Final = 15.0
SEND_TIMEOUT_S: Final = 5.0  # for one write to a REST client that does not read
RETRY_MS: Final = 100


class InFlight:
    """Counts the REST requests in progress."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.count = 0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Raises Unavailable when the bound is reached."""
        if self.count >= self.limit:
            raise Unavailable(
                OVERLOADED,
                f"{self.count} requests are in progress, the limit is {self.limit}",
                retry="after_ms",
                retry_after_ms=RETRY_MS,
            )
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1
