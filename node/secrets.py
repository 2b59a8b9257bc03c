"""The secrets of a cluster: the keys that sign tokens, and the administrator that `qaexchange init` made.

Both live in `<data_dir>/secrets`, mode 0600, and appear together or not at all. There is no default secret: a node
without them does not start. Every node of a cluster needs the same ones.

    jwt.json    {"active": kid, "keys": {kid: base64url secret}}   the active key signs, all of them verify
    admin.json  {"username": name, "password_hash": bcrypt}
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import bcrypt
import msgspec

from api.passwords import ROUNDS
from node import entropy
from node.config import ClusterConfig
from node.errors import SecretsError

KEY_BYTES_MIN: Final = 32  # RFC 7518 3.2: an HS256 key is at least as long as its hash
KEYS_MAX: Final = 8
FILE_BYTES_MAX: Final = 65_536
ADMIN_USERNAME: Final = "admin"
_BCRYPT: Final = re.compile(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}")

T = TypeVar("T")


class _KeysFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    active: str
    keys: dict[str, str]


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """The keys of access tokens by key id; `active` signs, all of them verify."""

    active: str
    keys: dict[str, bytes] = field(repr=False)


class Administrator(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first administrator, as the first leader registers it."""

    username: str
    password_hash: str

    def __repr__(self) -> str:
        return f"Administrator(username={self.username!r})"


def initialised(config: ClusterConfig) -> bool:
    """Whether `init` ran for this cluster."""
    return config.secrets_dir.exists()


def initialise(config: ClusterConfig) -> str:
    """Make the secrets and return the administrator's password, which is kept nowhere.

    Both files are written and fsynced in a directory of another name, which then takes its place by one rename: a crash
    leaves either nothing or all of it.

    Raises:
        SecretsError: there are secrets already, or they cannot be written.
    """
    target = config.secrets_dir
    if target.exists():
        raise SecretsError(
            f"{target}: exists already, and tokens and the administrator depend on it; nothing was changed"
        )
    password = entropy.random_password()
    kid = entropy.random_bytes(6).hex()
    keys = _KeysFile(active=kid, keys={kid: _to_text(entropy.random_bytes(KEY_BYTES_MIN))})
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(ROUNDS)).decode()
    building = target.with_name(f"{target.name}.{entropy.random_bytes(6).hex()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        building.mkdir(mode=0o700)
        try:
            _write(building / "jwt.json", keys)
            _write(building / "admin.json", Administrator(username=ADMIN_USERNAME, password_hash=hashed))
            _sync_directory(building)
            building.rename(target)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
        _sync_directory(target.parent)
    except OSError as error:
        raise SecretsError(f"{target}: cannot be made: {error.strerror or error}") from error
    return password


def load_signing_keys(config: ClusterConfig) -> SigningKeys:
    """The keys that sign and verify access tokens, from `jwt_keys_path`. Raises SecretsError."""
    path = config.jwt_keys_path
    file = _load(path, _KeysFile)
    if not 1 <= len(file.keys) <= KEYS_MAX:
        raise SecretsError(f"{path}: keys holds {len(file.keys)} keys; 1 to {KEYS_MAX} are allowed")
    if file.active not in file.keys:
        raise SecretsError(f"{path}: active = {file.active!r} is not among keys ({', '.join(file.keys)})")
    keys: dict[str, bytes] = {}
    for kid, text in file.keys.items():
        try:
            secret = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise SecretsError(f"{path}: keys.{kid} is not base64url") from None
        if len(secret) < KEY_BYTES_MIN:
            raise SecretsError(
                f"{path}: keys.{kid} has {len(secret)} bytes; HS256 needs at least {KEY_BYTES_MIN} random ones"
            )
        keys[kid] = secret
    return SigningKeys(active=file.active, keys=keys)


def load_administrator(config: ClusterConfig) -> Administrator:
    """The administrator that `init` made. Raises SecretsError."""
    path = config.secrets_dir / "admin.json"
    administrator = _load(path, Administrator)
    if not administrator.username:
        raise SecretsError(f"{path}: username is empty")
    if not _BCRYPT.fullmatch(administrator.password_hash):
        raise SecretsError(f"{path}: password_hash is not a bcrypt hash; restore it from a copy")
    return administrator


def _load(path: Path, kind: type[T]) -> T:
    """A secret file, refused where others could have read or changed it."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise SecretsError(
            f"{path}: missing; run `qaexchange init` once, and give every node of the cluster the same secrets"
        ) from None
    except OSError as error:
        raise SecretsError(f"{path}: cannot be read: {error.strerror or error}") from error
    if mode & 0o077:
        raise SecretsError(f"{path}: mode {mode:04o} lets other users at it; run `chmod 600 {path}`")
    if len(data) > FILE_BYTES_MAX:
        raise SecretsError(f"{path}: larger than {FILE_BYTES_MAX} bytes")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # The complaint names a field and a type, never a value.
        raise SecretsError(f"{path}: {error}; restore it from a copy") from None


def _write(path: Path, value: msgspec.Struct) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(value) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _to_text(secret: bytes) -> str:
    return base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
