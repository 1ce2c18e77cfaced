"""What a sweep starts next. One function of what was planned and what has become of it, so that asking twice, late, or
after a crash gives the same answer.

Money: `committed` of an open trial is its ceiling, of an ended one what it cost. A trial starts only while all that is
committed and its own ceiling fit into the budget; an ended trial can only have cost less than its ceiling, so the sum
never passes the budget afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

COMPLETE, BUDGET, SPEND_LIMIT, REFUSED = "complete", "budget", "spend_limit", "refused"
ENDINGS = (COMPLETE, BUDGET, SPEND_LIMIT, REFUSED)
"""All trials are through; the next one does not fit into the budget; a spend limit of the organisation is reached; the
next one was refused."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What was planned. `ceilings[number][rung]` is the most that a setting may cost in a rung, in nano."""

    sizes: Sequence[int]
    ceilings: Sequence[Sequence[int]]
    budget: int
    parallel: int


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting in one rung, started. `score` is None while it is open, and for one that ended without."""

    rung: int
    number: int
    open: bool
    score: float | None
    committed: int


@dataclass(frozen=True, slots=True)
class Start:
    """A trial to start."""

    rung: int
    number: int
    ceiling: int


@dataclass(frozen=True, slots=True)
class Move:
    """Trials to start now, or why the sweep is over; neither means: wait."""

    starts: tuple[Start, ...] = ()
    ending: str = ""


def decide(plan: Plan, trials: Sequence[Trial], *, halt: str = "") -> Move:
    """The next move. `halt` is an ending that has to come as soon as nothing is open."""
    running = sum(trial.open for trial in trials)
    if halt:
        return Move(ending="" if running else halt)
    waiting = _waiting(plan, trials)
    if waiting is None:
        return Move(ending=COMPLETE)
    rung, numbers = waiting
    spent = sum(trial.committed for trial in trials)
    starts: list[Start] = []
    for number in numbers[: max(0, plan.parallel - running)]:
        ceiling = plan.ceilings[number][rung]
        if spent + ceiling > plan.budget:
            # What is open may end below its ceiling and leave room; with nothing open there will be no more of it.
            return Move(tuple(starts), "" if starts or running else BUDGET)
        starts.append(Start(rung, number, ceiling))
        spent += ceiling
    return Move(tuple(starts))


def _waiting(plan: Plan, trials: Sequence[Trial]) -> tuple[int, list[int]] | None:
    """The rung at work and its settings that have not started, in order; None when all rungs are through."""
    for rung in range(len(plan.sizes)):
        there = [trial for trial in trials if trial.rung == rung]
        started = {trial.number for trial in there}
        missing = [number for number in entrants(plan, trials, rung) if number not in started]
        if missing or any(trial.open for trial in there):
            return rung, missing
    return None


def entrants(plan: Plan, trials: Iterable[Trial], rung: int) -> list[int]:
    """The settings of a rung, in the order in which they start: all in the first one, and after it the best of the one
    before. One that ended without a score counts as worst and is never among them."""
    if rung == 0:
        return list(range(plan.sizes[0]))
    before = [trial for trial in trials if trial.rung == rung - 1]
    return [trial.number for trial in ranked(before)[: plan.sizes[rung]]]


def ranked(trials: Iterable[Trial]) -> list[Trial]:
    """Those with a score, the best first. Of equal ones the earlier rung goes first, which took fewer passes."""
    scored = [trial for trial in trials if trial.score is not None]
    return sorted(scored, key=lambda trial: (-(trial.score or 0.0), trial.rung, trial.number))


def winner(trials: Iterable[Trial]) -> Trial | None:
    """The trial with the best score of all rungs, if any has one."""
    return next(iter(ranked(trials)), None)
