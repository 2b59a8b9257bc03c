"""Access tokens: JWT HS256, made and verified here only.

The algorithm is fixed in this file, never read from a token. Two keys may live at once, so that keys can be rotated:
`active` signs, both verify. Verified tokens are remembered; expiry and the user's generation are checked at every use.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt

from api.errors import TOKEN_REVOKED, Unauthenticated
from api.permissions import role_names
from node.exchange.users import User

ALGORITHM: Final = "HS256"
ISSUER: Final = "qaexchange"
KEY_BYTES_MIN: Final = 32
KEYS_MAX: Final = 2
TOKEN_CHARACTERS_MAX: Final = 4_096
REMEMBERED_MAX: Final = 10_000
CLOCK_SKEW_S: Final = 60  # between the node that issued and this one, for nbf and iat; expiry has no grace
_CLAIMS: Final = ("iss", "aud", "sub", "iat", "nbf", "exp", "jti", "gen", "roles")


class KeysError(ValueError):
    """The signing keys cannot be used. Never shows a key."""


@dataclass(frozen=True, slots=True, repr=False)
class TokenKeys:
    """Signing keys by their id."""

    active: str
    keys: Mapping[str, bytes]

    def __post_init__(self) -> None:
        if self.active not in self.keys:
            raise KeysError(f"the active key {self.active!r} is not among the keys")
        if len(self.keys) > KEYS_MAX:
            raise KeysError(f"{len(self.keys)} keys; at most {KEYS_MAX} can be live")
        for kid, key in self.keys.items():
            if len(key) < KEY_BYTES_MIN:
                raise KeysError(f"key {kid!r} has {len(key)} bytes; at least {KEY_BYTES_MIN} are needed")


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says."""

    user_id: str
    generation: int
    expires_s: int


class Tokens:
    """Issues and verifies the tokens of one cluster. `now_s` is the wall clock in seconds."""

    def __init__(
        self,
        keys: TokenKeys,
        *,
        cluster: str,
        hours: int,
        now_s: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._keys = keys
        self._audience = cluster
        self._life_s = hours * 3600
        self._now_s = now_s
        self._random_bytes = random_bytes
        self._verified: OrderedDict[str, Claims] = OrderedDict()

    def issue(self, user: User) -> tuple[str, int]:
        """A token for a user's current generation, and when it expires (s since the epoch)."""
        now = int(self._now_s())
        expires = now + self._life_s
        claims = {
            "iss": ISSUER,
            "aud": self._audience,
            "sub": user.user_id,
            "iat": now,
            "nbf": now,
            "exp": expires,
            "jti": self._random_bytes(16).hex(),
            "gen": user.generation,
            "roles": role_names(user.roles),
        }
        kid = self._keys.active
        return jwt.encode(claims, self._keys.keys[kid], ALGORITHM, headers={"kid": kid}), expires

    def verify(self, token: str, users: Mapping[str, User]) -> tuple[User, Claims]:
        """Whose token it is. Raises Unauthenticated if it is forged, foreign, expired or revoked."""
        claims = self._verified.get(token)
        if claims is None:
            claims = self._decode(token)
            self._verified[token] = claims
            if len(self._verified) > REMEMBERED_MAX:
                self._verified.popitem(last=False)
        else:
            self._verified.move_to_end(token)
        if claims.expires_s <= self._now_s():
            raise Unauthenticated("the token has expired; log in again")
        user = users.get(claims.user_id)
        if user is None or user.generation != claims.generation:
            raise Unauthenticated("the token was revoked; log in again", TOKEN_REVOKED)
        return user, claims

    def _decode(self, token: str) -> Claims:
        if len(token) > TOKEN_CHARACTERS_MAX:
            raise Unauthenticated(f"the token is longer than {TOKEN_CHARACTERS_MAX} characters")
        try:
            header = jwt.get_unverified_header(token)
            key = self._keys.keys.get(header.get("kid", ""))
            if key is None:
                raise Unauthenticated("the token is signed with a key that this cluster does not have")
            claims: dict[str, Any] = jwt.decode(  # times are checked below, by the clock that we were given
                token,
                key,
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=ISSUER,
                options={"require": list(_CLAIMS), "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except (jwt.InvalidTokenError, TypeError) as error:
            raise Unauthenticated(f"the token is not valid: {error}") from None
        for name in ("gen", "iat", "nbf", "exp"):
            if type(claims[name]) is not int:
                raise Unauthenticated(f"the token is not valid: {name} must be an integer")
        if max(claims["nbf"], claims["iat"]) > self._now_s() + CLOCK_SKEW_S:
            raise Unauthenticated("the token is not valid yet")
        return Claims(claims["sub"], claims["gen"], claims["exp"])
