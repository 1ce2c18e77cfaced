"""Django's registration of the bottom shelf (the outbox table)."""

from django.apps import AppConfig


class KitConfig(AppConfig):
    """Helpers."""

    name = "kit"
    label = "kit"
    default_auto_field = "django.db.models.BigAutoField"
