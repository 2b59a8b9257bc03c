"""Replaying a recorded day against the exchange, and judging every execution and every book."""

from node.replay.cli import app

__all__ = ["app"]
