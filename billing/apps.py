"""Django's registration of the room."""

from django.apps import AppConfig


class BillingConfig(AppConfig):
    """Money."""

    name = "billing"
    label = "billing"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """What must agree before anything starts."""
        from billing import checks  # noqa: F401
        from billing.selectors.dunning import api_check
        from tenants.gates import gate_add

        gate_add(api_check)
