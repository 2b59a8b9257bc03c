"""Text that people or clients give: what may be shown, and how long it may be."""

from __future__ import annotations

from typing import Final

from node.exchange import rejects
from node.exchange.rejects import Refused
from node.exchange.types import TEXT_MAX

LABEL_RULE: Final = ", none of them a control character, no blank at either end"


def is_label(text: str) -> bool:
    """Whether a name may be shown: judged without Python's Unicode tables, which change with its version."""
    if not 1 <= len(text) <= TEXT_MAX or text[0] == " " or text[-1] == " ":
        return False
    return all(letter >= " " and not "\x7f" <= letter <= "\x9f" for letter in text)


def check_length(field: str, text: str, reject: rejects.Reject, most: int = TEXT_MAX) -> None:
    """Raises Refused for a text that is too long."""
    if len(text) > most:
        raise Refused(reject, f"{field} is longer than {most} characters")
