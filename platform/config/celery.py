"""The Celery application. A message is a doorbell without authority; PostgreSQL says what is true.

A room's `tasks.py` may name periodic tasks: `SCHEDULE = {"room.task": seconds}`. Ticks are safe to run twice.
"""

import importlib.util
import logging
import os
import sys
import time
import warnings
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django
from celery import Celery
from celery.platforms import SecurityWarning
from celery.signals import (
    beat_init,
    before_task_publish,
    setup_logging,
    task_postrun,
    task_prerun,
    worker_process_shutdown,
    worker_ready,
)
from django.apps import apps
from django.conf import settings
from django.db import close_old_connections

if not apps.models_ready:  # a worker starts here; a web process comes through `config.apps`
    django.setup()

from config.env import SettingError
from kit import heartbeat, metrics
from kit.logs import request_id

log = logging.getLogger(__name__)

TASKS = metrics.Counter("tasks_total", "Tasks run, by how they ended.", ("task", "end"))
TASK_SECONDS = metrics.Histogram(
    "task_seconds", "How long tasks took.", ("task",), buckets=(*metrics.SECONDS, 120, 600)
)


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


@worker_ready.connect
def _worker_alive(**_: object) -> None:
    """Say that this process serves its queues."""
    for queue in os.environ.get("WORKER_QUEUE", "default").split(","):
        heartbeat.start(queue.strip())
    _answer_scrapes()


@beat_init.connect
def _beat_alive(**_: object) -> None:
    """Say that somebody rings the ticks."""
    heartbeat.start("beat")
    _answer_scrapes()


def _answer_scrapes() -> None:
    if settings.METRICS_PORT:
        try:
            metrics.serve(settings.METRICS_PORT)
        except OSError as error:
            raise SettingError(f"METRICS_PORT={settings.METRICS_PORT} cannot be used: {error.strerror}.") from error


@before_task_publish.connect
def _carry_request(headers: dict[str, Any] | None = None, **_: object) -> None:
    """The request that rang a task goes with it, so that its log lines can be found from the answer's id."""
    if headers is not None and request_id.get():
        headers["request_id"] = request_id.get()


@task_prerun.connect
def _task_begins(task: Any, **_: object) -> None:
    request_id.set(str((task.request.headers or {}).get("request_id") or ""))
    task.request.began = time.monotonic()


@task_postrun.connect
def _task_ended(task: Any, state: str | None = None, **_: object) -> None:
    seconds = time.monotonic() - task.request.began
    TASKS.labels(task.name, (state or "unknown").lower()).inc()
    TASK_SECONDS.labels(task.name).observe(seconds)
    if request_id.get():  # a tick's line every few seconds would say nothing
        log.info("%s %s", task.name, state, extra={"task": task.name, "state": state, "ms": round(seconds * 1000, 1)})
    request_id.set("")


@worker_process_shutdown.connect
def _child_ended(pid: int, **_: object) -> None:
    metrics.child_ended(pid)
