"""Django's registration of the bottom shelf (the outbox table)."""

import logging

from django.apps import AppConfig
from django.conf import settings


class KitConfig(AppConfig):
    """Helpers."""

    name = "kit"
    label = "kit"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Where lines are collected as JSON, Python's warnings are lines as well."""
        logging.captureWarnings(settings.LOG_FORMAT == "json")
