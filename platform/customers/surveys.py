"""When a person is asked how satisfied they are, and what the answers come to. Pure."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

SETTLING = dt.timedelta(days=14)
"""Somebody who joined less than this ago is not asked."""
APART = dt.timedelta(days=92)
"""Between two askings. No quarter of a year is longer, so nobody is asked twice in one."""
STAYS = dt.timedelta(days=7)
"""How long the question stands there for somebody who neither answers nor dismisses it."""
PROMOTER, PASSIVE = 9, 7
"""Scores from which somebody counts as a promoter, and as neither; below they are a detractor."""


def is_asked(*, joined: dt.datetime, asked: dt.datetime | None, closed: dt.datetime | None, at: dt.datetime) -> bool:
    """Whether the question stands on a person's page at a moment."""
    if at - joined < SETTLING:
        return False
    if asked is None or at - asked >= APART:
        return True
    return at - asked < STAYS and (closed is None or closed < asked)


@dataclass(frozen=True, slots=True)
class Satisfaction:
    """Answers, counted."""

    promoters: int
    passives: int
    detractors: int

    @property
    def answers(self) -> int:
        """How many there are."""
        return self.promoters + self.passives + self.detractors

    @property
    def score(self) -> int | None:
        """Share of promoters less that of detractors, -100 to 100, towards zero; None of no answers."""
        if not self.answers:
            return None
        return int(100 * (self.promoters - self.detractors) / self.answers)


def counted(scores: Iterable[int]) -> Satisfaction:
    """The answers of these scores."""
    every = list(scores)
    promoters, detractors = sum(one >= PROMOTER for one in every), sum(one < PASSIVE for one in every)
    return Satisfaction(promoters, len(every) - promoters - detractors, detractors)
