"""Which node to ask: the configured urls, the leader that a node named, and the pauses between attempts.

Shared by REST calls and the trading socket of one client, so that what one learns about the leader serves the other.
No I/O, no clock.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

LEARNED_MAX: Final = 16  # urls that are not configured but were named by a node
BACKOFF_MAX_S: Final = 0.2
_BACKOFF_FIRST_S: Final = 0.02


def normalise_url(url: str) -> str:
    """`scheme://host:port` without a trailing slash.

    >>> normalise_url("127.0.0.1:8101/")
    'http://127.0.0.1:8101'

    Raises ValueError for anything but http and https, and for a url with a path, a query or a password.
    """
    text = url if "://" in url else f"http://{url}"
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"url {url!r}: the scheme must be http or https, not {parts.scheme!r}")
    if not parts.hostname:
        raise ValueError(f"url {url!r} names no host")
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username or parts.password:
        raise ValueError(f"url {url!r} must be scheme://host:port and nothing else")
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"url {url!r}: {error}") from None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")


class Route:
    """The nodes of one cluster as one client sees them.

    `current` is the url to ask now. `follow(url)` goes where a node said the leader is, `next()` goes on to another
    node, `good()` says that the current one answered as a leader does.
    """

    def __init__(self, urls: Sequence[str], *, rng: random.Random) -> None:
        if isinstance(urls, str) or not urls:
            raise ValueError("urls must be a non-empty sequence of node urls")
        self._configured = list(dict.fromkeys(normalise_url(url) for url in urls))
        self._learned: list[str] = []
        self._secure = all(url.startswith("https:") for url in self._configured)
        self._rng = rng
        self._failures = 0  # attempts in a row that ended without a usable answer
        self.current = self._configured[0]
        self.switches = 0  # how often `current` changed

    @property
    def urls(self) -> list[str]:
        """Every known node, the configured ones first."""
        return self._configured + self._learned

    def good(self) -> None:
        self._failures = 0

    def follow(self, url: object) -> bool:
        """Go to the url that a node named as the leader's; False where that is not usable.

        A client that was configured with https alone never follows to http: it would carry its token in clear.
        """
        if not isinstance(url, str):
            return False
        try:
            leader = normalise_url(url)
        except ValueError:
            return False
        if self._secure and not leader.startswith("https:"):
            return False
        if leader not in self._configured and leader not in self._learned:
            self._learned.append(leader)
            del self._learned[:-LEARNED_MAX]
        moved = leader != self.current
        self._go(leader)
        return moved

    def next(self, failed: str) -> None:
        """`failed` was no use: go on to the node after it, unless somebody else already left it."""
        if self.current != failed:
            return
        urls = self.urls
        position = urls.index(failed) if failed in urls else -1
        self._go(urls[(position + 1) % len(urls)])

    def pause_s(self, asked_ms: object = None, *, failures: int | None = None) -> float:
        """Seconds to wait before the next attempt: jittered, growing, at most `BACKOFF_MAX_S`.

        The first failure in a row costs no wait when there is another node to ask; a node's own `retry_after_ms` is
        respected up to the same bound. `failures` are those of a caller that counts its own: the sockets of one client
        lose their leader at the same moment, and that is one failure for each of them, not many for all.
        """
        if failures is None:
            self._failures += 1
            failures = self._failures
        if isinstance(asked_ms, int | float) and not isinstance(asked_ms, bool) and asked_ms > 0:
            ceiling = min(BACKOFF_MAX_S, asked_ms / 1000)
        elif failures < len(self.urls):
            return 0.0
        else:
            ceiling = min(BACKOFF_MAX_S, _BACKOFF_FIRST_S * 2 ** min(failures, 10))
        return self._rng.uniform(ceiling / 2, ceiling)

    def _go(self, url: str) -> None:
        if url != self.current:
            self.current = url
            self.switches += 1
