"""`x_abstain`: which rule a call goes by, what the answer tells of it, and whether one row of probabilities passes.

The call's own word goes first, then the deployment's. The likeliest of all the model's labels is what is judged.
"""

from __future__ import annotations

import msgspec

from gateway import bodies
from kit.errors import BadRequest
from serving.abstaining import NEVER, Rule, rule_for
from serving.routes import Route

BELOW = "below_threshold"
"""Why there is no answer."""


class Applied(msgspec.Struct, gc=False):
    """The rule an answer was given under. What is expected was measured on held-out rows; null promises nothing."""

    threshold: float | None
    precision: float | None
    expected_precision: float | None
    expected_coverage: float | None
    held_out: int
    confidence: float | None


def rule_of(wish: bodies.Abstain | bool | None, route: Route) -> Rule | None:
    """The rule of a call; None answers always. BadRequest for a wish that the model cannot keep."""
    if wish is None:
        return route.rule
    if wish is False:
        return None
    if wish is True:
        if route.rule is None:
            raise BadRequest(
                f"'x_abstain' is true, which asks for the precision of the deployment of '{route.model}', but it has "
                'none. Set one on its page, or send {"precision": 0.95}.',
                param="x_abstain",
            )
        return route.rule
    if wish.threshold is not None and wish.precision is None:
        return Rule(wish.threshold)
    if wish.precision is not None and wish.threshold is None:
        return rule_for(route.held_out, wish.precision, model=route.model)
    raise BadRequest("'x_abstain' takes either 'precision' or 'threshold'.", param="x_abstain")


def passes(rule: Rule | None, row: list[float]) -> bool:
    """Whether a row of probabilities over all labels is sure enough to be answered."""
    return rule is None or max(row) >= rule.threshold


def applied(rule: Rule) -> Applied:
    """What the answer tells of the rule."""
    point = rule.point
    return Applied(
        threshold=None if rule.threshold == NEVER else rule.threshold,
        precision=rule.precision,
        expected_precision=None if point is None else point.precision,
        expected_coverage=None if point is None else point.coverage,
        held_out=rule.held_out,
        confidence=rule.confidence or None,
    )
