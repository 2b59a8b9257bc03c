"""Messages as a node writes them."""

from __future__ import annotations

from typing import Any

import msgspec

from api.client.wire import AccountEvent, MessageDecoder

ACCOUNT = {
    "account_id": "ACC_00000001",
    "user_id": "U00000001",
    "account_name": "main",
    "account_type": "individual",
    "currency": "CNY",
    **dict.fromkeys(
        (
            "pre_balance", "deposit", "withdraw", "static_balance", "close_profit", "position_profit", "float_profit",
            "commission", "premium", "balance", "margin", "frozen_margin", "frozen_commission", "frozen_premium",
            "available", "withdraw_quota",
        ),
        10000.0001,
    ),
    "risk_ratio": 0.0,
    "created_at_ns": 1,
}  # fmt: skip


def frame(*messages: dict[str, Any]) -> bytes:
    """One message as an object, several as an array."""
    return msgspec.json.encode(messages[0] if len(messages) == 1 else list(messages))


def account_update(seq: int, prev: int) -> dict[str, Any]:
    return {"type": "account_update", "event_seq": seq, "prev_seq": prev, "log_index": seq} | ACCOUNT


def account_event(seq: int, prev: int) -> AccountEvent:
    (message,) = MessageDecoder(events=True).decode(frame(account_update(seq, prev)))
    assert isinstance(message, AccountEvent)
    return message
