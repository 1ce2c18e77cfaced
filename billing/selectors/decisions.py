"""Reading why calls were refused, inside the tenant's scope."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from typing import Any

from django.db.models import F, QuerySet

from billing.models import QuotaDecision
from kit.errors import NotFound
from kit.ids import parse_id

SCOPES = {
    "tenant": "organization",
    "wallet": "wallet",
    "project": "project",
    "member": "member",
    "key": "api_key",
    "model": "model",
    "platform": "platform",
}
"""Words for whose limit it is, on the wire."""
LAYERS = ("tenant", "wallet", "project", "member", "key", "model", "platform")
NEAR = dt.timedelta(minutes=5)
"""A request's id tells when it was made; the quota server's clock and its wait for money differ by less than this."""
JOB, JOB_NEAR = "ftjob-", dt.timedelta(days=30)
"""A job is refused once its data are read, or when it is resumed."""


@dataclasses.dataclass(frozen=True, slots=True)
class DecisionFilter:
    """Which refusals; an empty field is no condition."""

    since: dt.datetime | None = None
    until: dt.datetime | None = None
    project_id: uuid.UUID | None = None
    key_id: uuid.UUID | None = None
    model: str = ""
    layer: str = ""
    request_id: str = ""


def decisions(wanted: DecisionFilter) -> QuerySet[Any]:
    """Refusals, newest first."""
    rows = QuotaDecision.objects.all()
    if wanted.request_id:
        # The ids are in an array, which no index of a table behind row-level security can be asked about, so the time
        # inside the id leads to the few rows that can hold it.
        job = wanted.request_id.startswith(JOB)
        try:
            moment = moment_of(parse_id(JOB if job else "req_", wanted.request_id))
            since, until = moment - NEAR, moment + (JOB_NEAR if job else NEAR)
        except (NotFound, ValueError, OverflowError):  # no id of ours
            return rows.none()
        rows = rows.filter(at__gte=since, at__lte=until, request_ids__contains=[wanted.request_id])
    if wanted.since is not None:
        rows = rows.filter(at__gte=wanted.since)
    if wanted.until is not None:
        rows = rows.filter(at__lt=wanted.until)
    fields = {
        "project_id": wanted.project_id, "key_id": wanted.key_id, "model": wanted.model, "layer": wanted.layer,
    }  # fmt: skip
    return rows.filter(**{name: value for name, value in fields.items() if value}).order_by(F("at").desc(), "-pk")


def moment_of(made: uuid.UUID) -> dt.datetime:
    """When a UUIDv7 was made."""
    return dt.datetime.fromtimestamp((made.int >> 80) / 1000, dt.UTC)
