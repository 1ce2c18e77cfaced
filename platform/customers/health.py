"""How well a customer fares, from 0 to 100. Pure: the same facts give the same score, everywhere, exactly.

Each part is a share from 0 to 1, and has a weight. A part about which nothing is known is left out, and the weights of
the others stand for the whole. Somebody who signed up less than two weeks ago and never called has no score yet.
"""

from dataclasses import dataclass
from fractions import Fraction

WEIGHTS = {
    "recency": 30,
    "trend": 20,
    "serving": 15,
    "payment": 15,
    "jobs": 10,
    "support": 10,
    "satisfaction": 10,
}
"""recency: days since the last call, whole at 2, none from 30 on. trend: calls of 28 days against the 28 before, whole
where they do not fall. serving: whether a model is deployed. payment: whole, or half while one is late, or none. jobs:
of those that ended in 28 days, how many did not fail. support: days that a question waits for us, whole up to 1, none
from 7 on. satisfaction: their members' last answers, of 10."""
NEW_DAYS = 14
FRESH_DAYS, STALE_DAYS = 2, 30
PATIENT_DAYS, SORE_DAYS = 1, 7
GOOD_FROM, FAIR_FROM = 70, 40
GOOD, FAIR, POOR, NEW = "good", "fair", "poor", "new"
BANDS = (GOOD, FAIR, POOR, NEW)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a customer. Counts are of the last 28 days unless they say otherwise."""

    age_days: int
    days_since_call: int | None = None
    """None: never called."""
    calls: int = 0
    calls_before: int = 0
    """Of the 28 days before those."""
    live_deployments: int = 0
    jobs_ended: int = 0
    jobs_failed: int = 0
    standing: str = "good"
    waiting_days: int | None = None
    """Of the question that waits longest for us; None where none does."""
    satisfaction: Fraction | None = None
    """Mean of what members answered last, 0 to 10; None where nobody did."""


@dataclass(frozen=True, slots=True)
class Part:
    """One reason for the score."""

    name: str
    weight: int
    share: Fraction

    @property
    def percent(self) -> int:
        """The share, rounded down."""
        return int(self.share * 100)


@dataclass(frozen=True, slots=True)
class Health:
    """The score with its reasons, the heaviest loss first; None for somebody new."""

    score: int | None
    band: str
    parts: tuple[Part, ...]


def health(facts: Facts) -> Health:
    """The score of these facts."""
    shares = {
        "recency": _falling(facts.days_since_call, FRESH_DAYS, STALE_DAYS, missing=Fraction(0)),
        "trend": _trend(facts.calls, facts.calls_before),
        "serving": Fraction(facts.live_deployments > 0),
        "payment": {"good": Fraction(1), "grace": Fraction(1, 2)}.get(facts.standing, Fraction(0)),
        "jobs": 1 - Fraction(facts.jobs_failed, facts.jobs_ended) if facts.jobs_ended else None,
        "support": _falling(facts.waiting_days, PATIENT_DAYS, SORE_DAYS, missing=Fraction(1)),
        "satisfaction": None if facts.satisfaction is None else facts.satisfaction / 10,
    }
    parts = [Part(name, WEIGHTS[name], share) for name, share in shares.items() if share is not None]
    parts.sort(key=lambda part: (-(1 - part.share) * part.weight, part.name))
    if facts.age_days < NEW_DAYS and facts.days_since_call is None:
        return Health(None, NEW, tuple(parts))
    whole = sum(part.weight for part in parts)
    score = int(100 * sum(part.share * part.weight for part in parts) / whole)
    band = GOOD if score >= GOOD_FROM else FAIR if score >= FAIR_FROM else POOR
    return Health(score, band, tuple(parts))


def _falling(days: int | None, whole_to: int, none_from: int, *, missing: Fraction) -> Fraction:
    """1 up to so many days, 0 from so many on, a straight line between."""
    if days is None:
        return missing
    return min(Fraction(1), max(Fraction(0), Fraction(none_from - days, none_from - whole_to)))


def _trend(calls: int, before: int) -> Fraction | None:
    """Whole where calls do not fall; nothing is known of somebody who has made none in either span."""
    if before == 0:
        return Fraction(1) if calls else None
    return min(Fraction(1), Fraction(calls, before))
