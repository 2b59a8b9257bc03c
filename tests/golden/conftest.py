"""Collects every scenario file (*.txt) of this directory as one test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.golden.scenario import Failed, Scenario


class ScenarioItem(pytest.Item):
    """One scenario."""

    obj = None  # pytest-trio looks at the function behind every item; there is none here

    def runtest(self) -> None:
        Scenario(self.path).run()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        if isinstance(excinfo.value, Failed):
            return str(excinfo.value)
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"scenario {self.path.stem}"


class ScenarioFile(pytest.File):
    def collect(self) -> Iterator[ScenarioItem]:
        yield ScenarioItem.from_parent(self, name=self.path.stem)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> ScenarioFile | None:
    if file_path.suffix == ".txt":
        return ScenarioFile.from_parent(parent, path=file_path)
    return None
