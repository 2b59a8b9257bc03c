"""The trading day and what every session calendar is in, for administrators."""

from __future__ import annotations

from typing import Final

from api import render
from api.permissions import P, any_of
from api.rest.route import Call, Result, Route, read

VIEW: Final = any_of(P.VIEW_MONITORING, P.VIEW_SETTLEMENT_HISTORY)


async def session(call: Call) -> Result:
    machine = call.context.machine
    calendars = [
        {
            "calendar_id": calendar.calendar_id,
            "exchange_id": calendar.exchange,
            "phase": render.PHASES[calendar.phase],
            "next_change_ns": calendar.next_ns or None,
        }
        for calendar in machine.calendars.values()
    ]
    running = machine.settlements.running is not None
    return Result({"trading_day": render.day(machine.trading_day), "settling": running, "calendars": calendars})


ROUTES: Final[tuple[Route, ...]] = (read("/admin/session", VIEW, session),)
