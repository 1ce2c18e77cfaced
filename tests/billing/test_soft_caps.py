"""From a share of a spend limit on calls are slowed to a tenth of their rates, and are told so."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from billing.quotas import CompiledLimits, Limit, QuotaStore, denial, rate_headers
from billing.selectors.limits import caller_limits, slow_from_percent, tenant_limit_set
from billing.services.limits import (
    key_limits_set,
    member_limits_set,
    model_limits_set,
    project_limits_set,
    spend_limit_set,
)
from kit.errors import BadRequest
from tenants.models import Member
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person

FAR_MS = 4_000_000_000_000
LONG_MS = 10**10
SLOWED = b"x-budget-slowed"
MODEL = "ft:all-MiniLM-L6-v2:o:s:1"


def limits(requests: int = 100, *, slow: int | None = 20_000) -> CompiledLimits:
    """So many requests in a window that does not refill, and money of which 20,000 left slow calls down."""
    tenant = uuid.uuid4().hex
    money = Limit("tenant", tenant, "spend", 100_000, slow_nano=slow)
    return CompiledLimits(tenant, [Limit("tenant", tenant, "requests", requests, LONG_MS), money])


def grant(store: QuotaStore, of: CompiledLimits, nano: int = 50_000, rest: int = 50_000) -> None:
    """A block, and what the month has left beyond it."""
    assert store.grant(of.tenant, "t:s", epoch=1, block=1, nano=nano, ends_ms=FAR_MS, low_nano=1, rest_nano=rest)[0]


def header(decision: Any) -> bytes | None:
    return dict(rate_headers(decision)).get(SLOWED)


def test_from_the_soft_cap_on_a_call_counts_as_ten(store: QuotaStore) -> None:
    of = limits()
    grant(store, of, 90_000, 10_000)
    first = store.reserve(of, "a", nano=80_000)
    assert (first.remaining[0], first.slow, header(first)) == (99, (), None), "80,000 are not used before it"
    second = store.reserve(of, "b", nano=10)
    assert second.remaining[0] == 89 and header(second) == b"organization"
    store.release(of.tenant, "b")
    assert store.peek(of)[0] == 99, "what was never run counts as none"
    for number in range(9):
        assert store.reserve(of, f"c{number}", nano=10).allowed
    refused = store.reserve(of, "d", nano=10)
    assert (refused.allowed, refused.reason) == (False, "rate")
    said = denial(refused)
    assert said.status == 429 and "slowed down" in said.message and "counts as 10 of the 100 requests" in said.message
    assert SLOWED in dict(said.headers)
    store.release(of.tenant, "a")
    assert store.reserve(of, "e", nano=10).slow == (), "with the money back nothing is slow"


def test_where_the_wallet_slows_it_is_credit_that_helps(store: QuotaStore) -> None:
    tenant = uuid.uuid4().hex
    money = Limit("wallet", tenant, "spend", 100_000, slow_nano=20_000)
    of = CompiledLimits(tenant, [Limit("tenant", tenant, "requests", 15, LONG_MS), money])
    assert store.grant(tenant, "w:s", epoch=1, block=1, nano=10_000, ends_ms=FAR_MS, low_nano=1, rest_nano=0)[0]
    assert store.reserve(of, "a", nano=10).allowed
    said = denial(store.reserve(of, "b", nano=10))
    assert said.status == 429 and "counts as 10 of the 15 requests" in said.message
    assert "buy credit under Billing, Wallet" in said.message and "spend limit" not in said.message


def test_a_rate_below_ten_still_lets_calls_pass(store: QuotaStore) -> None:
    of = limits(3)
    grant(store, of, 10_000, 0)
    assert store.reserve(of, "a", nano=10).allowed
    refused = store.reserve(of, "b", nano=10)
    assert (refused.allowed, refused.reason) == (False, "rate"), "one in the time of three"


def test_without_a_soft_cap_nothing_is_slowed(store: QuotaStore) -> None:
    of = limits(slow=None)
    grant(store, of, 10, 0)
    decision = store.reserve(of, "a", nano=10)
    assert decision.allowed and decision.remaining[0] == 99 and header(decision) is None


def slow_limit(found: CompiledLimits, scope: str) -> int | None:
    return next(limit.slow_nano for limit in found.limits if limit.kind == "spend" and limit.scope == scope)


def set_for(person: Person, scope: str, wanted: dict[str, int]) -> None:
    with tenant_scope(person.tenant.id):
        if scope == "project":
            project_limits_set(project=person.project, limits=wanted)
        elif scope == "member":
            member_limits_set(member=Member.objects.get(user=person.user), limits=wanted)
        elif scope == "key":
            key_limits_set(key=person.key_row, name="theirs", limits=wanted)
        else:
            model_limits_set(project=person.project, model=MODEL, limits=wanted)


@pytest.mark.parametrize("scope", ["project", "member", "key", "model"])
def test_every_spend_limit_can_have_one(cast: Cast, scope: str) -> None:
    ada = cast.owner
    set_for(ada, scope, {"monthly_spend_nano": 1_000_000, "slow_from_percent": 80})
    with tenant_scope(ada.tenant.id):
        found = caller_limits(project_id=ada.project.id, key_id=ada.key_row.id).compiled(MODEL)
    assert slow_limit(found, scope) == 200_000 and slow_limit(found, "tenant") is None


@pytest.mark.parametrize("wrong", [0, 100, -1, "80", True])
def test_a_share_nobody_can_mean_is_refused(cast: Cast, wrong: Any) -> None:
    for scope in ("project", "member", "key", "model"):
        with pytest.raises(BadRequest):
            set_for(cast.owner, scope, {"monthly_spend_nano": 1_000_000, "slow_from_percent": wrong})


def test_a_share_of_no_limit_is_refused(cast: Cast) -> None:
    with pytest.raises(BadRequest, match="Set one beside it"):
        set_for(cast.owner, "project", {"slow_from_percent": 80})


def test_the_organisation_has_one_of_its_plans_limit_too(cast: Cast) -> None:
    ada = cast.owner
    path = f"{ada.home}/billing/limit"
    assert ada.browser.post(path, {"monthly_spend": "", "slow_from_percent": "100"}).status_code == 422
    assert ada.browser.post(path, {"monthly_spend": "", "slow_from_percent": "90"}).status_code == 302
    with tenant_scope(ada.tenant.id):
        assert slow_from_percent() == 90 and tenant_limit_set().slow_percent == 90
        found = caller_limits(project_id=ada.project.id).compiled()
        cap = tenant_limit_set().spend_nano or 0
        assert slow_limit(found, "tenant") == cap - cap * 90 // 100
        spend_limit_set(monthly_nano=500_000, slow_percent=50)
        assert slow_limit(caller_limits(project_id=ada.project.id).compiled(), "tenant") == 250_000


def test_pages_of_limits_set_it(cast: Cast) -> None:
    ada = cast.owner
    path = f"{ada.home}/settings/projects/{ada.project.public_id}/limits"
    assert "Slow calls down from" in ada.browser.get(path).content.decode()
    assert ada.browser.post(path, {"slow_from_percent": "80"}).status_code == 422
    assert ada.browser.post(path, {"monthly_spend_nano": "1", "slow_from_percent": "80"}).status_code == 302
    key = f"{ada.workspace}/keys/{ada.key_row.public_id}/change"
    sent = {"name": "theirs", "monthly_spend": "1", "slow_from_percent": "75"}
    assert ada.browser.post(key, sent).status_code == 302
    with tenant_scope(ada.tenant.id):
        found = caller_limits(project_id=ada.project.id, key_id=ada.key_row.id).compiled()
    assert (slow_limit(found, "project"), slow_limit(found, "key")) == (200_000_000, 250_000_000)
