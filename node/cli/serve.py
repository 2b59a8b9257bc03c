"""`qaexchange serve`."""

from __future__ import annotations

from pathlib import Path

from node import lifeline as lifelines
from node import logs
from node.config import load_config


def run(path: Path | None, name: str, *, lifeline: bool) -> int:
    """Be one node until told to stop; its exit status. Raises ConfigError, SecretsError, LifelineError."""
    config = load_config(path)
    node = config.node(name)
    logs.configure(node.name, config.log_level)
    if lifeline:
        lifelines.hold()
    from node.app import run_node

    return run_node(config, node.name)
