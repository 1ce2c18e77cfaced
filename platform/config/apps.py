"""Django's registration of the top floor, for its commands."""

import gc
import importlib

from django.apps import AppConfig


class ConfigConfig(AppConfig):
    """Commands such as `up` and `demo`."""

    name = "config"
    label = "config"

    def ready(self) -> None:
        """Make ours the current Celery app in every Django process, so that a doorbell rings our broker; register the
        checks."""
        importlib.import_module("config.celery")
        importlib.import_module("config.checks")
        gc.freeze()  # what is loaded now stays to the end: no collection has to read it again
        gc.enable()
