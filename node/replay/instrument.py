"""The instrument that a replay trades, as `cluster.toml` lists it.

NASDAQ sells short without borrowing first; here everything opens: a buy opens long, a sale opens short. So the terms
are made for it: no position limit, price limits that no day reaches, a cent as the tick, one share as the lot.
"""

from __future__ import annotations

import tomllib
from decimal import Decimal
from typing import Any, Final

import msgspec

from node.exchange.commands import ListInstrument
from node.listings import Exact, InstrumentConfig

INSTRUMENT_ID: Final = "SIM.GOOG"
TOML: Final = """\
[[instruments]]
instrument_id = "SIM.GOOG" # for `qaexchange replay`: one share of Google, as NASDAQ traded it on 21 June 2012
name = "GOOG 2012-06-21"
product = "GOOG"
volume_multiple = 1
price_tick = 0.01
pre_settlement = 577.74
limit_rate = 0.9           # wide: a replay is not to meet a limit
volume_max = 1000000
margin_long_rate = 0.1
margin_short_rate = 0.1
open_rate = 0.00001
close_rate = 0.00001
close_today_rate = 0.00001
"""


def table() -> dict[str, Any]:
    """The `[[instruments]]` table."""
    found: dict[str, Any] = tomllib.loads(TOML, parse_float=Decimal)["instruments"][0]
    return found


def listing() -> ListInstrument:
    """The command that lists it."""
    return msgspec.convert(table(), InstrumentConfig, dec_hook=_exact).command()


def _exact(kind: type, value: object) -> Exact:
    assert kind is Exact, kind
    return Exact.of(value)
