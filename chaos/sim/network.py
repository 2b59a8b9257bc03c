"""The virtual network: one ordered stream per direction, dialled, reset and replaced as `consensus.links` does it.

A packet that is lost delays a stream until it is sent again, and in the end closes it: frames never go missing in the
middle. So what can happen to a link is delay, a reset that loses what was in flight (a burst arrives in part), a cut
of one direction or both that holds the frames back until it heals or the sender gives up, and a new link that overtakes
the old one. With `duplicate`, a link repeats some of the frames that it carried lately, which TCP would never do.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from chaos.sim.timeline import Timeline
from consensus.links import REDIAL_S, STUCK_S

if TYPE_CHECKING:
    from chaos.sim.process import Process

IN_FLIGHT_BYTES_MAX = 256 * 1024  # of one link: what the buffers of two kernels take
_RECENT_FRAMES = 48  # of each link, for duplicates
_REPEATED_FRAMES = 6


@dataclass(slots=True)
class Weather:
    """How the network is today. Seconds and probabilities."""

    delay_s: float = 0.0003
    jitter_s: float = 0.0001  # mean of an exponential on top
    reset: float = 0.0  # per burst
    duplicate: float = 0.0  # per new link, and a tenth of it per burst


@dataclass(slots=True)
class Link:
    """The stream from one node to another."""

    source: str
    target: str
    number: int = 0  # counts the connections
    source_up: bool = False
    target_up: bool = False
    queue: deque[tuple[float, bytes]] = field(default_factory=deque)  # when each frame arrives
    size: int = 0  # bytes in the queue
    expected: bool = False  # an arrival is on the timeline
    watched: bool = False
    recent: deque[bytes] = field(default_factory=lambda: deque(maxlen=_RECENT_FRAMES))


class Network:
    """All links of the cluster."""

    def __init__(self, timeline: Timeline, rng: random.Random) -> None:
        self._timeline = timeline
        self._rng = rng
        self._processes: dict[str, Process] = {}
        self._links: dict[tuple[str, str], Link] = {}
        self.cuts: set[tuple[str, str]] = set()  # (from, to): packets vanish
        self.weather = Weather()

    def attach(self, processes: dict[str, Process]) -> None:
        self._processes = processes
        self._links = {(x, y): Link(x, y) for x in processes for y in processes if x != y}

    # Cuts.

    def cut(self, *directions: tuple[str, str]) -> None:
        self.cuts.update(directions)
        for direction in sorted(directions):
            for link in (self._links[direction], self._links[direction[::-1]]):
                self._watch(link)

    def heal(self) -> None:
        self.cuts.clear()
        for link in self._links.values():
            self._expect(link)

    def reset(self, source: str, target: str) -> None:
        """The connection breaks: a part of what is in flight arrives, and both ends are told."""
        link = self._links[source, target]
        for _ in range(self._rng.randint(0, len(link.queue))):
            link.size -= len(link.queue.pop()[1])
        self._close_source(link)

    # Processes.

    def started(self, name: str) -> None:
        """Both sides dial. Whoever still held a link to an earlier process of this name is told that it is gone."""
        for link in self._links.values():
            if link.target == name and link.source_up:
                self._timeline.after(self._delay(), partial(self._refused, link, link.number))
            if link.source == name:
                self._dial_soon(link, 0.0)

    def stopped(self, name: str, silent: bool) -> None:
        """A process is gone. Its kernel closes its connections, unless the whole machine is gone (`silent`)."""
        for link in self._links.values():
            if link.source == name:
                link.source_up = False
                if not silent:
                    self._finish(link)
            elif link.target == name:
                link.target_up = False
                link.queue.clear()
                link.size = 0
                if not silent:
                    self._timeline.after(self._delay(), partial(self._refused, link, link.number))
                self._watch(link)

    def collect(self, process: Process) -> None:
        """Put what waits in the outboxes of a process onto its links."""
        node = process.node
        if node is None:
            return
        transport = node.core.transport
        for name, peer in transport.peers.items():
            link = self._links[process.name, name]
            if not link.source_up or link.size >= IN_FLIGHT_BYTES_MAX or not peer.outbox:
                continue
            if peer.outbox.overfull:
                self._close_source(link)
                continue
            now = self._timeline.now
            for frame in node.take_frames(peer):
                if not link.target_up:
                    continue  # nobody is there, and the source does not know it yet
                arrives = now + self._delay()
                if link.queue:
                    arrives = max(arrives, link.queue[-1][0])
                link.queue.append((arrives, frame))
                link.size += len(frame)
            transport.drained(peer)
            if self.weather.reset and self._rng.random() < self.weather.reset:
                self.reset(process.name, name)
            else:
                self._expect(link)

    # One link.

    def _delay(self) -> float:
        weather = self.weather
        return weather.delay_s + self._rng.expovariate(1.0) * weather.jitter_s

    def _is_cut(self, link: Link) -> bool:
        return (link.source, link.target) in self.cuts or (link.target, link.source) in self.cuts

    def _dial_soon(self, link: Link, delay_s: float) -> None:
        run = self._processes[link.source].run
        self._timeline.after(delay_s, partial(self._dial, link, run))

    def _dial(self, link: Link, run: int) -> None:
        source, target = self._processes[link.source], self._processes[link.target]
        if source.run != run or link.source_up:
            return
        if source.paused or target.paused or target.node is None or self._is_cut(link):
            self._dial_soon(link, REDIAL_S)
        else:
            self._timeline.after(2 * self._delay(), partial(self._accept, link, run))

    def _accept(self, link: Link, run: int) -> None:
        source, target = self._processes[link.source], self._processes[link.target]
        if source.run != run or link.source_up:
            return
        if target.paused or target.node is None or self._is_cut(link):
            self._dial_soon(link, REDIAL_S)
            return
        link.number += 1
        link.queue.clear()
        link.expected = link.watched = False
        link.size = 0
        self._repeat(link, self.weather.duplicate)
        link.target_up = True
        target.link_changed(link.source, incoming=True)
        self._expect(link)
        self._timeline.after(self._delay(), partial(self._establish, link, link.number, run))

    def _establish(self, link: Link, number: int, run: int) -> None:
        source = self._processes[link.source]
        if link.number != number or source.run != run:
            return
        link.source_up = True
        source.link_changed(link.target, outgoing=True)
        if not link.target_up:  # it went away meanwhile
            self._timeline.after(self._delay(), partial(self._refused, link, number))

    def _expect(self, link: Link) -> None:
        """See to it that the next frame arrives."""
        if link.queue and link.target_up and not link.expected:
            link.expected = True
            self._timeline.at(max(link.queue[0][0], self._timeline.now), partial(self._arrive, link, link.number))

    def _repeat(self, link: Link, probability: float) -> None:
        """Let some frames that were delivered already arrive again, in their order, behind what is on its way."""
        if link.recent and self._rng.random() < probability:
            first = self._rng.randrange(len(link.recent))
            arrives = max(self._timeline.now + self._delay(), link.queue[-1][0] if link.queue else 0.0)
            for frame in list(link.recent)[first : first + _REPEATED_FRAMES]:
                link.queue.append((arrives, frame))
                link.size += len(frame)

    def _arrive(self, link: Link, number: int) -> None:
        if link.number != number:
            return
        link.expected = False
        if (link.source, link.target) in self.cuts:
            self._watch(link)  # it is sent again and again, and arrives when the cut heals
            return
        target = self._processes[link.target]
        now = self._timeline.now
        while link.queue and link.queue[0][0] <= now and link.target_up and link.number == number:
            _, frame = link.queue.popleft()
            link.size -= len(frame)
            link.recent.append(frame)
            target.frame_arrived(link.source, frame)
        if link.number == number:
            self._repeat(link, self.weather.duplicate / 10)
            if self._is_cut(link):
                self._watch(link)
            self._expect(link)
        source = self._processes[link.source]
        if link.source_up and source.node is not None and source.node.core.transport.peers[link.target].outbox:
            source.flush_soon()

    def _watch(self, link: Link) -> None:
        """What is not confirmed for so long closes the link at its source."""
        if link.source_up and not link.watched:
            link.watched = True
            self._timeline.after(STUCK_S, partial(self._give_up, link, link.number))

    def _give_up(self, link: Link, number: int) -> None:
        if link.number != number:
            return
        link.watched = False
        if link.source_up and (self._is_cut(link) or not link.target_up):
            self._close_source(link)

    def _refused(self, link: Link, number: int) -> None:
        """The other end answered that it knows nothing of this connection."""
        if link.number == number and link.source_up and (link.target, link.source) not in self.cuts:
            self._close_source(link)

    def _close_source(self, link: Link) -> None:
        if link.source_up:
            link.source_up = False
            self._processes[link.source].link_changed(link.target, outgoing=False)
            self._dial_soon(link, REDIAL_S)
            self._finish(link)

    def _finish(self, link: Link) -> None:
        """The target is told after what is in flight, if anything reaches it."""
        arrives = self._timeline.now + self._delay()
        if link.queue:
            arrives = max(arrives, link.queue[-1][0])
        self._timeline.at(arrives, partial(self._end, link, link.number))

    def _end(self, link: Link, number: int) -> None:
        if link.number == number and link.target_up and (link.source, link.target) not in self.cuts:
            self._arrive(link, number)
            link.target_up = False
            link.queue.clear()
            link.size = 0
            self._processes[link.target].link_changed(link.source, incoming=False)
