"""Credit stops calls when it is gone, to the request: what is admitted is what grants, allowance and account carry."""

from __future__ import annotations

import datetime as dt
import threading
import time
import uuid

import pytest
from django.conf import settings as house
from django.db import connections
from redis import Redis

from billing.errors import BudgetExceeded
from billing.models import Budget, BudgetLease
from billing.periods import from_ms, month_of, to_ms
from billing.quotas import CompiledLimits, QuotaStore, denial, limits_for
from billing.quotas.decision import budget_left, rate_headers
from billing.selectors.budgets import WALLET, budget_month, cap_nano
from billing.selectors.limits import tenant_limit_set
from billing.services.credits import credit_refund
from billing.services.entitlements import NEWS
from billing.services.jobs import job_reserve
from billing.services.leases import lease_refill, lease_trim
from billing.services.ledger import lines_post, period_close
from billing.services.metering import usage_rollup
from billing.services.storage import storage_record
from billing.services.wallet import postpaid_most_set, postpaid_set
from kit.clock import now
from kit.errors import BadRequest, Conflict
from tenants.scope import tenant_scope
from tests.billing.money import call, entitle, store_events
from tests.billing.quota_server import QuotaServer
from tests.billing.test_credits import give, left, right
from tests.conftest import Cast

SPEND = 10**12
ADMITTED: dict[str, dt.datetime] = {}
"""When calls that run were admitted, by the quota server's clock."""


def limited(tenant_id: uuid.UUID, *, postpaid: int = 0, allowance: int = 0) -> None:
    """A tenant that may owe so much beyond its credit."""
    entitle(tenant_id, spend_nano=SPEND, allowance_nano=allowance)
    with tenant_scope(tenant_id):
        postpaid_set(nano=postpaid)


def compiled(tenant_id: uuid.UUID) -> CompiledLimits:
    with tenant_scope(tenant_id):
        return limits_for(tenant_id=tenant_id, plan=tenant_limit_set())


def refill(store: QuotaStore, tenant_id: uuid.UUID, wanted: int = 0) -> bool:
    """As a keeper does: whatever of the two runs low."""
    found = [
        lease_refill(store=store, tenant_id=tenant_id, scope=scope, scope_id=tenant_id.hex, name=name, wanted=wanted)
        for scope, name in (("tenant", "t:s"), (WALLET, "w:s"))
    ]
    return all(found)


def ask(store: QuotaStore, tenant_id: uuid.UUID, nano: int) -> str:
    """One call that holds `nano`, with blocks where it needs them; its id, or nothing."""
    limits, rid = compiled(tenant_id), uuid.uuid4().hex
    for _ in range(4):
        decision = store.reserve(limits, rid, nano=nano)
        if decision.allowed:
            ADMITTED[rid] = from_ms(decision.now_ms)
            return rid
        if decision.reason == "rate":  # rates begin empty where they were lost
            time.sleep((decision.wait_ms or 0) / 1000)
        elif not refill(store, tenant_id, nano):
            return ""
    return ""


def spend_all(store: QuotaStore, tenant_id: uuid.UUID, one: int) -> int:
    """Call until credit is gone; how much was admitted."""
    admitted = 0
    while ask(store, tenant_id, one):
        admitted += one
    return admitted


def settled(store: QuotaStore, tenant_id: uuid.UUID, rid: str, cost: int, at: dt.datetime | None = None) -> None:
    """The call is done and cost so much."""
    number = int(rid[:12], 16)
    store_events([call(tenant_id, number, cost=cost, at=at or ADMITTED.pop(rid))])
    store.settle(tenant_id, rid, tokens=0, nano=cost)


def posted(tenant_id: uuid.UUID) -> None:
    usage_rollup(tenant_id=tenant_id)
    lines_post(tenant_id=tenant_id)


def cap(tenant_id: uuid.UUID, period: dt.date | None = None) -> int | None:
    with tenant_scope(tenant_id):
        return cap_nano(WALLET, tenant_id.hex, period)


