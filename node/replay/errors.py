"""Why a replay could not be carried out, as opposed to: it was, and there are differences."""

from __future__ import annotations

from node.errors import OperatorError


class ReplayError(OperatorError):
    """The text says what is missing or what failed, and what to do next."""
