"""Expected errors leave as one line on stderr with the documented exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from node.cli import main
from node.cli.up import serve_command
from node.config import load_config
from node.local import free_ports


@pytest.fixture
def config_path(tmp_path: Path) -> Path:
    """Three nodes on free ports, none of them running."""
    ports = free_ports(6)
    path = tmp_path / "cluster.toml"
    path.write_text(
        '[cluster]\nid = "t"\n'
        + "".join(
            f'[[nodes]]\nname = "n{i + 1}"\nraft = "127.0.0.1:{ports[2 * i]}"\napi = "127.0.0.1:{ports[2 * i + 1]}"\n'
            for i in range(3)
        )
    )
    return path


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for key in [key for key in os.environ if key.startswith("QAEXCHANGE_")]:
        monkeypatch.delenv(key)


def test_init_prints_the_password_once_and_refuses_to_run_again(config_path, capsys):
    assert main(["init", "--config", str(config_path)]) == 0
    assert "Administrator: admin   password: " in capsys.readouterr().out
    assert main(["init", "--config", str(config_path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("qaexchange: ")
    assert "exists already" in captured.err


@pytest.mark.parametrize("verb", [["init"], ["serve", "--node", "n1"], ["status"], ["up", "--once"]])
def test_every_verb_refuses_a_broken_configuration_with_status_2_and_one_line(verb, config_path, capsys):
    with config_path.open("a") as file:
        file.write("[raft]\nheartbeat = 1\n")
    assert main([*verb, "--config", str(config_path)]) == 2
    captured = capsys.readouterr()
    assert captured.err == f"qaexchange: {config_path}: raft.heartbeat = 1: unknown key; did you mean heartbeat_ms?\n"


def test_serve_refuses_a_node_that_the_file_does_not_have(config_path, capsys):
    assert main(["serve", "--node", "n9", "--config", str(config_path)]) == 2
    assert "no node 'n9'; it has n1, n2, n3" in capsys.readouterr().err


def test_a_missing_option_is_a_usage_error(capsys):
    assert main(["serve"]) == 2
    assert "--node" in capsys.readouterr().err


def test_status_of_a_cluster_that_is_down_is_1(config_path, capsys):
    assert main(["status", "--config", str(config_path)]) == 1
    assert "cannot commit: 0 of 3 nodes answer, 2 needed" in capsys.readouterr().out


async def test_status_names_what_answers_in_a_node_s_place(config_path, capsys):
    """A stranger on a node's port is a problem in the report, not a node and not a failure of the verb."""
    config = load_config(config_path, {})

    async def stranger(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(config.nodes[0].api.port, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, stranger, listeners)
        status = await trio.to_thread.run_sync(main, ["status", "--json", "--config", str(config_path)])
        nursery.cancel_scope.cancel()
    assert status == 1
    report = json.loads(capsys.readouterr().out)
    assert report["can_commit"] is False
    assert report["leader"] is None
    assert report["nodes"][0]["problem"].startswith("not a node's answer: ")
    assert report["nodes"][1] == {
        "name": "n2",
        "api_url": config.nodes[1].api_url,
        "problem": "not running",
        "view": None,
    }


def test_version_names_the_library_that_safety_depends_on(capsys):
    assert main(["version"]) == 0
    assert "PySyncObj 0.3.17" in capsys.readouterr().out


def test_the_way_back_names_the_file_where_it_is_not_the_default(config_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    monkeypatch.chdir(config_path.parent)
    assert serve_command(load_config(None), "n2") == "qaexchange serve --node n2"
    monkeypatch.chdir("/")
    assert serve_command(load_config(config_path), "n2") == f"qaexchange serve --node n2 --config {config_path}"
    monkeypatch.setenv("QAEXCHANGE_DATA_DIR", "/some where")
    assert serve_command(load_config(config_path), "n2").startswith("QAEXCHANGE_DATA_DIR='/some where' qaexchange ")


# --- the lifeline ---------------------------------------------------------------------------------------------------

CHILD = (
    "from node import lifeline; lifeline.hold(); print('held', flush=True); import threading; threading.Event().wait()"
)


def test_a_child_ends_when_its_parent_s_end_of_the_pipe_closes():
    with subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        child.stdin.write(b"bytes mean nothing")
        child.stdin.flush()
        assert child.poll() is None
        child.stdin.close()
        assert child.wait(timeout=30) == -signal.SIGTERM


def test_a_child_ends_when_its_parent_is_killed():
    parent = (
        "import subprocess, sys; "
        f"child = subprocess.Popen([sys.executable, '-c', {CHILD!r}], stdin=subprocess.PIPE, process_group=0); "
        "child.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"  # the grandchild shares our pipe
        process.kill()
        assert process.stdout.read() == b""  # end of file: the grandchild is gone too


def test_a_lifeline_that_is_no_pipe_is_refused(config_path, capsys, monkeypatch):
    with Path(os.devnull).open() as nothing:
        read = subprocess.run(
            [sys.executable, "-m", "node", "serve", "--node", "n1", "--config", str(config_path), "--lifeline"],
            stdin=nothing,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert read.returncode == 2
    assert read.stderr == (
        "qaexchange: --lifeline needs a pipe as standard input; it is for processes that start nodes\n"
    )
