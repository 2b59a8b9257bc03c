"""The secrets appear once, whole and private, and are refused where they are not."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import bcrypt
import pytest

from node import secrets
from node.config import ClusterConfig, load_config
from node.errors import SecretsError


@pytest.fixture
def config(tmp_path: Path) -> ClusterConfig:
    path = tmp_path / "cluster.toml"
    path.write_text('[cluster]\nid = "t"\n[[nodes]]\nname = "n1"\nraft = "127.0.0.1:7101"\napi = "127.0.0.1:8101"\n')
    return load_config(path, {})


def rewrite(path: Path, value: object) -> None:
    path.write_text(value if isinstance(value, str) else json.dumps(value))


def test_init_makes_private_files_and_a_password_that_fits_its_hash(config):
    assert not secrets.initialised(config)
    password = secrets.initialise(config)
    assert secrets.initialised(config)
    for name in ("jwt.json", "admin.json"):
        assert stat.S_IMODE((config.secrets_dir / name).stat().st_mode) == 0o600
        assert password not in (config.secrets_dir / name).read_text()
    assert stat.S_IMODE(config.secrets_dir.stat().st_mode) == 0o700
    administrator = secrets.load_administrator(config)
    assert administrator.username == "admin"
    assert bcrypt.checkpw(password.encode(), administrator.password_hash.encode())
    assert administrator.password_hash.startswith("$2b$12$")


def test_the_keys_are_random_and_long_enough(config, tmp_path):
    secrets.initialise(config)
    keys = secrets.load_signing_keys(config)
    assert list(keys.keys) == [keys.active]
    assert len(keys.keys[keys.active]) == 32
    (config.secrets_dir).rename(tmp_path / "old")
    secrets.initialise(config)
    assert secrets.load_signing_keys(config).keys != keys.keys


def test_init_never_replaces_secrets(config):
    secrets.initialise(config)
    before = (config.secrets_dir / "jwt.json").read_bytes()
    with pytest.raises(SecretsError, match="exists already"):
        secrets.initialise(config)
    assert (config.secrets_dir / "jwt.json").read_bytes() == before
    assert [path.name for path in config.data_dir.iterdir()] == ["secrets"]


def test_init_that_cannot_write_leaves_nothing(config):
    config.data_dir.write_text("a file where the directory should be")
    with pytest.raises(SecretsError, match="cannot be made"):
        secrets.initialise(config)
    assert config.data_dir.read_text() == "a file where the directory should be"


def test_missing_secrets_say_what_to_run(config):
    with pytest.raises(SecretsError, match=r"jwt\.json: missing; run `qaexchange init`"):
        secrets.load_signing_keys(config)
    with pytest.raises(SecretsError, match=r"admin\.json: missing; run `qaexchange init`"):
        secrets.load_administrator(config)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o660])
def test_a_secret_that_others_can_reach_is_refused(config, mode):
    secrets.initialise(config)
    (config.secrets_dir / "jwt.json").chmod(mode)
    with pytest.raises(SecretsError, match=rf"mode {mode:04o} lets other users at it; run `chmod 600"):
        secrets.load_signing_keys(config)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "truncated"),
        ({"active": "a"}, "missing required field `keys`"),
        ({"active": "a", "keys": {}, "more": 1}, "unknown field `more`"),
        ({"active": "a", "keys": {}}, "keys holds 0 keys; 1 to 8 are allowed"),
        ({"active": "a", "keys": {str(i): "A" * 43 for i in range(9)}}, "keys holds 9 keys"),
        ({"active": "a", "keys": {"b": "A" * 43}}, "active = 'a' is not among keys (b)"),
        ({"active": "a", "keys": {"a": "A" * 42}}, "keys.a has 31 bytes; HS256 needs at least 32"),
        ({"active": "a", "keys": {"a": "!" * 43}}, "keys.a is not base64url"),
        ({"active": "a", "keys": {"a": ""}}, "keys.a has 0 bytes"),
        (" " * 70_000, "larger than 65536 bytes"),
    ],
)
def test_broken_keys_are_refused_without_showing_them(config, content, said):
    secrets.initialise(config)
    rewrite(config.secrets_dir / "jwt.json", content)
    with pytest.raises(SecretsError) as caught:
        secrets.load_signing_keys(config)
    assert said in str(caught.value)
    assert "AAAA" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"username": "", "password_hash": "x"}, "username is empty"),
        ({"username": "admin", "password_hash": "plain"}, "password_hash is not a bcrypt hash"),
        ({"username": "admin"}, "missing required field `password_hash`"),
    ],
)
def test_a_broken_administrator_is_refused(config, content, said):
    secrets.initialise(config)
    rewrite(config.secrets_dir / "admin.json", content)
    with pytest.raises(SecretsError) as caught:
        secrets.load_administrator(config)
    assert said in str(caught.value)


def test_two_keys_can_be_live_and_the_named_one_signs(config):
    secrets.initialise(config)
    rewrite(config.secrets_dir / "jwt.json", {"active": "new", "keys": {"old": "A" * 43, "new": "B" * 43 + "="}})
    keys = secrets.load_signing_keys(config)
    assert keys.active == "new"
    assert set(keys.keys) == {"old", "new"}


def test_keys_elsewhere_are_read_from_there(config, tmp_path):
    secrets.initialise(config)
    elsewhere = tmp_path / "keys.json"
    (config.secrets_dir / "jwt.json").rename(elsewhere)
    moved = load_config(config.path, {"QAEXCHANGE_JWT_KEYS": str(elsewhere)})
    assert secrets.load_signing_keys(moved).keys


def test_secrets_do_not_show_in_a_repr(config):
    secrets.initialise(config)
    keys = secrets.load_signing_keys(config)
    assert repr(keys) == f"SigningKeys(active={keys.active!r})"
    assert "$2b$" not in repr(secrets.load_administrator(config))
