"""Django's registration of the room."""

from django.apps import AppConfig


class TenantsConfig(AppConfig):
    """Who."""

    name = "tenants"
    label = "tenants"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Amounts are written in the currency of whoever is in scope."""
        from kit.money import follow
        from tenants.currency import currency_in_scope

        follow(currency_in_scope)
