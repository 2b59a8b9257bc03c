from __future__ import annotations

from typing import Any

from api.leader import Leadership
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
