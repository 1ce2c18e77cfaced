"""Bodies of this room's routes."""

from typing import Any

from rest_framework import serializers

from batches.limits import WINDOW
from data.serializers import ExpiresAfter
from kit.api import StrictSerializer
from kit.fields import Metadata, Text


class BatchCreate(StrictSerializer):
    """POST /v1/batches."""

    input_file_id = Text(longest=64, help_text="The file with the calls, uploaded with purpose `batch`.")
    endpoint = Text(longest=100, help_text="The path that every line calls, such as `/v1/classify`.")
    completion_window = serializers.ChoiceField(
        choices=[WINDOW],
        help_text="Within which the lines are answered. What has no answer then has the error `batch_expired`.",
        error_messages={"invalid_choice": f"Must be {WINDOW}."},
    )
    metadata = Metadata(required=False, allow_null=True, help_text="Up to 16 pairs of your own.")
    output_expires_after: Any = ExpiresAfter(
        required=False, allow_null=True, help_text="When the files it writes are deleted by themselves."
    )
