"""Traces from the door to the batch, where OTEL_EXPORTER_OTLP_ENDPOINT says who collects them.

Without it nothing of OpenTelemetry is imported, and every call has the one `Untraced`, whose methods do nothing. The
SDK's own variables (sampler, headers, delays, service name) hold as they are documented there.

    trace = tracing.begin("POST /v1/chat/completions", header)    # the gateway, for each request
    with trace.span("quota"): …
    engine.classify(…, trace=trace.traceparent)                   # goes with the message
    tracing.record("queue", message.trace, began_ns, ended_ns)    # the engine, afterwards
    trace = tracing.begin("data.read", header, task=True)         # a worker, for a task that a traced request rang
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

log = logging.getLogger(__name__)

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
MOST_LINKS = 128

_tracer: Any = None
_api: Any = None  # opentelemetry.trace
_propagator: Any = None
_empty: Any = None


def on() -> bool:
    """Whether anybody collects traces."""
    return _tracer is not None


def start(service: str, endpoint: str = "") -> None:
    """Begin to send traces to the endpoint, or to that of the environment; without one nothing happens.

    A missing package is logged and nothing more: traces never keep a process from serving.
    """
    global _tracer, _api, _propagator, _empty
    endpoint = endpoint or os.environ.get(ENDPOINT, "")
    if not endpoint or _tracer is not None:
        return
    os.environ.setdefault("OTEL_SERVICE_NAME", service)
    try:
        _api = importlib.import_module("opentelemetry.trace")
        sdk = importlib.import_module("opentelemetry.sdk.trace")
        export = importlib.import_module("opentelemetry.sdk.trace.export")
        otlp = importlib.import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        context = importlib.import_module("opentelemetry.trace.propagation.tracecontext")
        _empty = importlib.import_module("opentelemetry.context").Context()
    except ImportError:
        log.exception("%s is set, but OpenTelemetry is not installed: pip install 'tunesmith[otel]'", ENDPOINT)
        return
    provider = sdk.TracerProvider()
    exporter = otlp.OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(export.BatchSpanProcessor(exporter))
    _propagator = context.TraceContextTextMapPropagator()
    _tracer = provider.get_tracer("tunesmith")


class Untraced:
    """A request of which nothing is kept."""

    trace_id = ""
    traceparent = ""

    def rename(self, name: str) -> None:
        """What it is called, once that is known."""

    def span(self, name: str) -> Untraced:
        """A part of it."""
        return self

    def event(self, name: str) -> None:
        """A moment in it."""

    def end(self, *, failed: bool = False, **attributes: Any) -> None:
        """It is over; `failed` through our fault."""

    def __enter__(self) -> Untraced:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Trace(Untraced):
    """A request and its parts. `traceparent` is that of the part in which the engine is asked, once there is one."""

    def __init__(self, name: str, parent: str, *, task: bool = False) -> None:
        kind = _api.SpanKind.CONSUMER if task else _api.SpanKind.SERVER
        self._root = _tracer.start_span(name, context=_context(parent), kind=kind)
        self._within = _api.set_span_in_context(self._root)
        self._engine: Any = None
        self.trace_id = f"{self._root.get_span_context().trace_id:032x}"

    @property
    def traceparent(self) -> str:  # type: ignore[override]
        """For what is asked of others."""
        return _traceparent(self._engine or self._root)

    def rename(self, name: str) -> None:
        """What it is called, once that is known."""
        self._root.update_name(name)

    @contextlib.contextmanager
    def span(self, name: str) -> Iterator[Any]:  # type: ignore[override]
        """A part of it; an exception that ends it is noted."""
        span = _tracer.start_span(name, context=self._within)
        if name == "engine":
            self._engine = span
        try:
            yield span
        except Exception as error:
            span.record_exception(error)
            span.set_status(_api.StatusCode.ERROR)
            raise
        finally:
            span.end()

    def event(self, name: str) -> None:
        """A moment in the engine's part, or in the whole."""
        (self._engine or self._root).add_event(name)

    def end(self, *, failed: bool = False, **attributes: Any) -> None:
        """It is over."""
        for key, value in attributes.items():
            self._root.set_attribute(f"tunesmith.{key}", value)
        if failed:
            self._root.set_status(_api.StatusCode.ERROR)
        self._root.end()


UNTRACED = Untraced()


def begin(name: str, parent: str = "", *, task: bool = False) -> Untraced:
    """A request, or a task, that came with that traceparent, or with none."""
    return UNTRACED if _tracer is None else Trace(name, parent, task=task)


def record(
    name: str, parent: str, began_ns: int, ended_ns: int, *, links: Iterable[str] = (), **attributes: Any
) -> None:
    """A part that is over, under a traceparent; with links to other requests for what is shared by them."""
    if _tracer is None:
        return
    linked = [_api.Link(_api.get_current_span(_context(one)).get_span_context()) for one in list(links)[:MOST_LINKS]]
    span = _tracer.start_span(name, context=_context(parent), start_time=began_ns, links=linked)
    for key, value in attributes.items():
        span.set_attribute(f"tunesmith.{key}", value)
    span.end(ended_ns)


def wall_ns(moment: float) -> int:
    """Nanoseconds since 1970 of a reading of `time.perf_counter`."""
    return time.time_ns() - int((time.perf_counter() - moment) * 1e9)


def _context(traceparent: str) -> Any:
    """Empty for what is no traceparent: then a trace begins here."""
    return _propagator.extract({"traceparent": traceparent}, context=_empty)


def _traceparent(span: Any) -> str:
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, context=_api.set_span_in_context(span))
    return carrier.get("traceparent", "")
