"""Limits of members and models: set, held by calls and jobs, and never above what the organisation may do."""

from __future__ import annotations

import uuid

import pytest

from billing.errors import BudgetExceeded
from billing.models import MemberLimits, ModelLimits
from billing.prices import Usage
from billing.quotas import QuotaStore
from billing.selectors.budgets import budget_month, budget_name
from billing.selectors.limit_use import caller_use
from billing.selectors.limits import caller_limits
from billing.services.jobs import job_reserve, job_settle
from billing.services.leases import lease_refill
from billing.services.limits import MOST_MODELS, key_limits_set, member_limits_set, model_limits_set, project_limits_set
from kit.clock import now
from kit.errors import BadRequest
from tenants.models import AuditEvent, Member
from tenants.scope import tenant_scope
from tenants.services.keys import key_create
from tests.billing.money import call, entitle, store_events
from tests.conftest import Cast, Person

MODEL = "ft:all-MiniLM-L6-v2:o:s:1"


def seat(person: Person) -> Member:
    found: Member = Member.objects.get(user=person.user)
    return found


def refill(store: QuotaStore, person: Person, model: str = MODEL) -> None:
    """Blocks for every budget a call of this key needs."""
    with tenant_scope(person.tenant.id):
        limits = caller_limits(project_id=person.project.id, key_id=person.key_row.id).compiled(model)
    for index in limits.indices("spend"):
        one = limits.limits[index]
        lease_refill(
            store=store, tenant_id=person.tenant.id, scope=one.scope, scope_id=one.scope_id, name=one.name, wanted=1000
        )


def test_five_scopes_are_one_flat_list_for_a_model_with_limits_and_four_for_another(cast: Cast) -> None:
    ada = cast.owner
    entitle(ada.tenant.id, spend_nano=10**9)
    with tenant_scope(ada.tenant.id):
        project_limits_set(project=ada.project, limits={"requests_per_minute": 500})
        member_limits_set(member=seat(ada), limits={"input_tokens_per_minute": 400, "output_tokens_per_minute": 40})
        key_limits_set(key=ada.key_row, name="k", limits={"concurrency": 3})
        model_limits_set(project=ada.project, model=MODEL, limits={"requests_per_minute": 5, "monthly_spend_nano": 10})
        caller = caller_limits(project_id=ada.project.id, key_id=ada.key_row.id)
        playground = caller_limits(project_id=ada.project.id).compiled(MODEL)
    scopes = [limit.scope for limit in caller.compiled(MODEL).limits]
    assert set(scopes) == {"tenant", "project", "member", "key", "model"}
    assert {limit.scope for limit in caller.compiled("another").limits} == {"tenant", "project", "member", "key"}
    assert {limit.scope for limit in playground.limits} == {"tenant", "project", "model"}
    assert [limit.kind for limit in caller.compiled(MODEL).limits if limit.scope == "member"] == [
        "input_tokens",
        "output_tokens",
    ]


def test_a_key_that_nobody_made_has_no_members_limits(cast: Cast) -> None:
    ada = cast.owner
    with tenant_scope(ada.tenant.id):
        member_limits_set(member=seat(ada), limits={"requests_per_minute": 1})
        service, _ = key_create(project=ada.project, name="service")
        caller = caller_limits(project_id=ada.project.id, key_id=service.pk)
    assert caller.member is None and {limit.scope for limit in caller.compiled().limits} == {"tenant"}


def test_all_keys_of_a_member_share_its_limit_and_a_mates_do_not(store: QuotaStore, cast: Cast) -> None:
    ada, mate = cast.owner, cast.teammate
    entitle(ada.tenant.id, spend_nano=10**9)
    with tenant_scope(ada.tenant.id):
        member_limits_set(member=seat(ada), limits={"requests_per_minute": 2})
        second, _ = key_create(project=ada.project, name="second", created_by=ada.user)
        limits = [
            caller_limits(project_id=ada.project.id, key_id=key).compiled()
            for key in (ada.key_row.id, second.pk, mate.key_row.id)
        ]
    assert store.reserve(limits[0], "r1").allowed and store.reserve(limits[1], "r2").allowed
    denied = store.reserve(limits[0], "r3")
    assert denied.limit is not None and denied.limit.scope == "member"
    assert not store.reserve(limits[1], "r4").allowed
    assert store.reserve(limits[2], "r5").allowed


