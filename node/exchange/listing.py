"""Instruments come, change and go."""

from __future__ import annotations

from typing import Final

from node.exchange import rejects
from node.exchange.commands import ListInstrument
from node.exchange.events import Event, InstrumentListed
from node.exchange.instruments import Instrument, Venue, terms_fault
from node.exchange.rejects import Refused
from node.exchange.state import Handlers, State
from node.exchange.types import INSTRUMENTS_MAX


def list_instrument(state: State, command: ListInstrument, raw: bytes, events: list[Event]) -> None:
    if command.instrument_id in state.instruments:
        raise Refused(rejects.INSTRUMENT_EXISTS, f"instrument_id {command.instrument_id!a} is listed")
    fault = terms_fault(command)
    if fault:
        raise Refused(rejects.BAD_INSTRUMENT, fault)
    if len(state.instruments) >= INSTRUMENTS_MAX:
        raise Refused(rejects.BAD_INSTRUMENT, f"the exchange lists {INSTRUMENTS_MAX} instruments, its limit")
    exchange = command.instrument_id.partition(".")[0]
    venue = state.venues.get(exchange)
    if venue is not None and venue.margin_rules.get(command.product, command.margin_rule) != command.margin_rule:
        raise Refused(
            rejects.BAD_INSTRUMENT, f"margin_rule {command.margin_rule}: product {command.product} has another one"
        )
    if venue is None:
        venue = state.venues[exchange] = Venue(exchange)
    venue.margin_rules[command.product] = command.margin_rule
    instrument = Instrument(command, venue)
    state.instruments[command.instrument_id] = instrument
    state.codes[instrument.code] = None if instrument.code in state.codes else instrument
    events.append(InstrumentListed(command.instrument_id))


HANDLERS: Final[Handlers] = {ListInstrument: list_instrument}
