"""The numbered reasons for which the exchange refuses a command: the only source of business error codes.

Families: 1000 risk and validation, 2000 accounts and funds, 3000 orders, 4000 matching and sessions. The numbers of
the documented catalogue of the reference system (reference-system.md, Part 8 b) keep their meaning.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Reject(NamedTuple):
    """One reason: its number, its symbolic name, and what people read."""

    code: int
    name: str
    message: str
    message_zh: str


INSUFFICIENT_FUNDS: Final = Reject(
    1001, "INSUFFICIENT_FUNDS", "available funds do not cover the reserve", "可用资金不足"
)
POSITION_LIMIT: Final = Reject(
    1002, "POSITION_LIMIT", "the position limit of the instrument is exceeded", "超出持仓限额"
)
ORDER_AMOUNT_TOO_LARGE: Final = Reject(
    1003, "ORDER_AMOUNT_TOO_LARGE", "the turnover of the order is too large", "委托金额过大"
)
RISK_RATIO_TOO_HIGH: Final = Reject(
    1004, "RISK_RATIO_TOO_HIGH", "the risk ratio forbids opening", "风险度过高，禁止开仓"
)
SELF_TRADE: Final = Reject(1005, "SELF_TRADE", "the order would trade with the same user's order", "自成交")
ACCOUNT_NOT_FOUND: Final = Reject(1006, "ACCOUNT_NOT_FOUND", "no such account", "账户不存在")
INSTRUMENT_NOT_FOUND: Final = Reject(1007, "INSTRUMENT_NOT_FOUND", "no such instrument", "合约不存在")
BAD_ORDER_PARAMETERS: Final = Reject(
    1008, "BAD_ORDER_PARAMETERS", "the order's parameters are wrong or contradict", "委托参数错误"
)
PRICE_OFF_TICK: Final = Reject(
    1009, "PRICE_OFF_TICK", "the price is not a multiple of the tick", "价格不是最小变动价位的整数倍"
)
PRICE_OUTSIDE_LIMITS: Final = Reject(
    1010, "PRICE_OUTSIDE_LIMITS", "the price is outside the price limits", "价格超出涨跌停板"
)
VOLUME_OUTSIDE_LIMITS: Final = Reject(
    1011, "VOLUME_OUTSIDE_LIMITS", "the volume is outside the lot limits", "委托手数超出限制"
)
TOO_MANY_ORDERS: Final = Reject(1012, "TOO_MANY_ORDERS", "too many live orders on the account", "挂单数量超出限制")
UNSUPPORTED_ORDER: Final = Reject(1013, "UNSUPPORTED_ORDER", "this order type is not offered yet", "暂不支持的委托类型")

ACCOUNT_EXISTS: Final = Reject(2001, "ACCOUNT_EXISTS", "the account exists already", "账户已存在")
ACCOUNT_FROZEN: Final = Reject(2002, "ACCOUNT_FROZEN", "the account is frozen", "账户已冻结")
DEPOSIT_FAILED: Final = Reject(2003, "DEPOSIT_FAILED", "the amount cannot be deposited", "入金失败")
WITHDRAWAL_FAILED: Final = Reject(
    2004, "WITHDRAWAL_FAILED", "the amount exceeds what may be withdrawn", "出金失败：超出可取资金"
)
INSUFFICIENT_POSITION: Final = Reject(2005, "INSUFFICIENT_POSITION", "not enough free lots to close", "可平持仓不足")
BAD_AMOUNT: Final = Reject(2006, "BAD_AMOUNT", "the amount must be positive and within bounds", "金额错误")
USER_NOT_FOUND: Final = Reject(2007, "USER_NOT_FOUND", "no such user", "用户不存在")
USERNAME_TAKEN: Final = Reject(2008, "USERNAME_TAKEN", "the user name is taken", "用户名已被占用")
TOO_MANY_ACCOUNTS: Final = Reject(2009, "TOO_MANY_ACCOUNTS", "too many accounts for one user", "账户数量超出限制")
BAD_USER_PARAMETERS: Final = Reject(2010, "BAD_USER_PARAMETERS", "the user's parameters are wrong", "用户参数错误")
BAD_ACCOUNT_PARAMETERS: Final = Reject(
    2011, "BAD_ACCOUNT_PARAMETERS", "the account's parameters are wrong", "账户参数错误"
)

ORDER_NOT_FOUND: Final = Reject(3001, "ORDER_NOT_FOUND", "no such order", "委托不存在")
ORDER_NOT_CANCELLABLE: Final = Reject(3002, "ORDER_NOT_CANCELLABLE", "the order is finished", "委托状态不允许撤单")
ORDER_NOT_MODIFIABLE: Final = Reject(
    3003, "ORDER_NOT_MODIFIABLE", "the order is finished or the change is empty", "委托状态不允许改单"
)
REQUEST_ID_REUSED: Final = Reject(
    3004, "REQUEST_ID_REUSED", "the id was used for a different request", "请求编号已被不同内容的请求使用"
)
REQUEST_MEMORY_FULL: Final = Reject(
    3005, "REQUEST_MEMORY_FULL", "too many request ids within a minute; send fewer, or without an id", "请求编号过多"
)

INSTRUMENT_NOT_TRADING: Final = Reject(
    4001, "INSTRUMENT_NOT_TRADING", "the instrument is not trading", "合约不在交易状态"
)
INSTRUMENT_EXISTS: Final = Reject(4002, "INSTRUMENT_EXISTS", "the instrument is listed already", "合约已存在")
BAD_INSTRUMENT: Final = Reject(4003, "BAD_INSTRUMENT", "the instrument's terms are wrong or contradict", "合约参数错误")

BY_CODE: Final[dict[int, Reject]] = {
    reject.code: reject
    for reject in (
        INSUFFICIENT_FUNDS, POSITION_LIMIT, ORDER_AMOUNT_TOO_LARGE, RISK_RATIO_TOO_HIGH, SELF_TRADE, ACCOUNT_NOT_FOUND,
        INSTRUMENT_NOT_FOUND, BAD_ORDER_PARAMETERS, PRICE_OFF_TICK, PRICE_OUTSIDE_LIMITS, VOLUME_OUTSIDE_LIMITS,
        TOO_MANY_ORDERS, UNSUPPORTED_ORDER, ACCOUNT_EXISTS, ACCOUNT_FROZEN, DEPOSIT_FAILED, WITHDRAWAL_FAILED,
        INSUFFICIENT_POSITION, BAD_AMOUNT, USER_NOT_FOUND, USERNAME_TAKEN, TOO_MANY_ACCOUNTS, BAD_USER_PARAMETERS,
        BAD_ACCOUNT_PARAMETERS, ORDER_NOT_FOUND, ORDER_NOT_CANCELLABLE, ORDER_NOT_MODIFIABLE, REQUEST_ID_REUSED,
        REQUEST_MEMORY_FULL, INSTRUMENT_NOT_TRADING, INSTRUMENT_EXISTS, BAD_INSTRUMENT,
    )
}  # fmt: skip
