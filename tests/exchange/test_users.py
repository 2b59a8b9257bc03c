"""Users: who they are, what they may, and how they come in."""

from __future__ import annotations

import random

import pytest

from node.exchange import rejects
from node.exchange.commands import (
    BindAccount,
    CloseAccount,
    Deposit,
    OpenAccount,
    RecordLogin,
    RegisterUser,
    RevokeTokens,
    SetPassword,
    SetProfile,
    SetRoles,
    SetUserStatus,
    Withdraw,
)
from node.exchange.events import (
    AccountClosed,
    CommandRejected,
    LoginRecorded,
    ProfileSet,
    RolesChanged,
    TokensRevoked,
    UserRegistered,
    UserStatusChanged,
)
from node.exchange.types import Role, UserStatus
from tests.exchange.driver import YUAN, Driver
from tests.exchange.refusals import refused

ADMIN, TRADER = int(Role.ADMIN), int(Role.TRADER)
ACTIVE, FROZEN, DELETED = (int(status) for status in UserStatus)
SECOND = 10**9


@pytest.fixture
def driver() -> Driver:
    return Driver()


def register(driver: Driver, name: str, roles: int = TRADER, **profile: str) -> str:
    (event,) = driver.do(RegisterUser(name, "$2b$hash", roles, **profile))
    assert isinstance(event, UserRegistered), event
    return event.user_id


# --- registration and contacts --------------------------------------------------------------------------------------


def test_a_user_registers_with_a_profile(driver):
    user_id = register(driver, "zhang", phone="+8613800000000", email="zhang@example.com", real_name="张三")
    user = driver.machine.users[user_id]
    assert (user.phone, user.email, user.real_name) == ("+8613800000000", "zhang@example.com", "张三")
    assert user.status == ACTIVE
    assert driver.machine.contacts == {"+8613800000000": user, "zhang@example.com": user}


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ({"phone": "1380000-0000"}, "phone '1380000-0000' must be 5 to 15 digits"),
        ({"phone": "1234"}, "phone '1234'"),
        ({"phone": "1" * 16}, "phone "),
        ({"phone": "１３８００"}, "phone "),
        ({"email": "zhang"}, "email 'zhang' must be local@domain"),
        ({"email": "Zhang@example.com"}, "without capitals"),
        ({"email": "a@b@example.com"}, "email "),
        ({"email": "a b@example.com"}, "email "),
        ({"email": "张@example.com"}, "email "),
        ({"email": "@example.com"}, "email "),
        ({"email": "a" * 250 + "@b.cn"}, "email "),
        ({"real_name": "a\nb"}, "real_name must be 1 to 64 characters"),
        ({"real_name": "x" * 65}, "real_name must be"),
    ],
)
def test_a_malformed_profile_is_refused(driver, profile, said):
    user_id = register(driver, "zhang")
    detail = refused(driver, RegisterUser("li", "$2b$hash", TRADER, **profile), rejects.BAD_USER_PARAMETERS)
    assert said in detail
    given = {"phone": "", "email": "", "real_name": ""} | profile
    refused(driver, SetProfile(user_id, **given), rejects.BAD_USER_PARAMETERS)


@pytest.mark.parametrize("field", ["phone", "email"])
def test_a_contact_belongs_to_one_user(driver, field):
    contact = {"phone": "13800000000", "email": "a@example.com"}[field]
    register(driver, "zhang", **{field: contact})
    detail = refused(driver, RegisterUser("li", "$2b$hash", TRADER, **{field: contact}), rejects.CONTACT_TAKEN)
    assert detail == f"{field} {contact!r} belongs to another user"
    other = register(driver, "wang")
    profile = {"phone": "", "email": "", "real_name": ""} | {field: contact}
    refused(driver, SetProfile(other, **profile), rejects.CONTACT_TAKEN)


def test_a_contact_is_free_again_once_its_user_gives_it_up(driver):
    zhang = register(driver, "zhang", phone="13800000000")
    assert driver.do(SetProfile(zhang, "13900000000", "", "")) == [ProfileSet(zhang)]
    li = register(driver, "li", phone="13800000000")
    assert {contact: user.user_id for contact, user in driver.machine.contacts.items()} == {
        "13900000000": zhang,
        "13800000000": li,
    }


def test_a_user_may_set_the_same_contacts_again(driver):
    zhang = register(driver, "zhang", phone="13800000000")
    assert driver.do(SetProfile(zhang, "13800000000", "z@example.com", "张三")) == [ProfileSet(zhang)]
    assert sorted(driver.machine.contacts) == ["13800000000", "z@example.com"]


