"""Django's registration of the room."""

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    """Orders."""

    name = "orders"
    label = "orders"

    def ready(self) -> None:
        """Tell the outbox to Stripe below what orders ask of it."""
        from billing.services.operations import OPERATIONS
        from orders.services.operations import ORDER_OPERATIONS

        OPERATIONS.update(ORDER_OPERATIONS)
