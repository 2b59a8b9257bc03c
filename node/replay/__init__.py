"""Replaying a recorded day against the exchange, and judging every execution and every book."""
