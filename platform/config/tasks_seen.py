"""How workers and beat are watched: tasks counted and timed, the request that rang a task on its log lines, and a port
for scrapes. `config.celery` connects it by importing it.
"""

import logging
import time
from typing import Any

from celery.signals import (
    beat_init,
    before_task_publish,
    task_postrun,
    task_prerun,
    worker_ready,
)
from django.conf import settings

from kit import metrics
from kit.logs import request_id

log = logging.getLogger(__name__)

TASKS = metrics.Counter("tasks_total", "Tasks run, by how they ended.", ("task", "end"))
TASK_SECONDS = metrics.Histogram(
    "task_seconds", "How long tasks took.", ("task",), buckets=(*metrics.SECONDS, 120, 600)
)


@worker_ready.connect
@beat_init.connect
def _answer_scrapes(**_: object) -> None:
    """A process that was to be watched and cannot be ends: Celery would log an exception and go on unwatched."""
    if settings.METRICS_PORT:
        try:
            metrics.serve(settings.METRICS_PORT)
        except OSError as error:
            log.error(
                "METRICS_PORT=%d cannot be used: %s. Give each worker and beat of a host a port of its own, or set it "
                "to 0 to run unwatched.",
                settings.METRICS_PORT,
                error.strerror,
            )
            raise SystemExit(1) from error


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
