"""What all routes and sockets of one front door share."""

from __future__ import annotations

from dataclasses import dataclass

from api.leader import Leadership
from api.limits import REQUESTS_IN_FLIGHT_MAX, InFlight
from api.operations import Answers
from api.passwords import Passwords
from api.ports import ApiContext
from api.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Services:
    """Made once per front door, by `services_for`."""

    context: ApiContext
    tokens: Tokens
    passwords: Passwords
    leadership: Leadership
    answers: Answers
    in_flight: InFlight


def services_for(context: ApiContext) -> Services:
    clock = context.clock
    tokens = Tokens(
        context.keys,
        cluster=context.cluster,
        hours=context.settings.token_hours,
        now_s=lambda: clock.wall_ns() / 1e9,
        random_bytes=context.random_bytes,
    )
    leadership = Leadership(context.node, context.replica)
    leadership.on_lost(context.hub.leadership_lost)
    return Services(context, tokens, Passwords(), leadership, Answers(context), InFlight(REQUESTS_IN_FLIGHT_MAX))
