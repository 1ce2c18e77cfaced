"""Limits an organisation sets for its own projects, below what its plan allows."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from billing.models import ProjectLimits
from billing.services.entitlements import NEWS
from kit import redis
from kit.clock import now
from kit.errors import BadRequest
from tenants import audit
from tenants.models import Project

NAMES = ("requests_per_minute", "tokens_per_minute", "concurrency", "monthly_spend_nano")
_MOST = {
    "requests_per_minute": 10**9,
    "tokens_per_minute": 10**10,
    "concurrency": 10**6,
    "monthly_spend_nano": 10**18,
}


def project_limits_set(*, project: Project, limits: dict[str, Any]) -> ProjectLimits:
    """Replace a project's own limits, in its tenant's scope; an empty mapping lifts them. Gateways hear of it at once.

    Values are whole numbers from 0; BadRequest for an unknown name or a value no limit can have.
    """
    for name, value in limits.items():
        if name not in NAMES:
            raise BadRequest(f"No limit is called '{name[:40]}'. Limits: {', '.join(NAMES)}.", param=name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST[name]:
            raise BadRequest(f"'{name}' must be a whole number from 0 to {_MOST[name]:,}.", param=name)
    row = ProjectLimits.objects.select_for_update().filter(project=project).first()
    before = row.limits if row is not None else {}
    if row is None:
        row = ProjectLimits(tenant_id=project.tenant_id, project=project)
    row.limits, row.changed_at = dict(limits), now()
    row.save()
    if before != row.limits:
        audit.record(action="project.limits_changed", target=project, before=before, after=row.limits)
        transaction.on_commit(lambda: redis.publish(NEWS, str(project.tenant_id)))
    return row
