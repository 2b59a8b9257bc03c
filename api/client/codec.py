"""JSON as the client writes and reads it: decimals as exact JSON numbers, results as Structs."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from api.client.errors import ProtocolError

T = TypeVar("T")

encode: Final = msgspec.json.Encoder(decimal_format="number").encode
_decoders: Final[dict[Any, msgspec.json.Decoder[Any]]] = {}  # one per result type of this package


def decode(data: msgspec.Raw | bytes, kind: type[T], asked: str) -> T:
    """`data` as `kind`; ProtocolError with the field's path where it does not fit."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    try:
        value: T = decoder.decode(data)
        return value
    except msgspec.DecodeError as error:
        raise ProtocolError(f"the data of the answer does not fit {kind}: {error}", asked=asked) from None


def fields(struct: msgspec.Struct) -> dict[str, Any]:
    """The fields of a request that are set."""
    return {key: value for key, value in msgspec.structs.asdict(struct).items() if value is not msgspec.UNSET}