@pytest.mark.parametrize("scope", ["member", "model"])
def test_a_spend_limit_set_in_mid_month_counts_what_was_spent_and_holds_to_the_nano(
    store: QuotaStore, cast: Cast, scope: str
) -> None:
    ada = cast.owner
    entitle(ada.tenant.id, spend_nano=10**9)
    where = {"project_id": ada.project.id, "key_id": ada.key_row.id}
    store_events(
        [
            call(ada.tenant.id, 1, cost=3_000, at=now(), **where),
            call(ada.tenant.id, 2, cost=500, at=now(), model="other", project_id=ada.project.id),
        ]
    )
    with tenant_scope(ada.tenant.id):
        if scope == "member":
            row = member_limits_set(member=seat(ada), limits={"monthly_spend_nano": 5_000})
            scope_id = row.user_id.hex
        else:
            scope_id = model_limits_set(project=ada.project, model=MODEL, limits={"monthly_spend_nano": 5_000}).pk.hex
        month = budget_month(scope=scope, scope_id=scope_id)
        limits = caller_limits(project_id=ada.project.id, key_id=ada.key_row.id).compiled(MODEL)
    assert month is not None and (month.cap_nano, month.spent_nano) == (5_000, 3_000)
    admitted, number = 0, 0
    while number < 100:
        number += 1
        decision = store.reserve(limits, f"r{number}", nano=100)
        if decision.allowed:
            admitted += 100
            continue
        assert decision.limit is not None and decision.limit.scope in (scope, "tenant")
        got = [
            lease_refill(
                store=store, tenant_id=ada.tenant.id, scope=one.scope, scope_id=one.scope_id, name=one.name, wanted=100
            )
            for one in decision.low
        ]
        if not all(got):
            break
    assert admitted == 2_000
    assert store.reserve(limits, "last", nano=100).limit.name == budget_name(scope, scope_id)  # type: ignore[union-attr]


def test_a_members_spend_limit_holds_for_jobs_started_with_its_keys(store: QuotaStore, cast: Cast) -> None:
    ada, mate = cast.owner, cast.teammate
    entitle(ada.tenant.id, spend_nano=10**6)
    with tenant_scope(ada.tenant.id):
        member_limits_set(member=seat(ada), limits={"monthly_spend_nano": 5_000})
        job = uuid.uuid4()
        where = {"project_id": ada.project.id, "store": store}
        job_reserve(job_id=job, key_id=ada.key_row.id, ceiling_nano=4_000, **where)
        with pytest.raises(BudgetExceeded, match="limit of the member who made this API key"):
            job_reserve(job_id=uuid.uuid4(), key_id=ada.key_row.id, ceiling_nano=1_001, **where)
        job_reserve(job_id=uuid.uuid4(), key_id=mate.key_row.id, ceiling_nano=50_000, **where)
        job_settle(job_id=job, usage=Usage("training", "base", input_tokens=1))
        job_reserve(job_id=uuid.uuid4(), key_id=ada.key_row.id, ceiling_nano=4_000, **where)


