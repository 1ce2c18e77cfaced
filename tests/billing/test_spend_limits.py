"""An organisation's own spend limit, and a project's that begins in mid-month: as exact as the plan's."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core import mail
from django.db import connections
from django.test import override_settings
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from billing.errors import BudgetExceeded
from billing.models import BudgetLease, SpendLimit
from billing.quotas import CompiledLimits, LimitSet, QuotaStore, denial, limits_for
from billing.selectors.budgets import budget_month, budget_name
from billing.selectors.invariants import findings
from billing.selectors.limits import plan_limit_set, project_limit_set, spend_limit, tenant_limit_set
from billing.services.alerts import budgets_alert
from billing.services.entitlements import override_revoke, override_set
from billing.services.jobs import job_reserve
from billing.services.leases import lease_reconcile, lease_refill
from billing.services.limits import project_limits_set, spend_limit_set
from billing.services.metering import usage_rollup
from billing.services.stores import quota_store
from kit.clock import now
from kit.errors import BadRequest
from kit.money import NANO
from tenants.models import AuditEvent, Project
from tenants.scope import tenant_scope
from tests.billing.money import call, entitle, store_events
from tests.conftest import Cast, Person, make_person

PLAN = 1_000_000
WITHOUT_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)  # each example makes a tenant


def compiled(person: Person) -> CompiledLimits:
    """The limits of a call in the person's project, as the gateway compiles them."""
    with tenant_scope(person.tenant.id):
        return limits_for(
            tenant_id=person.tenant.id,
            plan=tenant_limit_set(),
            project_id=person.project.id,
            project=project_limit_set(person.project.id),
        )


def spend(person: Person, one: int, most: int = 10**9) -> int:
    """Call until money is refused for good, or so much is admitted; how much was."""
    store, tenant_id, admitted = quota_store(), person.tenant.id, 0
    limits = compiled(person)
    while admitted + one <= most:
        request = uuid.uuid4().hex
        if store.reserve(limits, request, nano=one).allowed:
            store.settle(tenant_id, request, tokens=0, nano=one)
            admitted += one
        elif not all(refill(store, tenant_id, limits, index, one) for index in limits.indices("spend")):
            return admitted
    return admitted


def refill(store: QuotaStore, tenant_id: uuid.UUID, limits: CompiledLimits, index: int, wanted: int) -> bool:
    limit = limits.limits[index]
    return lease_refill(
        store=store, tenant_id=tenant_id, scope=limit.scope, scope_id=limit.scope_id, name=limit.name, wanted=wanted
    )


def own(person: Person, nano: int | None) -> None:
    with tenant_scope(person.tenant.id):
        spend_limit_set(monthly_nano=nano)


def test_an_own_limit_holds_for_calls_and_jobs_until_it_is_lifted(cast: Cast) -> None:
    ada = cast.owner
    entitle(ada.tenant.id, spend_nano=PLAN)
    own(ada, 5_000)
    assert spend(ada, 1_000) == 5_000
    with tenant_scope(ada.tenant.id):
        assert tenant_limit_set() == dataclasses.replace(plan_limit_set(), spend_nano=5_000)
        with pytest.raises(BudgetExceeded, match=r"\$0\.000005"):
            job_reserve(job_id=uuid.uuid4(), project_id=ada.project.id, key_id=None, ceiling_nano=1)
    refused = denial(quota_store().reserve(compiled(ada), uuid.uuid4().hex, nano=1_000))
    assert (refused.status, refused.code) == (402, "budget_exceeded")
    assert "$0.000005" in refused.message and "under Billing" in refused.message
    own(ada, None)
    assert spend(ada, 5_000) == PLAN - 5_000
    with tenant_scope(ada.tenant.id):
        changes = list(AuditEvent.objects.filter(action="billing.spend_limit_changed").order_by("at"))
        assert [event.after for event in changes] == [{"monthly_spend_nano": 5_000}, {"monthly_spend_nano": None}]


