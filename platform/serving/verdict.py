"""Whether a candidate is worse than what it would replace: decided from counts, valid however often it is asked.

Pure: knows no database and no clock. A tick asks every few seconds, so a test that is right once would raise a false
alarm sooner or later. Here each question has an **e-process**: a number that, while the candidate is no worse, exceeds
`1 / alpha` *at any time, ever* with a probability of at most `alpha` (Ville's inequality). It is the mixture form of
universal inference (Wasserman, Ramdas and Balakrishnan 2020, PNAS 117(29), "Universal inference", section 8, with the
running mixture of Robbins 1970 in place of the running maximum):

    E = m(s1, n1) · m(s0, n0)  /  sup { L(p1; s1, n1) · L(p0; s0, n0) : p1 <= p0 + margin }

with L the likelihood of s events in n calls, and m that likelihood averaged over the prior Beta(1/2, 1/2), which is
B(s + 1/2, n - s + 1/2) / B(1/2, 1/2). For every pair of rates that is "no worse", numerator over *its* likelihood is a
martingale that begins at 1, and the supremum only makes E smaller. It needs counts, not their order.

What it takes for granted: calls are alike and independent of each other within a round. Arms are drawn by a hash, so an
outage or a rush hits both; but one round's shares differ from the next one's, so counts of two rounds are never added
up: each change of the share begins a round with an e-process of its own. What convinces is their weighted mean,

    sum of E_j / (j (j + 1))  over all rounds j = 1, 2, …,

whose weights add up to 1, the rounds to come standing at 1 (left out here, which only makes it smaller). A mean of
e-processes is one, whatever they have to do with each other and in whatever order they grow. So a word that comes late
counts in the round of its call, and evidence of several rounds adds up. At the same bound it convinces no later than
one test for each round at alpha / (j (j + 1)) would.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass
from math import exp, inf, lgamma, log, log1p
from typing import Literal

TESTS = 3
"""Errors, slowness, quality: each may spend a third of alpha."""
SLOW_SHARE = 0.05
"""A 95th percentile over a limit is more than this share of calls over it."""
_STEPS = 80
_GREAT = 700.0  # exp() of more is no float

Why = Literal["", "errors", "latency", "quality"]


@dataclass(frozen=True, slots=True)
class Arm:
    """What one version did: calls that were answered or failed by us, and what people said of answers."""

    calls: int = 0
    errors: int = 0
    slow: int = 0
    """Calls over the latency limit, of those that were timed; 0 where there is none."""
    timed: int = 0
    judged: int = 0
    wrong: int = 0

    def __add__(self, other: Arm) -> Arm:
        """Both together: rows of one arm and one round."""
        return Arm(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    def kept(self) -> dict[str, int]:
        """To be kept."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Guards:
    """What a candidate is held to. Margins are shares: 0.01 allows a point more errors, or a point more wrong."""

    alpha: float = 0.01
    error_margin: float = 0.0
    quality_margin: float = 0.0
    limits_latency: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """One question: how strong the evidence against the candidate is, and from where on it is enough."""

    why: Why
    evidence: float
    enough: float
    round: int
    """The round, from 1, that has most of it."""

    @property
    def proven(self) -> bool:
        """Whether it is enough."""
        return self.evidence >= self.enough


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rollout's counts say. `why` is empty while nothing is proven."""

    why: Why
    findings: tuple[Finding, ...]


