"""How an engine is doing."""

from __future__ import annotations

import msgspec

from inference.wire.base import Message


class Health(Message, tag="health", frozen=True, gc=False):
    """How the engine is doing."""

    id: int


class ResidentReport(msgspec.Struct, frozen=True, gc=False):
    """One thing in memory."""

    model: str
    tenant: str
    kind: str
    bytes: int
    pinned: bool = False


class WriterReport(msgspec.Struct, frozen=True, gc=False):
    """One base that writes: counts since the start, and how it stands. Times in milliseconds, queue included.

    `backend` is own or vllm; `ready` is false while a vLLM server is not there. Its blocks are its own affair: 0."""

    base: str
    precision: str
    requests: int
    read_tokens: int
    cached_tokens: int
    written_tokens: int
    cancelled: int
    refused: int
    preempted: int
    running: int
    waiting: int
    blocks: int
    blocks_free: int
    first_token_p50_ms: float
    first_token_p99_ms: float
    backend: str = "own"
    ready: bool = True


class TrialReport(msgspec.Struct, frozen=True, gc=False):
    """A backend and precision in the trial that chose between them (`inference.trial`). `rows_per_s` at each of the
    trial's shapes; `difference` is the largest length between its unit vectors and those of plain fp32."""

    backend: str
    precision: str
    rows_per_s: list[float]
    difference: float
    outcome: str


class HealthReport(Message, tag="health_report", frozen=True, gc=False):
    """Counters since the start; latencies in milliseconds over the last requests, queue included."""

    id: int
    uptime_s: float
    backend: str
    precision: str
    bases: list[str]
    requests: int
    rows: int
    tokens: int
    padded_tokens: int
    batches: int
    refused: int
    cancelled: int
    queued_rows: int
    queued_tenants: int
    expected_wait_s: float
    resident_bytes: int
    resident_budget: int
    evictions: int
    residents: list[ResidentReport]
    latency_p50_ms: float
    latency_p95_ms: float
    latency_p99_ms: float
    writers: list[WriterReport] = []
    trial: list[TrialReport] = []

    @property
    def ready_bases(self) -> list[str]:
        """Bases that can be asked now: not those whose own server is away."""
        away = {one.base for one in self.writers if not one.ready}
        return [base for base in self.bases if base not in away]
