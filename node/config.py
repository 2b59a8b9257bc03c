"""The configuration of one cluster: `cluster.toml` plus a few environment variables, checked whole, then frozen.

Unknown keys are errors. Every error names the file, the dotted key, its value, and what to do. Decimals are read
exactly. Precedence of the few settings that the environment can override: environment, then file, then default.

    QAEXCHANGE_CONFIG      path of cluster.toml, where no --config is given
    QAEXCHANGE_DATA_DIR    instead of [cluster] data_dir
    QAEXCHANGE_JWT_KEYS    path of the signing keys, instead of <data_dir>/secrets/jwt.json
    QAEXCHANGE_LOG_LEVEL   instead of [log] level
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

import msgspec

from consensus.ports import Member
from node.errors import ConfigError
from node.exact import Exact, TermError
from node.exchange.calendar import HOLIDAYS_MAX
from node.exchange.commands import ListInstrument, SetCalendar
from node.exchange.types import INSTRUMENTS_MAX
from node.listings import INSTRUMENT_ID_PATTERN, InstrumentConfig, state_day
from node.products import PRODUCT_PATTERN, shipped

FILE_BYTES_MAX: Final = 4 * 1024 * 1024
NODES_MAX: Final = 7
ORIGINS_MAX: Final = 100
HEARTBEATS_PER_ELECTION_MIN: Final = 4  # a follower forgives three lost heartbeats
SECRETS_DIR: Final = "secrets"

ENVIRONMENT: Final = ("QAEXCHANGE_CONFIG", "QAEXCHANGE_DATA_DIR", "QAEXCHANGE_JWT_KEYS", "QAEXCHANGE_LOG_LEVEL")

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
LOG_LEVELS: Final[tuple[LogLevel, ...]] = ("DEBUG", "INFO", "WARNING", "ERROR")

_NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$"
_HOST_PATTERN: Final = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")
_SHAPES: Final = {  # what a pattern means, for people
    _NAME_PATTERN: "must be 1 to 32 letters, digits, - or _, the first a letter or digit",
    INSTRUMENT_ID_PATTERN: "must be EXCHANGE.code, like SHFE.cu2701",
    PRODUCT_PATTERN: "must be 1 to 16 letters or digits, like cu",
}


class Address(str):
    """`host:port` of a TCP listener; an IPv6 host stands in brackets."""

    __slots__ = ("host", "port")
    host: str
    port: int

    def __new__(cls, text: str) -> Self:
        """Raises ValueError for anything that is no host and port."""
        host, colon, digits = text.rpartition(":")
        if not colon or not host:
            raise ValueError("must be host:port, like 127.0.0.1:7101")
        if not (digits.isascii() and digits.isdecimal() and len(digits) <= 5 and 1 <= int(digits) <= 65_535):
            raise ValueError(f"{digits or 'nothing'!r} is no port; use 1 to 65535")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        try:
            numeric = ipaddress.ip_address(bare)
        except ValueError:
            looks_numeric = bare.replace(".", "").isdecimal() or ":" in bare or bare != host
            if looks_numeric or not _HOST_PATTERN.fullmatch(bare):
                raise ValueError(f"{host!r} is no host name or IP address") from None
        else:
            if (numeric.version == 6) != (bare != host):
                raise ValueError(f"{host!r}: write an IPv6 address in brackets, and only that")
            if numeric.is_unspecified or numeric.is_multicast:
                raise ValueError(f"{host} is no address that others can dial; name the one they should use")
        address = super().__new__(cls, text)
        address.host, address.port = bare, int(digits)
        return address

    @property
    def is_loopback(self) -> bool:
        """Whether it is a literal loopback address (a name is not: it may resolve to anything)."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the tables of `cluster.toml`."""


class NodeConfig(Section, frozen=True):
    """One `[[nodes]]` table: a voting member, its Raft address and its front door."""

    name: Annotated[str, msgspec.Meta(pattern=_NAME_PATTERN)]
    raft: Address
    api: Address

    @property
    def api_url(self) -> str:
        return f"http://{self.api}"


