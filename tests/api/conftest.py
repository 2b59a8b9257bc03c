"""One-node exchange per test: real sockets, a real log in a temporary directory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.exchange import Node, exchange


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """The only node of a cluster of one, leading, with two instruments listed."""
    async with exchange(tmp_path) as cluster:
        yield await cluster.leader()
