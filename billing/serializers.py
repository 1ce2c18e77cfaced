"""Bodies of this room's routes."""

from rest_framework import serializers

from billing.plans import INTERVALS
from kit.api import StrictSerializer
from kit.fields import Text

PLAN = "A plan's id, as `GET /v1/billing/plans` has it."


def _interval() -> serializers.ChoiceField:
    return serializers.ChoiceField(
        choices=INTERVALS,
        required=False,
        help_text="How often it is to be paid; `month` by default.",
        error_messages={"invalid_choice": f"Must be one of {', '.join(INTERVALS)}."},
    )


class Nothing(StrictSerializer):
    """Acts that take no fields."""


class PlanPreview(StrictSerializer):
    """POST /v1/billing/subscription/preview."""

    plan = Text(longest=40, help_text=PLAN)
    interval = _interval()


class PlanChange(StrictSerializer):
    """POST /v1/billing/subscription."""

    plan = Text(longest=40, help_text=PLAN)
    interval = _interval()
    pin = Text(longest=1_000, help_text="The `pin` of the preview of this very change, at most 15 minutes old.")
