"""The numbered reasons for which the exchange refuses a command: the only source of business error codes.

Families: 1000 risk and validation, 2000 accounts and funds, 3000 orders, 4000 matching and sessions, 6000 settlement
and liquidation. The numbers that the reference system documents (reference-system.md, Part 8 b) keep their meaning,
but for 3003, its "submit failed". Those that nothing here can raise (2001, account exists) stay free.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Refused(Exception):
    """A command is refused; nothing has changed but the request record."""

    def __init__(self, reject: Reject, detail: str) -> None:
        super().__init__(detail)
        self.reject = reject
        self.detail = detail


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
BAD_RISK_PARAMETERS: Final = Reject(
    1014, "BAD_RISK_PARAMETERS", "the risk parameters contradict or are out of bounds", "风控参数错误"
)

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
ACCOUNT_CLOSED: Final = Reject(2012, "ACCOUNT_CLOSED", "the account is closed", "账户已销户")
ACCOUNT_NOT_EMPTY: Final = Reject(
    2013, "ACCOUNT_NOT_EMPTY", "the account still holds positions, orders or money", "账户仍有持仓、挂单或资金"
)
USER_FROZEN: Final = Reject(2014, "USER_FROZEN", "the user is frozen or deleted", "用户已冻结或注销")
CONTACT_TAKEN: Final = Reject(
    2015, "CONTACT_TAKEN", "the phone number or e-mail address belongs to another user", "手机号或邮箱已被占用"
)
ACCOUNT_HAS_ORDERS: Final = Reject(2016, "ACCOUNT_HAS_ORDERS", "the account has live orders", "账户仍有挂单")
ANNOUNCEMENT_NOT_FOUND: Final = Reject(2017, "ANNOUNCEMENT_NOT_FOUND", "no such announcement", "公告不存在")
BAD_ANNOUNCEMENT: Final = Reject(2018, "BAD_ANNOUNCEMENT", "the announcement's parameters are wrong", "公告参数错误")

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
CONDITIONAL_NOT_FOUND: Final = Reject(3006, "CONDITIONAL_NOT_FOUND", "no such conditional order", "条件单不存在")
CONDITIONAL_ENDED: Final = Reject(
    3007, "CONDITIONAL_ENDED", "the conditional order is triggered or ended", "条件单已触发或已结束"
)
TOO_MANY_CONDITIONALS: Final = Reject(
    3008, "TOO_MANY_CONDITIONALS", "too many pending conditional orders on the account", "条件单数量超出限制"
)
BAD_CONDITION: Final = Reject(3009, "BAD_CONDITION", "the condition's parameters are wrong", "条件单参数错误")

INSTRUMENT_NOT_TRADING: Final = Reject(
    4001, "INSTRUMENT_NOT_TRADING", "the instrument is not trading", "合约不在交易状态"
)
INSTRUMENT_EXISTS: Final = Reject(4002, "INSTRUMENT_EXISTS", "the instrument is listed already", "合约已存在")
BAD_INSTRUMENT: Final = Reject(4003, "BAD_INSTRUMENT", "the instrument's terms are wrong or contradict", "合约参数错误")
SESSION_CLOSED: Final = Reject(
    4004, "SESSION_CLOSED", "no orders are accepted in this state of the session", "当前交易状态不接受报单"
)
CANCEL_NOT_ALLOWED: Final = Reject(
    4005, "CANCEL_NOT_ALLOWED", "no cancels are accepted in this state of the session", "当前交易状态不允许撤单"
)
NOT_IN_AUCTION: Final = Reject(
    4006, "NOT_IN_AUCTION", "this kind of order is not accepted in a call auction", "集合竞价不接受该类委托"
)
AUCTION_ONLY: Final = Reject(
    4007, "AUCTION_ONLY", "this kind of order is accepted in a call auction only", "该类委托仅限集合竞价"
)
INSTRUMENT_HELD: Final = Reject(
    4008, "INSTRUMENT_HELD", "accounts still hold positions or orders in the instrument", "合约仍有持仓或挂单"
)
CALENDAR_NOT_FOUND: Final = Reject(4009, "CALENDAR_NOT_FOUND", "no such session calendar", "交易日历不存在")
BAD_CALENDAR: Final = Reject(4010, "BAD_CALENDAR", "the session calendar's parameters are wrong", "交易日历参数错误")
INSTRUMENT_CHANGED: Final = Reject(4011, "INSTRUMENT_CHANGED", "the instrument was changed meanwhile", "合约已被修改")
INSTRUMENT_NOT_LISTED: Final = Reject(
    4012, "INSTRUMENT_NOT_LISTED", "the instrument is not listed yet, delisted or expired", "合约未上市、已摘牌或已到期"
)

SETTLEMENT_PRICE_MISSING: Final = Reject(
    6001, "SETTLEMENT_PRICE_MISSING", "settlement prices are missing", "结算价未设置"
)
SETTLEMENT_FAILED: Final = Reject(6002, "SETTLEMENT_FAILED", "the day cannot be settled now", "结算失败")
LIQUIDATION_FAILED: Final = Reject(
    6003, "LIQUIDATION_FAILED", "there is nothing to liquidate, or a liquidation runs already", "强平失败"
)
WRONG_TRADING_DAY: Final = Reject(6004, "WRONG_TRADING_DAY", "this is not the open trading day", "交易日错误")
SETTLEMENT_IN_PROGRESS: Final = Reject(
    6005, "SETTLEMENT_IN_PROGRESS", "the day is being settled; repeat in a moment", "结算进行中"
)
BAD_SETTLEMENT_PRICE: Final = Reject(6006, "BAD_SETTLEMENT_PRICE", "the settlement price is wrong", "结算价错误")

BY_CODE: Final[dict[int, Reject]] = {
    reject.code: reject
    for reject in (
        INSUFFICIENT_FUNDS, POSITION_LIMIT, ORDER_AMOUNT_TOO_LARGE, RISK_RATIO_TOO_HIGH, SELF_TRADE, ACCOUNT_NOT_FOUND,
        INSTRUMENT_NOT_FOUND, BAD_ORDER_PARAMETERS, PRICE_OFF_TICK, PRICE_OUTSIDE_LIMITS, VOLUME_OUTSIDE_LIMITS,
        TOO_MANY_ORDERS, BAD_RISK_PARAMETERS, ACCOUNT_FROZEN, DEPOSIT_FAILED, WITHDRAWAL_FAILED, INSUFFICIENT_POSITION,
        BAD_AMOUNT, USER_NOT_FOUND, USERNAME_TAKEN, TOO_MANY_ACCOUNTS, BAD_USER_PARAMETERS, BAD_ACCOUNT_PARAMETERS,
        ACCOUNT_CLOSED, ACCOUNT_NOT_EMPTY, USER_FROZEN, CONTACT_TAKEN, ACCOUNT_HAS_ORDERS, ANNOUNCEMENT_NOT_FOUND,
        BAD_ANNOUNCEMENT, ORDER_NOT_FOUND, ORDER_NOT_CANCELLABLE, ORDER_NOT_MODIFIABLE, REQUEST_ID_REUSED,
        REQUEST_MEMORY_FULL, CONDITIONAL_NOT_FOUND, CONDITIONAL_ENDED, TOO_MANY_CONDITIONALS, BAD_CONDITION,
        INSTRUMENT_NOT_TRADING, INSTRUMENT_EXISTS, BAD_INSTRUMENT, SESSION_CLOSED, CANCEL_NOT_ALLOWED, NOT_IN_AUCTION,
        AUCTION_ONLY, INSTRUMENT_HELD, CALENDAR_NOT_FOUND, BAD_CALENDAR, INSTRUMENT_CHANGED, INSTRUMENT_NOT_LISTED,
        SETTLEMENT_PRICE_MISSING, SETTLEMENT_FAILED, LIQUIDATION_FAILED, WRONG_TRADING_DAY, SETTLEMENT_IN_PROGRESS,
        BAD_SETTLEMENT_PRICE,
    )
}  # fmt: skip
