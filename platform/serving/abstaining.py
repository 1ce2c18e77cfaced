"""Above which confidence a model answers, and what that promises. Pure; the measured part is `evaluation.abstention`.

A rule comes from a wish (a precision, or a bare threshold) and from what the model's own report measured on held-out
rows. Bare thresholds promise nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from kit.errors import BadRequest

NEVER = 2.0
"""A threshold that no probability reaches."""
PARAM = "x_abstain.precision"


Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class _Step(msgspec.Struct):
    threshold: Share
    precision: Share | None
    at_least: Share
    coverage: Share


class _Table(msgspec.Struct):
    """The report's part `abstention`."""

    confidence: Share
    n: Annotated[int, msgspec.Meta(ge=0)]
    points: Annotated[list[_Step], msgspec.Meta(max_length=1000)]


@dataclass(frozen=True, slots=True)
class Point:
    """A threshold, and what the held-out rows that reach it say. Shares, not per cent."""

    threshold: float
    precision: float
    at_least: float
    coverage: float


@dataclass(frozen=True, slots=True)
class Rule:
    """Answer where the likeliest label's probability is at least `threshold`. `point` is None where nothing is
    promised; `precision` is the one that was asked for, `held_out` the rows behind the promise."""

    threshold: float
    precision: float | None = None
    point: Point | None = None
    held_out: int = 0
    confidence: float = 0.0


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The measured thresholds of one version, lowest first."""

    rows: int
    confidence: float
    points: tuple[Point, ...]

    @property
    def best(self) -> float:
        """The highest precision that can be promised."""
        return max((point.at_least for point in self.points), default=0.0)

    def reaching(self, precision: float) -> Rule | None:
        """The rule that answers most and still promises this precision; None where the rows support none."""
        for point in self.points:
            if point.at_least >= precision:
                return Rule(point.threshold, precision, point, self.rows, self.confidence)
        return None


def held_out_of(report: dict[str, Any]) -> HeldOut | None:
    """What a version's report measured; None for reports of before there was any, and for what is no such table: a
    trainer that read a stranger's data wrote it."""
    try:
        found = msgspec.convert(report.get("abstention"), _Table | None)
    except msgspec.ValidationError:
        return None
    if found is None:
        return None
    points = tuple(
        Point(one.threshold, one.precision, one.at_least, one.coverage)
        for one in found.points
        if one.precision is not None
    )
    return HeldOut(found.n, found.confidence, points)


def rule_for(held_out: HeldOut | None, precision: float, *, model: str, param: str = PARAM) -> Rule:
    """The rule for a precision. BadRequest where the model cannot promise it, saying what it can."""
    if held_out is None:
        raise BadRequest(
            f"Nothing was measured for '{model}' that could promise a precision: it was trained before there were such "
            "tables. Train it again, or give 'threshold', which promises nothing.",
            param=param,
            code="abstention_unmeasured",
        )
    rule = held_out.reaching(precision)
    if rule is None:
        best = int(held_out.best * 1000) / 1000
        raise BadRequest(
            f"The {held_out.rows:,} held-out rows of '{model}' support a precision of at most {best:.3f} (with "
            f"{held_out.confidence:.0%} confidence), not {precision:g}. Ask for that or less, or train with more test "
            "rows: they alone raise what can be promised.",
            param=param,
            code="precision_unsupported",
        )
    return rule


def default_rule(held_out: HeldOut | None, precision: float | None) -> Rule | None:
    """A deployment's own rule. A version that cannot keep the promise says nothing at all rather than break it."""
    if precision is None:
        return None
    found = None if held_out is None else held_out.reaching(precision)
    return found or Rule(NEVER, precision, None, 0 if held_out is None else held_out.rows, 0.0)
