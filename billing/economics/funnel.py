"""The way from signing up to paying, by the month of signing up. Pure."""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from billing.periods import month_of

STEPS = ("file", "model", "call", "paying")
"""In the usual order. Each counts alone: whoever calls a ready-made model has reached it without a file."""
DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Journey:
    """Who signed up when, and when each step was first reached; steps that were not are absent."""

    signed_up: dt.datetime
    reached: Mapping[str, dt.datetime]


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Those who signed up in one month: how many there are, how many have reached each step by now, and the days that
    half of those took (the median; None where nobody has)."""

    month: dt.date
    signed_up: int
    reached: Mapping[str, int]
    days: Mapping[str, Fraction | None]

    def share(self, step: str) -> Fraction:
        """Of those who signed up."""
        return Fraction(self.reached[step], self.signed_up)


def funnel(journeys: Iterable[Journey]) -> list[Arrivals]:
    """By month of signing up, the oldest first; months in which nobody did are absent."""
    months: dict[dt.date, list[Journey]] = defaultdict(list)
    for journey in journeys:
        months[month_of(journey.signed_up.astimezone(dt.UTC))].append(journey)
    return [_arrivals(month, found) for month, found in sorted(months.items())]


def together(months: Iterable[Arrivals]) -> tuple[int, dict[str, int]]:
    """Of all these months: who signed up, and who has reached each step."""
    signed_up, reached = 0, dict.fromkeys(STEPS, 0)
    for month in months:
        signed_up += month.signed_up
        for step in STEPS:
            reached[step] += month.reached[step]
    return signed_up, reached


def _arrivals(month: dt.date, journeys: list[Journey]) -> Arrivals:
    took = {
        step: sorted(
            max(0, int((one.reached[step] - one.signed_up).total_seconds())) for one in journeys if step in one.reached
        )
        for step in STEPS
    }
    return Arrivals(
        month,
        len(journeys),
        {step: len(seconds) for step, seconds in took.items()},
        {step: _median(seconds) for step, seconds in took.items()},
    )


def _median(seconds: list[int]) -> Fraction | None:
    if not seconds:
        return None
    half = len(seconds) // 2
    middle = seconds[half : half + 1] if len(seconds) % 2 else seconds[half - 1 : half + 1]
    return Fraction(sum(middle), len(middle) * DAY_SECONDS)
