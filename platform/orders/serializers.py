"""Bodies of this room's routes."""

from typing import Any

from rest_framework import serializers

from kit.api import StrictSerializer
from kit.fields import Text, Whole
from orders.models import Order
from orders.services.orders import LONGEST_BRIEF, MOST_CALLS, MOST_FILES


class Prose(Text):
    """A text of several lines."""

    def to_internal_value(self, data: Any) -> str:
        """The text, its line ends those of a form."""
        if not isinstance(data, str) or len(data) > self.longest:
            return super().to_internal_value(data)
        lines = data.replace("\r\n", "\n").split("\n")
        return "\n".join(super(Prose, self).to_internal_value(line) if line else "" for line in lines)


class OrderCreate(StrictSerializer):
    """POST /v1/orders."""

    title = Text(longest=120, help_text="What you call it.")
    task = serializers.ChoiceField(
        choices=Order.Task.values,
        help_text="What the model is to do.",
        error_messages={"invalid_choice": f"Must be one of {', '.join(Order.Task.values)}."},
    )
    brief = Prose(longest=LONGEST_BRIEF, help_text="What it is for, from 20 characters.")
    success = Prose(longest=4_000, required=False, help_text="How you will know that it is good.")
    calls_per_month = Whole(low=0, high=MOST_CALLS, required=False, help_text="How often it will be called.")
    wanted_by: Any = serializers.DateField(required=False, help_text="The day by which you need it.")
    contact = Text(longest=254, help_text="The e-mail address that hears of what happens.")
    file_ids: Any = serializers.ListField(
        child=Text(longest=64), max_length=MOST_FILES, required=False, help_text="Files of the project, as samples."
    )


class MessageCreate(StrictSerializer):
    """POST /v1/orders/{id}/events."""

    text = Prose(longest=4_000, help_text="What you want to say.")


class OrderCancel(StrictSerializer):
    """POST /v1/orders/{id}/cancel."""

    reason = Text(longest=1_000, required=False, help_text="Why; both sides read it.")
