"""`qaexchange version`."""

from __future__ import annotations

import platform
from importlib.metadata import version

import typer


def run() -> None:
    typer.echo(
        f"qaexchange {version('qaexchange')} (PySyncObj {version('pysyncobj')}, Python {platform.python_version()})"
    )
