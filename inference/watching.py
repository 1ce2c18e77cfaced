"""How an engine is watched: JSON lines where other processes write them, and a page of Prometheus metrics.

`LOG_FORMAT=json` chooses the lines, `--metrics HOST:PORT` opens the page. It asks for no token: keep it inside the
private network.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from inference import wire
from inference.address import Address
from inference.engine import Engine

ANSWER_SECONDS = 5.0
COUNTS = {
    "requests": "Requests answered.",
    "rows": "Texts computed.",
    "tokens": "Tokens computed.",
    "padded_tokens": "Tokens computed with the padding of their batches.",
    "batches": "Batches computed; texts divided by batches is how full they were.",
    "refused": "Requests refused because the wait would have been too long.",
    "cancelled": "Requests whose caller left.",
    "evictions": "Models that had to leave the memory.",
}
LEVELS = {
    "uptime_s": ("uptime_seconds", "Since the start."),
    "queued_rows": ("queued_rows", "Texts that wait."),
    "queued_tenants": ("queued_tenants", "Organisations whose texts wait."),
    "expected_wait_s": ("expected_wait_seconds", "What a request that comes now would wait."),
    "resident_bytes": ("resident_bytes", "Memory that models take."),
    "resident_budget": ("resident_budget_bytes", "Memory that models may take."),
}


WRITERS = {
    "requests": "Texts written, all choices of a request together.",
    "read_tokens": "Tokens of prompts computed.",
    "cached_tokens": "Tokens of prompts found in the cache.",
    "written_tokens": "Tokens written.",
    "cancelled": "Requests whose caller left.",
    "refused": "Requests refused because too many wait.",
    "preempted": "Texts that gave their place in the cache to others for a while.",
}
WRITER_LEVELS = {
    "running": "Texts that are being read or written.",
    "waiting": "Texts that wait.",
    "blocks": "Blocks of the cache.",
    "blocks_free": "Blocks of the cache that nobody uses.",
    "ready": "1 while it can write; 0 while its vLLM server is away.",
}


class JsonLines(logging.Formatter):
    """One JSON object a line, with the keys of the other processes' logs."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, logger, message, and a traceback if there is one."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class Report(Collector):
    """The engine's own health report in the words of Prometheus. Asked on the engine's loop, so that an engine that
    hangs does not answer."""

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        self._engine, self._loop = engine, loop

    def collect(self) -> Iterator[Metric]:
        """Called by a scrape, on its thread."""
        report = asyncio.run_coroutine_threadsafe(self._ask(), self._loop).result(ANSWER_SECONDS)
        for name, text in COUNTS.items():
            yield CounterMetricFamily(f"engine_{name}", text, value=getattr(report, name))
        for name, (shown, text) in LEVELS.items():
            yield GaugeMetricFamily(f"engine_{shown}", text, value=getattr(report, name))
        yield GaugeMetricFamily("engine_resident_models", "Models in memory.", value=len(report.residents))
        latency = GaugeMetricFamily("engine_request_ms", "Of the last requests, waiting included.", labels=["quantile"])
        for name, value in (
            ("0.5", report.latency_p50_ms),
            ("0.95", report.latency_p95_ms),
            ("0.99", report.latency_p99_ms),
        ):
            latency.add_metric([name], value)
        yield latency
        yield from _writers(report.writers)

    async def _ask(self) -> wire.HealthReport:
        return self._engine.health(wire.Health(0))


def _writers(reports: list[wire.WriterReport]) -> Iterator[Metric]:
    """The bases that write, by name."""
    if not reports:
        return
    for name, text in WRITERS.items():
        counter = CounterMetricFamily(f"engine_writer_{name}", text, labels=["base"])
        for report in reports:
            counter.add_metric([report.base], getattr(report, name))
        yield counter
    for name, text in WRITER_LEVELS.items():
        gauge = GaugeMetricFamily(f"engine_writer_{name}", text, labels=["base"])
        for report in reports:
            gauge.add_metric([report.base], getattr(report, name))
        yield gauge
    first = GaugeMetricFamily(
        "engine_first_token_ms", "Of the last texts, waiting included.", labels=["base", "quantile"]
    )
    for report in reports:
        first.add_metric([report.base, "0.5"], report.first_token_p50_ms)
        first.add_metric([report.base, "0.99"], report.first_token_p99_ms)
    yield first


def start_logging() -> None:
    """Lines for people, or JSON."""
    handler = logging.StreamHandler()
    if os.environ.get("LOG_FORMAT") == "json":
        handler.setFormatter(JsonLines())
    else:
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def open_metrics(engine: Engine, address: Address) -> None:
    """Answer scrapes until the process ends. Call it on the engine's loop. Raises `OSError` if the port is taken."""
    registry = CollectorRegistry()
    registry.register(Report(engine, asyncio.get_running_loop()))
    start_http_server(address.port, address.host, registry)