class RaftConfig(Section, frozen=True):
    """Timings in ms, and the bounds of group commit."""

    heartbeat_ms: Annotated[int, msgspec.Meta(ge=5, le=5_000)] = 40
    election_min_ms: Annotated[int, msgspec.Meta(ge=20, le=60_000)] = 300
    election_max_ms: Annotated[int, msgspec.Meta(ge=20, le=60_000)] = 600
    submit_timeout_ms: Annotated[int, msgspec.Meta(ge=50, le=60_000)] = 1_500
    entry_commands_max: Annotated[int, msgspec.Meta(ge=1, le=4_096)] = 512
    entry_bytes_max: Annotated[int, msgspec.Meta(ge=1_024, le=65_536)] = 65_536
    entries_in_flight_max: Annotated[int, msgspec.Meta(ge=1, le=64)] = 8
    waiting_commands_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 20_000
    snapshot_entries: Annotated[int, msgspec.Meta(ge=10, le=100_000_000)] = 100_000  # the log grows by so many,
    snapshot_bytes: Annotated[int, msgspec.Meta(ge=65_536, le=2**40)] = 134_217_728  # or so much, between snapshots
    log_entries_kept: Annotated[int, msgspec.Meta(ge=0, le=100_000_000)] = 20_000  # before the older snapshot
    log_entries_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)] = 2_000_000  # for a member that lacks them


class ApiConfig(Section, frozen=True):
    """Bounds of the front door."""

    token_hours: Annotated[int, msgspec.Meta(ge=1, le=720)] = 24
    body_bytes_max: Annotated[int, msgspec.Meta(ge=1_024, le=16_777_216)] = 1_048_576
    frame_bytes_max: Annotated[int, msgspec.Meta(ge=1_024, le=16_777_216)] = 65_536
    heartbeat_seconds: Annotated[int, msgspec.Meta(ge=1, le=300)] = 5
    connections_max: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 2_000
    allowed_origins: Annotated[tuple[str, ...], msgspec.Meta(max_length=ORIGINS_MAX)] = ()


class AccountsConfig(Section, frozen=True):
    """Who may fund accounts. Off: only users with the permission DepositWithdraw."""

    self_service_funding: bool = False


class MarketConfig(Section, frozen=True):
    """What all session calendars share."""

    holidays: Annotated[tuple[date, ...], msgspec.Meta(max_length=HOLIDAYS_MAX)] = ()  # besides Saturdays and Sundays


class DemoConfig(Section, frozen=True):
    """The demo traders of `qaexchange up`; 0 traders: none."""

    traders: Annotated[int, msgspec.Meta(ge=0, le=200)] = 4
    orders_per_second: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 20  # of all traders together
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 7


class LogConfig(Section, frozen=True):
    level: LogLevel = "INFO"


class _ClusterTable(Section, frozen=True):
    id: Annotated[str, msgspec.Meta(pattern=_NAME_PATTERN)]
    data_dir: Annotated[str, msgspec.Meta(min_length=1, max_length=4_096)] = "data"


