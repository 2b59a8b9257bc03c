"""Who asks. The only source of identity: made from a verified token, never from a path, a query or a body."""

from __future__ import annotations

from dataclasses import dataclass

from api.errors import Forbidden, Refused, Unauthenticated
from api.permissions import Allow, Permission, permissions_of
from api.tokens import Claims, Tokens
from node.exchange import rejects
from node.exchange.ledger import Account
from node.exchange.machine import Machine
from node.exchange.orders import Order
from node.exchange.users import User


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated user. `user` is the live state: its roles and accounts are always the current ones."""

    user: User
    claims: Claims

    @property
    def user_id(self) -> str:
        return self.user.user_id

    def may(self, permission: Permission) -> bool:
        return permission in permissions_of(self.user.roles)

    def require(self, allow: Allow) -> None:
        """Raises Forbidden, naming what would be needed."""
        if not allow.public and permissions_of(self.user.roles).isdisjoint(allow.any_of):
            raise Forbidden(f"your roles do not allow this; needed: {' or '.join(sorted(allow.any_of))}")

    # Somebody else's object is answered exactly like one that does not exist.

    def user_of(self, machine: Machine, user_id: str, view_all: Permission) -> User:
        """Raises Refused (404)."""
        user = machine.users.get(user_id)
        if user is None or (user is not self.user and not self.may(view_all)):
            raise Refused(rejects.USER_NOT_FOUND, f"user_id {user_id!r}")
        return user

    def own_account(self, account_id: str) -> Account:
        """Raises Refused (404)."""
        account = self.user.accounts.get(account_id)
        if account is None:
            raise Refused(rejects.ACCOUNT_NOT_FOUND, f"account_id {account_id!r}")
        return account

    def account_of(self, machine: Machine, account_id: str, view_all: Permission) -> Account:
        """The caller's own account, or anybody's for the holder of `view_all`. Raises Refused (404)."""
        account = machine.accounts.get(account_id)
        if account is None or (account.user is not self.user and not self.may(view_all)):
            raise Refused(rejects.ACCOUNT_NOT_FOUND, f"account_id {account_id!r}")
        return account

    def order_of(self, machine: Machine, order_id: str, view_all: Permission) -> Order:
        """Raises Refused (404)."""
        order = machine.orders.get(order_number(order_id))
        if order is None or (order.account.user is not self.user and not self.may(view_all)):
            raise Refused(rejects.ORDER_NOT_FOUND, f"order_id {order_id!r}")
        return order


def order_number(order_id: str) -> int:
    """The number in "O0000000001"; 0, which no order has, for anything else."""
    return numbered("O", order_id)


def numbered(letter: str, text: str) -> int:
    """The number in a letter and ten or more digits, as `render` writes it; 0 for anything else."""
    digits = text[1:]
    if len(text) >= 11 and text[0] == letter and digits.isascii() and digits.isdecimal() and len(digits) <= 18:
        number = int(digits)
        return number if f"{letter}{number:010d}" == text else 0
    return 0


def authenticate(tokens: Tokens, machine: Machine, authorization: str | None) -> Principal:
    """From an `Authorization: Bearer` header. Raises Unauthenticated."""
    if authorization is None:
        raise Unauthenticated("send the token of /api/auth/login as `Authorization: Bearer`")
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("the Authorization header must be `Bearer` and a token")
    return Principal(*tokens.verify(token.strip(), machine.users))
