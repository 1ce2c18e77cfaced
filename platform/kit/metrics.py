"""Prometheus metrics: of one process, or, where several share a container, of all of them together.

`PROMETHEUS_MULTIPROC_DIR` names the folder in which the processes of one container add up (uvicorn's and Celery's
children); without it each process speaks for itself. A process counts in files with the number of a seat, the lowest
that is free, and goes on where the last one on that seat ended. So there are only as many files as processes at a time;
under process ids, the library's own way, each command and each restart would leave some for ever.
"""

import fcntl
import os
from collections.abc import Iterable
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
from prometheus_client import values as library_values  # noqa: E402
from prometheus_client.metrics_core import Metric  # noqa: E402
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead  # noqa: E402
from prometheus_client.registry import Collector  # noqa: E402

__all__ = ["CONTENT_TYPE", "SECONDS", "Collector", "Counter", "Gauge", "Histogram", "scrape", "serve"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Buckets for request durations, in seconds."""


_taken: dict[int, tuple[int, int]] = {}
"""The seat of this process and the open file that holds it, by process id: a fork must take one of its own."""


def _seat() -> int:
    """This process's seat; the kernel frees it when the process ends, however it ends."""
    mine = os.getpid()
    if mine not in _taken:
        number = 0
        while (file := _lock(number)) is None:
            number += 1
        _taken[mine] = number, file
        mark_process_dead(number)  # gauges of whoever sat here before
    return _taken[mine][0]


def _lock(number: int) -> int | None:
    """The open lock file of a seat; None while a living process holds it."""
    file = os.open(Path(SHARED) / f"seat_{number}.lock", os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


class _Living(MultiProcessCollector):
    """All processes of the container. Gauges of a process go with it; what it counted stays."""

    def collect(self) -> Iterable[Metric]:
        """Ask them all."""
        for path in Path(SHARED).glob("seat_*.lock"):
            number = int(path.stem.removeprefix("seat_"))
            file = _lock(number)
            if file is not None:
                mark_process_dead(number)
                os.close(file)
        return super().collect()


if SHARED:
    library_values.ValueClass = library_values.MultiProcessValue(_seat)


def _registry() -> CollectorRegistry:
    if not SHARED:
        return REGISTRY
    shared = CollectorRegistry()
    _Living(shared)
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