def test_without_a_limit_on_account_credit_stops_nothing(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    entitle(tenant_id, spend_nano=SPEND)
    give(tenant_id, "prepaid", 1_000)
    assert cap(tenant_id) is None
    assert [limit.scope for limit in compiled(tenant_id).limits if limit.kind == "spend"] == ["tenant"]


def test_calls_stop_when_credit_allowance_and_account_are_used(store: QuotaStore, cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    limited(tenant_id, postpaid=20_000, allowance=30_000)
    give(tenant_id, "promo", 40_000)
    give(tenant_id, "prepaid", 60_000)
    assert cap(tenant_id) == 150_000
    assert spend_all(store, tenant_id, 700) == 150_000 // 700 * 700


def test_a_refused_call_is_told_what_to_do(store: QuotaStore, cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    limited(tenant_id)
    give(tenant_id, "prepaid", 10_000)
    assert not ask(store, tenant_id, 20_000)
    decision = store.reserve(compiled(tenant_id), "r", nano=20_000)
    assert decision.limit is not None and decision.limit.scope == WALLET
    said = denial(decision)
    assert (said.status, said.type, said.code) == (402, "insufficient_quota", "budget_exceeded")
    assert "Buy credit" in said.message and (b"x-should-retry", b"false") in said.headers


def test_the_header_shows_the_balance_where_it_is_the_tightest(store: QuotaStore, cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    limited(tenant_id)
    give(tenant_id, "prepaid", 4_000_000_000)
    assert ask(store, tenant_id, 1_000_000_000)
    decision = store.reserve(compiled(tenant_id), "r2", nano=500_000_000)
    assert budget_left(decision) == 2_500_000_000
    assert (b"x-budget-remaining-usd", b"2.500000000") in rate_headers(decision)


def test_credit_that_comes_is_there_at_once_and_gateways_hear_of_it(store: QuotaStore, cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    limited(tenant_id)
    give(tenant_id, "prepaid", 5_000)
    assert spend_all(store, tenant_id, 1_000) == 5_000
    news = Redis.from_url(house.REDIS_URL).pubsub()
    news.subscribe(NEWS)
    news.get_message(timeout=5)
    give(tenant_id, "prepaid", 3_000)
    told = news.get_message(timeout=5)
    assert told is not None and told["data"].decode() == str(tenant_id)
    assert spend_all(store, tenant_id, 1_000) == 3_000


def test_paying_for_usage_changes_nothing_of_what_is_left(store: QuotaStore, cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    limited(tenant_id, allowance=10_000)
    give(tenant_id, "promo", 10_000)
    give(tenant_id, "prepaid", 20_000)
    before = cap(tenant_id)
    for _ in range(3):
        rid = ask(store, tenant_id, 9_000)
        settled(store, tenant_id, rid, 8_000)
        posted(tenant_id)
        assert cap(tenant_id) == before
    assert left(tenant_id) == [0, 16_000], "10,000 of promo, 10,000 of the plan, the rest bought"
    assert spend_all(store, tenant_id, 1_000) == 16_000
    right(tenant_id)


def test_a_lease_ends_with_the_credit_behind_it(store: QuotaStore, cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    limited(tenant_id)
    give(tenant_id, "prepaid", 10_000)
    end = now() + dt.timedelta(seconds=3)
    give(tenant_id, "promo", 500_000, expires_at=end)
    running = ask(store, tenant_id, 40_000)
    assert running
    time.sleep(max(0.0, (end - now()).total_seconds()) + 0.1)
    assert not store.reserve(compiled(tenant_id), "r", nano=1).allowed, "by the quota server's own clock"
    settled(store, tenant_id, running, 40_000, at=end - dt.timedelta(seconds=1))
    posted(tenant_id)
    assert left(tenant_id) == [10_000, 460_000], "what was admitted before is paid for by what was there then"
    assert spend_all(store, tenant_id, 1_000) == 10_000, "and nothing of the ended lease is held back"


def test_a_lowered_limit_takes_back_what_nobody_holds(store: QuotaStore, cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    limited(tenant_id, postpaid=1_000_000)
    assert ask(store, tenant_id, 3_000)
    with tenant_scope(tenant_id):
        postpaid_set(nano=4_000)
    lease_trim(store=store, tenant_id=tenant_id, name="w:s")
    assert spend_all(store, tenant_id, 500) == 1_000


def test_staff_can_hold_an_organisation_to_its_credit(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    limited(tenant_id, postpaid=1_000)
    with tenant_scope(tenant_id):
        with pytest.raises(BadRequest):
            postpaid_most_set(nano=0, reason=" ")
        postpaid_most_set(nano=0, reason="no invoice was ever paid")
    assert cap(tenant_id) == 0
    with tenant_scope(tenant_id):
        postpaid_set(nano=None)
    assert cap(tenant_id) == 0, "the tenant cannot lift it"


@pytest.mark.parametrize("nano", [-1, 10**18 + 1, True])
def test_what_may_be_owed_must_be_an_amount(cast: Cast, nano: int) -> None:
    with tenant_scope(cast.owner.tenant.id), pytest.raises(BadRequest):
        postpaid_set(nano=nano)


def test_a_limit_that_is_set_within_a_month_counts_the_month_so_far(store: QuotaStore, cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    entitle(tenant_id, spend_nano=SPEND)
    give(tenant_id, "prepaid", 10_000)
    store_events([call(tenant_id, 1, cost=6_000, at=now() - dt.timedelta(seconds=1))])
    with tenant_scope(tenant_id):
        postpaid_set(nano=0)
    assert spend_all(store, tenant_id, 1_000) == 4_000
    posted(tenant_id)
    assert not ask(store, tenant_id, 1_000)


def test_what_last_month_was_promised_is_not_given_to_this_one(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    limited(tenant_id)
    give(tenant_id, "prepaid", 10_000)
    this = month_of(now())
    last = month_of(this - dt.timedelta(days=1))
    with tenant_scope(tenant_id):
        budget = Budget.objects.get(name="w:s")
        Budget.objects.filter(pk=budget.pk).update(epoch=7)
        lease = BudgetLease.objects.create(
            budget=budget, period=last, epoch=7, blocks=1, granted_nano=4_000, opened_ms=to_ms(now()) - 1000
        )
    assert (cap(tenant_id), cap(tenant_id, last)) == (6_000, 10_000)
    store_events([call(tenant_id, 1, cost=3_000, at=dt.datetime(last.year, last.month, 20, tzinfo=dt.UTC))])
    posted(tenant_id)
    assert left(tenant_id) == [7_000] and cap(tenant_id) == 6_000, "1,000 of the lease may still come"
    with tenant_scope(tenant_id):
        BudgetLease.objects.filter(pk=lease.pk).update(state="reconciled", spent_nano=3_000)
    assert cap(tenant_id) == 7_000
    period_close(tenant_id=tenant_id, period=last)
    assert cap(tenant_id) == 7_000
    right(tenant_id)


def test_a_month_that_closed_without_usage_includes_nothing_more(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    limited(tenant_id, allowance=3_000)
    last = month_of(month_of(now()) - dt.timedelta(days=1))
    assert cap(tenant_id, last) == 3_000
    period_close(tenant_id=tenant_id, period=last)
    assert cap(tenant_id, last) == 0
    assert cap(tenant_id) == 3_000


def test_jobs_and_storage_count_under_the_wallet(store: QuotaStore, cast: Cast) -> None:
    owner, tenant_id = cast.owner, cast.owner.tenant.id
    limited(tenant_id)
    give(tenant_id, "prepaid", 10_000)
    with tenant_scope(tenant_id):
        with pytest.raises(BudgetExceeded, match="buy credit"):
            job_reserve(job_id=uuid.uuid4(), project_id=owner.project.id, key_id=None, ceiling_nano=10_001, store=store)
        job_reserve(job_id=uuid.uuid4(), project_id=owner.project.id, key_id=None, ceiling_nano=8_000, store=store)
        hour = now().replace(minute=0, second=0, microsecond=0)
        assert storage_record(hour=hour, stored={owner.project.id: 10**15}) == 2_000, "as far as credit carries it"
    assert not ask(store, tenant_id, 20)
    with tenant_scope(tenant_id):
        month = budget_month(scope=WALLET, scope_id=tenant_id.hex)
    assert month is not None and (month.cap_nano, month.promised_nano) == (10_000, 10_000)


def test_refunds_leave_what_is_promised(store: QuotaStore, cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    limited(tenant_id)
    grant = give(tenant_id, "prepaid", 10_000)
    rid = ask(store, tenant_id, 3_000)
    with tenant_scope(tenant_id):
        assert credit_refund(grant_id=grant, reason="asked", store=store) == 7_000
    assert not ask(store, tenant_id, 20)
    settled(store, tenant_id, rid, 3_000)
    posted(tenant_id)
    assert left(tenant_id) == [0]
    right(tenant_id)


def test_a_refund_takes_no_more_of_the_lease_than_it_needs_and_nothing_where_it_fails(
    store: QuotaStore, cast: Cast
) -> None:
    tenant_id = cast.owner.tenant.id
    limited(tenant_id)
    empty = give(tenant_id, "prepaid", 1_000)
    with tenant_scope(tenant_id):
        credit_refund(grant_id=empty, reason="asked", store=store)
    grant = give(tenant_id, "prepaid", 10_000)
    assert ask(store, tenant_id, 3_000)

    def leased() -> int:
        state, _ = store.lease_state(tenant_id, "w:s")
        assert state is not None
        return state.available

    assert leased() == 3_000, "twice what was asked for came, and half of it is held"
    for which, nano in ((empty, None), (grant, 7_001), (grant, 10_001), (grant, 0)):
        with tenant_scope(tenant_id), pytest.raises(Conflict):
            credit_refund(grant_id=which, amount_nano=nano, reason="asked", store=store)
        assert leased() == 3_000, "calls go on with it"
    with tenant_scope(tenant_id):
        credit_refund(grant_id=grant, amount_nano=4_000, reason="asked", store=store)
    assert leased() == 3_000
    with tenant_scope(tenant_id):
        credit_refund(grant_id=grant, amount_nano=1_000, reason="asked", store=store)
    assert leased() == 2_000
    with tenant_scope(tenant_id):
        assert credit_refund(grant_id=grant, reason="asked", store=store) == 2_000
    assert left(tenant_id) == [0, 3_000] and not ask(store, tenant_id, 20)


@pytest.mark.slow
def test_many_at_once_never_pass_the_balance_while_it_is_paid_from(server: QuotaServer, cast: Cast) -> None:
    """Callers, a keeper for each, postings and top-ups at the same time: admitted to the nano, no deadlock."""
    tenant_id = cast.owner.tenant.id
    limited(tenant_id)
    give(tenant_id, "prepaid", 40_000)
    admitted: list[int] = []
    failed: list[BaseException] = []
    done = threading.Event()

    def work(job: object) -> None:
        store = QuotaStore(server.url)
        try:
            job(store)  # type: ignore[operator]
        except BaseException as error:
            failed.append(error)
        finally:
            store.close()
            connections.close_all()

    def caller(store: QuotaStore) -> None:
        while rid := ask(store, tenant_id, 1_000):
            admitted.append(1_000)
            settled(store, tenant_id, rid, 1_000)

    def poster(store: QuotaStore) -> None:
        while not done.wait(0.02):
            posted(tenant_id)

    def buyer(store: QuotaStore) -> None:
        for _ in range(6):
            give(tenant_id, "prepaid", 5_000)

    callers = [threading.Thread(target=work, args=(caller,)) for _ in range(4)]
    others = [threading.Thread(target=work, args=(poster,)), threading.Thread(target=work, args=(buyer,))]
    for one in (*others, *callers):
        one.start()
    others[1].join()
    for one in callers:
        one.join()
    last = QuotaStore(server.url)
    admitted.append(spend_all(last, tenant_id, 1_000))
    last.close()
    done.set()
    others[0].join()
    assert failed == []
    assert sum(admitted) == 70_000
    posted(tenant_id)
    right(tenant_id)
