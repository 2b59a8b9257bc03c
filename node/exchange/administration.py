"""Users: registration, roles, passwords, contacts, status, logins. The cryptography happens before the log."""

from __future__ import annotations

from typing import Final

from node.exchange import rejects
from node.exchange.accounts import close, what_is_left
from node.exchange.commands import (
    RecordLogin,
    RegisterUser,
    RevokeTokens,
    SetPassword,
    SetProfile,
    SetRoles,
    SetUserStatus,
)
from node.exchange.events import (
    Event,
    LoginRecorded,
    ProfileSet,
    RolesChanged,
    TokensRevoked,
    UserRegistered,
    UserStatusChanged,
)
from node.exchange.rejects import Refused
from node.exchange.requests import Request, repeated
from node.exchange.state import Handlers, State
from node.exchange.texts import (
    LABEL_RULE,
    PHONE_DIGITS_MAX,
    PHONE_DIGITS_MIN,
    check_length,
    check_note,
    is_email,
    is_label,
    is_phone,
)
from node.exchange.types import ROLES_MASK, TEXT_MAX, USERS_MAX, Role, UserStatus
from node.exchange.users import User

PASSWORD_HASH_MAX: Final = 128  # characters; bcrypt needs 60
ADMIN: Final = int(Role.ADMIN)
ACTIVE: Final = int(UserStatus.ACTIVE)
FROZEN: Final = int(UserStatus.FROZEN)
DELETED: Final = int(UserStatus.DELETED)


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
    _check_roles(command.roles)
    _check_profile(state, None, command.phone, command.email, command.real_name)
    if len(state.users) >= USERS_MAX:
        raise Refused(rejects.BAD_USER_PARAMETERS, f"the exchange has {USERS_MAX} users, its limit")
    user_id = f"U{len(state.users) + 1:08d}"
    user = User(user_id, name, command.password_hash, command.roles, command.request_id, state.index, state.time_ns)
    state.users[user_id] = user
    state.usernames[name] = user
    _set_profile(state, user, command.phone, command.email, command.real_name)
    events.append(UserRegistered(user_id, name, command.roles))


def set_password(state: State, command: SetPassword, raw: bytes, events: list[Event]) -> None:
    user = _present(state, command.user_id)
    _check_hash(command.password_hash)
    user.password_hash = command.password_hash
    user.generation += 1
    events.append(TokensRevoked(user.user_id, user.generation))


def revoke_tokens(state: State, command: RevokeTokens, raw: bytes, events: list[Event]) -> None:
    user = _present(state, command.user_id)
    user.generation += 1
    events.append(TokensRevoked(user.user_id, user.generation))


def set_roles(state: State, command: SetRoles, raw: bytes, events: list[Event]) -> None:
    user = _present(state, command.user_id)
    _check_roles(command.roles)
    if not command.roles & ADMIN:
        _check_administrator_remains(state, user)
    user.roles = command.roles
    user.generation += 1
    events.append(RolesChanged(user.user_id, user.roles, user.generation))


def set_user_status(state: State, command: SetUserStatus, raw: bytes, events: list[Event]) -> None:
    """Freeze, unfreeze, delete. A deleted user keeps its name for the record, and gives its contacts free."""
    user = _present(state, command.user_id)
    status = command.status
    if status not in (ACTIVE, FROZEN, DELETED):
        raise Refused(rejects.BAD_USER_PARAMETERS, f"status {status} is unknown")
    check_note("reason", command.reason, rejects.BAD_USER_PARAMETERS)
    if status != ACTIVE:
        _check_administrator_remains(state, user)
    closing = []
    if status == DELETED:
        closing = [account for account in user.accounts.values() if not account.closed]
        for account in closing:
            left = what_is_left(account)
            if left:
                raise Refused(rejects.ACCOUNT_NOT_EMPTY, f"{account.account_id}: {left}")
    user.status = status
    user.status_reason = "" if status == ACTIVE else command.reason
    if status != ACTIVE:
        user.generation += 1
    events.append(UserStatusChanged(user.user_id, status, user.generation, command.reason))
    if status == DELETED:
        _set_profile(state, user, "", "", "")
        for account in closing:
            close(account, events)


def set_profile(state: State, command: SetProfile, raw: bytes, events: list[Event]) -> None:
    user = _present(state, command.user_id)
    _check_profile(state, user, command.phone, command.email, command.real_name)
    _set_profile(state, user, command.phone, command.email, command.real_name)
    events.append(ProfileSet(user.user_id))


def record_login(state: State, command: RecordLogin, raw: bytes, events: list[Event]) -> None:
    user = _present(state, command.user_id)
    user.record_login(command.success, state.time_ns)
    events.append(LoginRecorded(user.user_id, user.login_failures, user.blocked_until_ns))


def _present(state: State, user_id: str) -> User:
    """A user who has not been deleted: deletion is final. Raises Refused."""
    user = state.user(user_id)
    if user.status == DELETED:
        raise Refused(rejects.USER_FROZEN, f"user_id {user_id!a} is deleted")
    return user


def _check_administrator_remains(state: State, user: User) -> None:
    """Raises Refused if nobody could administer the exchange without this user. Stops at the first who can."""
    if not user.roles & ADMIN or user.status != ACTIVE:
        return
    for other in state.users.values():
        if other is not user and other.roles & ADMIN and other.status == ACTIVE:
            return
    raise Refused(rejects.BAD_USER_PARAMETERS, f"user_id {user.user_id!a} is the last active administrator")


def _check_hash(password_hash: str) -> None:
    if not 1 <= len(password_hash) <= PASSWORD_HASH_MAX:
        raise Refused(rejects.BAD_USER_PARAMETERS, "password_hash is empty or too long")


def _check_roles(roles: int) -> None:
    if roles <= 0 or roles & ~ROLES_MASK:
        raise Refused(rejects.BAD_USER_PARAMETERS, f"roles mask {roles} names no role or an unknown one")


def _check_profile(state: State, user: User | None, phone: str, email: str, real_name: str) -> None:
    """Raises Refused for a malformed value, or a contact of another user than `user`. Empty: not given."""
    if phone and not is_phone(phone):
        raise Refused(
            rejects.BAD_USER_PARAMETERS,
            f"phone {phone[:TEXT_MAX]!a} must be {PHONE_DIGITS_MIN} to {PHONE_DIGITS_MAX} digits, with or without a +",
        )
    if email and not is_email(email):
        raise Refused(
            rejects.BAD_USER_PARAMETERS, f"email {email[:TEXT_MAX]!a} must be local@domain, ASCII without capitals"
        )
    if real_name and not is_label(real_name):
        raise Refused(rejects.BAD_USER_PARAMETERS, f"real_name must be 1 to {TEXT_MAX} characters{LABEL_RULE}")
    for field, contact in (("phone", phone), ("email", email)):
        owner = state.contacts.get(contact)
        if owner is not None and owner is not user:
            raise Refused(rejects.CONTACT_TAKEN, f"{field} {contact!a} belongs to another user")


def _set_profile(state: State, user: User, phone: str, email: str, real_name: str) -> None:
    for old in (user.phone, user.email):
        if old:
            del state.contacts[old]
    user.phone, user.email, user.real_name = phone, email, real_name
    for new in (phone, email):
        if new:
            state.contacts[new] = user


HANDLERS: Final[Handlers] = {
    RegisterUser: register_user,
    SetPassword: set_password,
    RevokeTokens: revoke_tokens,
    SetRoles: set_roles,
    SetUserStatus: set_user_status,
    SetProfile: set_profile,
    RecordLogin: record_login,
}
