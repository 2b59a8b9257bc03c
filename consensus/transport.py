"""PySyncObj's transport: every message of the library passes here, outward and inward.

Outward it decides when a message may leave (persist before promise); inward it decides whether the library may see
a message at all (`guards`). It holds no socket: `links` moves the bytes, a simulator may move them as well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from pysyncobj.node import Node
from pysyncobj.transport import Transport as PySyncObjTransport

from consensus import guards, lease, outbox, wire
from consensus.elections import Elections
from consensus.errors import Fatal
from consensus.guards import Progress, Votes
from consensus.journal import Journal
from consensus.outbox import Outbox
from consensus.ports import Member
from consensus.promises import Promises
from consensus.wire import Frame, Message

if TYPE_CHECKING:
    from consensus.raft import Raft


log = logging.getLogger(__name__)


@dataclass(slots=True)
class Peer:
    """One other member, as this node sees it now."""

    member: Member
    node: Node
    outbox: Outbox = field(default_factory=Outbox)
    outgoing: bool = False  # the link that we dialled is up
    incoming: bool = False  # the link that it dialled is up
    heard: float | None = None  # when its last frame came, in this process
    sent: float = 0.0  # when something was last put into its outbox
    forgiven: float | None = None  # what `heard` was set to when a stall of this node was forgiven last
    forgiven_until: float = 0.0
    known_to_raft: bool = False  # PySyncObj believes that it is connected
    progress: Progress = field(default_factory=Progress)


@dataclass(slots=True)
class Following:
    """What this node owes to the leader that it follows."""

    leader: str
    term: int
    verified: int = 0  # our log equals the leader's up to here
    acked: int = 0  # what the leader was told
    sequence: int = 0  # the newest request, echoed in the next acknowledgement
    commit_index: int = 0  # the leader's, as far as it was heard
    owed: bool = False  # a request with entries waits for its acknowledgement


class Transport(PySyncObjTransport):  # type: ignore[misc]
    """Between PySyncObj and the links. One trio thread; nothing here blocks or awaits."""

    def __init__(
        self,
        others: tuple[Member, ...],
        journal: Journal,
        elections: Elections,
        now: Callable[[], float],
        wake: Callable[[], None],
        lease_s: float,
    ) -> None:
        super().__init__(None, None, None)
        self.peers = {member.name: Peer(member, Node(member.name)) for member in others}
        self.following: Following | None = None
        self.held = 0  # every member is known to have the log up to here on its disk, for good
        self.sequence = 0  # counts the append_entries that left here, over all peers
        self._journal = journal
        self._elections = elections
        self._now = now
        self._wake = wake
        self._promises = Promises()
        self._votes = Votes()
        self._sent_times = lease.SentTimes(lease_s)
        self._agreed_term = 0  # the term in which this node campaigns because its leader asked it to
        self._raft: Raft
        self._handlers: dict[str, Callable[[Peer, Frame], None]] = {
            "append_entries": self._on_append,
            "next_node_idx": self._on_acknowledgement,
            "request_vote": self._on_request_vote,
            "response_vote": self._on_vote,
            "prevote": self._on_prevote,
            "prevote_ok": self._on_prevote_granted,
            "higher_term": self._on_higher_term,
            "ping": self._on_ping,
            "timeout_now": self._on_timeout_now,
            "held": self._on_held,
        }

    def attach(self, raft: Raft) -> None:
        self._raft = raft

    # Outward.

    def send(self, node: Node, message: Message) -> bool:
        """Called by PySyncObj. False: the peer is away, and the message is dropped."""
        peer = self.peers[node.id]
        kind = message["type"]
        if not peer.outgoing:
            return False
        if kind == "append_entries":
            self._send_append(peer, message)
        elif kind == "next_node_idx":
            # An acknowledgement of PySyncObj says "stored"; ours says "durable", and is sent by `_acknowledge`.
            if not message["success"]:
                self._refuse(peer, message)
        elif kind in ("request_vote", "response_vote"):
            if kind == "response_vote":
                self._elections.postpone(self._now())
            elif message["term"] == self._agreed_term:
                message = message | {"agreed": True}
            frame = wire.encode(message, self._raft.term, 0)
            self._promises.after(self._journal.end_position, partial(self._post, peer, frame))
        else:
            # P18: followers never forward; a command is proposed where the leader is, or refused.
            raise Fatal(f"PySyncObj wanted to send {kind!r}, which this node never does; this is a bug, report it")
        return True

    def tell_term(self, peer: Peer) -> None:
        """P8: answer an old term with the current one; PySyncObj stays silent and lets a deposed leader go on."""
        self._post(peer, self._encode({"type": "higher_term", "term": self._raft.term}))

    def hand_over(self, peer: Peer) -> None:
        """Ask `peer` to campaign at once: valid for this term, and until it hears an append that leaves later."""
        self._post(peer, self._encode({"type": "timeout_now", "term": self._raft.term}, self.sequence))

    def ask_prevote(self, term: int) -> None:
        question = {
            "type": "prevote",
            "term": term,
            "last_log_index": self._journal.last_index,
            "last_log_term": self._journal.last_term,
        }
        for peer in self.peers.values():
            self._post(peer, self._encode(question))

    def ping_silent(self, now: float, after_s: float) -> None:
        """Show a sign of life on links that carried nothing for `after_s`."""
        for peer in self.peers.values():
            if peer.outgoing and now - peer.sent >= after_s:
                self._post(peer, self._encode({"type": "ping"}), replaces="ping")

    def tell_held(self) -> None:
        """Leader: find out what every member has on its disk, and tell them; nobody may drop more of the log."""
        acked = min((peer.progress.acked for peer in self.peers.values()), default=self._journal.durable_index)
        self.held = max(self.held, min(acked, self._journal.durable_index))
        for peer in self.peers.values():
            self._post(peer, self._encode({"type": "held", "index": self.held}), replaces="held")

    def _post(self, peer: Peer, frame: bytes, replaces: str | None = None) -> None:
        if peer.outgoing:
            peer.outbox.put(frame, replaces)
            peer.sent = self._now()

    def _encode(self, message: Message, sequence: int = 0) -> bytes:
        return wire.encode(message, self._raft.term, sequence)

    def _send_append(self, peer: Peer, message: Message) -> None:
        self.sequence += 1
        self._sent_times.sent(self.sequence, self._now())
        heartbeat = None if message["entries"] else f"heartbeat {message['term']} {message['prevLogIdx']}"
        self._post(peer, self._encode(message, self.sequence), heartbeat)
        if peer.outbox.size > outbox.HIGH_WATER_BYTES:
            self._tell_raft(peer)

    def _refuse(self, peer: Peer, message: Message) -> None:
        following = self.following
        if following is None or following.leader != peer.member.name:
            return
        hint = guards.next_index_hint(self._journal, message["next_node_idx"], self._raft.raftCommitIndex)
        self._post(peer, self._encode(message | {"next_node_idx": max(2, hint)}, following.sequence))

    def _acknowledge(self) -> None:
        """Tell the leader what is durable here: never more (P4), and only what was verified against its log (P5)."""
        following = self.following
        if following is None or following.term != self._raft.term or not self._journal.hard_state_durable:
            return
        index = min(following.verified, self._journal.durable_index)
        if index < 1:
            return
        following.acked = index
        following.owed = index < following.verified
        message = {"type": "next_node_idx", "next_node_idx": index + 1, "reset": False, "success": True}
        self._post(self.peers[following.leader], self._encode(message, following.sequence), "acknowledgement")

    # Durability.

    def on_durable(self) -> None:
        """The WAL was synced: keep the promises that waited for it."""
        self._promises.release(self._journal.durable_position)
        following = self.following
        if following is not None and following.owed:
            self._acknowledge()
        if self._raft.is_leader:
            for peer in self.peers.values():
                if peer.progress.counted < min(peer.progress.acked, self._journal.durable_index):
                    self._count(peer)

    # Inward.

    def receive(self, peer: Peer, data: bytes) -> None:
        """One frame from `peer`, without its length. Raises MalformedFrame: the caller drops the link."""
        frame = wire.decode(data)
        peer.heard = self._now()
        self._handlers[frame.message["type"]](peer, frame)
        self._wake()

    def _inject(self, peer: Peer, message: Message) -> None:
        self._onMessageReceived(peer.node, message)

    def _on_append(self, peer: Peer, frame: Frame) -> None:
        message = frame.message
        term = message["term"]
        if term < self._raft.term:
            self.tell_term(peer)
            return
        if term == self._raft.term and self._raft.is_leader:
            raise Fatal(
                f"{peer.member.name} and this node both lead term {term}: a vote was forgotten. Stop the cluster, keep "
                "the data directories, and bring the node that lost its disk back as a new member"
            )
        self._elections.hear(peer.member.name, self._now())
        following = self.following
        if following is None or (following.leader, following.term) != (peer.member.name, term):
            following = self.following = Following(peer.member.name, term)
        following.sequence = frame.sequence
        following.commit_index = max(following.commit_index, message["commit_index"])
        had_entries = bool(message["entries"])
        verified = guards.rebase(self._journal, message)
        self._inject(peer, message)
        if verified is None:
            return
        following.verified = max(following.verified, verified)
        following.owed = True
        # Entries are acknowledged by the sync that makes them durable; a heartbeat at once, with what is durable
        # now, so that a slow disk does not look like a dead node.
        if not had_entries or self._journal.durable_index >= following.verified:
            self._acknowledge()

    def _on_acknowledgement(self, peer: Peer, frame: Frame) -> None:
        raft, message, progress = self._raft, frame.message, peer.progress
        if frame.term != raft.term or not raft.is_leader:
            return  # P6: of an earlier leadership
        if message["success"]:
            progress.acknowledge(message["next_node_idx"] - 1, self._journal.last_index)
            progress.answered(frame.sequence, self._sent_times.at(frame.sequence))
            self._count(peer)
        elif message["next_node_idx"] > self._journal.last_index + 1:
            raise wire.MalformedFrame(f"entry {message['next_node_idx']} was asked for; the log is shorter")
        elif progress.admit_refusal(frame.sequence, self.sequence):
            progress.answered(frame.sequence, self._sent_times.at(frame.sequence))
            first = self._journal.first_index
            if message["next_node_idx"] < first:
                self._tell_of_gap(peer, message["next_node_idx"])
            self._inject(peer, message | {"next_node_idx": max(first, message["next_node_idx"])})
            raft.send_soon()

    def _count(self, peer: Peer) -> None:
        index = peer.progress.countable(self._journal.durable_index)
        message = {"type": "next_node_idx", "next_node_idx": index + 1, "reset": False, "success": True}
        with self._raft.next_index_kept(peer.node):  # P5
            self._inject(peer, message)
        self._wake()

    def _on_request_vote(self, peer: Peer, frame: Frame) -> None:
        if frame.message["term"] < self._raft.term:
            self.tell_term(peer)
            return
        # PySyncObj votes for whomever it hears. A pre-vote binds nobody, so the leader may have been heard since, and
        # counts on that (`lease`); only where it gave its lease up itself is there nothing to break.
        agreed = frame.message.pop("agreed", False)
        if not agreed and not self._raft.is_leader and self._elections.vowed(self._now()):
            return
        self._inject(peer, frame.message)

    def _on_timeout_now(self, peer: Peer, frame: Frame) -> None:
        """The leader that this node follows asks it to take over: campaign here and now.

        Not in the next turn: an append that arrived meanwhile would be answered under the old term, and the leader
        takes such an answer for proof that this request has come to nothing (`transfer`). For the same reason a
        request that was overtaken by an append is void.
        """
        following, term = self.following, self._raft.term
        if following is None or (following.leader, following.term) != (peer.member.name, term):
            return
        if frame.message["term"] != term or frame.term != term or frame.sequence < following.sequence:
            return
        self._agreed_term = term + 1
        self._elections.command()
        self._raft.doTick(0)
        self._elections.gate_open = False  # nobody was linked: not at any later time

    def _on_vote(self, peer: Peer, frame: Frame) -> None:
        term = frame.message["term"]
        if term == self._raft.term == frame.term and self._votes.admit(peer.member.name, term):
            self._inject(peer, frame.message)

    def _on_prevote(self, peer: Peer, frame: Frame) -> None:
        message = frame.message
        if message["term"] <= self._raft.term:
            self.tell_term(peer)
            return
        theirs = (message["last_log_term"], message["last_log_index"])
        mine = (self._journal.last_term, self._journal.last_index)
        if not self._raft.is_leader and self._elections.consider(
            peer.member.name, message["term"], theirs, mine, self._now()
        ):
            self._post(peer, self._encode({"type": "prevote_ok", "term": message["term"]}))

    def _on_prevote_granted(self, peer: Peer, frame: Frame) -> None:
        if not self._raft.is_leader:
            self._elections.granted(peer.member.name, frame.message["term"], self._raft.term)

    def _on_higher_term(self, peer: Peer, frame: Frame) -> None:
        if frame.message["term"] > self._raft.term:
            # A request that cannot be granted (its log is shorter than any) makes PySyncObj take the term and step
            # down, through its own code.
            empty = {"last_log_index": 0, "last_log_term": 0}
            self._inject(peer, {"type": "request_vote", "term": frame.message["term"], **empty})

    def _tell_of_gap(self, peer: Peer, asked: int) -> None:
        if not peer.progress.gap_told:
            peer.progress.gap_told = True
            log.error(
                "%s asks for entry %d, and the log begins with %d here. If it does not catch up now, it has lost its "
                "disk: bring it back as a new member",
                peer.member.name,
                asked,
                self._journal.first_index,
            )

    def _on_held(self, peer: Peer, frame: Frame) -> None:
        # What is on the disks of all members once stays there: true whoever leads now.
        self.held = max(self.held, frame.message["index"])

    def _on_ping(self, peer: Peer, frame: Frame) -> None:
        if frame.term < self._raft.term:
            self.tell_term(peer)

    # Links and roles.

    def link_changed(self, peer: Peer, *, outgoing: bool | None = None, incoming: bool | None = None) -> None:
        """A link to or from `peer` came up or was closed."""
        if outgoing is not None:
            peer.outgoing = outgoing
            peer.outbox.clear()
        if incoming is not None:
            peer.incoming = incoming
            if not incoming:
                peer.heard = None
                self._elections.closed(peer.member.name, self._now())
        self._tell_raft(peer)
        self._wake()

    def drained(self, peer: Peer) -> None:
        """The link took everything that waited: PySyncObj may send entries again."""
        if peer.outgoing and not peer.known_to_raft:
            self._tell_raft(peer)
            self._raft.send_soon()
            self._wake()

    def _tell_raft(self, peer: Peer) -> None:
        # PySyncObj sends without end to whoever is connected, so a congested peer is "not connected" to it: its loop
        # stops there, and goes on when the outbox has drained.
        congested = peer.outbox.size > (outbox.LOW_WATER_BYTES if not peer.known_to_raft else outbox.HIGH_WATER_BYTES)
        known = peer.outgoing and not congested
        if known != peer.known_to_raft:
            peer.known_to_raft = known
            (self._onNodeConnected if known else self._onNodeDisconnected)(peer.node)

    def role_changed(self) -> None:
        """PySyncObj has just changed its role; nothing learned about peers in the old one is valid."""
        for peer in self.peers.values():
            peer.progress = Progress(refusals_after=peer.progress.refusals_after)
        if self._raft.is_leader:
            self.following = None
        self._elections.postpone(self._now())

    def contacted(self, since: int) -> int:
        """How many members, this one included, answered a request that was sent after number `since`."""
        return 1 + sum(peer.progress.echoed > since for peer in self.peers.values())

    def confirmed(self, quorum: int) -> float:
        """The latest moment of which is known: what was sent then or later, `quorum` members (this one included) have
        answered. NEVER before the first answers of a leadership."""
        if quorum <= 1:
            return self._now()
        moments = sorted((peer.progress.confirmed for peer in self.peers.values()), reverse=True)
        return moments[quorum - 2]

    def answering(self, since: float) -> int:
        """How many members, this one included, answered something that was sent at `since` or later."""
        return 1 + sum(peer.progress.confirmed >= since for peer in self.peers.values())

    def reachable(self, now: float, within_s: float) -> int:
        """How many members, this one included, were heard within the last `within_s` seconds."""
        return 1 + sum(
            peer.incoming and peer.heard is not None and now - peer.heard <= within_s for peer in self.peers.values()
        )

    def forgive(self, stall_s: float, now: float, at_most_s: float) -> list[Node]:
        """This node did not run for `stall_s`; the silence of the others was its own. Returns whom it forgave.

        Of those who stay silent afterwards, further stalls are forgiven for `at_most_s` only (see `Elections`).
        """
        forgiven: list[Node] = []
        for peer in self.peers.values():
            if peer.heard is None:
                continue
            if peer.heard != peer.forgiven:  # it was heard since the last stall
                peer.forgiven_until = now + at_most_s
            if now <= peer.forgiven_until:
                peer.heard = peer.forgiven = min(now, peer.heard + stall_s)
                forgiven.append(peer.node)
        return forgiven

    def destroy(self) -> Any:
        raise Fatal("PySyncObj was asked to close the links; their owner does that")