# --- roles ----------------------------------------------------------------------------------------------------------


def test_new_roles_kill_the_tokens_of_the_old_ones(driver):
    user_id = register(driver, "zhang")
    roles = TRADER | int(Role.RISK_MANAGER)
    assert driver.do(SetRoles(user_id, roles)) == [RolesChanged(user_id, roles, 2)]
    assert (driver.machine.users[user_id].roles, driver.machine.users[user_id].generation) == (roles, 2)


@pytest.mark.parametrize("roles", [0, -1, 0x20, 0x100])
def test_a_mask_of_no_role_is_refused(driver, roles):
    user_id = register(driver, "zhang")
    refused(driver, SetRoles(user_id, roles), rejects.BAD_USER_PARAMETERS)


def test_the_last_active_administrator_stays(driver):
    admin = register(driver, "admin", ADMIN)
    register(driver, "zhang")
    for command in (SetRoles(admin, TRADER), SetUserStatus(admin, FROZEN), SetUserStatus(admin, DELETED)):
        detail = refused(driver, command, rejects.BAD_USER_PARAMETERS)
        assert "is the last active administrator" in detail
    assert isinstance(driver.do(SetRoles(admin, ADMIN | TRADER))[0], RolesChanged)


def test_a_frozen_administrator_is_no_substitute(driver):
    first, second = register(driver, "first", ADMIN), register(driver, "second", ADMIN)
    driver.do(SetUserStatus(first, FROZEN))
    refused(driver, SetUserStatus(second, FROZEN), rejects.BAD_USER_PARAMETERS)
    driver.do(SetUserStatus(first, ACTIVE))
    assert isinstance(driver.do(SetUserStatus(second, FROZEN))[0], UserStatusChanged)


# --- status ---------------------------------------------------------------------------------------------------------


def test_freezing_a_user_kills_the_tokens_and_unfreezing_does_not_revive_them(driver):
    user_id = register(driver, "zhang")
    assert driver.do(SetUserStatus(user_id, FROZEN, "lost phone")) == [
        UserStatusChanged(user_id, FROZEN, 2, "lost phone")
    ]
    assert driver.machine.users[user_id].status_reason == "lost phone"
    assert driver.do(SetUserStatus(user_id, ACTIVE)) == [UserStatusChanged(user_id, ACTIVE, 2, "")]
    assert driver.machine.users[user_id].status_reason == ""


@pytest.mark.parametrize(
    ("status", "reason", "said"),
    [(3, "", "status 3"), (-1, "", "status -1"), (FROZEN, "x" * 201, "reason is longer"), (FROZEN, "a\0", "reason")],
)
def test_a_status_that_does_not_exist_or_a_bad_reason_is_refused(driver, status, reason, said):
    user_id = register(driver, "zhang")
    detail = refused(driver, SetUserStatus(user_id, status, reason), rejects.BAD_USER_PARAMETERS)
    assert said in detail


def test_a_frozen_user_gets_no_account(driver):
    user_id = register(driver, "zhang")
    account_id = driver.account()
    driver.do(SetUserStatus(user_id, FROZEN))
    refused(driver, OpenAccount(user_id, "a", 0), rejects.USER_FROZEN)
    refused(driver, BindAccount(account_id, user_id), rejects.USER_FROZEN)


def test_a_user_with_money_cannot_be_deleted(driver):
    account_id = driver.account(100)
    user_id = driver.machine.accounts[account_id].user.user_id
    detail = refused(driver, SetUserStatus(user_id, DELETED), rejects.ACCOUNT_NOT_EMPTY)
    assert detail == f"{account_id}: a balance of 1000000 units"


def test_deleting_a_user_closes_the_empty_accounts_and_frees_the_contacts(driver):
    user_id = register(driver, "zhang", phone="13800000000", real_name="张三")
    account_id = driver.account(100, user=user_id)
    driver.do(Withdraw(account_id, 100 * YUAN))
    assert driver.do(SetUserStatus(user_id, DELETED, "asked to")) == [
        UserStatusChanged(user_id, DELETED, 2, "asked to"),
        AccountClosed(account_id),
    ]
    assert driver.machine.accounts[account_id].closed
    assert driver.machine.contacts == {}
    assert driver.machine.users[user_id].real_name == ""
    register(driver, "li", phone="13800000000")


