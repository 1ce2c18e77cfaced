"""Prometheus metrics: of one process, or, where several share a container, of all of them together.

`PROMETHEUS_MULTIPROC_DIR` names the folder in which the processes of one container add up (uvicorn's and Celery's
children); without it each process speaks for itself.
"""

import os
from pathlib import Path
from wsgiref.simple_server import WSGIServer

SHARED = os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")
if SHARED:  # the library looks for it when it is imported
    Path(SHARED).mkdir(parents=True, exist_ok=True)

from prometheus_client import (  # noqa: E402 - after the folder is there
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    start_http_server,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead  # noqa: E402
from prometheus_client.registry import Collector  # noqa: E402

__all__ = ["CONTENT_TYPE", "SECONDS", "Collector", "Counter", "Gauge", "Histogram", "child_ended", "scrape", "serve"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Buckets for request durations, in seconds."""


def _registry() -> CollectorRegistry:
    if not SHARED:
        return REGISTRY
    shared = CollectorRegistry()
    MultiProcessCollector(shared)
    return shared


def scrape(*more: Collector) -> bytes:
    """All metrics in the text format, and those of further collectors that are asked at this moment."""
    text = generate_latest(_registry())
    for collector in more:
        asked = CollectorRegistry()
        asked.register(collector)
        text += generate_latest(asked)
    return text


def serve(port: int) -> WSGIServer:
    """Answer scrapes on a port of its own, for processes that serve no HTTP. Keep it inside the private network."""
    server, _thread = start_http_server(port, registry=_registry())
    return server


def child_ended(pid: int) -> None:
    """A child's gauges go with it; what it counted stays."""
    if SHARED:
        mark_process_dead(pid)
