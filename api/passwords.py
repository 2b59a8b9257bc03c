"""Password hashing: bcrypt with cost 12, in a worker thread, one at a time.

One at a time, because each takes a core for 0.4 s and two cores carry the whole node; the queue before it is bounded.
"""

from __future__ import annotations

from typing import Final

import bcrypt
import trio

from api.errors import OVERLOADED, Malformed, Unavailable

ROUNDS: Final = 12
PASSWORD_BYTES_MIN: Final = 8
PASSWORD_BYTES_MAX: Final = 72  # what bcrypt reads
WAITING_MAX: Final = 50  # 20 s of work; beyond it 503
HASH_MS: Final = 400
NOBODY: Final = "$2b$12$" + "." * 53  # a well-formed hash of no password: what an unknown user is checked against


class Passwords:
    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(1)
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """Raises Malformed for a password that is too short or too long, Unavailable if too many wait."""
        data = password_bytes(password)
        return (await self._run(bcrypt.hashpw, data, bcrypt.gensalt(ROUNDS))).decode("ascii")

    async def matches(self, password: str, password_hash: str | None) -> bool:
        """Whether a password fits a hash; without a hash (unknown user) it costs the same and is False.

        Raises Unavailable if too many wait.
        """
        data = password.encode()
        if len(data) > PASSWORD_BYTES_MAX or b"\0" in data:
            data, password_hash = b"\xff", None
        fits = await self._run(bcrypt.checkpw, data, (password_hash or NOBODY).encode("ascii"))
        return bool(fits) and password_hash is not None

    async def _run(self, work: object, *args: bytes) -> bytes:
        if self._waiting >= WAITING_MAX:
            raise Unavailable(
                OVERLOADED,
                f"{self._waiting} logins and registrations are waiting",
                retry="after_ms",
                retry_after_ms=self._waiting * HASH_MS,
            )
        self._waiting += 1
        try:
            return await trio.to_thread.run_sync(work, *args, limiter=self._limiter)  # type: ignore[arg-type]
        finally:
            self._waiting -= 1


def password_bytes(password: str) -> bytes:
    """A new password as bytes. Raises Malformed."""
    data = password.encode()
    if not PASSWORD_BYTES_MIN <= len(data) <= PASSWORD_BYTES_MAX:
        raise Malformed(f"password: {PASSWORD_BYTES_MIN} to {PASSWORD_BYTES_MAX} bytes are needed, not {len(data)}")
    if b"\0" in data:
        raise Malformed("password: a zero byte is not allowed")
    return data
