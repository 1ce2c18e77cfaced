"""Django's registration of the room."""

from django.apps import AppConfig


class HooksConfig(AppConfig):
    """Webhooks out."""

    name = "hooks"
    label = "hooks"
    default_auto_field = "django.db.models.BigAutoField"