class _File(Section, frozen=True):
    """The whole of `cluster.toml`."""

    cluster: _ClusterTable
    nodes: Annotated[tuple[NodeConfig, ...], msgspec.Meta(min_length=1)]
    raft: RaftConfig = RaftConfig()
    api: ApiConfig = ApiConfig()
    accounts: AccountsConfig = AccountsConfig()
    market: MarketConfig = MarketConfig()
    demo: DemoConfig = DemoConfig()
    log: LogConfig = LogConfig()
    instruments: Annotated[tuple[InstrumentConfig, ...], msgspec.Meta(max_length=INSTRUMENTS_MAX)] = ()


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """A checked configuration. Paths are absolute."""

    path: Path  # the cluster.toml that it was read from
    id: str
    data_dir: Path
    nodes: tuple[NodeConfig, ...]
    raft: RaftConfig
    api: ApiConfig
    accounts: AccountsConfig
    market: MarketConfig
    demo: DemoConfig
    instruments: tuple[InstrumentConfig, ...]
    log_level: LogLevel
    jwt_keys_path: Path

    @property
    def quorum(self) -> int:
        """Members needed for a majority."""
        return len(self.nodes) // 2 + 1

    @property
    def secrets_dir(self) -> Path:
        return self.data_dir / SECRETS_DIR

    def node(self, name: str) -> NodeConfig:
        """Raises ConfigError, with the names that exist, for one that does not."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise ConfigError(f"{self.path}: no node {name!r}; it has {', '.join(node.name for node in self.nodes)}")

    def node_dir(self, name: str) -> Path:
        """Where one node keeps everything of its own."""
        return self.data_dir / self.node(name).name

    def members(self) -> tuple[Member, ...]:
        """The nodes as consensus sees them."""
        return tuple(
            Member(name=node.name, host=node.raft.host, port=node.raft.port, api_url=node.api_url)
            for node in self.nodes
        )

    def market_commands(self) -> list[SetCalendar | ListInstrument]:
        """What the exchange begins with: the calendars that its instruments trade by, then the instruments."""
        listed = [instrument.command() for instrument in self.instruments]
        holidays = sorted({state_day(day) for day in self.market.holidays})
        known = shipped().calendars
        used = dict.fromkeys(terms.calendar for terms in listed if terms.calendar)
        return [*(msgspec.structs.replace(known[calendar], holidays=holidays) for calendar in used), *listed]


def find_config(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """The file to read: the given path, else QAEXCHANGE_CONFIG, else `cluster.toml` in the working directory."""
    environ = os.environ if environ is None else environ
    if path is not None:
        return path
    return Path(environ.get("QAEXCHANGE_CONFIG") or "cluster.toml")


def load_config(path: Path | None = None, environ: Mapping[str, str] | None = None) -> ClusterConfig:
    """Read and check a configuration.

    Raises:
        ConfigError: for the first thing that is wrong with it.
    """
    environ = os.environ if environ is None else environ
    found = find_config(path, environ)
    text = _read(found)
    try:
        raw = tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, InvalidOperation, RecursionError) as error:
        raise ConfigError(f"{found}: not valid TOML: {error}") from error
    return _check(found.absolute(), raw, environ)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file; run where cluster.toml is, or name one with --config or QAEXCHANGE_CONFIG"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(data) > FILE_BYTES_MAX:
        raise ConfigError(f"{path}: larger than {FILE_BYTES_MAX} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8: {error.reason} at byte {error.start}") from error


def _check(path: Path, raw: dict[str, Any], environ: Mapping[str, str]) -> ClusterConfig:
    try:
        file = msgspec.convert(raw, _File, dec_hook=_decode_own)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {_explain(str(error), raw)}") from None
    try:
        _check_nodes(file.nodes)
        _check_raft(file.raft)
        _check_origins(file.api.allowed_origins)
        _check_instruments(file.instruments)
    except TermError as error:
        raise ConfigError(f"{path}: {error}") from None
    data_dir = environ.get("QAEXCHANGE_DATA_DIR")
    where = Path(data_dir).absolute() if data_dir else path.parent / file.cluster.data_dir
    keys = environ.get("QAEXCHANGE_JWT_KEYS")
    return ClusterConfig(
        path=path,
        id=file.cluster.id,
        data_dir=where,
        nodes=file.nodes,
        raft=file.raft,
        api=file.api,
        accounts=file.accounts,
        market=file.market,
        demo=file.demo,
        instruments=file.instruments,
        log_level=_log_level(environ, file.log.level),
        jwt_keys_path=Path(keys).absolute() if keys else where / SECRETS_DIR / "jwt.json",
    )


def _decode_own(kind: type, value: object) -> object:
    """Our two scalar types, for msgspec, which adds the path of the value to what they raise."""
    if kind is Exact:
        return Exact.of(value)
    if kind is Address:
        if not isinstance(value, str):
            raise ValueError(f"expected a string, got {type(value).__name__}")
        return Address(value)
    raise NotImplementedError(kind)


def _log_level(environ: Mapping[str, str], configured: LogLevel) -> LogLevel:
    wanted = environ.get("QAEXCHANGE_LOG_LEVEL")
    if not wanted:
        return configured
    for level in LOG_LEVELS:
        if level == wanted.upper():
            return level
    raise ConfigError(f"QAEXCHANGE_LOG_LEVEL = {wanted!r}: must be one of {', '.join(LOG_LEVELS)}")


# --- what one table alone cannot know -------------------------------------------------------------------------------


def _check_nodes(nodes: Sequence[NodeConfig]) -> None:
    _check_majority(len(nodes))
    names: dict[str, str] = {}
    addresses: dict[tuple[str, int], str] = {}
    for index, node in enumerate(nodes):
        here = f"nodes[{index}]"
        if node.name.lower() == SECRETS_DIR:
            raise TermError(f"{here}.name", repr(node.name), "is the directory of the secrets; choose another name")
        if node.name.lower() in names:
            raise TermError(f"{here}.name", repr(node.name), f"is already the name of {names[node.name.lower()]}")
        names[node.name.lower()] = here
        if not node.raft.is_loopback:
            problem = "peer links are not encrypted yet, so they stay on this machine; use a port of 127.0.0.1"
            raise TermError(f"{here}.raft", repr(str(node.raft)), problem)
        for key, address in (("raft", node.raft), ("api", node.api)):
            host = "127.0.0.1" if address.host.lower() == "localhost" else address.host.lower()
            taken = addresses.setdefault((host, address.port), f"{here}.{key}")
            if taken != f"{here}.{key}":
                raise TermError(
                    f"{here}.{key}", repr(str(address)), f"is already {taken}; each needs a port of its own"
                )


def _check_majority(count: int) -> None:
    """An even cluster costs a machine and forgives no more than the odd one below it."""
    need = count // 2 + 1
    if count == 2:
        problem = "2 nodes need 2 for a majority: it stops when either dies; use 1 or 3"
    elif count > NODES_MAX:
        problem = f"every commit would wait for {need} of them; use 3, 5 or 7"
    elif count % 2 == 0:
        problem = (
            f"{count} nodes need {need} for a majority: it stops when {count - need + 1} die, "
            f"as {count - 1} nodes do; use {count - 1} or {count + 1}"
        )
    else:
        return
    raise TermError("nodes", f"{count} tables", problem)


def _check_raft(raft: RaftConfig) -> None:
    least = raft.heartbeat_ms * HEARTBEATS_PER_ELECTION_MIN
    if raft.election_min_ms < least:
        problem = (
            f"with heartbeat_ms = {raft.heartbeat_ms} one late heartbeat would cause an election; use {least} or more"
        )
        raise TermError("raft.election_min_ms", raft.election_min_ms, problem)
    least = raft.election_min_ms + raft.heartbeat_ms
    if raft.election_max_ms < least:
        problem = (
            f"with election_min_ms = {raft.election_min_ms} candidates would stand together and split the vote; "
            f"use {least} or more"
        )
        raise TermError("raft.election_max_ms", raft.election_max_ms, problem)
    if raft.submit_timeout_ms < raft.election_max_ms:
        problem = f"gives up before an election can end; use election_max_ms = {raft.election_max_ms} or more"
        raise TermError("raft.submit_timeout_ms", raft.submit_timeout_ms, problem)
    if raft.waiting_commands_max < raft.entry_commands_max:
        problem = f"cannot fill one entry of entry_commands_max = {raft.entry_commands_max}; use that or more"
        raise TermError("raft.waiting_commands_max", raft.waiting_commands_max, problem)


def _check_origins(origins: Sequence[str]) -> None:
    for index, origin in enumerate(origins):
        key = f"api.allowed_origins[{index}]"
        if origin == "*":
            raise TermError(key, repr(origin), "would let any web page trade for whoever opens it; list the origins")
        if not _is_origin(origin):
            raise TermError(key, repr(origin), "must be scheme://host[:port], like https://trade.example.com")


def _is_origin(text: str) -> bool:
    """Whether it is what a browser sends as Origin: scheme, host, perhaps a port, nothing else (RFC 6454)."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return False
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return text == f"{parts.scheme}://{host}" + ("" if port is None else f":{port}")


