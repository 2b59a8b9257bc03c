"""The tape: recent trades, public and per account, as a view of the events. Bounded, and rebuilt from the log."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from node.exchange.events import Event, TradeExecuted

PUBLIC_TRADES_MAX: Final = 1_000  # kept per instrument; older ones are history
ACCOUNT_FILLS_MAX: Final = 1_000  # kept per account
TRADES_BY_ID_MAX: Final = 100_000  # kept per exchange, to answer repeated requests with their trades


class Fill(msgspec.Struct, frozen=True, gc=False):
    """One trade and where in the log it happened."""

    trade: TradeExecuted
    time_ns: int
    log_index: int
    number: int = 0  # counts the trades of the whole log, over all exchanges


class Tape:
    """Feed it every applied entry in order (`observe`); ask it for the newest trades."""

    def __init__(self) -> None:
        self._public: dict[str, deque[Fill]] = {}
        self._accounts: dict[str, deque[Fill]] = {}
        self._by_exchange: dict[str, deque[Fill]] = {}
        self._count = 0

    def observe(self, index: int, time_ns: int, results: Sequence[Sequence[Event]]) -> None:
        for events in results:
            for event in events:
                if type(event) is TradeExecuted:
                    self._count += 1
                    self._record(Fill(event, time_ns, index, self._count))

    def held(self) -> list[Fill]:
        """Every trade that is kept for anything, in the order of the log: what `restore` needs."""
        kept: dict[int, Fill] = {}
        for queues in (self._by_exchange, self._public, self._accounts):
            for fills in queues.values():
                for fill in fills:
                    kept[fill.number] = fill
        return [kept[number] for number in sorted(kept)]

    def restore(self, fills: Iterable[Fill]) -> None:
        """Make an empty tape the one whose `held` this is: each queue keeps its newest, as it did there."""
        for fill in fills:
            self._record(fill)
            self._count = fill.number

    def _record(self, fill: Fill) -> None:
        trade = fill.trade
        instrument_id = trade.instrument_id
        _deque(self._public, instrument_id, PUBLIC_TRADES_MAX).append(fill)
        _deque(self._by_exchange, instrument_id.partition(".")[0], TRADES_BY_ID_MAX).append(fill)
        _deque(self._accounts, trade.buy_account_id, ACCOUNT_FILLS_MAX).append(fill)
        if trade.sell_account_id != trade.buy_account_id:
            _deque(self._accounts, trade.sell_account_id, ACCOUNT_FILLS_MAX).append(fill)

    def public(self, instrument_id: str, limit: int) -> list[Fill]:
        """The newest trades of an instrument, newest first."""
        fills = self._public.get(instrument_id, ())
        return [fill for fill, _ in zip(reversed(fills), range(limit), strict=False)]

    def fills(self, account_id: str) -> list[Fill]:
        """The newest trades of an account, newest first (up to `ACCOUNT_FILLS_MAX`)."""
        return list(reversed(self._accounts.get(account_id, ())))

    def trade(self, exchange: str, trade_id: int) -> Fill | None:
        """A trade by its number (dense per exchange); None if it is older than what the tape holds."""
        fills = self._by_exchange.get(exchange)
        if not fills:
            return None
        place = trade_id - fills[0].trade.trade_id
        return fills[place] if 0 <= place < len(fills) else None


def _deque(fills: dict[str, deque[Fill]], key: str, bound: int) -> deque[Fill]:
    kept = fills.get(key)
    if kept is None:
        kept = fills[key] = deque(maxlen=bound)
    return kept
