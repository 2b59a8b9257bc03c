"""The one place in `node` that asks the system for randomness."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

# Read aloud and typed by people: no 0/O, 1/l/I.
_PASSWORD_LETTERS: Final = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # noqa: S105 (an alphabet)


def random_bytes(count: int) -> bytes:
    """`count` unpredictable bytes."""
    return secrets.token_bytes(count)


def random_below(limit: int) -> int:
    """An unpredictable integer in [0, limit)."""
    return secrets.randbelow(limit)


def random_password(groups: int = 4, letters: int = 5) -> str:
    """A password of `groups` groups of `letters`, joined by hyphens; 4 x 5 letters of 55 carry 115 bits."""
    return "-".join(_word(_PASSWORD_LETTERS, letters) for _ in range(groups))


def _word(alphabet: Sequence[str], letters: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(letters))
