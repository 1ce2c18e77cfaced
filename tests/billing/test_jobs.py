"""A job's price is held before it starts, charged once when it ends, and never more than its ceiling."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from billing.errors import BudgetExceeded
from billing.models import JobHold
from billing.periods import month_of
from billing.prices import Usage
from billing.quotas import QuotaStore
from billing.selectors.budgets import budget_month
from billing.services.jobs import job_extend, job_release, job_reserve, job_settle, job_shrink, jobs_over
from billing.services.leases import lease_refill
from billing.services.limits import project_limits_set, spend_limit_set
from kit.clock import now
from kit.errors import NotFound
from tenants.scope import tenant_scope
from tests.billing.money import entitle
from tests.conftest import Cast, Person, make_person

CAP = 1_000_000


def reserve(person: Person, ceiling: int, store: QuotaStore, *, key: bool = False) -> uuid.UUID:
    job_id = uuid.uuid4()
    with tenant_scope(person.tenant.id):
        job_reserve(
            job_id=job_id,
            project_id=person.project.id,
            key_id=person.key_row.id if key else None,
            ceiling_nano=ceiling,
            store=store,
        )
    return job_id


def promised(person: Person) -> int:
    with tenant_scope(person.tenant.id):
        state = budget_month()
        assert state is not None
        return state.promised_nano


def test_a_job_is_charged_what_it_trained_and_the_rest_is_free_again(store: QuotaStore, cast: Cast) -> None:
    entitle(cast.owner.tenant.id, spend_nano=CAP)
    job_id = reserve(cast.owner, 600_000, store)
    assert promised(cast.owner) == 600_000
    with tenant_scope(cast.owner.tenant.id):
        event = job_settle(job_id=job_id, usage=Usage("training", "all-MiniLM-L6-v2", input_tokens=1000))
        again = job_settle(job_id=job_id, usage=Usage("training", "all-MiniLM-L6-v2", input_tokens=9999))
    assert event is not None and again is not None
    assert event.cost_nano == again.cost_nano == 400_000
    assert promised(cast.owner) == 400_000


def test_a_job_that_ends_in_the_next_month_is_usage_of_the_month_that_held_it(store: QuotaStore, cast: Cast) -> None:
    ada, month = cast.owner, month_of(now())
    before = month_of(month - dt.timedelta(days=1))
    entitle(ada.tenant.id, spend_nano=CAP)
    job_id = reserve(ada, 900_000, store)
    with tenant_scope(ada.tenant.id):
        JobHold.objects.update(period=before)
        with pytest.raises(BudgetExceeded):  # this month is empty, but the last one carries it
            job_extend(job_id=job_id, ceiling_nano=CAP + 1, store=store)
        event = job_settle(job_id=job_id, usage=Usage("training", "all-MiniLM-L6-v2", input_tokens=2000))
        last, this = budget_month(period=before), budget_month()
    assert event is not None and month_of(event.occurred_at) == before
    assert last is not None and this is not None
    assert (last.spent_nano, last.promised_nano) == (800_000, 800_000)
    assert (this.spent_nano, this.promised_nano) == (0, 0), "neither month can pass its limit"


def test_a_job_never_costs_more_than_its_ceiling(store: QuotaStore, cast: Cast) -> None:
    entitle(cast.owner.tenant.id, spend_nano=CAP)
    job_id = reserve(cast.owner, 500, store)
    with tenant_scope(cast.owner.tenant.id):
        event = job_settle(job_id=job_id, usage=Usage("training", "b", input_tokens=1000))
    assert event is not None and event.cost_nano == 500


def test_a_second_job_that_the_month_cannot_carry_is_refused_and_holds_nothing(store: QuotaStore, cast: Cast) -> None:
    entitle(cast.owner.tenant.id, spend_nano=CAP)
    reserve(cast.owner, 600_000, store)
    with pytest.raises(BudgetExceeded) as refused:
        reserve(cast.owner, 400_001, store)
    assert refused.value.status == 402
    assert promised(cast.owner) == 600_000
    reserve(cast.owner, 400_000, store)


def test_a_released_job_costs_nothing(store: QuotaStore, cast: Cast) -> None:
    entitle(cast.owner.tenant.id, spend_nano=CAP)
    job_id = reserve(cast.owner, CAP, store)
    with tenant_scope(cast.owner.tenant.id):
        job_release(job_id=job_id)
        job_release(job_id=job_id)
        assert job_settle(job_id=job_id, usage=Usage("training", "b", input_tokens=1000)) is None
    assert promised(cast.owner) == 0


def test_reserving_a_job_twice_holds_once(store: QuotaStore, cast: Cast) -> None:
    entitle(cast.owner.tenant.id, spend_nano=CAP)
    job_id = reserve(cast.owner, 10, store)
    with tenant_scope(cast.owner.tenant.id):
        job_reserve(job_id=job_id, project_id=cast.owner.project.id, key_id=None, ceiling_nano=10, store=store)
        assert JobHold.objects.count() == 1


def test_a_ceiling_is_raised_only_as_far_as_the_month_allows(store: QuotaStore, cast: Cast) -> None:
    entitle(cast.owner.tenant.id, spend_nano=CAP)
    job_id = reserve(cast.owner, 10, store)
    with tenant_scope(cast.owner.tenant.id):
        assert job_extend(job_id=job_id, ceiling_nano=CAP, store=store).reserved_nano == CAP
        with pytest.raises(BudgetExceeded):
            job_extend(job_id=job_id, ceiling_nano=CAP + 1, store=store)
    assert promised(cast.owner) == CAP


def test_a_job_may_use_money_that_lies_unspent_at_the_quota_server(store: QuotaStore, cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    limits = entitle(tenant_id, spend_nano=CAP)
    lease_refill(store=store, tenant_id=tenant_id, scope="tenant", scope_id=tenant_id.hex, name="t:s", wanted=100_000)
    store.reserve(limits, "r", nano=1_000)
    reserve(cast.owner, CAP - 1_000, store)
    assert promised(cast.owner) == CAP
    assert not store.reserve(limits, "r2", nano=1).allowed


def test_a_keys_budget_covers_its_jobs(store: QuotaStore, cast: Cast) -> None:
    person = cast.owner
    entitle(person.tenant.id, spend_nano=CAP)
    with tenant_scope(person.tenant.id):
        person.key_row.limits = {"monthly_spend_nano": 100}
        person.key_row.save()
    reserve(person, 1_000, store)
    with pytest.raises(BudgetExceeded, match="API key"):
        reserve(person, 101, store, key=True)
    reserve(person, 100, store, key=True)


def test_a_job_nobody_reserved_is_not_found(cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.id), pytest.raises(NotFound):
        job_release(job_id=uuid.uuid4())


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # each example makes a tenant
)
@pytest.mark.slow  # tries very many cases
@given(
    jobs=st.lists(st.tuples(st.integers(1, 1000), st.floats(0, 1)), min_size=1, max_size=6),
    limits=st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
)
def test_after_a_limit_was_lowered_the_jobs_that_go_on_fit_under_it(
    store: QuotaStore, jobs: list[tuple[int, float]], limits: tuple[int, int]
) -> None:
    ada = make_person("lowered")
    entitle(ada.tenant.id, spend_nano=CAP)
    ids = [reserve(ada, ceiling, store) for ceiling, _ in jobs]
    used = {job: int(ceiling * share) for job, (ceiling, share) in zip(ids, jobs, strict=True)}
    with tenant_scope(ada.tenant.id):
        spend_limit_set(monthly_nano=limits[0])
        project_limits_set(project=ada.project, limits={"monthly_spend_nano": limits[1]})
        stopped = jobs_over(used=used, store=store)
        assert stopped == [job for job in reversed(ids) if job in stopped], "the newest first"
        for job in stopped:
            job_shrink(job_id=job, ceiling_nano=used[job])
        going = [job for job in ids if job not in stopped and used[job] < jobs[ids.index(job)][0]]
        assert promised(ada) <= min(limits) or not going
        assert jobs_over(used=used, store=store) == []
        spared = stopped[-1:]  # the last that was stopped had to be
        for job in spared:
            job_extend(job_id=job, ceiling_nano=used[job], store=store)
            more = jobs[ids.index(job)][0] - used[job]
            assert promised(ada) + more > min(limits)
