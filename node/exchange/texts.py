"""Text that people or clients give: what may be shown, and how long it may be."""

from __future__ import annotations

from typing import Final

from node.exchange import rejects
from node.exchange.rejects import Refused
from node.exchange.types import TEXT_MAX

LABEL_RULE: Final = ", none of them a control character, no blank at either end"
REASON_MAX: Final = 200  # characters that say why an administrator did something
EMAIL_MAX: Final = 254  # RFC 5321: the longest path without its brackets
PHONE_DIGITS_MIN: Final = 5
PHONE_DIGITS_MAX: Final = 15  # ITU-T E.164


def is_label(text: str, most: int = TEXT_MAX) -> bool:
    """Whether a name may be shown: judged without Python's Unicode tables, which change with its version."""
    if not 1 <= len(text) <= most or text[0] == " " or text[-1] == " ":
        return False
    return is_printable(text)


def is_printable(text: str) -> bool:
    """Whether no character is a control character (C0, DEL, C1)."""
    return all(letter >= " " and not "\x7f" <= letter <= "\x9f" for letter in text)


def is_exchange(text: str) -> bool:
    """Whether it may name an exchange: 2 to 8 capital letters."""
    return text.isascii() and text.isalpha() and text.isupper() and 2 <= len(text) <= 8


def is_phone(text: str) -> bool:
    """Whether it is a phone number as it is compared: digits, perhaps after a plus; nothing that only separates."""
    digits = text.removeprefix("+")
    if not PHONE_DIGITS_MIN <= len(digits) <= PHONE_DIGITS_MAX:
        return False
    return all("0" <= letter <= "9" for letter in digits)


def is_email(text: str) -> bool:
    """Whether it is an address as it is compared: printable ASCII without blanks and capitals, `local@domain`."""
    local, at, domain = text.rpartition("@")
    if not (at and local and domain and len(text) <= EMAIL_MAX):
        return False
    return all("!" <= letter <= "~" and not "A" <= letter <= "Z" for letter in text) and "@" not in local


def check_length(field: str, text: str, reject: rejects.Reject, most: int = TEXT_MAX) -> None:
    """Raises Refused for a text that is too long."""
    if len(text) > most:
        raise Refused(reject, f"{field} is longer than {most} characters")


def check_note(field: str, text: str, reject: rejects.Reject, most: int = REASON_MAX) -> None:
    """Raises Refused for a reason or a remark that is too long or holds a control character; it may be empty."""
    check_length(field, text, reject, most)
    if not is_printable(text):
        raise Refused(reject, f"{field} {text!a} holds a control character")
