from __future__ import annotations

from node.exchange.events import CommandRejected, Event, OrderAccepted
from node.meter import OrderMeter

ACCEPTED = OrderAccepted(1, "ACC_1", "SHFE.cu2701", "", 1, 0, 0, 7_000, 1, 0, 0)
SECOND = 10**9


class HandClock:
    def __init__(self) -> None:
        self.now_ns = 100 * SECOND

    def wall_ns(self) -> int:
        return self.now_ns

    def monotonic_ns(self) -> int:
        return self.now_ns


def entry(orders: int) -> list[list[Event]]:
    return [[ACCEPTED] for _ in range(orders)] + [[CommandRejected(1001, "")]]


def test_the_rate_is_the_mean_over_whole_seconds_and_unknown_before_the_first() -> None:
    clock = HandClock()
    meter = OrderMeter(clock)
    meter.observe(clock.now_ns, entry(10))
    assert meter.per_second() is None
    clock.now_ns += SECOND
    assert meter.per_second() == 10
    meter.observe(clock.now_ns, entry(30))
    clock.now_ns += SECOND
    assert meter.per_second() == 20
    clock.now_ns += 10 * SECOND
    assert meter.per_second() == 0
    assert meter.total == 40


def test_the_replay_of_an_old_log_is_not_traffic() -> None:
    clock = HandClock()
    meter = OrderMeter(clock)
    meter.observe(clock.now_ns - 1, entry(500))
    clock.now_ns += SECOND
    assert meter.per_second() == 0
