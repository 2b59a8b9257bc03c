"""`qaexchange init`."""

from __future__ import annotations

from pathlib import Path

import typer

from node import secrets
from node.config import ClusterConfig, load_config


def run(path: Path | None) -> None:
    """Raises ConfigError, SecretsError."""
    make(load_config(path))


def make(config: ClusterConfig) -> None:
    """Make the secrets and print the administrator's password, the only time that anybody can read it."""
    password = secrets.initialise(config)
    typer.echo(
        f"Secrets of cluster {config.id!r} are in {config.secrets_dir} (mode 0600); every node needs the same ones."
    )
    typer.echo(f"Administrator: {secrets.ADMIN_USERNAME}   password: {password}")
    typer.echo("The password is shown this once and stored nowhere.")
