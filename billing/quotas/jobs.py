"""What a refused job is told and remembered of: an error that names the limit, and its note for the trace."""

from __future__ import annotations

import dataclasses
from typing import TypeVar, cast
from uuid import UUID

from billing.quotas.trace import Caller, Layer, Refusal, Why
from kit.errors import ApiError

Refusing = TypeVar("Refusing", bound=ApiError)


@dataclasses.dataclass(frozen=True, slots=True)
class Reached:
    """A limit that a job does not fit under. Amounts are in the limit's unit; `scope_id` as in the trace, empty for the
    organisation's plan."""

    limit_kind: str
    cap: int
    asked: int
    remaining: int
    reason: Why
    layer: str = "tenant"
    scope_id: str = ""


def naming(error: Refusing, reached: Reached) -> Refusing:
    """The same error, which knows the limit it speaks of."""
    error.reached = reached  # type: ignore[attr-defined]
    return error


def reached_of(error: ApiError) -> Reached | None:
    """The limit an error speaks of; None where it speaks of none."""
    found: Reached | None = getattr(error, "reached", None)
    return found


def refusal_of_job(error: ApiError, caller: Caller, *, tenant_id: UUID, at_ms: int) -> Refusal | None:
    """What to keep of a job that an error refused; None where no limit did."""
    reached = reached_of(error)
    if reached is None:
        return None
    return Refusal(
        at_ms=at_ms,
        tenant_id=tenant_id,
        project_id=caller.project_id,
        key_id=caller.key_id,
        request_ids=[caller.request_id],
        kind=caller.kind,
        model=caller.model,
        layer=cast("Layer", reached.layer),
        scope_id=reached.scope_id or tenant_id.hex,
        limit_kind=reached.limit_kind,
        cap=reached.cap,
        window_ms=0,
        asked=reached.asked,
        remaining=reached.remaining,
        wait_ms=None,
        reason=reached.reason,
        status=error.status,
    )