def test_no_scope_can_raise_what_the_tenant_may_do(cast: Cast) -> None:
    ada = cast.owner
    entitle(ada.tenant.id, spend_nano=10**6)
    over = {
        "requests_per_minute": 10_001,
        "input_tokens_per_minute": 10_000_001,
        "output_tokens_per_minute": 10_000_001,
        "monthly_spend_nano": 10**6 + 1,
    }
    with tenant_scope(ada.tenant.id):
        for name, value in over.items():
            for setting in (
                lambda limits: project_limits_set(project=ada.project, limits=limits),
                lambda limits: member_limits_set(member=seat(ada), limits=limits),
                lambda limits: key_limits_set(key=ada.key_row, name="k", limits=limits),
                lambda limits: model_limits_set(project=ada.project, model=MODEL, limits=limits),
            ):
                with pytest.raises(BadRequest, match="Your plan") as refused:
                    setting({name: value})
                assert refused.value.param == name
        # A row from before the plan shrank changes nothing: the tenant's own limits are in the list as well.
        ModelLimits.objects.create(project=ada.project, model=MODEL, limits={"requests_per_minute": 10**8})
        limits = caller_limits(project_id=ada.project.id, key_id=ada.key_row.id).compiled(MODEL).limits
    assert ("tenant", 10_000) in [(limit.scope, limit.cap) for limit in limits if limit.kind == "requests"]


@pytest.mark.parametrize("model", ["", " padded", "a" * 201, "nul\x00", "two\nlines"])
def test_a_name_no_model_has_is_refused(cast: Cast, model: str) -> None:
    with tenant_scope(cast.owner.tenant.id), pytest.raises(BadRequest) as refused:
        model_limits_set(project=cast.owner.project, model=model, limits={"concurrency": 1})
    assert refused.value.param == "model"


def test_as_many_models_have_limits_as_every_gateway_can_keep(cast: Cast) -> None:
    ada = cast.owner
    with tenant_scope(ada.tenant.id):
        ModelLimits.objects.bulk_create(
            ModelLimits(tenant=ada.tenant, project=ada.project, model=f"m{n}", limits={"concurrency": 1})
            for n in range(MOST_MODELS)
        )
        with pytest.raises(BadRequest, match="Lift another's first"):
            model_limits_set(project=ada.project, model="one more", limits={"concurrency": 1})
        model_limits_set(project=ada.project, model="m1", limits={})
        model_limits_set(project=ada.project, model="one more", limits={"concurrency": 1})


def test_changes_are_in_the_audit_log(cast: Cast) -> None:
    ada = cast.owner
    with tenant_scope(ada.tenant.id):
        member = seat(ada)
        member_limits_set(member=member, limits={"concurrency": 2})
        model_limits_set(project=ada.project, model=MODEL, limits={"concurrency": 1})
        model_limits_set(project=ada.project, model=MODEL, limits={"concurrency": 1})
        events = AuditEvent.objects.filter(action__endswith="limits_changed").order_by("at")
        assert [(e.action, e.target_label, e.after) for e in events] == [
            ("member.limits_changed", str(member), {"concurrency": 2}),
            ("model.limits_changed", MODEL, {"concurrency": 1}),
        ]
        assert MemberLimits.objects.count() == 1


def test_what_is_used_of_each_limit_is_told(store: QuotaStore, cast: Cast) -> None:
    ada = cast.owner
    entitle(ada.tenant.id, spend_nano=10**9)
    with tenant_scope(ada.tenant.id):
        model_limits_set(project=ada.project, model=MODEL, limits={"output_tokens_per_minute": 1000, "concurrency": 4})
        caller = caller_limits(project_id=ada.project.id, key_id=ada.key_row.id)
    refill(store, ada)
    assert store.reserve(caller.compiled(MODEL), "r", tokens=10, output_tokens=300, nano=100).allowed
    with tenant_scope(ada.tenant.id):
        uses = {(use.limit.scope, use.limit.kind): use.used for use in caller_use(caller, store)}
    assert uses["model", "output_tokens"] in (299, 300), "a bucket refills while it is looked at"
    assert uses["model", "concurrency"] == uses["tenant", "concurrency"] == 1
    assert uses["tenant", "spend"] == 0
    assert not store.due(ada.tenant.id) and store.peek(caller.compiled())[0] <= 10_000
