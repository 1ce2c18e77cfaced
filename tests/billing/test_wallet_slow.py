"""Below a balance calls are slowed, in the look-up that checks all limits, before credit stops them."""

from __future__ import annotations

import uuid

import pytest

from billing.quotas import QuotaStore
from billing.quotas.decision import rate_headers
from billing.selectors.limits import tenant_limit_set
from billing.services.wallet import postpaid_set, slow_set
from kit.errors import BadRequest
from tenants.scope import tenant_scope
from tests.billing.test_credits import give
from tests.billing.test_funds import ask, compiled, limited
from tests.conftest import Cast


def slowed(store: QuotaStore, tenant_id: uuid.UUID) -> bytes | None:
    """Whose budget slows a call that costs next to nothing."""
    decision = store.reserve(compiled(tenant_id), uuid.uuid4().hex, nano=10)
    assert decision.allowed
    return dict(rate_headers(decision)).get(b"x-budget-slowed")


def test_from_the_balance_on_a_call_counts_as_ten(store: QuotaStore, cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    limited(tenant_id)
    give(tenant_id, "prepaid", 100_000)
    with tenant_scope(tenant_id):
        slow_set(nano=40_000)
    assert ask(store, tenant_id, 50_000) and slowed(store, tenant_id) is None
    assert ask(store, tenant_id, 20_000) and slowed(store, tenant_id) == b"wallet"
    with tenant_scope(tenant_id):
        slow_set(nano=None)
    assert slowed(store, tenant_id) is None


def test_what_may_be_owed_counts_to_what_is_left(store: QuotaStore, cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    limited(tenant_id, postpaid=60_000)
    with tenant_scope(tenant_id):
        slow_set(nano=50_000)
        assert tenant_limit_set().funds_slow_nano == 50_000
    assert ask(store, tenant_id, 5_000) and slowed(store, tenant_id) is None
    assert ask(store, tenant_id, 5_000) and slowed(store, tenant_id) == b"wallet"


def test_it_needs_a_stop_after_it_and_an_amount(cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.id):
        with pytest.raises(BadRequest, match="before a stop"):
            slow_set(nano=10)
        postpaid_set(nano=0)
        for wrong in (0, -1, 10**19, True):
            with pytest.raises(BadRequest, match="slowed at"):
                slow_set(nano=wrong)
        assert slow_set(nano=10).slow_nano == 10
