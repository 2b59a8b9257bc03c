"""Tokens: what is accepted is exactly what this cluster issued, while it lasts."""

from __future__ import annotations

from typing import Any

import jwt
import pytest

from api.errors import TOKEN_REVOKED, Unauthenticated
from api.tokens import KeysError, TokenKeys, Tokens
from node.exchange.users import User

KEY, OLD_KEY = b"k" * 32, b"o" * 32
NOW = 1_800_000_000


class World:
    def __init__(self, active: str = "new") -> None:
        self.now = float(NOW)
        self.user = User("U00000001", "alice", "hash", 1, "", 1, 0)
        self.users = {"U00000001": self.user}
        self.tokens = Tokens(
            TokenKeys(active, {"new": KEY, "old": OLD_KEY}),
            cluster="local",
            hours=24,
            now_s=lambda: self.now,
            random_bytes=bytes,
        )

    def verify(self, token: str) -> str:
        return self.tokens.verify(token, self.users)[0].user_id


def claims(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "iss": "qaexchange", "aud": "local", "sub": "U00000001", "iat": NOW, "nbf": NOW, "exp": 4_000_000_000,
        "jti": "1", "gen": 1, "roles": ["Admin"],
    }  # fmt: skip
    made |= changes
    return {name: value for name, value in made.items() if value is not None}


def signed(body: dict[str, Any], key: bytes = KEY, algorithm: str = "HS256", kid: str = "new") -> str:
    return jwt.encode(body, key if algorithm != "none" else "", algorithm, headers={"kid": kid})


def test_an_issued_token_is_accepted_also_from_memory() -> None:
    world = World()
    token, expires = world.tokens.issue(world.user)
    assert expires == NOW + 24 * 3600
    assert world.verify(token) == "U00000001" == world.verify(token)


def test_a_remembered_token_expires_all_the_same() -> None:
    world = World()
    token = signed(claims())
    assert world.verify(token) == "U00000001"
    world.now = 4_000_000_000
    with pytest.raises(Unauthenticated, match="expired"):
        world.verify(token)


def test_a_remembered_token_dies_with_the_generation() -> None:
    world = World()
    token = signed(claims())
    assert world.verify(token) == "U00000001"
    world.user.generation += 1
    with pytest.raises(Unauthenticated) as refusal:
        world.verify(token)
    assert refusal.value.body.code == TOKEN_REVOKED.code


def test_both_live_keys_verify_and_the_active_one_signs() -> None:
    world = World(active="old")
    assert world.verify(signed(claims(), OLD_KEY, kid="old")) == "U00000001"
    assert world.verify(signed(claims(), KEY, kid="new")) == "U00000001"
    assert jwt.get_unverified_header(world.tokens.issue(world.user)[0])["kid"] == "old"


@pytest.mark.parametrize(
    "token",
    [
        signed(claims(), b"x" * 32),
        signed(claims(), KEY, kid="gone"),
        signed(claims(), OLD_KEY, kid="new"),
        signed(claims(), KEY * 2, algorithm="HS512"),
        signed(claims(), KEY, algorithm="none"),
        signed(claims(aud="other-cluster")),
        signed(claims(iss="somebody")),
        signed(claims(sub="U00000002")),
        signed(claims(exp=NOW)),
        signed(claims(exp=4e9)),
        signed(claims(nbf=NOW + 61)),
        signed(claims(iat=NOW + 61)),
        signed(claims(gen=2)),
        signed(claims(gen="1")),
        signed(claims(gen=True)),
        *[signed(claims(**{name: None})) for name in ("iss", "aud", "sub", "iat", "nbf", "exp", "jti", "gen", "roles")],
        "",
        "a.b.c",
        "x" * 5_000,
        "..",
        signed(claims())[:-2],
    ],
)
def test_everything_else_is_refused(token: str) -> None:
    with pytest.raises(Unauthenticated):
        World().verify(token)


def test_the_header_cannot_choose_the_algorithm() -> None:
    head, body, _ = signed(claims()).split(".")
    none = jwt.encode(claims(), "", "none", headers={"kid": "new"}).split(".")
    for forged in (f"{none[0]}.{body}.", f"{none[0]}.{none[1]}.", f"{head}.{none[1]}."):
        with pytest.raises(Unauthenticated):
            World().verify(forged)


@pytest.mark.parametrize(
    ("active", "keys"),
    [("b", {"a": KEY}), ("a", {"a": b"short"}), ("a", {}), ("a", {"a": KEY, "b": KEY, "c": KEY})],
)
def test_wrong_keys_are_refused_and_not_shown(active: str, keys: dict[str, bytes]) -> None:
    with pytest.raises(KeysError) as error:
        TokenKeys(active, keys)
    assert "short" not in str(error.value)


def test_keys_do_not_show_themselves() -> None:
    assert "kkkk" not in repr(TokenKeys("new", {"new": KEY}))
