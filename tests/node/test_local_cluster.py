"""Real node processes, started, watched, killed, paused, brought back and never left behind."""

# ruff: noqa: ASYNC110, ASYNC220 (processes have no trio.Event, and are started as a shell would start them)

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from node.config import load_config
from node.errors import LocalClusterError
from node.local import LocalCluster, describe_exit, free_ports
from node.views import Observer


def alive(pid: int) -> bool:
    """Whether a process exists that is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def gone(pids: list[int]) -> None:
    with trio.fail_after(30):
        while any(alive(pid) for pid in pids):
            await trio.sleep(0.05)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[LocalCluster]:
    async with LocalCluster.temporary(tmp_path, instruments=[]) as cluster:
        await cluster.wait_until_ready()
        yield cluster


def test_a_temporary_cluster_has_free_ports_secrets_and_the_given_terms(tmp_path):
    cluster = LocalCluster.temporary(tmp_path, nodes=5, raft={"heartbeat_ms": 20}, demo={"traders": 0})
    config = cluster.config
    ports = [address.port for node in config.nodes for address in (node.raft, node.api)]
    assert len(set(ports)) == 10
    assert config.raft.heartbeat_ms == 20
    assert config.raft.election_max_ms == 600
    assert config.demo.traders == 0
    assert config.instruments
    assert config.data_dir == tmp_path / "data"
    assert (config.secrets_dir / "jwt.json").exists()
    assert load_config(config.path, {}) == config
    assert not any(cluster.is_running(node.name) for node in config.nodes)


def test_free_ports_are_different_and_outside_the_ephemeral_range():
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert all(port < 32_768 for port in ports)


async def test_a_taken_address_is_named_before_anything_is_left_running(tmp_path):
    cluster = LocalCluster.temporary(tmp_path, instruments=[])
    node = cluster.config.nodes[2]
    (listener,) = await trio.open_tcp_listeners(node.api.port, host=node.api.host)
    async with listener:
        with pytest.raises(
            LocalClusterError, match=rf"n3: api address {node.api} cannot be used: Address already in use"
        ):
            async with cluster:
                raise AssertionError("it started")
    assert not any(cluster.is_running(name) for name in ("n1", "n2", "n3"))


async def test_a_node_that_dies_at_its_start_is_reported_with_its_last_words(tmp_path):
    cluster = LocalCluster.temporary(tmp_path, nodes=1)
    (cluster.config.secrets_dir / "jwt.json").unlink()
    async with cluster:
        with pytest.raises(LocalClusterError, match=r"n1 ended with exit status 2; .*(?s:.*)jwt\.json: missing; run"):
            await cluster.wait_until_ready()


async def test_a_leader_that_is_killed_is_replaced_and_comes_back(cluster):
    async with Observer(cluster.config) as observer:
        first = (await observer.look()).leader
        assert first is not None
        pid = cluster.pid(first.node)
        cluster.kill(first.node)
        assert not alive(pid)
        assert cluster.exit_status(first.node) == -signal.SIGKILL
        with pytest.raises(LocalClusterError, match="does not run here"):
            cluster.kill(first.node)
        overview = await cluster.wait_until_ready()
        second = overview.leader
        assert second is not None
        assert second.node != first.node
        assert second.term > first.term
        assert overview.sighting(first.node).problem == "not running"
        await cluster.restart(first.node)
        overview = await cluster.wait_until_ready()
        assert len(overview.views) == 3
        assert overview.disagreements == ()


async def test_a_paused_node_is_silent_until_it_is_resumed(cluster):
    async with Observer(cluster.config, timeout_s=0.5) as observer:
        overview = await observer.look()
        assert overview.leader is not None
        name = next(node.name for node in cluster.config.nodes if node.name != overview.leader.node)
        cluster.pause(name)
        assert cluster.is_running(name)
        assert (await observer.look()).sighting(name).problem == "no answer within 0.5 s"
        cluster.resume(name)
        cluster.resume(name)
        await cluster.wait_until_ready()


async def test_stopping_ends_exactly_the_processes_that_it_started(cluster):
    pids = [cluster.pid(node.name) for node in cluster.config.nodes]
    cluster.pause("n2")  # a paused node is stopped all the same
    await cluster.stop()
    assert not any(alive(pid) for pid in pids)
    assert {cluster.exit_status(name) for name in ("n1", "n2", "n3")} == {0}
    await cluster.stop()


async def test_a_node_that_somebody_else_started_is_seen_and_left_alone(cluster):
    cluster.kill("n2")
    command = [sys.executable, "-m", "node", "serve", "--node", "n2", "--config", str(cluster.config.path)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as other:
        try:
            async with Observer(cluster.config) as observer:
                with trio.fail_after(30):
                    while (await observer.look()).sighting("n2").view is None:
                        await trio.sleep(0.1)
            assert not cluster.is_running("n2")
            await cluster.stop()
            assert other.poll() is None
        finally:
            other.terminate()
        assert other.wait(timeout=30) == 0


@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
async def test_no_node_outlives_a_parent_that_was_killed(tmp_path, paused):
    cluster = LocalCluster.temporary(tmp_path, instruments=[])
    program = (
        "import trio, sys\n"
        "from pathlib import Path\n"
        "from node.config import load_config\n"
        "from node.local import LocalCluster\n"
        "async def main():\n"
        "    async with LocalCluster(load_config(Path(sys.argv[1]), {})) as cluster:\n"
        "        await cluster.wait_until_ready()\n"
        f"        {paused} and cluster.pause('n3')\n"
        "        print(*(cluster.pid(n) for n in ('n1', 'n2', 'n3')), flush=True)\n"
        "        await trio.sleep_forever()\n"
        "trio.run(main)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(cluster.config.path)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pids = [int(pid) for pid in (await trio.to_thread.run_sync(parent.stdout.readline)).split()]
    try:
        assert len(pids) == 3
        assert all(alive(pid) for pid in pids)
        parent.kill()
        parent.wait()
        parent.stdout.close()
        await gone(pids)
    finally:
        for pid in filter(alive, pids):
            os.kill(pid, signal.SIGKILL)


def test_an_exit_status_is_said_as_people_say_it():
    assert describe_exit(1) == "exit status 1"
    assert describe_exit(-9) == "signal SIGKILL"
    assert describe_exit(None) == "no exit status"


# --- qaexchange up --------------------------------------------------------------------------------------------------


def test_up_shows_the_cluster_and_stops_cleanly(tmp_path):
    config = LocalCluster.temporary(tmp_path).config
    command = [sys.executable, "-m", "node", "up", "--plain", "--no-demo", "--once", "--config", str(config.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(
        r"^\d\d:\d\d:\d\dZ n1 \w+ term=\d+ commit=\d+ applied=\d+ hash=[0-9a-f]{12}", done.stdout, re.MULTILINE
    )
    assert done.stdout.endswith("Stopped.\n")
    assert done.stderr == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
async def test_up_ends_with_0_on_a_signal_and_takes_its_nodes_with_it(tmp_path, number):
    cluster = LocalCluster.temporary(tmp_path)
    command = [sys.executable, "-m", "node", "up", "--plain", "--no-demo", "--config", str(cluster.config.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as up:
        assert up.stdout is not None
        while " term=" not in (line := await trio.to_thread.run_sync(up.stdout.readline)):
            assert line, "up ended by itself"
        up.send_signal(number)
        rest = await trio.to_thread.run_sync(up.stdout.read)
    assert up.returncode == 0
    assert rest.endswith("Stopped.\n")
    async with Observer(cluster.config) as observer:
        assert {sighting.problem for sighting in (await observer.look()).sightings} == {"not running"}


async def test_up_makes_secrets_where_there_are_none(tmp_path):
    config = LocalCluster.temporary(tmp_path, nodes=1).config
    for path in config.secrets_dir.iterdir():
        path.unlink()
    config.secrets_dir.rmdir()
    command = [sys.executable, "-m", "node", "up", "--plain", "--no-demo", "--once", "--config", str(config.path)]
    done = await trio.run_process(command, capture_stdout=True)
    assert re.search(rb"Administrator: admin   password: \S+\n", done.stdout)


async def test_up_shows_a_killed_node_down_and_sees_it_again(tmp_path):
    config = LocalCluster.temporary(tmp_path).config
    command = [sys.executable, "-m", "node", "up", "--plain", "--config", str(config.path)]
    serve = [sys.executable, "-m", "node", "serve", "--node", "n2", "--config", str(config.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as up:
        assert up.stdout is not None

        async def read_until(pattern: str) -> str:
            with trio.fail_after(60):
                while not re.search(pattern, line := await trio.to_thread.run_sync(up.stdout.readline)):
                    assert line, "up ended by itself"
            return line

        await read_until(r"; demo traders: 4 trading, .* [1-9]\d* acknowledged")
        os.kill(child_of(up.pid, "n2"), signal.SIGKILL)
        way_back = await read_until(r"^n2 ended with signal SIGKILL; ")
        assert way_back.endswith(f"serve --node n2 --config {config.path}\n")
        await read_until(r"; n2 down \(not running\); ")
        with subprocess.Popen(serve, stderr=subprocess.DEVNULL) as other:
            await read_until(r"; n2 (follower|leader) term=")
            up.send_signal(signal.SIGINT)
            rest = await trio.to_thread.run_sync(up.stdout.read)
            assert other.poll() is None
            other.terminate()
    assert up.returncode == 0
    assert "n2 was started by another `qaexchange serve`, and goes on running." in rest


def child_of(parent: int, node: str) -> int:
    """The pid of the process that `parent` runs for a node."""
    for path in Path("/proc").iterdir():
        try:
            status = (path / "stat").read_text().rpartition(")")[2].split()
            words = (path / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if int(status[1]) == parent and node.encode() in words:
            return int(path.name)
    raise AssertionError(f"process {parent} runs no {node}")
