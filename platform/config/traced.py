"""Traces of what is no hot path: Django's requests, and the tasks that they ring.

A request goes on from its caller's `traceparent`. What it rings carries its own in the message's headers, so an upload
and the reading of its file, a job and its training, are one trace. Where nobody collects, a request pays for one
comparison. What nobody's request rang (ticks, what the outbox rings again) is in no trace.
"""

from contextvars import ContextVar
from typing import Any

from celery import current_task
from celery.signals import before_task_publish, task_postrun, task_prerun
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from inference import tracing
from inference.tracing import UNTRACED, Untraced
from kit.access import PROBES, route_of
from kit.http import Around
from kit.logs import request_id

HEADER = "traceparent"

_current: ContextVar[Untraced] = ContextVar("trace", default=UNTRACED)


class Traced(Around):
    """Stands behind the request id and before everything else. Probes and static files are not kept."""

    def before(self, request: HttpRequest) -> None:
        """A trace begins, or goes on."""
        if tracing.on():
            _current.set(tracing.begin(request.method or "", request.headers.get(HEADER, "")))

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Named by the route, never by the path."""
        trace = _current.get()
        if trace is not UNTRACED:
            _current.set(UNTRACED)
            route = route_of(request)
            if route not in PROBES and route != "static":
                trace.rename(f"{request.method} /{route}")
                status = response.status_code
                trace.end(failed=status >= 500, status=status, request_id=request_id.get())
        return response


@before_task_publish.connect
def _carry_trace(sender: str = "", headers: dict[str, Any] | None = None, **_: object) -> None:
    if current_task and current_task.name == sender:
        return  # a task that rings itself makes room for whoever is next, which is another's trace
    trace = _current.get()
    if headers is not None and trace is not UNTRACED:
        headers[HEADER] = trace.traceparent


@task_prerun.connect
def _task_begins(task: Any, **_: object) -> None:
    parent = str((task.request.headers or {}).get(HEADER) or "")
    if parent and settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        tracing.start("tunesmith-worker", settings.OTEL_EXPORTER_OTLP_ENDPOINT)
        _current.set(tracing.begin(task.name, parent, task=True))


@task_postrun.connect
def _task_ended(task: Any, state: str | None = None, **_: object) -> None:
    trace = _current.get()
    if trace is not UNTRACED:
        _current.set(UNTRACED)
        rung_by = str((task.request.headers or {}).get("request_id") or "")
        trace.end(failed=state == "FAILURE", state=state or "unknown", request_id=rung_by)
