"""Canonical bytes of commands and events: MessagePack arrays, first the tag, then the fields in order. No pickle.

MessagePack as msgspec writes it is canonical for our types (shortest integer form, no floats, no maps), so equal values
have equal bytes on every machine; the digest depends on that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from node.exchange.commands import AnyCommand, Command
from node.exchange.events import AnyEvent, Event

_encoder: Final = msgspec.msgpack.Encoder()
_command_decoder: Final[msgspec.msgpack.Decoder[AnyCommand]] = msgspec.msgpack.Decoder(AnyCommand)
_events_decoder: Final[msgspec.msgpack.Decoder[list[AnyEvent]]] = msgspec.msgpack.Decoder(list[AnyEvent])


class CodecError(ValueError):
    """Bytes that are no command or event of this version."""


def encode_command(command: Command) -> bytes:
    return _encoder.encode(command)


def decode_command(data: bytes) -> AnyCommand:
    """Raises CodecError with what is wrong and where."""
    try:
        return _command_decoder.decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise CodecError(f"not a command: {error}") from error


def encode_events(events: Sequence[Event]) -> bytes:
    return _encoder.encode(events)


def encode_applied(index: int, time_ns: int, commands: Sequence[bytes], results: Sequence[Sequence[Event]]) -> bytes:
    """One applied entry and what it did, as the chained digest takes it."""
    return _encoder.encode((index, time_ns, commands, results))


def decode_events(data: bytes) -> list[AnyEvent]:
    """Raises CodecError with what is wrong and where."""
    try:
        return _events_decoder.decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise CodecError(f"not events: {error}") from error
