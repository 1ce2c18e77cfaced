"""Django's registration of the room; it has no tables."""

from django.apps import AppConfig


class GatewayConfig(AppConfig):
    """The hot path."""

    name = "gateway"
    label = "gateway"
