"""Text frames as bytes. A server's frames carry no mask, so one serves any number of clients."""

from __future__ import annotations

from typing import Any

from websockets.frames import Frame, Opcode

from api.render import encode


def text_frame(payload: bytes) -> bytes:
    """One whole text message."""
    return Frame(Opcode.TEXT, payload).serialize(mask=False)


def message_frame(message: Any) -> bytes:
    """A message, encoded, as one whole text message."""
    return text_frame(encode(message))
