"""Bodies of this room's routes."""

from kit.api import StrictSerializer
from kit.fields import Text


class DeploymentCreate(StrictSerializer):
    """POST /v1/deployments."""

    model = Text(longest=300, help_text="The model to serve, by its name.")
    alias = Text(
        longest=100,
        required=False,
        help_text="A second name for calls, `name@stage`, such as `triage@prod`. It moves here from where it pointed.",
    )
