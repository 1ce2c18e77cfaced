"""The staff's console as a Django app."""

from django.apps import AppConfig


class OpsConfig(AppConfig):
    """Admin site, actions, staff log."""

    name = "ops"
    label = "ops"
