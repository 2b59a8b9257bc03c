"""Users: names, roles, password hashes and token generations. State only; the cryptography happens before the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from node.exchange.requests import Requests
from node.exchange.types import UserStatus

if TYPE_CHECKING:
    from node.exchange.ledger import Account

LOGIN_FAILURES_FREE: Final = 4  # in a row; from the next one on, each doubles the wait
LOGIN_DELAY_NS: Final = 10**9  # after the first failure that is not free
LOGIN_DELAY_NS_MAX: Final = 15 * 60 * 10**9


class User:
    """A person or a program that logs in. A token is good while its generation is the user's.

    `blocked_until_ns` is log time: until then the front door is to refuse a login without looking at the password.
    """

    __slots__ = (
        "accounts",
        "blocked_until_ns",
        "created_index",
        "created_ns",
        "email",
        "generation",
        "login_failures",
        "password_hash",
        "phone",
        "real_name",
        "registration_id",
        "requests",
        "roles",
        "status",
        "status_reason",
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
        self.status = int(UserStatus.ACTIVE)
        self.status_reason = ""
        self.phone = ""
        self.email = ""
        self.real_name = ""
        self.login_failures = 0  # in a row
        self.blocked_until_ns = 0
        self.accounts: dict[str, Account] = {}
        self.requests = Requests()

    def record_login(self, success: bool, time_ns: int) -> None:
        """Count failures in a row: the fifth blocks for a second, each further one for twice as long, to 15 minutes."""
        if success:
            self.login_failures = 0
            self.blocked_until_ns = 0
            return
        self.login_failures += 1
        over = self.login_failures - LOGIN_FAILURES_FREE
        if over > 0:
            doublings = min(over - 1, LOGIN_DELAY_NS_MAX.bit_length())  # past the longest delay they change nothing
            self.blocked_until_ns = time_ns + min(LOGIN_DELAY_NS << doublings, LOGIN_DELAY_NS_MAX)
