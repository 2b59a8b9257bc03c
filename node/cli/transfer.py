"""`qaexchange transfer`."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any, Final

import httpx
import trio
import typer

from node.config import ClusterConfig, load_config
from node.errors import OperatorError
from node.views import Observer, explain

TOKEN: Final = "QAEXCHANGE_TOKEN"  # noqa: S105 (the name of a variable)
ANSWER_S: Final = 10.0


class TransferError(OperatorError):
    """The leadership was not handed over; the message says why."""


def run(path: Path | None, target: str | None) -> None:
    """Ask the leader to hand over, and say who leads then. Raises ConfigError, TransferError."""
    config = load_config(path)
    if target is not None:
        config.node(target)
    leader = trio.run(_leader_url, config)
    with httpx.Client(
        base_url=leader, timeout=ANSWER_S, trust_env=False, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ) as http:
        token = os.environ.get(TOKEN) or _log_in(http)
        body = {} if target is None else {"target": target}
        data = _post(http, "/admin/cluster/transfer", body, {"Authorization": f"Bearer {token}"})
    typer.echo(f"{data['leader']} leads now")


async def _leader_url(config: ClusterConfig) -> str:
    async with Observer(config) as observer:
        overview = await observer.look()
    if overview.leader is None or not overview.can_commit:
        raise TransferError(explain(overview))
    return config.node(overview.leader.node).api_url


def _log_in(http: httpx.Client) -> str:
    name = typer.prompt("administrator", err=True)
    password = typer.prompt("password", hide_input=True, err=True)
    token: str = _post(http, "/api/auth/login", {"username": name, "password": password}, {})["token"]
    return token


def _post(http: httpx.Client, path: str, body: dict[str, str], headers: dict[str, str]) -> dict[str, Any]:
    """The data of the answer. Raises TransferError with what the node said."""
    try:
        answer = http.post(path, json=body, headers=headers).json()
        if answer["success"]:
            data: dict[str, Any] = answer["data"]
            return data
        problem = str(answer["error"]["message"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise TransferError(f"{http.base_url}: {type(error).__name__} {error}") from error
    raise TransferError(problem)
