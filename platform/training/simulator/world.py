"""Hosts, workers, faults and time. Events are (moment, number, what); the same seed gives the same history.

A worker does what the real one does: claims, checkpoints, renews its lease, obeys a cancel and a request for room,
hands in its result, and throws its attempt away when the ledger refuses it. Faults may stop a host, cut a worker off
beyond its lease while its trainer goes on (a zombie), crash a trainer, and lose doorbells.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from training import states
from training.scheduling.dispatch import Preemption
from training.simulator.ledger import GRACE_SECONDS, LEASE_SECONDS, Ledger, Refused, Row
from training.simulator.loads import HOUR, MINUTE, Ask, Load
from training.simulator.rivals import Fair, Rule

CHECKPOINT_SECONDS = 120.0
VACATING = (1.0, 30.0)
"""How long a trainer takes to write its last checkpoint."""
POLL_SECONDS = 5.0
"""An idle worker looks by itself as often, should a doorbell be lost."""
TICK_SECONDS = 60.0
"""What passes with time alone (a run that may be asked now, a place no longer kept, a next try) is looked at as often;
the real tick is quicker, which would only cost time here."""


@dataclass(frozen=True, slots=True)
class Faults:
    """How often things go wrong, per hour of the whole fleet; 0 for never."""

    crash: float = 0.0
    cut_off: float = 0.0
    host_down: float = 0.0
    cancel: float = 0.0
    pause: float = 0.0
    doorbell_lost: float = 0.0
    """The share of doorbells."""

    @property
    def any(self) -> bool:
        """Whether anything ever goes wrong."""
        return any((self.crash, self.cut_off, self.host_down, self.cancel, self.pause, self.doorbell_lost))


@dataclass
class World:
    """One run of a load."""

    load: Load
    rule: Rule = field(default_factory=Fair)
    faults: Faults = Faults()
    seed: int = 0
    after_step: Callable[[World], None] | None = None
    now: float = 0.0
    cut_off: set[int] = field(default_factory=set)
    """Tokens of attempts whose worker cannot reach the ledger."""
    refused: int = 0
    """Writes of workers that had lost their lease."""
    busy: float = 0.0
    """Place-seconds during which somebody's job held the place, until the last job arrived."""

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.load)
        self._rng = random.Random(self.seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._history = hashlib.sha256()
        self._next_look: float | None = None
        self.dispatched = False
        """Whether the step ended with every free place offered to everybody."""
        self.last_arrival = max((ask.at for ask in self.load.asks), default=0.0)
        for ask in self.load.asks:
            self.submit(ask)
        if self.faults.any:
            end = max((ask.at for ask in self.load.asks), default=0.0) + HOUR
            for name in HAPPENS:
                for moment in self._moments(getattr(self.faults, name), end):
                    self.happen(name, moment)

    # ── time ──

    def at(self, moment: float, what: Callable[[], None]) -> None:
        """Let something happen."""
        heapq.heappush(self._events, (max(moment, self.now), next(self._numbers), what))

    def submit(self, ask: Ask) -> None:
        """Let somebody ask for a job."""
        self.at(ask.at, partial(self._arrive, ask))

    def happen(self, name: str, moment: float) -> None:
        """Let something go wrong, or somebody change their mind: one of HAPPENS."""
        self.at(moment, partial(HAPPENS[name], self))

    def step(self) -> bool:
        """The next event; False when there is none."""
        if not self._events:
            return False
        moment, _, what = heapq.heappop(self._events)
        if self.now < self.last_arrival:
            held = sum(len(self.ledger.rows[job].places) for job in self.ledger.picture.runs)
            self.busy += held * (min(moment, self.last_arrival) - self.now)
        self.now, self.dispatched = moment, False
        what()
        if self.after_step is not None:
            self.after_step(self)
        return True

    def run(self, until: float = math.inf) -> World:
        """Until nothing happens any more, or until a moment."""
        while self._events and self._events[0][0] <= until:
            self.step()
        if until < math.inf:
            self.now = max(self.now, until)
        return self

    @property
    def history(self) -> str:
        """A hash of every start: which attempt of which job, when, where."""
        return self._history.hexdigest()

    def _moments(self, rate: float, end: float) -> list[float]:
        found, at = [], 0.0
        while rate and (at := at + self._rng.expovariate(rate / HOUR)) < end:
            found.append(at)
        return found

    # ── the dispatcher ──

    def _arrive(self, ask: Ask) -> None:
        self.ledger.submit(ask, self.now)
        self._ring()

    def _ring(self) -> None:
        """A doorbell: it may be lost, and then the next poll finds the job."""
        if self.faults.doorbell_lost and self._rng.random() < self.faults.doorbell_lost:
            self._look_again(POLL_SECONDS)
        else:
            self._dispatch()

    def _look_again(self, seconds: float) -> None:
        moment = self.now + seconds
        if self._next_look is None or moment < self._next_look:
            self._next_look = moment
            self.at(moment, self._poll)

    def _poll(self) -> None:
        if self._next_look is not None and self._next_look <= self.now:
            self._next_look = None
            self._dispatch()

    def _dispatch(self) -> None:
        """Every host that has a free place claims until nothing may start there; then those who wait may be made room,
        and as that keeps places for some, the workers look again."""
        asked = self._start_all()
        while asked:
            for each in asked:
                row = self.ledger.ask_for_room(each, self.now)
                self.at(self.now + self._rng.uniform(*VACATING), partial(self._vacate, row, row.token))
            asked = self._start_all()
        self.dispatched = True
        if self.ledger.waiting:
            self._look_again(TICK_SECONDS)

    def _start_all(self) -> list[Preemption]:
        """Whoever may start, starts; then whom to ask for room."""
        picture, started = self.ledger.look(self.now), True
        while started:  # a start on one host may end what kept another's place free: its worker looks again in a moment
            started = False
            for host in sorted({place.host for place in picture.places if place.job is None}):
                while picture.heads and (start := self.rule.start(picture, host)):
                    self._begin(self.ledger.take(start, worker=host, now=self.now))
                    picture, started = self.ledger.look(self.now), True
        return self.rule.make_room(picture) if picture.heads else []

    # ── a worker ──

    def _begin(self, row: Row) -> None:
        self._history.update(f"{row.number} {row.attempt} {self.now:.3f} {row.places};".encode())
        left = row.ask.seconds - row.done
        self.at(self.now + left, partial(self._finish, row, row.token))

    def _work_done(self, row: Row) -> float:
        """Seconds of work in the checkpoints an attempt has written by now."""
        return row.done + (self.now - row.began) // CHECKPOINT_SECONDS * CHECKPOINT_SECONDS

    def _renewed(self, row: Row, token: int) -> bool:
        """Whether the worker still has its job. Its heartbeats until now have had their effect, unless it was cut
        off."""
        if row.token != token:
            return False
        if token in self.cut_off or row.worker in self.ledger.down:
            return False
        row.lease_until = self.now + LEASE_SECONDS
        return True

    def _finish(self, row: Row, token: int) -> None:
        """The trainer is done: also a zombie's hands in its result, and the ledger decides."""
        if row.worker in self.ledger.down and row.token == token:
            return
        self._write(lambda: self.ledger.succeed(row, token, self.now))

    def _vacate(self, row: Row, token: int) -> None:
        if not self._renewed(row, token) or row.state == states.CANCELLING:
            return
        done = min(row.done + self.now - row.began, row.ask.seconds)  # it wrote a checkpoint when it was asked
        self.ledger.checkpoint(row, token, done)
        self._write(lambda: self.ledger.give_back(row, token, self.now, preempted=True))

    def _write(self, what: Callable[[], None]) -> None:
        try:
            what()
        except Refused:
            self.refused += 1
            return
        self._ring()

    # ── faults and people ──

    def _some(self, *wanted: str) -> Row | None:
        rows = [row for row in self.ledger.rows if row.state in wanted]
        return self._rng.choice(rows) if rows else None

    def _crash(self) -> None:
        row = self._some(states.RUNNING)
        if row is None or not self._renewed(row, row.token):
            return
        self.ledger.checkpoint(row, row.token, self._work_done(row))
        wait = 0.0 if row.retries == 0 else min(600.0, 10.0 * 2.0**row.retries)
        self._write(lambda: self.ledger.give_back(row, row.token, self.now, preempted=False, wait=wait))

    def _cut_off(self) -> None:
        """The worker hears nothing and says nothing; its trainer goes on. Sometimes it comes back within its lease."""
        row = self._some(states.RUNNING)
        if row is None or not self._renewed(row, row.token):
            return
        self.ledger.checkpoint(row, row.token, self._work_done(row))
        row.lease_until = self.now + self._rng.uniform(50.0, LEASE_SECONDS)
        token = row.token
        self.cut_off.add(token)
        self.at(self.now + self._rng.choice((30.0, 300.0)), partial(self._back, row, token))
        self.at(row.lease_until + GRACE_SECONDS + 1.0, partial(self._sweep, row))

    def _back(self, row: Row, token: int) -> None:
        """It hears what was asked of its job meanwhile."""
        self.cut_off.discard(token)
        if not self._renewed(row, token):
            return
        if row.state == states.CANCELLING:
            self._obey_cancel(row, token)
        elif row.asked_at is not None:
            self._vacate(row, token)

    def _host_down(self) -> None:
        up = sorted(set(self.load.hosts) - self.ledger.down)
        if not up:
            return
        host = self._rng.choice(up)
        self.ledger.down.add(host)
        for job in list(self.ledger.picture.runs):
            row = self.ledger.rows[job]
            if row.worker == host:
                if row.token not in self.cut_off:
                    self.ledger.checkpoint(row, row.token, self._work_done(row))
                    row.lease_until = self.now + self._rng.uniform(50.0, LEASE_SECONDS)
                self.at(row.lease_until + GRACE_SECONDS + 1.0, partial(self._sweep, row))
        self.at(self.now + self._rng.uniform(MINUTE, HOUR), partial(self._host_up, host))

    def _host_up(self, host: int) -> None:
        """Its worker starts, and gives back what the dead one held: as `leases_of_the_dead` does."""
        for job in list(self.ledger.picture.runs):
            row = self.ledger.rows[job]
            if row.worker == host:
                row.lease_until = self.now - GRACE_SECONDS - 1.0
                self._sweep(row)
        self.ledger.down.discard(host)
        self._ring()

    def _sweep(self, row: Row) -> None:
        if self.ledger.reclaim(row, self.now):
            self._ring()

    def _cancel(self) -> None:
        row = self._some(states.QUEUED, states.RUNNING, states.BLOCKED)
        if row is None:
            return
        token = row.token
        self.ledger.cancel(row, self.now)
        if row.state == states.CANCELLING:
            self.at(self.now + 1.0, partial(self._obey_cancel, row, token))

    def _obey_cancel(self, row: Row, token: int) -> None:
        if self._renewed(row, token):
            self._write(lambda: self.ledger.give_back(row, token, self.now, preempted=False))

    def _pause(self) -> None:
        row = self._some(states.QUEUED)
        if row is not None:
            self.ledger.pause(row, self.now)
            self.at(self.now + self._rng.uniform(MINUTE, HOUR), partial(self._resume, row))

    def _resume(self, row: Row) -> None:
        if row.state == states.BLOCKED:
            self.ledger.resume(row, self.now)
            self._ring()


HAPPENS: dict[str, Callable[[World], None]] = {
    "crash": World._crash,
    "cut_off": World._cut_off,
    "host_down": World._host_down,
    "cancel": World._cancel,
    "pause": World._pause,
}
"""What can be let happen, by its name in `Faults`."""
