"""`manage.py engines`: keep the engines of dedicated deployments on this machine, or say which are wanted."""

import json
import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import OperationalError, close_old_connections

from config.keeper import LocalEngines
from kit import metrics
from serving import pools

EVERY_SECONDS = 1.0


class Command(BaseCommand):
    """Keep engines."""

    help = "Start and stop the engines that dedicated deployments want, on this machine, until told to stop."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Only say it."""
        parser.add_argument("--desired", action="store_true", help="print the engines wanted by pool, as JSON, and end")

    def handle(self, *args: Any, **options: Any) -> None:
        """Look once a second."""
        if options["desired"]:
            self.stdout.write(json.dumps(pools.desired(), sort_keys=True))
            return
        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        if settings.METRICS_PORT:
            metrics.serve(settings.METRICS_PORT)
        keeper = LocalEngines()
        try:
            while not stopping.wait(EVERY_SECONDS):
                try:
                    pools.scale()
                    keeper.look()
                except OperationalError as error:
                    self.stderr.write(f"engines stay as they are, for the database is away: {error}")
                    close_old_connections()
        finally:
            keeper.close()
