"""Market data, from the state and the tape."""

from __future__ import annotations

from typing import Final

from api import reads, render, schemas
from api.permissions import P, any_of
from api.rest.route import Call, Result, Route, read

VIEW: Final = any_of(P.VIEW_MARKET_DATA)


async def instruments(call: Call) -> Result:
    listed = [render.instrument_body(instrument) for instrument in call.context.machine.instruments.values()]
    return Result({"instruments": listed, "total": len(listed)})


async def instrument(call: Call) -> Result:
    return Result(render.instrument_body(reads.instrument(call.context.machine, call.path["instrument_id"])))


async def orderbook(call: Call) -> Result:
    query: schemas.DepthQuery = call.query
    found = reads.instrument(call.context.machine, call.path["instrument_id"])
    return Result(reads.orderbook(call.context, found, query.depth))


async def tick(call: Call) -> Result:
    machine = call.context.machine
    found = reads.instrument(machine, call.path["instrument_id"])
    return Result(render.tick_body(found, machine.time_ns, machine.index))


async def trades(call: Call) -> Result:
    """Recent trades, the newest first."""
    query: schemas.LimitQuery = call.query
    found = reads.instrument(call.context.machine, call.path["instrument_id"])
    fills = call.context.tape.public(found.instrument_id, query.limit)
    bodies = [render.public_trade(fill.trade, found, fill.time_ns, fill.log_index) for fill in fills]
    return Result({"instrument_id": found.instrument_id, "trades": bodies, "total": len(bodies)})


ROUTES: Final[tuple[Route, ...]] = (
    read("/api/market/instruments", VIEW, instruments),
    read("/api/market/instrument/<instrument_id>", VIEW, instrument),
    read("/api/market/orderbook/<instrument_id>", VIEW, orderbook, query=schemas.DepthQuery),
    read("/api/market/tick/<instrument_id>", VIEW, tick),
    read("/api/market/trades/<instrument_id>", VIEW, trades, query=schemas.LimitQuery),
)
