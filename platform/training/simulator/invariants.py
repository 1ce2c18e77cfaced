"""What must hold after every step, each by its number in the design (reliability, part 6). Broken names it.

Here: I1 places, I2 counts, I3 limits, I4 guarantees, I5 no idle place beside a job that fits, I8 preemptions,
I14 gangs, I17 attempts and leases, and that no job is lost or ends twice. What looks at single decisions or compares
runs (I6, I7, I9, I10, I11, I13, I16) stands in `tests/training/test_simulator.py` and `test_dispatch.py`, I15 in
`test_commuting.py`; I12 and I18 are the database's.
"""

from __future__ import annotations

from collections import defaultdict

from training import states
from training.scheduling.dispatch import MIN_RUN_SECONDS, MOST_PREEMPTIONS
from training.scheduling.fairness import PREEMPTIBLE
from training.scheduling.picture import Head, Picture, Place
from training.simulator.ledger import KEPT_SECONDS, VACATE_SECONDS
from training.simulator.world import World

SLACK = MIN_RUN_SECONDS + VACATE_SECONDS + KEPT_SECONDS + 60.0
"""The longest a guaranteed job may see somebody else on a borrowed place that it could have."""


class Broken(Exception):
    """Something that must hold does not."""


def must(holds: bool, words: str, *values: object) -> None:
    """Raises Broken with these words unless it holds; they are put together only then."""
    if not holds:
        raise Broken(words.format(*values))


class Watch:
    """Remembers what it must from step to step: `World(after_step=Watch())`."""

    def __init__(self) -> None:
        self.attempts: dict[int, int] = {}
        self.ended: dict[int, str] = {}
        self.steps = 0
        self._unserved: dict[int, float] = {}

    def __call__(self, world: World) -> None:
        """Raises Broken at the first thing that does not hold."""
        self.steps += 1
        self._places(world)
        self._rows(world)
        if world.dispatched:  # then the picture is of this very moment
            self._guarantees(world, world.ledger.picture)
            self._idle(world, world.ledger.picture)

    def _places(self, world: World) -> None:
        ledger = world.ledger
        running: dict[int, int] = defaultdict(int)
        firm: dict[int, int] = defaultdict(int)
        seen: set[int] = set()
        for job in ledger.picture.runs:
            row = ledger.rows[job]
            must(row.state in states.HELD, "I17: {} is counted as running", row)
            hosts = {ledger.all_places[key].host for key in row.places}
            must(len(row.places) == row.ask.width and len(hosts) == 1, "I14: {} has {}", row, row.places)
            must(
                all(ledger.all_places[key].job == job for key in row.places),
                "I1: a place of {} is another's",
                row,
            )
            must(seen.isdisjoint(row.places), "I1: {} shares a place", row)
            seen.update(row.places)
            rank = ledger.picture.shares[row.ask.tenant].rank
            must(all(ledger.all_places[key].rank <= rank for key in row.places), "I1: {} is above its class", row)
            running[row.ask.tenant] += row.ask.width
            firm[row.ask.tenant] += row.ask.width * (row.ask.lane != PREEMPTIBLE)
            must(row.preemptions <= MOST_PREEMPTIONS, "I8: {} was taken away too often", row)
        held = {place.key for place in ledger.all_places.values() if place.job is not None}
        must(held == seen, "I1: places {} are held by nobody", held ^ seen)
        every = ledger.picture.shares if self.steps % 50 == 0 else running
        for tenant in list(every):
            share = ledger.picture.shares[tenant]
            must(
                (share.running, share.firm) == (running[tenant], firm[tenant]),
                "I2: tenant {} is miscounted",
                tenant,
            )
            must(share.running <= share.most, "I3: tenant {} has {} of {}", tenant, share.running, share.most)

    def _rows(self, world: World) -> None:
        recent = {job: world.ledger.rows[job] for job in world.ledger.picture.runs}
        for job, row in recent.items():
            before = self.attempts.get(job, 0)
            must(row.attempt in (before, before + 1), "I17: {} went from attempt {} to {}", row, before, row.attempt)
            self.attempts[job] = row.attempt
            must(job not in self.ended, "I17: {} runs after its end", row)
        if self.steps % 50 == 0:
            for row in world.ledger.rows:
                if row.number in self.ended:
                    must(row.state == self.ended[row.number], "{} has ended twice", row)
                elif row.state in states.FINAL:
                    self.ended[row.number] = row.state
                must(row.ends == (row.state == states.SUCCEEDED), "{} has {} results", row, row.ends)

    def _guarantees(self, world: World, picture: Picture) -> None:
        """I4: while a guaranteed job waits that a borrowed place would serve, somebody must have been asked in time."""
        if world.rule.name != "fair":
            return
        allowed = (head for head in picture.heads if picture.within_guarantee(head) and picture.within_limit(head))
        gangs = gangs_waiting(picture)
        waiting = {head.job: head for head in allowed if head.width == 1 and not behind(picture, head, gangs)}
        for job in list(self._unserved):
            if job not in waiting:
                del self._unserved[job]
        lent = self._lent(picture) if waiting else []
        for job, head in waiting.items():
            rank = picture.shares[head.tenant].rank
            if not any(tenant != head.tenant and highest <= rank for tenant, highest in lent):
                self._unserved.pop(job, None)
                continue
            since = self._unserved.setdefault(job, world.now)
            must(world.now - since <= SLACK, "I4: {} waits {:.0f} s behind a borrower", head, world.now - since)

    @staticmethod
    def _lent(picture: Picture) -> list[tuple[int, int]]:
        """(tenant, highest class) of runs on borrowed places that could be asked back."""
        held: dict[int, list[Place]] = defaultdict(list)
        for place in picture.places:
            if place.job is not None:
                held[place.job].append(place)
        found = []
        for job, places in held.items():
            run, share = picture.runs[job], picture.shares[picture.runs[job].tenant]
            protected = run.preemptions >= MOST_PREEMPTIONS or run.ran < MIN_RUN_SECONDS
            borrowed = run.lane == PREEMPTIBLE or share.firm - share.guaranteed >= len(places)
            if borrowed and not protected and all(place.kept_for is None for place in places):
                found.append((run.tenant, max(place.rank for place in places)))
        return found

    def _idle(self, world: World, picture: Picture) -> None:
        """I5: once workers have looked, nothing stands idle that somebody could use."""
        if world.rule.name == "hard caps":
            return
        free: dict[int, list[Place]] = defaultdict(list)
        for place in picture.places:
            if place.job is None:
                free[place.host].append(place)
        gangs = gangs_waiting(picture) if free else []
        for head in picture.heads if free else ():
            if not picture.within_limit(head):
                continue
            for host, places in free.items():
                fits = len(picture.usable(head, places)) >= head.width
                must(not fits or behind(picture, head, gangs, host), "I5: {} waits beside a free place", head)


def gangs_waiting(picture: Picture) -> list[Head]:
    """Waiting jobs on several places that may start: a host's next places may be promised to one."""
    return [head for head in picture.heads if head.width > 1 and picture.within_limit(head)]


def behind(picture: Picture, head: Head, gangs: list[Head], host: int | None = None) -> bool:
    """Whether one of those goes before a job, and may have been promised places that the job could use (of a host)."""
    turn = picture.turn(head)
    for gang in gangs:
        if gang is not head and picture.turn(gang) < turn:
            hosts = {place.host for place in picture.places} if host is None else {host}
            there = ([place for place in picture.places if place.host == one] for one in hosts)
            if any(len(picture.usable(gang, places)) >= gang.width for places in there):
                return True
    return False