def judge(rounds: Sequence[tuple[Arm, Arm]], guards: Guards) -> Verdict:
    """The verdict on a candidate from the counts of each round, stable and candidate; the first question that is proven
    decides."""

    def errors(stable: Arm, candidate: Arm) -> float:
        counts = (candidate.errors, candidate.calls), (stable.errors, stable.calls)
        return log_evidence(*counts, guards.error_margin)

    def slowness(stable: Arm, candidate: Arm) -> float:
        return log_excess(candidate.slow, candidate.timed)

    def quality(stable: Arm, candidate: Arm) -> float:
        counts = (candidate.wrong, candidate.judged), (stable.wrong, stable.judged)
        return log_evidence(*counts, guards.quality_margin)

    asked: list[tuple[Why, Callable[[Arm, Arm], float]]] = [("errors", errors)]
    if guards.limits_latency:
        asked.append(("latency", slowness))
    asked.append(("quality", quality))
    findings = tuple(_finding(why, [evidence(*arms) for arms in rounds], guards.alpha) for why, evidence in asked)
    return Verdict(next((finding.why for finding in findings if finding.proven), ""), findings)


def mean_evidence(logarithms: Sequence[float]) -> float:
    """The weighted mean of the rounds' e-processes, given by their logarithms."""
    return sum(_shares(logarithms))


def enough(alpha: float) -> float:
    """The evidence that convinces. Over all rounds and tests the false alarms add up to alpha."""
    return TESTS / alpha


def log_excess(slow: int, calls: int) -> float:
    """The logarithm of the e-process for more than `SLOW_SHARE` of calls being over the limit."""
    best = slow / calls if calls else 0.0
    return _mixture(slow, calls) - _likelihood(slow, calls, min(best, SLOW_SHARE))


def _finding(why: Why, logarithms: Sequence[float], alpha: float) -> Finding:
    shares = _shares(logarithms)
    most = max(range(len(shares)), key=shares.__getitem__, default=0)
    return Finding(why, sum(shares), enough(alpha), most + 1)


def _shares(logarithms: Sequence[float]) -> list[float]:
    return [_number(one) / (number * (number + 1)) for number, one in enumerate(logarithms, 1)]


def log_evidence(worse: tuple[int, int], than: tuple[int, int], margin: float = 0.0) -> float:
    """The e-process's logarithm for (events, calls) of two arms: large where the first has more events per call than
    the second, by more than `margin`. Nothing, -inf, while one of them has no calls: its rate may be anything."""
    (s1, n1), (s0, n0) = worse, than
    if not n1 or not n0:
        return -inf
    return _mixture(s1, n1) + _mixture(s0, n0) - _most_likely_no_worse(s1, n1, s0, n0, margin)


def _most_likely_no_worse(s1: int, n1: int, s0: int, n0: int, margin: float) -> float:
    """The logarithm of the supremum under p1 <= p0 + margin."""
    if s1 / n1 <= s0 / n0 + margin:
        return _likelihood(s1, n1, s1 / n1) + _likelihood(s0, n0, s0 / n0)
    if not margin:
        pooled = (s1 + s0) / (n1 + n0)
        return _likelihood(s1 + s0, n1 + n0, pooled)
    low, high = 0.0, 1.0 - margin  # on the border; the likelihood there has one peak
    for _ in range(_STEPS):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        if _on_border(s1, n1, s0, n0, left, margin) < _on_border(s1, n1, s0, n0, right, margin):
            low = left
        else:
            high = right
    return _on_border(s1, n1, s0, n0, (low + high) / 2, margin)


def _on_border(s1: int, n1: int, s0: int, n0: int, p0: float, margin: float) -> float:
    return _likelihood(s1, n1, p0 + margin) + _likelihood(s0, n0, p0)


def _likelihood(events: int, calls: int, rate: float) -> float:
    """The logarithm; -inf for what a rate makes impossible."""
    if (events and rate <= 0) or (events < calls and rate >= 1):
        return -inf
    found = events * log(rate) if events else 0.0
    return found + ((calls - events) * log1p(-rate) if events < calls else 0.0)


def _mixture(events: int, calls: int) -> float:
    """The logarithm of the likelihood averaged over Beta(1/2, 1/2)."""
    return _log_beta(events + 0.5, calls - events + 0.5) - _log_beta(0.5, 0.5)


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def _number(logarithm: float) -> float:
    return exp(min(logarithm, _GREAT))
