"""The console as a Django app."""

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    """Pages, template tags and static drawings; owns no tables."""

    name = "console"
