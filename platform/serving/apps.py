"""Django's registration of the room."""

from django.apps import AppConfig


class ServingConfig(AppConfig):
    """Deployments."""

    name = "serving"
    label = "serving"
