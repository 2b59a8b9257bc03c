"""Where the recorded day lies: $QAEXCHANGE_DATA, or ../shared/data beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DAY = "lobster_GOOG_2012-06-21"


@pytest.fixture(scope="session")
def goog_day() -> Path:
    configured = os.environ.get("QAEXCHANGE_DATA")
    data = Path(configured) if configured else Path(__file__).resolve().parents[2].parent / "shared" / "data"
    day = data / DAY
    if not day.is_dir():
        pytest.skip(f"THE RECORDED DAY IS NOT REPLAYED: {day} does not exist; set QAEXCHANGE_DATA to the data folder")
    return day
