"""What the gateway counts for Prometheus."""

from __future__ import annotations

from kit.metrics import SECONDS, Counter, Gauge, Histogram

REQUESTS = Counter("gateway_requests_total", "Answers of the hot path.", ("route", "status"))
SECONDS_TAKEN = Histogram("gateway_request_seconds", "Time from request to answer.", ("route",), buckets=SECONDS)
WRITTEN = Counter("gateway_output_tokens_total", "Tokens written by models.", ("route",))
FIRST_TOKEN = Histogram(
    "gateway_first_token_seconds", "Time from request to the first token written.", ("route",), buckets=SECONDS
)
QUEUED = Histogram("gateway_engine_queue_seconds", "How long calls waited in the engine.", ("kind",), buckets=SECONDS)
BATCH_ROWS = Histogram(
    "gateway_engine_batch_rows", "Rows, whoever's, of the batch that computed a call.", ("kind",),
    buckets=(1, 2, 4, 8, 16, 32, 64, 128),
)  # fmt: skip
LOOKUPS = Counter("gateway_cold_lookups_total", "Look-ups that had to ask the database.", ("what",))
ENGINES = Gauge(
    "gateway_engines", "Engines that this process may ask, by how they stand.", ("state",), multiprocess_mode="livemax"
)
ENGINE_EVENTS = Counter(
    "gateway_engine_events_total", "Calls that another engine took, and engines set aside and back.", ("event",)
)

_children: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
_writings: dict[str, tuple[Histogram, Counter]] = {}
_batches: dict[str, tuple[Histogram, Histogram]] = {}


def note(route: str, status: int, seconds: float) -> None:
    """Count one answer. Label look-ups are remembered: they cost more than the counting."""
    found = _children.get((route, status))
    if found is None:
        found = _children[route, status] = (REQUESTS.labels(route, str(status)), SECONDS_TAKEN.labels(route))
    found[0].inc()
    found[1].observe(seconds)


def note_batch(kind: str, queued_seconds: float, rows: int) -> None:
    """Count how a call fared in the engine; `rows` 0 where it was in no batch of texts."""
    found = _batches.get(kind)
    if found is None:
        found = _batches[kind] = (QUEUED.labels(kind), BATCH_ROWS.labels(kind))
    found[0].observe(queued_seconds)
    if rows:
        found[1].observe(rows)


def note_first_token(kind: str, seconds: float) -> None:
    """Count how long a text's first token took."""
    _writing(kind)[0].observe(seconds)


def note_written(kind: str, tokens: int) -> None:
    """Count tokens that were written."""
    _writing(kind)[1].inc(tokens)


def _writing(kind: str) -> tuple[Histogram, Counter]:
    found = _writings.get(kind)
    if found is None:
        found = _writings[kind] = (FIRST_TOKEN.labels(kind), WRITTEN.labels(kind))
    return found
