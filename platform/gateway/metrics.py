"""What the gateway counts for Prometheus."""

from __future__ import annotations

from kit.metrics import SECONDS, Counter, Histogram

REQUESTS = Counter("gateway_requests_total", "Answers of the hot path.", ("route", "status"))
SECONDS_TAKEN = Histogram("gateway_request_seconds", "Time from request to answer.", ("route",), buckets=SECONDS)
TOKENS = Counter("gateway_input_tokens_total", "Tokens read by models.", ("route",))
WRITTEN = Counter("gateway_output_tokens_total", "Tokens written by models.", ("route",))
FIRST_TOKEN = Histogram(
    "gateway_first_token_seconds", "Time from request to the first token written.", ("route",), buckets=SECONDS
)
LOOKUPS = Counter("gateway_cold_lookups_total", "Look-ups that had to ask the database.", ("what",))

_children: dict[tuple[str, int], tuple[Counter, Histogram]] = {}


def note(route: str, status: int, seconds: float) -> None:
    """Count one answer. Label look-ups are remembered: they cost more than the counting."""
    found = _children.get((route, status))
    if found is None:
        found = _children[route, status] = (REQUESTS.labels(route, str(status)), SECONDS_TAKEN.labels(route))
    found[0].inc()
    found[1].observe(seconds)
