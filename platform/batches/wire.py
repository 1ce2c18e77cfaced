"""A batch on the wire, as the official client reads it, with our own fields behind `x_`."""

import datetime as dt
from typing import Any

from batches.models import Batch
from batches.selectors import file_names
from kit.money import number

PROBLEMS_SHOWN = 1_000
"""So many are listed in the object; the rest stand in the error file."""
_ENDS = {"completed": "completed_at", "failed": "failed_at", "expired": "expired_at", "cancelled": "cancelled_at"}


def batch_object(batch: Batch) -> dict[str, Any]:
    """The batch as it stands."""
    ends = {name: _seconds(batch.ended_at) if batch.state == state else None for state, name in _ENDS.items()}
    return {
        "id": batch.public_id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model or None,
        "errors": {"object": "list", "data": batch.errors} if batch.errors else None,
        "completion_window": batch.completion_window,
        "status": batch.state,
        **file_names(batch),
        "created_at": _seconds(batch.created_at),
        "in_progress_at": _seconds(batch.in_progress_at),
        "expires_at": _seconds(batch.expires_at),
        "finalizing_at": _seconds(batch.finalizing_at),
        "cancelling_at": _seconds(batch.cancelling_at),
        **ends,
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "usage": {
            "input_tokens": batch.input_tokens,
            "input_tokens_details": {"cached_tokens": batch.cached_tokens},
            "output_tokens": batch.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": batch.input_tokens + batch.output_tokens,
        },
        "metadata": batch.metadata,
        "x_cost_usd": number(batch.cost_nano),
        "x_waits_for": batch.waits_for or None,
        "x_failed_by_code": batch.codes,
    }


def _seconds(moment: dt.datetime | None) -> int | None:
    return int(moment.timestamp()) if moment is not None else None
