"""Django's registration of the room; it has no tables."""

from django.apps import AppConfig


class GatewayConfig(AppConfig):
    """The hot path."""

    name = "gateway"
    label = "gateway"

    def ready(self) -> None:
        """Let batches call every hot path."""
        from batches.endpoints import offer
        from gateway.app import HANDLERS

        offer(HANDLERS)