def _check_instruments(instruments: Sequence[InstrumentConfig]) -> None:
    seen: dict[str, int] = {}
    for index, instrument in enumerate(instruments):
        here = f"instruments[{index}]"
        first = seen.setdefault(instrument.instrument_id, index)
        if first != index:
            raise TermError(f"{here}.instrument_id", repr(instrument.instrument_id), f"is already instruments[{first}]")
        try:
            instrument.command()
        except TermError as error:
            key = f"{here} ({instrument.instrument_id}).{error.key}"
            raise TermError(key, error.value, error.problem) from None


# --- msgspec's complaints in our words ------------------------------------------------------------------------------

_COMPLAINT: Final = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<where>[^`]*)`)?", re.DOTALL)
_FIELD: Final = re.compile(r"Object (?:contains unknown|missing required) field `(?P<name>.*)`", re.DOTALL)
_SHAPE: Final = re.compile(r"Expected `str` matching regex (?P<pattern>.*)", re.DOTALL)
_BOUND: Final = re.compile(r"Expected `(?P<kind>[a-z]+)` (?P<bound>(?:<|>).*)", re.DOTALL)
_STEP: Final = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_KINDS: Final = {
    "int": "an integer",
    "str": "a string",
    "bool": "true or false",
    "object": "a table",
    "array": "an array",
}


