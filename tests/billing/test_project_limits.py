"""A project's own limits are checked beside its organisation's, in calls and in jobs."""

from __future__ import annotations

import json
import uuid

import pytest
from django.core.management import CommandError, call_command

from billing.errors import BudgetExceeded
from billing.quotas import QuotaStore, limits_for
from billing.selectors.limits import plan_limit_set, project_limit_set
from billing.services.jobs import job_reserve
from billing.services.leases import lease_refill
from billing.services.limits import project_limits_set
from kit.errors import BadRequest
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tests.billing.money import entitle
from tests.conftest import Cast


def test_a_projects_spend_limit_stops_its_calls_and_jobs_but_not_the_tenants(store: QuotaStore, cast: Cast) -> None:
    person = cast.owner
    tenant_id, project = person.tenant.id, person.project
    entitle(tenant_id, spend_nano=10**6)
    with tenant_scope(tenant_id):
        project_limits_set(project=project, limits={"monthly_spend_nano": 5_000, "requests_per_minute": 100})
        limits = limits_for(
            tenant_id=tenant_id,
            plan=plan_limit_set(),
            project_id=project.id,
            project=project_limit_set(project.id),
        )
    for index in limits.indices("spend"):
        limit = limits.limits[index]
        lease_refill(
            store=store,
            tenant_id=tenant_id,
            scope=limit.scope,
            scope_id=limit.scope_id,
            name=limit.name,
            wanted=4_000,
        )
    assert store.reserve(limits, "r1", nano=4_000).allowed
    denied = store.reserve(limits, "r2", nano=2_000)
    assert denied.limit is not None and denied.limit.scope == "project"
    with tenant_scope(tenant_id), pytest.raises(BudgetExceeded, match="project"):
        job_reserve(job_id=uuid.uuid4(), project_id=project.id, key_id=None, ceiling_nano=5_001, store=store)
    with tenant_scope(tenant_id):
        job_reserve(job_id=uuid.uuid4(), project_id=uuid.uuid4(), key_id=None, ceiling_nano=5_001, store=store)
        assert AuditEvent.objects.filter(action="project.limits_changed").count() == 1


@pytest.mark.parametrize("limits", [{"speed": 1}, {"concurrency": -1}, {"concurrency": True}, {"concurrency": 10**7}])
def test_a_limit_that_cannot_be_is_refused(cast: Cast, limits: dict[str, object]) -> None:
    with tenant_scope(cast.owner.tenant.id), pytest.raises(BadRequest):
        project_limits_set(project=cast.owner.project, limits=limits)


def test_the_command_shows_sets_and_clears(cast: Cast, capsys: pytest.CaptureFixture[str]) -> None:
    names = {"tenant": cast.owner.tenant.public_id, "project": cast.owner.project.public_id}
    for options, expected in (
        ({"set": ["concurrency=3"]}, {"concurrency": 3}),
        ({"set": ["requests_per_minute=60"]}, {"concurrency": 3, "requests_per_minute": 60}),
        ({}, {"concurrency": 3, "requests_per_minute": 60}),
        ({"clear": True}, {}),
    ):
        call_command("project_limits", **names, **options)
        assert json.loads(capsys.readouterr().out) == expected
    with pytest.raises(CommandError, match="no such project"):
        call_command("project_limits", **(names | {"project": cast.stranger.project.public_id}))
