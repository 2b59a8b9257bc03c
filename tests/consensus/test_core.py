"""One core at a time, without I/O."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chaos.sim.clock import virtual_time
from consensus import raft
from tests.consensus.stage import ELECTION_MIN_MS, Simulation


def test_a_long_log_is_replayed_in_bounded_pieces_and_before_any_election(tmp_path: Path) -> None:
    with virtual_time():
        simulation = Simulation(tmp_path, 1, entry_commands_max=100)
        try:
            simulation.run_calmly(1.0)
            (leader,) = simulation.leaders()
            for _ in range(5):
                leader.core.propose([b"x"] * 1000, lambda outcome: None, 5.0)
            simulation.run_calmly(1.5)  # the commit index is noted once a second
            for pair in simulation.pairs():
                simulation.cut.add(pair)
                simulation.link(pair, False)
            simulation.restart(leader.name)
            restarted = simulation.nodes[leader.name]
            sizes = []
            while restarted.core.raft.raftLastApplied < restarted.core.raft.raftCommitIndex:
                before = len(restarted.machine.commands)
                restarted.step()
                sizes.append(len(restarted.machine.commands) - before)
            assert sum(sizes) == 5000
            assert max(sizes) <= raft.APPLY_COMMANDS_MAX + 100
            assert restarted.core.commands_applied == 0, "an earlier run applied them"
        finally:
            simulation.close()


def test_a_congested_peer_is_not_sent_to_until_its_outbox_drained(tmp_path: Path) -> None:
    with virtual_time():
        simulation = Simulation(tmp_path, 1)
        try:
            simulation.run_calmly(1.0)
            (leader,) = simulation.leaders()
            peer = next(iter(leader.core.transport.peers.values()))
            outcomes: list[Any] = []
            for _ in range(60):  # nobody takes what waits in the outboxes
                leader.core.propose([bytes(200_000)], outcomes.append, 60.0)
            for _ in range(200):
                leader.step()
                leader.start_sync()
                leader.finish_sync()
                for other in leader.core.transport.peers.values():
                    if other is not peer:
                        other.outbox.clear()
            assert not peer.known_to_raft
            assert peer.outbox.size < 2 * 1024 * 1024
            assert not peer.outbox.overfull
            simulation.run_calmly(2.0)
            assert peer.known_to_raft
            assert len(outcomes) == 60
            assert {len(node.machine.commands) for node in simulation.nodes.values()} == {60}
        finally:
            simulation.close()


def test_a_leader_of_a_term_without_a_committed_entry_serves_no_read(tmp_path: Path) -> None:
    with virtual_time():
        simulation = Simulation(tmp_path, 1)
        try:
            simulation.run_calmly(1.0)
            (old,) = simulation.leaders()
            for pair in simulation.pairs():
                if old.name in pair:
                    simulation.link(pair, False)
            candidate = next(node for node in simulation.nodes.values() if node is not old)
            simulation.clock.seconds += ELECTION_MIN_MS / 2000  # the voter's vow to the old leader ends
            candidate.core.elections.postpone(simulation.clock())
            candidate.core.elections.gate_open = True
            candidate.step()
            for _ in range(5):
                for node in simulation.nodes.values():
                    if node is not old:
                        node.start_sync()
                        node.finish_sync()
                simulation.collect()
                for source, target in list(simulation.queues):
                    simulation.deliver(source, target, 99)
                if candidate.core.raft.is_leader:
                    break
            assert candidate.core.raft.is_leader
            answers: list[Any] = []
            candidate.core.read(answers.append)
            candidate.step()
            assert answers == []
            simulation.run_calmly(0.5)
            assert len(answers) == 1
            assert isinstance(answers[0], int)
        finally:
            simulation.close()
