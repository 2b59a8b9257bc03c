from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=2, help="how often the failover test kills the leader")
    parser.addoption("--million", action="store_true", help="fuzz the exchange with a million commands, not 120 000")
    parser.addoption("--slow", action="store_true", help="run the tests that are marked as slow, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    for item in items:
        if item.get_closest_marker("slow") is not None:
            item.add_marker(pytest.mark.skip(reason="longer than the default run allows; --slow runs it"))
