"""The faults of one run, drawn from its seed: how the network and the disks are today, and what breaks when."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial

from chaos.sim.disk import Disk
from chaos.sim.judges import Judges
from chaos.sim.network import Network, Weather
from chaos.sim.process import CrashPoint, Process
from chaos.sim.timeline import Timeline
from consensus.errors import ConsensusError

CRASH_POINTS: tuple[CrashPoint, ...] = ("before the sync", "before sending", "after the sync")
HOUR_NS = 3600 * 10**9


class Nemesis:
    """Breaks things until it is told to stop, and heals them."""

    def __init__(
        self,
        processes: Sequence[Process],
        timeline: Timeline,
        network: Network,
        disk: Disk,
        judges: Judges,
        rng: random.Random,
        trace: Callable[[str, str], None] | None,
    ) -> None:
        self._processes = processes
        self._timeline = timeline
        self._network = network
        self._disk = disk
        self._judges = judges
        self._rng = rng
        self._trace = trace
        self._active = False
        self.faults: dict[str, int] = {}  # how often each fired
        self._every_s = rng.choice((0.05, 0.15, 0.4, 1.0))
        self._back_s = rng.choice((0.01, 0.1, 0.6))  # how long a dead machine stays away, about
        kinds: dict[Callable[[], bool], tuple[str, float]] = {
            self._kill: ("kill", 2),
            self._crash_in_turn: ("crash in a turn", 2),
            self._power_loss: ("power loss", 2),
            self._power_loss_of_all: ("power loss of all", 1),
            self._reset: ("reset", 3),
            self._isolate: ("isolate", 2),
            self._cut_pair: ("cut a pair", 2),
            self._cut_one_way: ("cut one way", 2),
            self._heal: ("heal", 5),
            self._pause: ("pause", 2),
            self._slow_disk: ("slow disk", 2),
            self._jump: ("jump of the wall clock", 1),
            self._fail_sync: ("failed sync", 0.5),
            self._flip_bit: ("flipped bit", 0.2),
            self._transfer: ("transfer", 1),
            self._scatter: ("power loss behind a cut", 2),
            self._contest: ("contested election", 2),
        }
        # Every run has favourites: most schedules that matter repeat one kind of fault.
        self._kinds = list(kinds)
        self._names = [name for name, _ in kinds.values()]
        self._weights = [weight * rng.choice((0, 1, 1, 4)) for _, weight in kinds.values()]
        if not any(self._weights):
            self._weights = [weight for _, weight in kinds.values()]
        if len(processes) == 1:
            pairs = (self._reset, self._isolate, self._cut_pair, self._cut_one_way, self._transfer, self._scatter)
            self._weights = [0 if kind in pairs else 1 for kind in self._kinds]
        for process in processes:
            process.on_death = self._bring_back

    def begin(self) -> None:
        rng = self._rng
        delay_s = rng.choice((0.0002, 0.0002, 0.002, 0.02))
        self._network.weather = Weather(
            delay_s,
            delay_s * rng.choice((0.3, 1.0, 3.0)),
            rng.choice((0.0, 0.0, 0.001, 0.01)),
            rng.choice((0.0, 0.3)),
        )
        for process in self._processes:
            process.sync_s = rng.choice((0.0003, 0.002, 0.01, 0.04))
        self._say(f"{self._network.weather}, syncs of {[process.sync_s for process in self._processes]} s")
        self._active = True
        self._soon()

    def end(self) -> None:
        """Stop, and heal everything but damaged disks."""
        self._active = False
        self._say("heals everything")
        self._network.weather = Weather()
        self._network.heal()
        self._disk.failing.clear()
        for process in self._processes:
            process.sync_s = 0.001
            process.crash_point = None
            process.resume()
            if process.node is None and not process.ruined:
                process.start()

    def _say(self, event: str) -> None:
        if self._trace is not None:
            self._trace("*", event)

    def _soon(self) -> None:
        self._timeline.after(self._every_s * self._rng.expovariate(1.0), self._strike)

    def _strike(self) -> None:
        if not self._active:
            return
        (number,) = self._rng.choices(range(len(self._kinds)), self._weights)
        self._say(self._names[number])
        if self._kinds[number]():
            self.faults[self._names[number]] = self.faults.get(self._names[number], 0) + 1
        self._soon()

    # Whom it hits.

    def _running(self) -> list[Process]:
        return [process for process in self._processes if process.node is not None]

    def _victim(self) -> Process | None:
        """Rather a leader than another."""
        running = self._running()
        leaders = [process for process in running if process.node is not None and process.node.core.raft.is_leader]
        if leaders and self._rng.random() < 0.5:
            return self._rng.choice(leaders)
        return self._rng.choice(running) if running else None

    def _bring_back(self, process: Process) -> None:
        self._timeline.after(self._back_s * (0.2 + self._rng.expovariate(1.0)), partial(self._start, process))

    def _start(self, process: Process) -> None:
        if self._active and process.node is None:
            self._disk.failing.discard(process.root)
            process.start()

    # Processes and disks.

    def _kill(self) -> bool:
        if (process := self._victim()) is None:
            return False
        process.kill()
        self._bring_back(process)
        return True

    def _crash_in_turn(self) -> bool:
        if (process := self._victim()) is None:
            return False
        process.crash_point = self._rng.choice(CRASH_POINTS)
        return True

    def _power_loss(self) -> bool:
        if (process := self._victim()) is None:
            return False
        process.power_off(self._rng)
        self._bring_back(process)
        return True

    def _power_loss_of_all(self) -> bool:
        for process in self._running():
            process.power_off(self._rng)
            self._bring_back(process)
        return True

    def _scatter(self) -> bool:
        """A leader goes dark while one of those who heard it last is cut off: the rest must know all that counts."""
        process = self._victim()
        others = [other for other in self._processes if other is not process]
        if process is None:
            return False
        away = self._rng.choice(others)
        rest = [other.name for other in self._processes if other is not away]
        self._network.cut(*((away.name, x) for x in rest), *((x, away.name) for x in rest))
        process.power_off(self._rng)
        self._bring_back(process)
        return True

    def _contest(self) -> bool:
        """A leader goes dark, and while the others elect, voters do so, too, and are back at once."""
        if (process := self._victim()) is None:
            return False
        process.power_off(self._rng)
        self._bring_back(process)

        def blink() -> None:
            if self._active and (voter := self._victim()) is not None:
                voter.power_off(self._rng)
                self._timeline.after(0.002, partial(self._start, voter))

        for _ in range(3):
            self._timeline.after(self._rng.uniform(0.1, 0.5), blink)
        return True

    def _pause(self) -> bool:
        if (process := self._victim()) is None or process.paused:
            return False
        process.pause()
        run = process.run

        def resume() -> None:
            if process.run == run:
                process.resume()

        self._timeline.after(self._rng.choice((0.05, 0.3, 0.8, 1.6)), resume)
        return True

    def _slow_disk(self) -> bool:
        process = self._rng.choice(self._processes)
        process.sync_s = self._rng.choice((0.0003, 0.001, 0.01, 0.1, 0.4))
        return True

    def _jump(self) -> bool:
        process = self._rng.choice(self._processes)
        process.wall_offset_ns = self._rng.choice((0, HOUR_NS, -HOUR_NS, self._rng.randint(-(10**9), 10**9)))
        return True

    def _fail_sync(self) -> bool:
        if (process := self._victim()) is None:
            return False
        self._judges.excuse(process.name)
        self._disk.failing.add(process.root)
        return True

    def _flip_bit(self) -> bool:
        ruined = sum(process.ruined for process in self._processes)
        process = self._victim()
        if process is None or ruined >= (len(self._processes) - 1) // 2:
            return False
        process.power_off(self._rng, flip_bit=True)
        process.start() if process.ruined else self._bring_back(process)
        return True

    def _transfer(self) -> bool:
        """No fault, but it changes leaders like one."""
        process, target = self._victim(), self._rng.choice(self._processes)
        if process is None or process is target:
            return False

        def begin() -> None:
            if process.node is not None:
                try:
                    process.node.core.transfer(target.name, lambda outcome: None, 1.0)
                except ConsensusError:
                    pass

        process.post(begin)
        return True

    # The network.

    def _reset(self) -> bool:
        source, target = self._rng.sample(self._processes, 2)
        self._network.reset(source.name, target.name)
        return True

    def _isolate(self) -> bool:
        process = self._victim() or self._processes[0]
        others = [other.name for other in self._processes if other is not process]
        self._network.cut(*((process.name, x) for x in others), *((x, process.name) for x in others))
        return True

    def _cut_pair(self) -> bool:
        source, target = self._rng.sample(self._processes, 2)
        self._network.cut((source.name, target.name), (target.name, source.name))
        return True

    def _cut_one_way(self) -> bool:
        source, target = self._rng.sample(self._processes, 2)
        self._network.cut((source.name, target.name))
        return True

    def _heal(self) -> bool:
        self._network.heal()
        return True