def _explain(complaint: str, raw: dict[str, Any]) -> str:
    """`Expected int >= 1 - at $.raft.heartbeat_ms` as `raft.heartbeat_ms = 0: must be >= 1`."""
    match = _COMPLAINT.fullmatch(complaint)
    assert match is not None  # everything in it is optional
    what, where = match["what"], match["where"] or ""
    field = _FIELD.fullmatch(what)
    if field is not None:
        key = f"{where}.{field['name']}" if where else field["name"]
        if "missing" in what:
            return f"{key}: is missing"
        return f"{key} = {_shown(_at(raw, key))}: unknown key{_suggestion(where, field['name'])}"
    shape, bound = _SHAPE.fullmatch(what), _BOUND.fullmatch(what)
    if shape is not None:
        problem = next((said for pattern, said in _SHAPES.items() if repr(pattern) == shape["pattern"]), what)
    elif bound is not None:
        problem = f"must be {bound['bound']}"
    elif what.startswith("Expected `"):
        problem = re.sub(r"`([a-z]+)`", lambda kind: _KINDS.get(kind[1], kind[1]), what).replace("Expected", "expected")
    else:
        problem = what
    return f"{where} = {_shown(_at(raw, where))}: {problem}"


def _suggestion(where: str, name: str) -> str:
    """Which key may have been meant, or which there are."""
    table: type[msgspec.Struct] = _File
    for step in _STEP.finditer(where):
        if step[1]:
            table = _TABLES.get(step[1], table)
    known = list(table.__struct_fields__)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else f"; known here: {', '.join(known)}"


_TABLES: Final[dict[str, type[msgspec.Struct]]] = {
    "cluster": _ClusterTable,
    "nodes": NodeConfig,
    "raft": RaftConfig,
    "api": ApiConfig,
    "accounts": AccountsConfig,
    "market": MarketConfig,
    "demo": DemoConfig,
    "log": LogConfig,
    "instruments": InstrumentConfig,
}


def _at(raw: Any, where: str) -> Any:
    """The value at a dotted path such as `nodes[0].raft`; None where the path leads nowhere."""
    value = raw
    for step in _STEP.finditer(where):
        try:
            value = value[step[1]] if step[1] else value[int(step[2])]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _shown(value: Any) -> str:
    """A value as a person wrote it, at most 60 characters."""
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, dict):
        text = "{…}"
    elif isinstance(value, list):
        text = "[…]" if value else "[]"
    else:
        text = str(value) if isinstance(value, Decimal) else repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
