"""Django's registration of the room."""

from django.apps import AppConfig


class RegistryConfig(AppConfig):
    """What was made, and from what."""

    name = "registry"
    label = "registry"
    default_auto_field = "django.db.models.BigAutoField"