@pytest.mark.parametrize("limit", [PLAN + 1, -1, True, 1.5])
def test_a_limit_the_plan_does_not_allow_is_refused_with_its_reason(cast: Cast, limit: object) -> None:
    entitle(cast.owner.tenant.id, spend_nano=PLAN)
    with tenant_scope(cast.owner.tenant.id):
        with pytest.raises(BadRequest) as refused:
            spend_limit_set(monthly_nano=limit)  # type: ignore[arg-type]
        assert spend_limit() is None
    if limit == PLAN + 1:
        assert "Your plan, Developer, allows $0.001000 a month" in refused.value.message
        assert refused.value.param == "monthly_spend_nano"


@pytest.mark.slow
@settings(
    max_examples=15,
    deadline=None,
    phases=WITHOUT_SHRINKING,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    before=st.integers(0, 40).map(lambda n: 1_000 * n),
    limits=st.lists(st.none() | st.integers(0, 60_000), min_size=1, max_size=3),
)
def test_whatever_limits_follow_each_other_none_is_overshot(before: int, limits: list[int | None]) -> None:
    person = make_person("ada")
    entitle(person.tenant.id, spend_nano=50_000)
    admitted = spend(person, 1_000, before)
    for limit in limits:
        if limit is not None and limit > 50_000:
            with pytest.raises(BadRequest):
                own(person, limit)
            continue
        own(person, limit)
        cap = 50_000 if limit is None else limit
        more = spend(person, 1_000)
        assert admitted + more <= max(cap, admitted), "nothing beyond the limit, nothing taken back"
        assert admitted + more > cap - 1_000, "and all of it can be used"
        admitted += more


def test_a_projects_limit_counts_what_the_month_had_cost_before_it(cast: Cast) -> None:
    ada = cast.owner
    tenant_id, project = ada.tenant.id, ada.project
    entitle(tenant_id, spend_nano=PLAN)
    here = {"project_id": project.id}
    start = now() - dt.timedelta(minutes=5)
    if start.month != now().month:
        pytest.skip("the first minutes of a month")
    store_events([call(tenant_id, n, cost=20_000, at=start, **here) for n in range(3)])
    store_events([call(tenant_id, 9, cost=20_000, at=start)])
    with tenant_scope(tenant_id):
        project_limits_set(project=project, limits={"monthly_spend_nano": 100_000})
        state = budget_month(project_id=project.id)
    assert state is not None
    assert (state.cap_nano, state.promised_nano, state.spent_nano, state.percent) == (100_000, 60_000, 60_000, 60)
    assert spend(ada, 10_000, 20_000) == 20_000
    store_events([call(tenant_id, 10, cost=4_000, at=start, **here)])  # a late one, from before, counts at once
    with tenant_scope(tenant_id):
        state = budget_month(project_id=project.id)
    assert state is not None and state.promised_nano >= 84_000
    assert spend(ada, 1_000) == 16_000
    lease_reconcile(quiet=-dt.timedelta(seconds=1))
    with tenant_scope(tenant_id):
        first = BudgetLease.objects.get(budget__name=budget_name("project", project.id.hex), blocks=0)
        assert (first.state, first.granted_nano, first.spent_nano) == ("reconciled", 64_000, 64_000)
    assert list(findings([tenant_id])) == []


def test_a_plan_that_shrinks_takes_its_unspent_blocks_along(cast: Cast) -> None:
    ada = cast.owner
    with tenant_scope(ada.tenant.id):
        given = override_set(plan="team", reason="a trial", created_by="tests")
    assert spend(ada, NANO, 2 * NANO) == 2 * NANO
    with tenant_scope(ada.tenant.id):
        override_revoke(override_id=given.pk, reason="it is over")
        assert tenant_limit_set().spend_nano == 2 * NANO, "the free plan's limit, which is reached"
    assert spend(ada, 1_000) == 0


