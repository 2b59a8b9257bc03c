"""Users: registration, passwords, tokens. The cryptography happens before the log."""

from __future__ import annotations

from typing import Final

from node.exchange import rejects
from node.exchange.commands import RegisterUser, RevokeTokens, SetPassword
from node.exchange.events import Event, TokensRevoked, UserRegistered
from node.exchange.rejects import Refused
from node.exchange.requests import Request, repeated
from node.exchange.state import Handlers, State
from node.exchange.texts import LABEL_RULE, check_length, is_label
from node.exchange.types import ROLES_MASK, TEXT_MAX, USERS_MAX
from node.exchange.users import User

PASSWORD_HASH_MAX: Final = 128  # characters; bcrypt needs 60


def register_user(state: State, command: RegisterUser, raw: bytes, events: list[Event]) -> None:
    name = command.username
    taken = state.usernames.get(name)
    if taken is not None:
        if command.request_id and command.request_id == taken.registration_id:
            events.append(repeated(Request(0, taken.created_index, taken.created_ns, ref=taken.user_id), ""))
            return
        raise Refused(rejects.USERNAME_TAKEN, f"username {name!a} is taken")
    if not is_label(name):
        raise Refused(rejects.BAD_USER_PARAMETERS, f"username must be 1 to {TEXT_MAX} characters{LABEL_RULE}")
    check_length("request_id", command.request_id, rejects.BAD_USER_PARAMETERS)
    _check_hash(command.password_hash)
    if command.roles <= 0 or command.roles & ~ROLES_MASK:
        raise Refused(rejects.BAD_USER_PARAMETERS, f"roles mask {command.roles} names no role or an unknown one")
    if len(state.users) >= USERS_MAX:
        raise Refused(rejects.BAD_USER_PARAMETERS, f"the exchange has {USERS_MAX} users, its limit")
    user_id = f"U{len(state.users) + 1:08d}"
    user = User(user_id, name, command.password_hash, command.roles, command.request_id, state.index, state.time_ns)
    state.users[user_id] = user
    state.usernames[name] = user
    events.append(UserRegistered(user_id, name, command.roles))


def set_password(state: State, command: SetPassword, raw: bytes, events: list[Event]) -> None:
    user = state.user(command.user_id)
    _check_hash(command.password_hash)
    user.password_hash = command.password_hash
    user.generation += 1
    events.append(TokensRevoked(user.user_id, user.generation))


def revoke_tokens(state: State, command: RevokeTokens, raw: bytes, events: list[Event]) -> None:
    user = state.user(command.user_id)
    user.generation += 1
    events.append(TokensRevoked(user.user_id, user.generation))


def _check_hash(password_hash: str) -> None:
    if not 1 <= len(password_hash) <= PASSWORD_HASH_MAX:
        raise Refused(rejects.BAD_USER_PARAMETERS, "password_hash is empty or too long")


HANDLERS: Final[Handlers] = {RegisterUser: register_user, SetPassword: set_password, RevokeTokens: revoke_tokens}
