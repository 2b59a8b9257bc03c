"""Deposits and withdrawals as an account keeps them: encoded, so that a hundred thousand accounts keep them cheaply."""

from __future__ import annotations

from typing import Final

import msgspec

from node.exchange.events import FundsMoved
from node.exchange.ledger import Account
from node.exchange.types import FUNDS_FLOWS_KEPT


class Flow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One movement of money over the edge of the exchange, and when it happened."""

    index: int  # of the log
    time_ns: int
    moved: FundsMoved


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Flow)


def keep(account: Account, index: int, time_ns: int, moved: FundsMoved) -> None:
    """Add the newest flow of an account; the oldest of too many goes."""
    account.flows.append(_encoder.encode(Flow(index, time_ns, moved)))
    if len(account.flows) > FUNDS_FLOWS_KEPT:
        account.flows.popleft()


def flows(account: Account) -> list[Flow]:
    """The newest `types.FUNDS_FLOWS_KEPT` deposits and withdrawals of an account, oldest first."""
    return [_decoder.decode(flow) for flow in account.flows]
