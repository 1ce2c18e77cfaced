"""The Celery application. A message is a doorbell without authority; PostgreSQL says what is true.

A room's `tasks.py` may name periodic tasks: `SCHEDULE = {"room.task": seconds}`. Ticks are safe to run twice.
"""

import importlib.util
import os
import sys
import warnings
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django
from celery import Celery
from celery.platforms import SecurityWarning
from celery.signals import beat_init, setup_logging, task_postrun, task_prerun, worker_init, worker_ready
from django.apps import apps
from django.conf import settings
from django.db import close_old_connections

if not apps.models_ready:  # a worker starts here; a web process comes through `config.apps`
    django.setup()

from config.env import SettingError
from kit import heartbeat, sandbox


def _schedule() -> dict[str, dict[str, Any]]:
    """What the rooms want done regularly."""
    entries: dict[str, dict[str, Any]] = {}
    for room in settings.ROOMS:
        if importlib.util.find_spec(f"{room}.tasks") is None:
            continue
        tasks = importlib.import_module(f"{room}.tasks")
        for name, seconds in getattr(tasks, "SCHEDULE", {}).items():
            # A tick nobody took before the next one is due is dropped: the next does its work.
            entries[name] = {"task": name, "schedule": float(seconds), "options": {"expires": max(float(seconds), 5.0)}}
    return entries


if settings.DEBUG:  # a development container often runs as root; production images do not
    warnings.filterwarnings("ignore", category=SecurityWarning)

app = Celery("tunesmith")
app.conf.update(settings.CELERY)
app.conf.beat_schedule = _schedule()
app.conf.CELERY_DB_REUSE_MAX = sys.maxsize
"""Celery would close the database's connections before and after each task, a few a second with nothing to do."""


@setup_logging.connect
def _keep_our_logging(**_: object) -> None:
    """Django's LOGGING stands; Celery must not replace it."""


@task_prerun.connect
@task_postrun.connect
def _keep_connections(**_: object) -> None:
    """As between requests: a connection stays until it is old or broken."""
    close_old_connections()


@worker_init.connect
def _confine(**_: object) -> None:
    """Say which confinement is in force, and do not start where it is required and does not work."""
    try:
        sandbox.in_force(settings.SANDBOX)
    except sandbox.NotConfined as error:
        raise SettingError(str(error)) from error


@worker_ready.connect
def _worker_alive(**_: object) -> None:
    """Say that this process serves its queues."""
    for queue in os.environ.get("WORKER_QUEUE", "default").split(","):
        heartbeat.start(queue.strip())


@beat_init.connect
def _beat_alive(**_: object) -> None:
    """Say that somebody rings the ticks."""
    heartbeat.start("beat")


from config import tasks_seen as _tasks_seen  # noqa: E402, F401 - connects its signals
from config import traced as _traced  # noqa: E402, F401 - likewise
