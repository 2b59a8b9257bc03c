"""What the first leader enters, and what a later one finds done already."""

from __future__ import annotations

import pytest

from node import genesis
from node.config import load_config
from node.exchange import codec
from node.exchange.commands import DelistInstrument, RegisterUser, SetCalendar
from node.exchange.events import CalendarSet, InstrumentListed, UserRegistered
from node.exchange.machine import Machine
from node.exchange.types import Role
from node.secrets import Administrator

ADMINISTRATOR = Administrator("admin", "$2b$12$hash")
TEXT = """
[cluster]
id = "t"
[[nodes]]
name = "n1"
raft = "127.0.0.1:7101"
api = "127.0.0.1:8101"
[[instruments]]
instrument_id = "SHFE.au2706"
product = "au"
pre_settlement = 500
sessions = "product"
[[instruments]]
instrument_id = "SHFE.cu2706"
product = "cu"
pre_settlement = 70000
"""


@pytest.fixture
def market(tmp_path):
    path = tmp_path / "cluster.toml"
    path.write_text(TEXT)
    return load_config(path, {}).market_commands()


def enter(machine: Machine, commands) -> list:
    raws = [codec.encode_command(command) for command in commands]
    return [events[0] for events in machine.apply(machine.index + 1, machine.time_ns + 1, raws)]


def test_the_calendars_come_before_the_instruments_and_all_of_it_is_accepted(market):
    machine = Machine()
    commands = genesis.missing(machine, market, ADMINISTRATOR)
    assert [type(event) for event in enter(machine, commands)] == [
        CalendarSet,
        InstrumentListed,
        InstrumentListed,
        UserRegistered,
    ]
    assert commands[-1] == RegisterUser("admin", "$2b$12$hash", int(Role.ADMIN))
    assert machine.instruments["SHFE.au2706"].terms.calendar == "SHFE.0230"
    assert genesis.missing(machine, market, ADMINISTRATOR) == []


def test_only_what_the_state_lacks_is_entered(market):
    machine = Machine()
    enter(machine, market[:2])
    assert genesis.missing(machine, market, ADMINISTRATOR)[0] == market[2]


def test_what_commands_have_changed_since_is_not_undone(market):
    machine = Machine()
    enter(machine, genesis.missing(machine, market, ADMINISTRATOR))
    calendar = market[0]
    assert isinstance(calendar, SetCalendar)
    enter(machine, [SetCalendar(calendar.calendar_id, "SHFE", calendar.day), DelistInstrument("SHFE.cu2706")])
    assert genesis.missing(machine, market, ADMINISTRATOR) == []
