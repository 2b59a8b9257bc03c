"""Session calendars: which phase an exchange is in at a moment, and on which trading day (domain.md 4)."""

from __future__ import annotations


class Calendar:
    """One session calendar."""
