"""Django's registration of the room."""

from django.apps import AppConfig


class BillingConfig(AppConfig):
    """Money."""

    name = "billing"
    label = "billing"
    default_auto_field = "django.db.models.BigAutoField"
