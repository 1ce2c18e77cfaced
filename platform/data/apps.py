"""Django's registration of the room."""

from django.apps import AppConfig


class DataConfig(AppConfig):
    """Files, datasets and their versions."""

    name = "data"
    label = "data"
    default_auto_field = "django.db.models.BigAutoField"
