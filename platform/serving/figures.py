"""Figures of the request log: how long calls took, how many failed, what they read, wrote and cost.

One pass over the index of project and time. A percentile needs every value of its span, so the span is bounded
(`MOST_DAYS`), and a sum that takes too long is broken off with a word about it instead of holding the database up.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from serving.errors import SpanTooLarge
from serving.patience import bounded
from serving.requests_read import RequestFilter, requests

MOST_DAYS = 31
MANY = "There are more requests in this span than can be added up in time. Choose a shorter one."
MOST_GROUPS = 200
PARTS = {
    "model": "model",
    "api_key": "key_id",
    "kind": "kind",
    "day": "date_trunc('day', at AT TIME ZONE 'UTC')",
    "hour": "date_trunc('hour', at AT TIME ZONE 'UTC')",
    "minute": "date_trunc('minute', at AT TIME ZONE 'UTC')",
    "arm": "arm",
    "version": "version_id",
}
"""What figures can be split by, as SQL of ours."""
_SUMS = """
    SELECT {part} AS part, {whole} AS whole, count(*),
        count(*) FILTER (WHERE status >= 500), count(*) FILTER (WHERE status IN (402, 429)),
        count(*) FILTER (WHERE status >= 400),
        coalesce(sum(items), 0), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0),
        coalesce(sum(cached_tokens), 0), coalesce(sum(cost_nano), 0),
        percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY duration_ms) FILTER (WHERE status < 400),
        percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY first_token_ms) FILTER (WHERE first_token_ms > 0),
        percentile_cont(0.95) WITHIN GROUP (ORDER BY queue_ms) FILTER (WHERE status < 400),
        avg(batch_rows) FILTER (WHERE batch_rows > 0)
    FROM ({rows}) AS request
    {grouped}
    ORDER BY whole DESC, 3 DESC, part
    LIMIT {most}"""
_COLUMNS = (
    "model", "key_id", "kind", "at", "arm", "version_id", "status", "items", "input_tokens", "output_tokens",
    "cached_tokens", "cost_nano", "duration_ms", "first_token_ms", "queue_ms", "batch_rows",
)  # fmt: skip

_COUNTED = (
    "requests", "faults", "refused", "errors", "inputs", "input_tokens", "output_tokens", "cached_tokens", "cost_nano",
)  # fmt: skip
"""The integers of a row of `_SUMS`, in its order."""


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """Of one part, or of all requests together. Times are in milliseconds, of calls that were answered; None where
    there was none."""

    part: Any
    requests: int
    faults: int
    """Status 500 and above."""
    refused: int
    """Status 402 and 429: a limit."""
    errors: int
    """Status 400 and above; faults and refusals are among them."""
    inputs: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost_nano: int
    p50: float | None
    p95: float | None
    p99: float | None
    first_token_p50: float | None
    first_token_p95: float | None
    queue_p95: float | None
    batch_rows: float | None
    """Rows of the batch that a call was in, on average."""

    @property
    def cache_share(self) -> float | None:
        """Of the tokens read, those that had been computed before."""
        return self.cached_tokens / self.input_tokens if self.input_tokens else None

    @property
    def error_share(self) -> float | None:
        """Of the requests, those with an error."""
        return self.errors / self.requests if self.requests else None


def figures(wanted: RequestFilter, *, by: str = "") -> tuple[Figures, list[Figures]]:
    """All of them together, and by part, the busiest first (`MOST_GROUPS` at most).

    SpanTooLarge for more than `MOST_DAYS`, or where adding up takes longer than `patience.PATIENCE_MS`.
    """
    if wanted.until is not None and wanted.until - wanted.since > dt.timedelta(days=MOST_DAYS):
        raise SpanTooLarge(f"Figures are added up over {MOST_DAYS} days at most. Choose a shorter span.")
    with bounded(MANY) as cursor:
        cursor.execute(*statement(wanted, by=by))
        rows = cursor.fetchall()
    found = [(whole, _figures(part, rest)) for part, whole, *rest in rows]
    return next(one for whole, one in found if whole), [one for whole, one in found if not whole]


def statement(wanted: RequestFilter, *, by: str = "") -> tuple[str, tuple[Any, ...]]:
    """The SQL and its parameters."""
    rows, parameters = requests(wanted).order_by().values(*_COLUMNS).query.sql_with_params()
    part = PARTS[by] if by else "NULL"
    whole = f"grouping({part})" if by else "1"
    grouped = f"GROUP BY GROUPING SETS (({part}), ())" if by else ""
    text = _SUMS.format(part=part, whole=whole, rows=rows, grouped=grouped, most=MOST_GROUPS + 1)
    return text, parameters


def _figures(part: Any, rest: list[Any]) -> Figures:
    *sums, times, firsts, queued, batch = rest
    p50, p95, p99 = times or (None, None, None)
    first_p50, first_p95 = firsts or (None, None)
    counted = dict(zip(_COUNTED, (int(one) for one in sums), strict=True))
    return Figures(
        part=part, **counted, p50=p50, p95=p95, p99=p99, first_token_p50=first_p50, first_token_p95=first_p95,
        queue_p95=queued, batch_rows=float(batch) if batch is not None else None,
    )  # fmt: skip
