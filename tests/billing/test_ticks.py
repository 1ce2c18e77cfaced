"""What beat rings does its work, and one tenant's trouble does not stop the others."""

from __future__ import annotations

import pytest

from billing.models import RatedLine, UsageHour
from billing.services.sweeps import for_each
from billing.tasks import SCHEDULE, metering
from kit.clock import now
from tenants.scope import tenant_scope
from tests.billing.money import call, entitle, store_events
from tests.conftest import Cast


def test_every_tick_runs_and_brings_a_call_into_the_ledger(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    entitle(tenant_id, spend_nano=10**9)
    store_events([call(tenant_id, 1, cost=1_000, at=now())])
    for tick in (
        metering.usage_rollup,
        metering.usage_post,
        metering.reservations_sweep,
        metering.leases_reconcile,
        metering.periods_close,
    ):
        assert tick.name in SCHEDULE
        assert tick() >= 0
    with tenant_scope(tenant_id):
        assert UsageHour.objects.get().cost_nano == 1_000
        assert RatedLine.objects.get().posted_nano == 1_000


def test_where_posting_fails_for_one_the_others_are_topped_up_and_booked(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise LookupError("one tenant's lines")

    ran: list[str] = []
    monkeypatch.setattr(metering.ledger, "lines_post_all", fail)
    monkeypatch.setattr(metering.topups, "topups_look_all", lambda: ran.append("looked") or 0)
    monkeypatch.setattr(metering.receivables, "mirrors_book_all", lambda: ran.append("booked") or 0)
    with pytest.raises(LookupError, match="one tenant"):
        metering.usage_post()
    assert ran == ["looked", "booked"]


def test_a_failure_for_one_is_raised_after_all_the_others_were_served() -> None:
    served = []

    def work(item: int) -> int:
        if item == 1:
            raise ValueError("one")
        served.append(item)
        return item

    with pytest.raises(ValueError, match="one"):
        for_each("test", [0, 1, 2], work)
    assert served == [0, 2]
