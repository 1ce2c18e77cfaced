"""What must hold after every step, each by its number in the design (reliability, part 6). Broken names it.

Here: I1 places, I2 counts, I3 limits, I4 guarantees, I5 no idle place beside a job that fits, I8 preemptions,
I14 gangs, I16 weight 0, I17 attempts and leases, and that no job is lost or ends twice. What needs several runs to
compare (I6, I9, I10, I11, I13, I15) stands in `tests/training/test_simulator.py`; I12 and I18 are the database's.
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


def must(holds: bool, words: str) -> None:
    """Raises Broken with these words unless it holds."""
    if not holds:
        raise Broken(words)


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
        picture = world.ledger.look(world.now)
        self._places(world)
        self._rows(world)
        self._guarantees(world, picture)
        self._idle(world, picture)

    def _places(self, world: World) -> None:
        ledger = world.ledger
        running: dict[int, int] = defaultdict(int)
        firm: dict[int, int] = defaultdict(int)
        seen: set[int] = set()
        for job in ledger.picture.runs:
            row = ledger.rows[job]
            must(row.state in states.HELD, f"I17: {row} is counted as running")
            hosts = {ledger.all_places[key].host for key in row.places}
            must(len(row.places) == row.ask.width and len(hosts) == 1, f"I14: {row} has {row.places}")
            must(all(ledger.all_places[key].job == job for key in row.places), f"I1: a place of {row} is another's")
            must(seen.isdisjoint(row.places), f"I1: {row} shares a place")
            seen.update(row.places)
            rank = ledger.picture.shares[row.ask.tenant].rank
            must(all(ledger.all_places[key].rank <= rank for key in row.places), f"I1: {row} is above its class")
            running[row.ask.tenant] += row.ask.width
            firm[row.ask.tenant] += row.ask.width * (row.ask.lane != PREEMPTIBLE)
            must(row.preemptions <= MOST_PREEMPTIONS, f"I8: {row} was taken away too often")
        held = {place.key for place in ledger.all_places.values() if place.job is not None}
        must(held == seen, f"I1: places {held ^ seen} are held by nobody")
        for tenant, share in ledger.picture.shares.items():
            must((share.running, share.firm) == (running[tenant], firm[tenant]), f"I2: tenant {tenant} is miscounted")
            must(share.running <= share.most, f"I3: tenant {tenant} has {share.running} of {share.most}")

    def _rows(self, world: World) -> None:
        recent = {job: world.ledger.rows[job] for job in world.ledger.picture.runs}
        for job, row in recent.items():
            before = self.attempts.get(job, 0)
            must(row.attempt in (before, before + 1), f"I17: {row} went from attempt {before} to {row.attempt}")
            self.attempts[job] = row.attempt
            must(job not in self.ended, f"I17: {row} runs after its end")
        if self.steps % 50 == 0:
            for row in world.ledger.rows:
                if row.number in self.ended:
                    must(row.state == self.ended[row.number], f"{row} has ended twice")
                elif row.state in states.FINAL:
                    self.ended[row.number] = row.state
                must(row.ends == (row.state == states.SUCCEEDED), f"{row} has {row.ends} results")

    def _guarantees(self, world: World, picture: Picture) -> None:
        """I4: while a guaranteed job waits that a borrowed place would serve, somebody must have been asked in time."""
        if world.rule.name != "fair" or self._gang_waits(picture):
            self._unserved.clear()
            return
        allowed = (head for head in picture.heads if picture.within_guarantee(head) and picture.within_limit(head))
        waiting = {head.job: head for head in allowed if head.width == 1}
        for job in list(self._unserved):
            if job not in waiting:
                del self._unserved[job]
        for job, head in waiting.items():
            if not self._could_be_served(picture, head):
                self._unserved.pop(job, None)
                continue
            since = self._unserved.setdefault(job, world.now)
            must(world.now - since <= SLACK, f"I4: {head} waits {world.now - since:.0f} s behind a borrower")

    @staticmethod
    def _gang_waits(picture: Picture) -> bool:
        """A gang may have a host's next places promised to it, and nobody may be in its way."""
        return any(head.width > 1 and picture.within_limit(head) for head in picture.heads)

    @staticmethod
    def _could_be_served(picture: Picture, head: Head) -> bool:
        rank = picture.shares[head.tenant].rank
        for run in picture.runs.values():
            share = picture.shares[run.tenant]
            borrowed = run.lane == PREEMPTIBLE or share.firm > share.guaranteed
            protected = run.preemptions >= MOST_PREEMPTIONS or run.ran < MIN_RUN_SECONDS
            places = [place for place in picture.places if place.job == run.job]
            small = bool(places) and (run.lane == PREEMPTIBLE or share.firm - share.guaranteed >= len(places))
            reachable = all(place.rank <= rank and place.kept_for is None for place in places)
            if borrowed and small and reachable and not protected and run.tenant != head.tenant:
                return True
        return False

    def _idle(self, world: World, picture: Picture) -> None:
        """I5, I16: once workers have looked, nothing stands idle that somebody could use."""
        if not world.dispatched or world.rule.name == "hard caps":
            return
        free: dict[int, list[Place]] = defaultdict(list)
        for place in picture.places:
            if place.job is None:
                free[place.host].append(place)
        if not free:
            return
        if self._gang_waits(picture):
            return
        for head in picture.heads:
            fits = any(len(picture.usable(head, places)) >= head.width for places in free.values())
            must(not fits or not picture.within_limit(head), f"I5: {head} waits beside a free place")
