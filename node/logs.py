"""Logs of one process: one line per event on stderr, made to be read by a person and cut by a machine.

    2026-11-22T18:29:15.123Z INFO  n1 leads term=4 quorum="2 of 3"
    2026-11-22T18:29:16.420Z ERROR n1 commit failed exception="OSError: No space left on device"
        | Traceback (most recent call last): ...

That is time (UTC), level, node, event, then key=value. The pairs come from `extra=fields(...)`, or from any `extra`
of the shape {"fields": mapping}, so that packages which may not import `node` can give them too. Only a traceback
takes more lines, each begun by `    | `.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import IO, Any, Final

LINE_CHARACTERS_MAX: Final = 8_192
_TRACEBACK_MARGIN: Final = "    | "
# Libraries that narrate every request or frame at INFO.
_CHATTY: Final = ("httpx", "httpcore", "hypercorn.access", "websockets", "trio-websocket")

log = logging.getLogger(__name__)


def fields(**pairs: object) -> dict[str, Mapping[str, object]]:
    """Key=value pairs for a log call: `log.info("leads", extra=fields(term=4))`."""
    return {"fields": pairs}


def configure(node: str, level: str, stream: IO[str] | None = None) -> None:
    """Send everything that this process logs to `stream` (stderr) in the one format. Replaces earlier handlers."""
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(LineFormatter(node))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(True)


class LineFormatter(logging.Formatter):
    """A record as one line. Values with blanks, quotes, `=` or control characters are quoted and escaped."""

    def __init__(self, node: str) -> None:
        super().__init__()
        self._node = node

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC)
        head = f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03d}Z {record.levelname:<7} {self._node}"
        parts = [head, _one_line(record.getMessage())]
        pairs: Any = getattr(record, "fields", None)
        if isinstance(pairs, Mapping):
            parts += [f"{key}={_value(value)}" for key, value in pairs.items()]
        trace = ""
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            parts.append(f"exception={_value(f'{type(error).__name__}: {error}')}")
            trace = "".join(
                f"\n{_TRACEBACK_MARGIN}{line}" for line in self.formatException(record.exc_info).splitlines()
            )
        line = " ".join(parts)
        if len(line) > LINE_CHARACTERS_MAX:
            line = f"{line[:LINE_CHARACTERS_MAX]}… ({len(line)} characters)"
        return line + trace


class RoleLog:
    """Says every change of a node's part in the cluster in one line. A role listener of `consensus.replica`."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._role: str | None = None
        self._leader: str | None = None

    def changed(self, role: str, leader: str | None, term: int) -> None:
        """`role` is leader, follower or candidate; `leader` is the one that this node knows of, if any."""
        was, self._role = self._role, role
        known, self._leader = self._leader, leader
        if role == "leader":
            if was != "leader":
                log.info("elected: this node leads", extra=fields(term=term))
        elif was == "leader":
            log.warning("stepped down", extra=fields(term=term, leader=leader or "unknown"))
        elif role == "candidate":
            if was is None:
                log.info("looks for a leader", extra=fields(term=term))
            elif was != "candidate":
                log.warning("no leader heard: stands for election", extra=fields(term=term))
        elif leader is None:
            if known is not None:
                log.warning("lost its leader", extra=fields(term=term, was=known))
        elif leader != known or was == "candidate":
            log.info("follows", extra=fields(leader=leader, term=term))


def _one_line(text: str) -> str:
    """`text` with control characters escaped: nothing that a client sent can begin a line of its own."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = _one_line(str(value))
    if text and not any(character in ' "=' for character in text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
