from __future__ import annotations

from typing import Any

import trio
import trio.testing

from api.leader import ELECTION_S, Leadership
from consensus.errors import NotLeader
from consensus.ports import Member


class DeposedReplica:
    """A replica whose listeners have not heard yet that it was deposed."""

    role, leader, term = "leader", "n1", 3
    members = tuple(Member(name, "127.0.0.1", 1, f"http://{name}") for name in ("n1", "n2", "n3"))

    def status(self) -> Any:
        return self

    def add_role_listener(self, listener: object) -> None: ...


def test_a_refusal_names_the_leader_of_its_own_moment_never_the_node_that_refuses() -> None:
    leadership = Leadership("n1", DeposedReplica())  # type: ignore[arg-type]
    assert leadership.error(NotLeader("n2", 4)).body.details["leader"] == {"id": "n2", "url": "http://n2"}
    assert leadership.error(NotLeader(None, 4)).body.details["leader"] is None


async def test_who_asks_during_an_election_is_told_its_outcome_as_soon_as_it_is_known(
    autojump_clock: trio.testing.MockClock,
) -> None:
    leadership = Leadership("n1", DeposedReplica())  # type: ignore[arg-type]
    leadership._changed("candidate", None, 4)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(leadership.known)
        await trio.sleep(0.1)
        leadership._changed("follower", "n2", 4)
    assert trio.current_time() == began + 0.1
    await leadership.known()
    assert trio.current_time() == began + 0.1, "it is known already"


async def test_who_asks_during_an_election_does_not_wait_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    leadership = Leadership("n1", DeposedReplica())  # type: ignore[arg-type]
    leadership._changed("candidate", None, 4)
    began = trio.current_time()
    await leadership.known()
    assert trio.current_time() == began + ELECTION_S
