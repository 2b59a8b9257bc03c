"""What clients may send: msgspec Structs that refuse unknown fields and wrong types by name.

Prices and money arrive as JSON numbers and become `Units` (integers of 0.0001) without ever being a float. The same
Structs validate REST bodies and WebSocket messages.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from api.errors import Malformed
from node.exchange.types import MONEY_SCALE, TEXT_MAX

INT64_MAX: Final = 2**63 - 1
UNITS_MAX: Final = 10**18  # no price and no amount of money is larger (types.BALANCE_UNITS_MAX)
NUMBER_DIGITS_MAX: Final = 40
BATCH_MAX: Final = 1_000  # orders in one REST batch
PAGE_MAX: Final = 1_000_000

Text = Annotated[str, Meta(max_length=TEXT_MAX)]
Id = Annotated[str, Meta(min_length=1, max_length=TEXT_MAX)]
Lots = Annotated[int, Meta(ge=-(2**53), le=2**53)]  # what JSON carries exactly; the exchange's limits are narrower
Day = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]
Nanoseconds = Annotated[int, Meta(ge=0, le=INT64_MAX)]

Direction = Literal["BUY", "SELL"]
Offset = Literal["OPEN", "CLOSE", "CLOSETODAY", "CLOSEYESTERDAY"]
PriceType = Literal["LIMIT", "MARKET", "BEST", "FIVELEVEL"]
TimeCondition = Literal["GFD", "IOC", "GTC", "GTD", "GFS", "GFA"]
VolumeCondition = Literal["ANY", "MIN", "ALL"]
SelfTradeMode = Literal["cancel_taker", "cancel_maker", "cancel_both", "reject"]
ConditionKind = Literal["STOP_LOSS", "TAKE_PROFIT", "PRICE_TOUCH"]
TriggerCondition = Literal["GE", "LE"]
AccountKind = Literal["individual", "institutional", "market_maker"]
Level = Literal["leader", "linearizable", "stale"]


class Units(int):
    """A JSON number with at most four decimals, held exactly as an integer of 0.0001."""

    __slots__ = ()


def read_number(kind: type, value: Any) -> Any:
    """The decoders' hook for `Units`. Raises ValueError, to which msgspec adds the path of the field."""
    assert kind is Units, kind
    if type(value) is int:
        units = value * MONEY_SCALE
    elif type(value) is Decimal:
        if value and abs(value.adjusted()) >= NUMBER_DIGITS_MAX:
            raise ValueError(f"{value} is too large or too fine")
        scaled = value.scaleb(4)
        units = int(scaled)
        if units != scaled:
            raise ValueError(f"{value} has more than four decimals")
    else:
        raise ValueError(f"Expected `number`, got `{_json_name(value)}`")
    if not -UNITS_MAX <= units <= UNITS_MAX:
        raise ValueError(f"{str(value)[:NUMBER_DIGITS_MAX]} is outside ±{UNITS_MAX // MONEY_SCALE}")
    return Units(units)


def read_decimal(text: str) -> Decimal:
    """The decoders' hook for JSON numbers with a point or an exponent."""
    if len(text) > NUMBER_DIGITS_MAX:
        raise ValueError(f"a number of {len(text)} characters; at most {NUMBER_DIGITS_MAX} are read")
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text} is no number within bounds") from None


def _json_name(value: Any) -> str:
    names = {bool: "bool", str: "str", type(None): "null", list: "array", dict: "object"}
    return names.get(type(value), type(value).__name__)


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Base of all bodies."""


# Identity and accounts


class Register(Body, frozen=True, kw_only=True):
    username: Id
    password: str
    request_id: Text = ""


class Login(Body, frozen=True, kw_only=True):
    username: Id
    password: str


class OpenAccount(Body, frozen=True, kw_only=True):
    account_name: Id
    user_id: Text = ""  # empty: the caller
    account_type: AccountKind = "individual"
    init_cash: Units = Units(0)
    request_id: Text = ""


class MoveFunds(Body, frozen=True, kw_only=True):
    account_id: Id
    amount: Units
    request_id: Text = ""


# Orders


class OrderTerms(Body, frozen=True, kw_only=True):
    """An order without its account."""

    instrument_id: Id
    direction: Direction
    offset: Offset
    volume: Lots
    price: Units | None = None
    price_type: PriceType | None = None
    order_type: PriceType | None = None  # the reference system's name of price_type
    time_condition: TimeCondition = "GFD"
    volume_condition: VolumeCondition = "ANY"
    min_volume: Lots = 0
    gtd_day: Day | None = None
    post_only: bool = False
    self_trade: SelfTradeMode = "cancel_taker"
    client_order_id: Text = ""
    deadline_ns: Nanoseconds = 0


class SubmitOrder(OrderTerms, frozen=True, kw_only=True):
    account_id: Id


class CancelOrder(Body, frozen=True, kw_only=True):
    account_id: Id
    order_id: Id


class ModifyOrder(Body, frozen=True, kw_only=True):
    """`volume` is the new total, the filled part included. The order's id is in the path."""

    account_id: Id
    price: Units | None = None
    volume: Lots | None = None
    order_id: Text = ""  # may be repeated here; must then be that of the path


