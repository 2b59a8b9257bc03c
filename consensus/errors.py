"""Why a submission or a read did not end in a result.

ConsensusError
├── NotLeader            nothing was logged here; ask the leader
├── Overloaded           nothing was logged; a queue is full
├── NoQuorum             nothing was logged; this leader (or nobody) has a majority
├── TransferRefused      the leadership was not handed over: nothing was begun
├── TransferFailed       the leadership was not handed over: it was begun, and says who leads now
├── OutcomeUnknown       it may or may not have been committed; ask again with the same id
└── CommandTooLarge      nothing was logged; one command exceeds the entry limit
Fatal                    the node must stop; says what an operator should do
"""

from __future__ import annotations


class ConsensusError(Exception):
    """Base of everything that a caller may catch."""


class NotLeader(ConsensusError):
    """This node does not lead. `leader` is the name of the one it follows, if it knows one."""

    def __init__(self, leader: str | None, term: int) -> None:
        super().__init__(f"this node does not lead term {term}; leader: {leader or 'unknown'}")
        self.leader = leader
        self.term = term


class Overloaded(ConsensusError):
    """The queue of waiting commands is full. Nothing was logged."""

    def __init__(self, waiting: int, limit: int, retry_after_ms: int) -> None:
        super().__init__(f"{waiting} commands are waiting, the limit is {limit}; retry in {retry_after_ms} ms")
        self.waiting = waiting
        self.limit = limit
        self.retry_after_ms = retry_after_ms


class NoQuorum(ConsensusError):
    """No majority can be reached from here. Nothing was logged."""

    def __init__(self, reachable: int, members: int, quorum: int) -> None:
        super().__init__(f"{reachable} of {members} members reachable, {quorum} needed")
        self.reachable = reachable
        self.members = members
        self.quorum = quorum


class OutcomeUnknown(ConsensusError):
    """The command was proposed, and this node cannot say whether it was committed."""


class CommandTooLarge(ConsensusError):
    """One command is larger than an entry may be. Nothing was logged."""


class TransferRefused(ConsensusError):
    """The leadership cannot be handed over as asked. Nothing was begun."""


class TransferFailed(ConsensusError):
    """The leadership was to be handed over, and the target did not take it. The message says who leads."""


class Fatal(BaseException):
    """The node must stop: going on could lose or fork acknowledged data.

    Not an `Exception`, so that no handler (PySyncObj's tick loop least of all) swallows it.
    """
