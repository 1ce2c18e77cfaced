"""Bodies of this room's routes."""

from rest_framework import serializers

from hooks.addresses import LONGEST
from hooks.catalogue import EVENT_TYPES
from hooks.models import Endpoint
from kit.api import StrictSerializer
from kit.fields import Items, Text, Truth

KNOWN = f"Types: {', '.join(f'`{name}`' for name in EVENT_TYPES)}."
URL = "An `https://` URL of a public host, on port 443 or 8443. Nothing is sent to private addresses."


def _types(**options: bool) -> Items:
    words = f"Which events it is told of. {KNOWN}"
    return Items(least=1, most=100, child=Text(longest=100), help_text=words, **options)


class EndpointCreate(StrictSerializer):
    """POST /v1/webhook_endpoints."""

    name = Text(longest=100, help_text="Where the events go, in your words.")
    url = Text(longest=LONGEST, help_text=URL)
    event_types = _types()


class EndpointChange(StrictSerializer):
    """POST /v1/webhook_endpoints/{id}."""

    name = Text(longest=100, required=False, help_text="Another name.")
    url = Text(longest=LONGEST, required=False, help_text=URL)
    event_types = _types(required=False)
    x_state = Text(
        longest=20,
        required=False,
        help_text="`disabled` sends nothing more and fails what waits; `enabled` sends what happens from now on.",
    )

    def validate_x_state(self, value: str) -> str:
        """One of two words."""
        if value not in Endpoint.State.values:
            raise serializers.ValidationError(f"Must be one of {', '.join(Endpoint.State.values)}.")
        return value


class SecretRotate(StrictSerializer):
    """POST /v1/webhook_endpoints/{id}/rotate_secret."""

    keep_old_secret_active_for_24_hours = Truth(
        required=False,
        default=False,
        help_text="`true`: for 24 hours deliveries carry a signature of each secret. Otherwise the old one ends now.",
    )


class EndpointTest(StrictSerializer):
    """POST /v1/webhook_endpoints/{id}/test."""

    event_type = Text(longest=100, help_text=f"The type of the sample event. {KNOWN}")

    def validate_event_type(self, value: str) -> str:
        """One of the catalogue."""
        if value not in EVENT_TYPES:
            raise serializers.ValidationError(f"Must be one of {', '.join(EVENT_TYPES)}.")
        return value