class CancelAll(Body, frozen=True, kw_only=True):
    account_id: Id
    instrument_id: Text = ""


class Batch(Body, frozen=True, kw_only=True):
    account_id: Id
    orders: Annotated[list[OrderTerms], Meta(min_length=1, max_length=BATCH_MAX)]


class BatchCancel(Body, frozen=True, kw_only=True):
    account_id: Id
    order_ids: Annotated[list[Id], Meta(min_length=1, max_length=BATCH_MAX)]


class PlaceConditional(Body, frozen=True, kw_only=True):
    """An order that is entered when the last price reaches `trigger_price`: at or above (GE), at or below (LE)."""

    account_id: Id
    instrument_id: Id
    direction: Direction
    offset: Offset
    volume: Lots
    order_type: Literal["LIMIT", "MARKET"] = "LIMIT"
    limit_price: Units | None = None
    condition_type: ConditionKind
    trigger_price: Units
    trigger_condition: TriggerCondition
    valid_until_ns: Nanoseconds = 0  # 0: until cancelled
    client_order_id: Text = ""


# Settlement


class SettlementPrice(Body, frozen=True, kw_only=True):
    instrument_id: Id
    settlement_price: Units


class SetSettlementPrice(SettlementPrice, frozen=True, kw_only=True):
    trading_day: Day | None = None  # must be the open one, if it is given


class SetSettlementPrices(Body, frozen=True, kw_only=True):
    prices: Annotated[list[SettlementPrice], Meta(min_length=1, max_length=BATCH_MAX)]
    trading_day: Day | None = None


class ExecuteSettlement(Body, frozen=True, kw_only=True):
    """`trading_day` makes a repetition harmless: a settled day answers its first result."""

    trading_day: Day


class TransferLeadership(Body, frozen=True, kw_only=True):
    target: Id | None = None  # the name of a member; without one, the member with the most of the log


# Query strings


class Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all query strings."""


class ReadQuery(Query, frozen=True, kw_only=True):
    level: Level = "leader"


class WriteQuery(Query, frozen=True, kw_only=True):
    redirect: bool = False


class PageQuery(ReadQuery, frozen=True, kw_only=True):
    page: Annotated[int, Meta(ge=1, le=PAGE_MAX)] = 1
    page_size: Annotated[int, Meta(ge=1, le=200)] = 50
    start_ns: Nanoseconds = 0
    end_ns: Nanoseconds = INT64_MAX  # both ends belong to the range


class OrderQuery(PageQuery, frozen=True, kw_only=True):
    alive: bool | None = None
    instrument_id: Text = ""


class ConditionalQuery(PageQuery, frozen=True, kw_only=True):
    account_id: Id
    status: Literal["PENDING", "TRIGGERED", "CANCELLED", "EXPIRED", "FAILED", ""] = ""


class DepthQuery(ReadQuery, frozen=True, kw_only=True):
    depth: Annotated[int, Meta(ge=1, le=1_000)] = 10


class LimitQuery(ReadQuery, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 20


class BodyReader:
    """Decodes one kind of JSON document."""

    def __init__(self, kind: Any) -> None:
        self._decode = msgspec.json.Decoder(kind, dec_hook=read_number, float_hook=read_decimal).decode

    def __call__(self, data: bytes | bytearray | memoryview | str) -> Any:
        """Raises Malformed, naming the field and the value."""
        try:
            return self._decode(data)
        except (msgspec.DecodeError, ValueError) as error:
            raise Malformed(str(error)) from None
        except RecursionError:
            raise Malformed("JSON is nested too deeply") from None


def read_query(kind: Any, values: dict[str, str]) -> Any:
    """A query string as a Struct. Raises Malformed, naming the parameter."""
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Malformed(f"query string: {error}") from None
