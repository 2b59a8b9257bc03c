from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=2, help="how often the failover test kills the leader")
    parser.addoption("--million", action="store_true", help="fuzz the exchange with a million commands, not 120 000")