def test_deletion_is_final(driver):
    user_id = register(driver, "zhang")
    driver.do(SetUserStatus(user_id, DELETED))
    for command in (
        SetUserStatus(user_id, ACTIVE),
        SetPassword(user_id, "$2b$new"),
        SetRoles(user_id, ADMIN),
        SetProfile(user_id, "13800000000", "", ""),
        RevokeTokens(user_id),
        RecordLogin(user_id, True),
        OpenAccount(user_id, "a", 0),
    ):
        refused(driver, command, rejects.USER_FROZEN)
    refused(driver, RegisterUser("zhang", "$2b$hash"), rejects.USERNAME_TAKEN)


def test_a_command_about_nobody_is_refused(driver):
    for command in (
        SetUserStatus("U00000009", FROZEN),
        SetRoles("U00000009", TRADER),
        SetProfile("U00000009", "", "", ""),
        RecordLogin("U00000009", False),
        SetPassword("U00000009", "h"),
        RevokeTokens("U00000009"),
    ):
        refused(driver, command, rejects.USER_NOT_FOUND)


def test_a_new_password_and_a_revocation_each_raise_the_generation(driver):
    user_id = register(driver, "zhang")
    assert driver.do(SetPassword(user_id, "$2b$new")) == [TokensRevoked(user_id, 2)]
    assert driver.do(RevokeTokens(user_id)) == [TokensRevoked(user_id, 3)]
    assert driver.machine.users[user_id].password_hash == "$2b$new"


@pytest.mark.parametrize("password_hash", ["", "x" * 129])
def test_a_password_hash_of_no_use_is_refused(driver, password_hash):
    user_id = register(driver, "zhang")
    refused(driver, SetPassword(user_id, password_hash), rejects.BAD_USER_PARAMETERS)


# --- logins ---------------------------------------------------------------------------------------------------------


def test_the_fifth_failure_in_a_row_delays_the_next_login_and_each_further_one_doubles_it(driver):
    user_id = register(driver, "zhang")
    delays = []
    for failure in range(1, 20):
        (event,) = driver.do(RecordLogin(user_id, False))
        now = driver.machine.time_ns
        delay = event.blocked_until_ns - now if event.blocked_until_ns else 0
        assert event == LoginRecorded(user_id, failure, event.blocked_until_ns)
        delays.append(delay // SECOND)
    assert delays == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900, 900]


def test_a_success_ends_the_row(driver):
    user_id = register(driver, "zhang")
    for _ in range(6):
        driver.do(RecordLogin(user_id, False))
    assert driver.machine.users[user_id].blocked_until_ns == driver.machine.time_ns + 2 * SECOND
    assert driver.do(RecordLogin(user_id, True)) == [LoginRecorded(user_id, 0, 0)]
    assert driver.do(RecordLogin(user_id, False)) == [LoginRecorded(user_id, 1, 0)]


# --- all of it together ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_users_contacts_and_accounts_agree_whatever_is_done(seed):
    rng = random.Random(seed)
    driver = Driver()
    register(driver, "root", ADMIN)
    machine = driver.machine
    done: dict[str, int] = {}
    for n in range(600):
        user_id = rng.choice(list(machine.users))
        account_id = rng.choice(list(machine.accounts) or ["ACC_00000001"])
        phone, email = rng.choice(("", f"1380000{rng.randint(0, 20)}")), rng.choice(("", f"u{rng.randint(0, 20)}@a.cn"))
        command = rng.choice(
            (
                RegisterUser(f"u{n}", "$2b$hash", rng.choice((1, 0x81)), "", phone, email),
                SetProfile(user_id, phone, email, ""),
                SetRoles(user_id, rng.choice((1, 0x80))),
                SetUserStatus(user_id, rng.choice((ACTIVE, FROZEN, DELETED))),
                OpenAccount(user_id, "a", 0),
                BindAccount(account_id, user_id),
                CloseAccount(account_id),
                Deposit(account_id, 100),
                Withdraw(account_id, 100),
            )
        )
        if not isinstance(driver.do(command)[0], CommandRejected):
            done[type(command).__name__] = done.get(type(command).__name__, 0) + 1
        users = machine.users.values()
        assert machine.contacts == {contact: u for u in users for contact in (u.phone, u.email) if contact}
        assert {a: u for u in users for a in u.accounts} == {a.account_id: a.user for a in machine.accounts.values()}
        assert any(u.roles & ADMIN and u.status == ACTIVE for u in users)
        assert all(a.closed and not a.balance() for u in users if u.status == DELETED for a in u.accounts.values())
    assert len(done) == 9, done
