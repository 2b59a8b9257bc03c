"""A configuration is read whole and exactly, or refused with the key, the value, and what to do."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from node.config import Address, load_config
from node.errors import ConfigError
from node.exchange.commands import ListInstrument
from node.exchange.instruments import price_limits

CHECKOUT_CONFIG = Path(__file__).parents[2] / "cluster.toml"

NODE = '[[nodes]]\nname = "n1"\nraft = "127.0.0.1:7101"\napi = "127.0.0.1:8101"\n'
CLUSTER = '[cluster]\nid = "test"\n'


def nodes(count: int) -> str:
    return "".join(
        f'[[nodes]]\nname = "n{i}"\nraft = "127.0.0.1:{7100 + i}"\napi = "127.0.0.1:{8100 + i}"\n'
        for i in range(1, count + 1)
    )


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "cluster.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture
def refusal(write):
    """What load_config says about a text that it refuses, without the name of the file."""

    def refusal(text: str | bytes, environ: dict[str, str] | None = None) -> str:
        path = write(text)
        with pytest.raises(ConfigError) as caught:
            load_config(path, environ or {})
        return str(caught.value).removeprefix(f"{path}: ")

    return refusal


def test_the_shipped_file_loads_with_the_documented_values():
    config = load_config(CHECKOUT_CONFIG, {})
    assert [node.name for node in config.nodes] == ["n1", "n2", "n3"]
    assert config.quorum == 2
    assert config.raft.heartbeat_ms == 40
    assert config.accounts.self_service_funding
    assert config.data_dir == CHECKOUT_CONFIG.parent / "data"
    assert config.jwt_keys_path == CHECKOUT_CONFIG.parent / "data" / "secrets" / "jwt.json"
    assert {i.instrument_id.partition(".")[0] for i in config.instruments} == {
        "SHFE",
        "CFFEX",
        "DCE",
        "CZCE",
        "INE",
        "SIM",
    }


def test_the_shipped_copper_is_the_first_worked_example():
    copper = next(i for i in load_config(CHECKOUT_CONFIG, {}).instruments if i.instrument_id == "SHFE.cu2701").command()
    assert (copper.volume_multiple, copper.tick_units, copper.pre_settlement_ticks) == (5, 100_000, 7_000)
    assert (copper.margin_long_rate, copper.margin_long_amount) == (0, 350_000_000)
    assert (copper.margin_short_rate, copper.margin_short_amount) == (0, 350_000_000)
    assert (copper.open_amount, copper.close_amount, copper.close_today_amount) == (175_000, 175_000, 175_000)
    assert (copper.open_rate, copper.close_rate, copper.close_today_rate) == (0, 0, 0)


def test_the_shipped_index_future_is_the_third_worked_example():
    index = next(i for i in load_config(CHECKOUT_CONFIG, {}).instruments if i.instrument_id == "CFFEX.IF2701").command()
    assert (index.volume_multiple, index.tick_units) == (300, 2_000)
    assert (index.margin_long_rate, index.open_rate, index.close_today_rate) == (120_000_000, 23_000, 345_000)


def test_the_least_file_takes_the_defaults(write):
    config = load_config(write(CLUSTER + NODE), {})
    assert config.raft.election_min_ms == 300
    assert config.api.connections_max == 2_000
    assert config.log_level == "INFO"
    assert config.instruments == ()
    assert not config.accounts.self_service_funding


def test_paths_are_relative_to_the_file_and_absolute_in_the_result(write, tmp_path, monkeypatch):
    path = write(CLUSTER + 'data_dir = "state"\n' + NODE)
    monkeypatch.chdir(tmp_path)
    config = load_config(Path("cluster.toml"), {})
    assert config.path == path
    assert config.data_dir == tmp_path / "state"
    assert config.node_dir("n1") == tmp_path / "state" / "n1"


def test_the_environment_overrides_directory_keys_level_and_file(write, tmp_path):
    path = write(CLUSTER + NODE)
    environ = {
        "QAEXCHANGE_CONFIG": str(path),
        "QAEXCHANGE_DATA_DIR": str(tmp_path / "elsewhere"),
        "QAEXCHANGE_JWT_KEYS": str(tmp_path / "keys.json"),
        "QAEXCHANGE_LOG_LEVEL": "debug",
    }
    config = load_config(None, environ)
    assert config.path == path
    assert config.data_dir == tmp_path / "elsewhere"
    assert config.secrets_dir == tmp_path / "elsewhere" / "secrets"
    assert config.jwt_keys_path == tmp_path / "keys.json"
    assert config.log_level == "DEBUG"


def test_members_are_the_nodes_as_consensus_sees_them(write):
    members = load_config(write(CLUSTER + nodes(3)), {}).members()
    assert [(m.name, m.host, m.port, m.api_url) for m in members][1] == (
        "n2",
        "127.0.0.1",
        7102,
        "http://127.0.0.1:8102",
    )


def test_a_node_that_does_not_exist_is_refused_with_those_that_do(write):
    with pytest.raises(ConfigError, match=r"no node 'n4'; it has n1, n2, n3"):
        load_config(write(CLUSTER + nodes(3)), {}).node("n4")


# --- unreadable -----------------------------------------------------------------------------------------------------


def test_a_missing_file_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.toml: no such file; .*--config or QAEXCHANGE_CONFIG"):
        load_config(tmp_path / "absent.toml", {})


def test_a_directory_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(tmp_path, {})


def test_text_that_is_no_toml_is_refused_with_the_line(refusal):
    assert refusal('[cluster]\nid = "x\n').startswith("not valid TOML: ")
    assert "line 2" in refusal('[cluster]\nid = "x\n')


def test_bytes_that_are_no_utf8_are_refused(refusal):
    assert refusal(b'[cluster]\nid = "\xff"\n') == "not UTF-8: invalid start byte at byte 16"


def test_an_oversized_file_is_refused(refusal):
    assert refusal("#" * (4 * 1024 * 1024 + 1)) == "larger than 4194304 bytes"


# --- keys and types -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CLUSTER + NODE + "[raft]\nheartbeat = 40\n", "raft.heartbeat = 40: unknown key; did you mean heartbeat_ms?"),
        (CLUSTER + NODE + "[rafft]\n", "rafft = {…}: unknown key; did you mean raft?"),
        (CLUSTER + NODE + "zzz = 1\n", "nodes[0].zzz = 1: unknown key; known here: name, raft, api"),
        (CLUSTER + "datadir = 'x'\n" + NODE, "cluster.datadir = 'x': unknown key; did you mean data_dir?"),
        (NODE, "cluster: is missing"),
        ("[cluster]\n" + NODE, "cluster.id: is missing"),
        (CLUSTER, "nodes: is missing"),
        (CLUSTER + '[[nodes]]\nname = "a"\nraft = "127.0.0.1:1"\n', "nodes[0].api: is missing"),
        ("nodes = []\n" + CLUSTER, "nodes = []: expected an array of length >= 1"),
        (CLUSTER + "[nodes]\n", "nodes = {…}: expected an array, got a table"),
        (CLUSTER + NODE + '[raft]\nheartbeat_ms = "40"\n', "heartbeat_ms = '40': expected an integer, got a string"),
        (CLUSTER + NODE + "[raft]\nheartbeat_ms = 40.5\n", "heartbeat_ms = 40.5: expected an integer, got decimal"),
        (CLUSTER + NODE + "[raft]\nheartbeat_ms = true\n", "heartbeat_ms = true: expected an integer, got true"),
        (CLUSTER + NODE + "[raft]\nheartbeat_ms = 0\n", "raft.heartbeat_ms = 0: must be >= 5"),
        (CLUSTER + NODE + "[raft]\nheartbeat_ms = 99999999999999999999999\n", "must be <= 5000"),
        (CLUSTER + NODE + "[raft]\nentry_bytes_max = 70000\n", "raft.entry_bytes_max = 70000: must be <= 65536"),
        (CLUSTER + NODE + "[accounts]\nself_service_funding = 1\n", "expected true or false, got an integer"),
        (CLUSTER + NODE + '[log]\nlevel = "LOUD"\n', "log.level = 'LOUD': "),
        ('[cluster]\nid = "a b"\n' + NODE, "cluster.id = 'a b': must be 1 to 32 letters, digits, - or _"),
        (CLUSTER + NODE.replace("n1", "../n1"), "nodes[0].name = '../n1': must be 1 to 32 letters, digits, - or _"),
    ],
)  # fmt: skip
def test_a_wrong_key_or_type_is_refused_by_its_dotted_name(refusal, text, said):
    assert said in refusal(text)


def test_a_long_value_is_shortened_in_the_message(refusal):
    said = refusal('[cluster]\nid = "' + "x" * 10_000 + '"\n' + NODE)
    assert len(said) < 200


# --- addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1", "must be host:port"),
        (":7101", "must be host:port"),
        ("127.0.0.1:", "'nothing' is no port"),
        ("127.0.0.1:0", "'0' is no port; use 1 to 65535"),
        ("127.0.0.1:65536", "'65536' is no port"),
        ("127.0.0.1:７１０１", "is no port"),
        ("127.0.0.1:-1", "'-1' is no port"),
        ("127.0.0.999:7101", "'127.0.0.999' is no host name or IP address"),
        ("::1:7101", "write an IPv6 address in brackets"),
        ("[127.0.0.1]:7101", "write an IPv6 address in brackets, and only that"),
        ("[::zz]:7101", "is no host name or IP address"),
        ("a_b:7101", "is no host name or IP address"),
        ("http://127.0.0.1:7101", "is no host name or IP address"),
        ("0.0.0.0:7101", "is no address that others can dial"),
    ],
)
def test_an_address_that_cannot_be_parsed_is_refused(refusal, address, said):
    text = CLUSTER + NODE.replace("127.0.0.1:8101", address)
    assert refusal(text).startswith(f"nodes[0].api = {address!r}: ")
    assert said in refusal(text)


def test_an_address_is_its_text_with_host_and_port():
    assert (Address("127.0.0.1:7101"), Address("[::1]:80").host, Address("localhost:80").port) == (
        "127.0.0.1:7101",
        "::1",
        80,
    )
    assert Address("127.9.9.9:1").is_loopback
    assert Address("[::1]:1").is_loopback
    assert not Address("10.0.0.1:1").is_loopback
    assert not Address("localhost:1").is_loopback


@pytest.mark.parametrize("host", ["10.0.0.1", "localhost", "[2001:db8::1]", "n1.example.com"])
def test_a_raft_address_off_this_machine_is_refused(refusal, host):
    said = refusal(CLUSTER + NODE.replace("127.0.0.1:7101", f"{host}:7101"))
    assert said.startswith(f"nodes[0].raft = '{host}:7101': peer links are not encrypted yet")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('"127.0.0.1:7102"', '"127.0.0.1:7101"'), "nodes[1].raft = '127.0.0.1:7101': is already nodes[0].raft"),
        (('"127.0.0.1:8102"', '"127.0.0.1:8101"'), "nodes[1].api = '127.0.0.1:8101': is already nodes[0].api"),
        (('"127.0.0.1:8103"', '"127.0.0.1:7101"'), "nodes[2].api = '127.0.0.1:7101': is already nodes[0].raft"),
        (('"127.0.0.1:8103"', '"localhost:8101"'), "nodes[2].api = 'localhost:8101': is already nodes[0].api"),
        (('"n2"', '"n1"'), "nodes[1].name = 'n1': is already the name of nodes[0]"),
        (('"n2"', '"N1"'), "nodes[1].name = 'N1': is already the name of nodes[0]"),
        (('"n2"', '"secrets"'), "nodes[1].name = 'secrets': is the directory of the secrets"),
    ],
)
def test_a_name_or_address_used_twice_is_refused(refusal, change, said):
    assert said in refusal(CLUSTER + nodes(3).replace(*change))


def test_equal_ports_of_different_loopback_addresses_are_different_addresses(write):
    text = CLUSTER + nodes(3).replace("127.0.0.1:7102", "127.0.0.2:7101")
    assert load_config(write(text), {}).nodes[1].raft.host == "127.0.0.2"


# --- contradictions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (2, "nodes = 2 tables: 2 nodes need 2 for a majority: it stops when either dies; use 1 or 3"),
        (4, "nodes = 4 tables: 4 nodes need 3 for a majority: it stops when 2 die, as 3 nodes do; use 3 or 5"),
        (6, "6 nodes need 4 for a majority: it stops when 3 die, as 5 nodes do; use 5 or 7"),
        (9, "every commit would wait for 5 of them; use 3, 5 or 7"),
    ],
)
def test_a_cluster_of_an_even_or_great_number_is_explained(refusal, count, said):
    assert said in refusal(CLUSTER + nodes(count))


@pytest.mark.parametrize("count", [1, 3, 5, 7])
def test_an_odd_cluster_is_accepted(write, count):
    assert load_config(write(CLUSTER + nodes(count)), {}).quorum == count // 2 + 1


@pytest.mark.parametrize(
    ("raft", "said"),
    [
        ("heartbeat_ms = 100", "raft.election_min_ms = 300: with heartbeat_ms = 100"),
        ("election_max_ms = 310", "raft.election_max_ms = 310: with election_min_ms = 300"),
        ("election_max_ms = 200", "raft.election_max_ms = 200: with election_min_ms = 300"),
        ("submit_timeout_ms = 400", "raft.submit_timeout_ms = 400: gives up before an election can end"),
        ("waiting_commands_max = 100", "raft.waiting_commands_max = 100: cannot fill one entry"),
    ],
)
def test_timings_and_bounds_that_contradict_each_other_are_refused(refusal, raft, said):
    assert said in refusal(CLUSTER + NODE + f"[raft]\n{raft}\n")


@pytest.mark.parametrize(
    "origin", ["*", "trade.example.com", "https://a.example/", "ftp://a", "https://u@a", "https://a:99999", "https://"]
)
def test_an_origin_that_no_browser_sends_is_refused(refusal, origin):
    said = refusal(CLUSTER + NODE + f'[api]\nallowed_origins = ["https://ok.example", "{origin}"]\n')
    assert said.startswith(f"api.allowed_origins[1] = {origin!r}: ")


def test_an_origin_may_have_a_port(write):
    text = CLUSTER + NODE + '[api]\nallowed_origins = ["http://localhost:3000", "http://[::1]:3000"]\n'
    assert load_config(write(text), {}).api.allowed_origins == ("http://localhost:3000", "http://[::1]:3000")


def test_a_log_level_from_the_environment_that_does_not_exist_names_the_variable(refusal):
    said = refusal(CLUSTER + NODE, {"QAEXCHANGE_LOG_LEVEL": "loud"})
    assert said == "QAEXCHANGE_LOG_LEVEL = 'loud': must be one of DEBUG, INFO, WARNING, ERROR"


# --- instruments ----------------------------------------------------------------------------------------------------

INSTRUMENT = {
    "instrument_id": '"SHFE.cu2701"',
    "name": '"copper"',
    "product": '"cu"',
    "volume_multiple": "5",
    "price_tick": "10",
    "pre_settlement": "70000",
    "margin_long_amount": "35000",
    "margin_short_amount": "35000",
}


def instrument(**terms: str | None) -> str:
    merged = {key: value for key, value in {**INSTRUMENT, **terms}.items() if value is not None}
    return "[[instruments]]\n" + "".join(f"{key} = {value}\n" for key, value in merged.items())


@pytest.fixture
def listed(write):
    def listed(**terms: str | None):
        return load_config(write(CLUSTER + NODE + instrument(**terms)), {}).instruments[0].command()

    return listed


HERE = "instruments[0] (SHFE.cu2701)."


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"pre_settlement": "70001"}, f"{HERE}pre_settlement = 70001: not a multiple of price_tick = 10"),
        ({"pre_settlement": "70001"}, "its neighbours are 70000 and 70010"),
        ({"pre_settlement": "70000.5"}, "not a multiple of price_tick = 10"),
        ({"pre_settlement": "0"}, f"{HERE}pre_settlement = 0: must be 1 to 1000000000 ticks"),
        ({"pre_settlement": "-10"}, f"{HERE}pre_settlement = -10: must be 1 to"),
        ({"pre_settlement": "nan"}, "instruments[0].pre_settlement = NaN: expected a finite number"),
        ({"pre_settlement": "inf"}, "instruments[0].pre_settlement = Infinity: expected a finite number"),
        ({"pre_settlement": "1e999999"}, "more than 20 digits"),
        ({"pre_settlement": '"70000"'}, "instruments[0].pre_settlement = '70000': expected a number, got str"),
        ({"pre_settlement": "true"}, "instruments[0].pre_settlement = true: expected a number, got bool"),
        ({"price_tick": "0"}, f"{HERE}price_tick = 0: must be above 0"),
        ({"price_tick": "-0.2"}, f"{HERE}price_tick = -0.2: must not be negative"),
        ({"price_tick": "0.00005"}, f"{HERE}price_tick = 0.00005: must be a multiple of 0.0001"),
        ({"limit_rate": "0"}, f"{HERE}limit_rate = 0: must be above 0 and below 1"),
        ({"limit_rate": "1"}, f"{HERE}limit_rate = 1: must be above 0 and below 1"),
        ({"limit_rate": "0.0000000001"}, f"{HERE}limit_rate = 0.0000000001: has more than 9 decimals"),
        ({"volume_min": "10", "volume_max": "9"}, f"{HERE}volume_max = 9: below volume_min = 10"),
        ({"volume_min": "0"}, "instruments[0].volume_min = 0: must be >= 1"),
        ({"volume_max": "1000001"}, "instruments[0].volume_max = 1000001: must be <= 1000000"),
        ({"volume_multiple": "0"}, "instruments[0].volume_multiple = 0: must be >= 1"),
        ({"product": '"xx"', "margin_long_amount": None}, "margin_long_rate = (missing): say what a long lot costs"),
        ({"product": '"xx"', "margin_short_amount": None}, "margin_short_rate = (missing): say what a short lot costs"),
        ({"margin_long_rate": "1.2"}, f"{HERE}margin_long_rate = 1.2: must be between 0 and 1"),
        ({"margin_long_rate": "-0.1"}, f"{HERE}margin_long_rate = -0.1: must be between 0 and 1"),
        ({"open_rate": "0.0000230001234"}, f"{HERE}open_rate = 0.0000230001234: has more than 9 decimals"),
        ({"open_amount": "17.50001"}, f"{HERE}open_amount = 17.50001: must be a multiple of 0.0001"),
        ({"close_amount": "-1"}, f"{HERE}close_amount = -1: must not be negative"),
        ({"close_today_amount": "1e14"}, f"{HERE}close_today_amount = 100000000000000: must be at most 10000000000000"),
        ({"instrument_id": '"cu2701"'}, "instruments[0].instrument_id = 'cu2701': must be EXCHANGE.code, like SHFE"),
        ({"instrument_id": '"SHFE.cu 2701"'}, "must be EXCHANGE.code"),
        ({"product": '"c u"'}, "instruments[0].product = 'c u': must be 1 to 16 letters or digits, like cu"),
        ({"name": '""'}, "instruments[0].name = '': "),
        ({"margin_rule": '"max"'}, "instruments[0].margin_rule = 'max': "),
        ({"tick": "10"}, "instruments[0].tick = 10: unknown key; did you mean price_tick?"),
    ],
)  # fmt: skip
def test_terms_that_the_state_cannot_hold_or_that_contradict_are_refused(refusal, terms, said):
    assert said in refusal(CLUSTER + NODE + instrument(**terms))


def test_an_instrument_listed_twice_is_refused(refusal):
    said = refusal(CLUSTER + NODE + instrument() + instrument())
    assert said == "instruments[1].instrument_id = 'SHFE.cu2701': is already instruments[0]"


def test_a_lot_that_no_order_can_be_worth_is_refused(refusal):
    terms = {"volume_multiple": "1000000", "pre_settlement": "1000000000", "price_tick": "10"}
    assert "one lot is worth more than an order may be" in refusal(CLUSTER + NODE + instrument(**terms))


def test_decimals_are_exact(listed):
    terms = listed(price_tick="0.2", pre_settlement="3800.2", open_rate="0.000023001", margin_long_amount="0.0001")
    assert (terms.tick_units, terms.pre_settlement_ticks) == (2_000, 19_001)
    assert (terms.open_rate, terms.margin_long_amount) == (23_001, 1)


def test_a_limit_rate_is_rounded_inwards_to_the_tick(listed):
    terms = listed(price_tick="0.2", pre_settlement="100.2", limit_rate="0.1")  # 90.18 to 110.22
    lower, upper = price_limits(terms, terms.pre_settlement_ticks)
    assert Decimal(lower) * Decimal("0.2") == Decimal("90.2")
    assert Decimal(upper) * Decimal("0.2") == Decimal("110.2")


def test_a_margin_of_rate_and_amount_keeps_both(listed):
    terms = listed(margin_long_rate="0.05", margin_rule='"sum"')
    assert (terms.margin_long_rate, terms.margin_long_amount, terms.margin_rule) == (50_000_000, 350_000_000, 1)


# --- the market -----------------------------------------------------------------------------------------------------


def market(write, text: str):
    return load_config(write(CLUSTER + NODE + text), {}).market_commands()


def test_the_local_market_trades_around_the_clock():
    commands = load_config(CHECKOUT_CONFIG, {}).market_commands()
    assert [type(command) for command in commands] == [ListInstrument] * 6
    assert {command.calendar for command in commands} == {""}


def test_a_market_begins_with_the_calendars_that_its_instruments_trade_by(write):
    entries = "".join(
        f'[[instruments]]\ninstrument_id = "SHFE.{code}"\nproduct = "{code[:2]}"\npre_settlement = 1000\n'
        f'sessions = "{sessions}"\n'
        for code, sessions in (
            ("au2706", "product"),
            ("cu2706", "SHFE.day"),
            ("ag2706", "product"),
            ("zn2706", "always"),
        )
    )
    commands = market(write, "[market]\nholidays = [2027-02-08, 2027-01-01]\n" + entries)
    assert [c.calendar_id for c in commands[:2]] == ["SHFE.0230", "SHFE.day"]
    assert [c.instrument_id for c in commands[2:]] == ["SHFE.au2706", "SHFE.cu2706", "SHFE.ag2706", "SHFE.zn2706"]
    assert all(calendar.holidays == [20270101, 20270208] for calendar in commands[:2])


def test_the_days_of_an_instrument_are_dates(listed):
    terms = listed(listing_day="2026-01-16", expiry_day="2027-01-15")
    assert (terms.listing_day, terms.expiry_day) == (20260116, 20270115)


def test_a_market_order_may_have_a_limit_of_its_own(listed):
    assert listed(market_volume_max="30").market_volume_max == 30


def test_the_rules_of_an_instrument_are_said_by_name(listed):
    terms = listed(auction_rule='"middle"', settlement_rule='"last_price"', instrument_class='"bond_future"')
    assert (terms.auction_rule, terms.settlement_rule, terms.instrument_class) == (1, 2, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[market]\nholidays = [20270101]\n", "market.holidays[0] = 20270101: "),
        ('[market]\nholidays = ["new year"]\n', "market.holidays[0] = 'new year': "),
        ("[market]\nholiday = []\n", "market.holiday = []: unknown key; did you mean holidays?"),
        (instrument(expiry_day="20270115"), "instruments[0].expiry_day = 20270115: expected"),
        (instrument(listing_day="2027-01-15", expiry_day="2027-01-14"), f"{HERE}expiry_day = 2027-01-14: before"),
        (instrument(market_volume_max="501"), f"{HERE}market_volume_max = 501: must be 0 or volume_min = 1 to"),
        (instrument(sessions='"CFFEX.index"'), f"{HERE}sessions = 'CFFEX.index': is no calendar of SHFE; use always"),
        (instrument(product='"xx"', price_tick=None), f"{HERE}price_tick = (missing): the product table has no xx"),
        (instrument(product='"xx"', volume_multiple=None), f"{HERE}volume_multiple = (missing): the product table"),
        (instrument(product='"xx"', name=None), f"{HERE}name = (missing): the product table has no xx of SHFE, so say"),
        (instrument(open_amount="10000001"), f"{HERE}open_amount = 10000001: open_amount 100000010000 is not in [0, "),
        (instrument(name='"a\\u0007"'), f"{HERE}name = a\a: name 'a\\x07' must be 1 to 64 characters"),
        (instrument(auction_rule='"best"'), "instruments[0].auction_rule = 'best': "),
    ],
)  # fmt: skip
def test_a_market_that_the_state_would_refuse_is_refused_before(refusal, text, said):
    assert said in refusal(CLUSTER + NODE + text)
