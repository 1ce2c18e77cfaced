"""Django's registration of the top floor, for its commands."""

from django.apps import AppConfig


class ConfigConfig(AppConfig):
    """Commands such as `up` and `demo`."""

    name = "config"
    label = "config"
