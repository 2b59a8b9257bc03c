"""Users: names, roles, password hashes and token generations. State only; the cryptography happens before the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from node.exchange.requests import Requests

if TYPE_CHECKING:
    from node.exchange.ledger import Account


class User:
    """A person or a program that logs in. A token is good while its generation is the user's."""

    __slots__ = (
        "accounts",
        "created_index",
        "created_ns",
        "generation",
        "password_hash",
        "registration_id",
        "requests",
        "roles",
        "user_id",
        "username",
    )

    def __init__(
        self,
        user_id: str,
        username: str,
        password_hash: str,
        roles: int,
        registration_id: str,
        created_index: int,
        created_ns: int,
    ) -> None:
        self.user_id = user_id
        self.username = username
        self.password_hash = password_hash
        self.roles = roles
        self.registration_id = registration_id
        self.generation = 1
        self.created_index = created_index
        self.created_ns = created_ns
        self.accounts: dict[str, Account] = {}
        self.requests = Requests()