def test_a_limit_lifted_and_set_again_forgets_nothing(cast: Cast) -> None:
    ada = cast.owner
    tenant_id, project = ada.tenant.id, ada.project
    entitle(tenant_id, spend_nano=PLAN)
    for limits, events in (({"monthly_spend_nano": 50_000}, 0), ({}, 2), ({"monthly_spend_nano": 60_000}, 0)):
        with tenant_scope(tenant_id):
            project_limits_set(project=project, limits=limits)
        store_events([call(tenant_id, n, cost=20_000, at=now(), project_id=project.id) for n in range(events)])
    with tenant_scope(tenant_id):
        state = budget_month(project_id=project.id)
    assert state is not None and state.promised_nano == 40_000
    assert spend(ada, 10_000) == 20_000


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"requests_per_minute": 61}, "60 requests per minute"),
        ({"tokens_per_minute": 60_001}, "60,000 tokens per minute"),
        ({"concurrency": 5}, "4 calls at the same time"),
        ({"monthly_spend_nano": 2 * 10**9 + 1}, "$2.00 a month"),
    ],
)
def test_a_projects_limit_above_the_plans_is_refused(cast: Cast, limits: dict[str, int], words: str) -> None:
    project: Project = cast.owner.project
    with tenant_scope(cast.owner.tenant.id):
        with pytest.raises(BadRequest) as refused:
            project_limits_set(project=project, limits=limits)
        assert f"Your plan, Free, allows {words}" in refused.value.message
        project_limits_set(project=project, limits={name: value - 1 for name, value in limits.items()})


def test_what_is_beyond_counting_is_compiled_as_the_most_that_can_be_counted(cast: Cast) -> None:
    limits = limits_for(tenant_id=cast.owner.tenant.id, plan=LimitSet(tokens_per_minute=10**15))
    assert limits.limits[0].cap == 10**10


@override_settings(EMAIL_BACKEND="django.core.mail.backends.locmem.EmailBackend")
def test_a_changed_limit_is_announced_anew(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    entitle(tenant_id, spend_nano=PLAN)
    mail.outbox = []
    store_events([call(tenant_id, 1, cost=85_000, at=now())])
    usage_rollup(tenant_id=tenant_id)
    told = []
    for limit in (None, 100_000, 100_000, 85_000, 500_000, 100_000):
        own(cast.owner, limit)
        told.append(budgets_alert(tenant_id=tenant_id))
    assert told == [0, 1, 0, 1, 0, 1]
    assert [letter.subject.split()[0] for letter in mail.outbox] == ["80", "100", "80"]
    assert f"/o/{cast.owner.tenant.slug}/billing/" in mail.outbox[0].body
    with tenant_scope(tenant_id):
        assert SpendLimit.objects.count() == 1


def spend_of(person: Person) -> int | None:
    """The organisation's own limit now."""
    with tenant_scope(person.tenant.id):
        return spend_limit()


def test_limits_set_at_once_take_turns(cast: Cast) -> None:
    ada = cast.owner

    def both(nano: int) -> None:
        try:
            with tenant_scope(ada.tenant.id):
                spend_limit_set(monthly_nano=nano)
            with tenant_scope(ada.tenant.id):
                project_limits_set(project=ada.project, limits={"monthly_spend_nano": nano})
        finally:
            connections.close_all()

    entitle(ada.tenant.id, spend_nano=PLAN)
    with ThreadPoolExecutor(6) as crowd:
        list(crowd.map(both, range(1, 7)))
    with tenant_scope(ada.tenant.id):
        assert SpendLimit.objects.count() == 1
        changed = AuditEvent.objects.filter(action="billing.spend_limit_changed").order_by("at", "pk")
        chain = [(event.before["monthly_spend_nano"], event.after["monthly_spend_nano"]) for event in changed]
    assert len(chain) == 6 and {after for _, after in chain} == set(range(1, 7))
    assert {before for before, _ in chain} == {None, *(after for _, after in chain)} - {spend_of(ada)}
