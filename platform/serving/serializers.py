"""Bodies of this room's routes."""

from typing import Any

from rest_framework import serializers

from kit.api import StrictSerializer
from kit.fields import Items, Number, OneOf, Text, Truth, Whole
from serving.models import Rollout
from serving.rollouts import MOST_STEPS

MOST_REPLICAS = 64
DAY = 86_400


class DedicatedWish(StrictSerializer):
    """Engines of a deployment's own."""

    replicas_min = Whole(low=0, high=MOST_REPLICAS, default=0, help_text="0 lets the last one go when nobody calls.")
    replicas_max = Whole(low=1, high=MOST_REPLICAS, default=1, help_text="As many when there are many calls at a time.")
    idle_seconds = Whole(low=60, high=DAY, default=900, help_text="Without a call for so long, only the least stay.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """The least cannot be more than the most."""
        if attrs["replicas_min"] > attrs["replicas_max"]:
            raise serializers.ValidationError(
                {"replicas_min": "replicas_min is over replicas_max: at least 0, at most replicas_max."}
            )
        return attrs


class DeploymentCreate(StrictSerializer):
    """POST /v1/deployments."""

    model = Text(longest=300, help_text="The model to serve, by its name.")
    version = Whole(
        low=1,
        high=1_000_000,
        required=False,
        help_text="Which of its versions; the newest if left out. Two versions of a model can be live at once; its "
        "plain name stands for the one that has been live for longest.",
    )
    alias = Text(
        longest=100,
        required=False,
        help_text="A second name for calls, `name@stage`, such as `triage@prod`. It moves here from where it pointed.",
    )
    dedicated = DedicatedWish(
        required=False,
        allow_null=True,
        help_text="Engines of the deployment's own, where they are offered; without it the shared ones serve it.",
    )

    precision = Number(
        above=0,
        high=1,
        required=False,
        allow_null=True,
        help_text="From the first call on, answer only where at least this share is right, such as 0.95; see the "
        "deployment's update.",
    )


class DeploymentChange(StrictSerializer):
    """POST /v1/deployments/{id}."""

    alias = Text(
        longest=100,
        required=False,
        help_text="A second name for calls, `name@stage`, such as `triage@prod`. It moves here from where it pointed, "
        "and aliases that point here already stay.",
    )
    precision = Number(
        above=0,
        high=1,
        required=False,
        allow_null=True,
        help_text="Answer calls that say nothing of `x_abstain` only where at least this share is right, such as 0.95; "
        "null answers always.",
    )
    dedicated = DedicatedWish(
        required=False,
        allow_null=True,
        help_text="Engines of its own, so many; what is left out of it has its default. null: the shared ones again.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Something must change."""
        if not attrs:
            raise serializers.ValidationError("Send 'alias', 'precision' or 'dedicated': there is nothing to change.")
        return attrs


SHARE = "Percent of the callers, to a hundredth."


class RolloutStep(StrictSerializer):
    """One step of a canary."""

    share = Number(high=100, low=0.01, help_text=SHARE)
    seconds = Whole(low=0, high=90 * DAY, required=False, help_text="How long it lasts at least; 600 if left out.")
    calls = Whole(
        low=0, high=10_000_000, required=False, help_text="Calls the candidate must have had in it; 100 if left out."
    )
    feedback = Whole(
        low=0, high=1_000_000, required=False, help_text="Answers of it that must have been judged; 0 if left out."
    )


class RolloutGuards(StrictSerializer):
    """When a candidate is rolled back by itself."""

    auto_rollback = Truth(required=False, help_text="Whether it is; true for a canary, false for an A/B test.")
    alpha = Number(
        high=0.2, low=0.0001, required=False,
        help_text="The chance that a candidate which is no worse is rolled back all the same; 0.01 if left out.",
    )  # fmt: skip
    error_margin = Number(
        high=0.5, required=False, help_text="How much larger its share of failed calls may be; 0.01 allows a point."
    )
    quality_margin = Number(
        high=0.5, required=False, help_text="How much larger its share of wrong answers may be, by feedback."
    )
    latency_ms = Whole(
        low=1, high=600_000, required=False,
        help_text="A limit for the 95th percentile of its calls; none if left out.",
    )  # fmt: skip


class RolloutCreate(StrictSerializer):
    """POST /v1/rollouts."""

    alias = Text(
        longest=100, help_text="The name that callers use, `name@stage`. What it stands for now is the stable version."
    )
    candidate = Text(longest=100, help_text="A deployment of the project that is live: `dep_…`.")
    mode = OneOf(
        Rollout.Mode.values,
        help_text="`canary`: a growing share of callers; `ab`: a fixed split until you decide; `shadow`: the candidate "
        "is asked behind the answer, and compared.",
    )
    share = Number(
        high=100, required=False, help_text=f"{SHARE} By default the first step's; else 5, 50 or 100 by mode."
    )
    steps = Items(
        most=MOST_STEPS, required=False, child=RolloutStep(),
        help_text="What a canary goes through by itself. After a last step of 100 it is promoted.",
    )  # fmt: skip
    guards = RolloutGuards(required=False, help_text="When it is rolled back by itself.")
    drain_seconds = Whole(
        low=30, high=30 * DAY, required=False,
        help_text="Stop the old deployment so long after the promotion; if left out, it is kept.",
    )  # fmt: skip


class RolloutChange(StrictSerializer):
    """POST /v1/rollouts/{id}."""

    share = Number(high=100, required=False, help_text=f"{SHARE} It ends the steps, unless new ones are sent with it.")
    steps = Items(most=MOST_STEPS, required=False, child=RolloutStep(), help_text="Other steps.")


class RolloutBack(StrictSerializer):
    """POST /v1/rollouts/{id}/rollback."""

    reason = Text(longest=400, required=False, help_text="Why, for its history.")


class FeedbackGive(StrictSerializer):
    """POST /v1/feedback."""

    request_id = Text(longest=100, help_text="The `x-request-id` of the answer.")
    correct = Truth(help_text="Whether the answer was right.")
    label = Text(  # type: ignore[assignment]  # the wire's word
        longest=256, required=False, help_text="What would have been right."
    )
