"""Storage is usage: measured hourly, priced by the book, never beyond a spend limit, on the bill like the rest."""

from __future__ import annotations

import datetime as dt
import json
import uuid

import pytest
from django.core.management import call_command
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from billing.models import Budget, RatedLine, UsageEvent
from billing.prices import Usage, price_books, rate
from billing.quotas.limits import Limit
from billing.selectors.bills import invoice_preview
from billing.selectors.budgets import budget_month, promised_nano
from billing.selectors.invariants import findings
from billing.services.leases import lease_reconcile, lease_refill
from billing.services.ledger import lines_post
from billing.services.limits import project_limits_set, spend_limit_set
from billing.services.metering import usage_rollup
from billing.services.storage import storage_record, storage_recorded
from billing.services.stores import quota_store
from kit.clock import now
from tenants.scope import tenant_scope
from tests.billing.money import entitle
from tests.billing.test_billing_check import check, tamper
from tests.conftest import Cast, Person, make_person

GB = 10**9
WITHOUT_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)  # each example makes a tenant
BOOK = price_books().current(int(now().timestamp() * 1000), "usd")


def this_hour() -> dt.datetime:
    return now().replace(minute=0, second=0, microsecond=0)


def record(person: Person, size: int, hours_ago: int = 0) -> int:
    with tenant_scope(person.tenant.id):
        return storage_record(hour=this_hour() - dt.timedelta(hours=hours_ago), stored={person.project.id: size})


def test_an_hour_of_storage_is_recorded_once_however_often_it_is_measured(cast: Cast) -> None:
    ada = cast.owner
    entitle(ada.tenant.id, spend_nano=10**12)
    assert record(ada, 3 * GB) == 3 * 137_000
    assert record(ada, 9 * GB) == 0, "the first look in an hour counts"
    with tenant_scope(ada.tenant.id):
        event = UsageEvent.objects.get()
    assert (event.kind, event.byte_hours, event.requests, event.key_id) == ("storage", 3 * GB, 0, None)
    assert (event.project_id, event.occurred_at) == (ada.project.id, this_hour())
    assert ada.tenant.id in storage_recorded(hour=this_hour())
    assert cast.stranger.tenant.id not in storage_recorded(hour=this_hour())


def test_nothing_stored_makes_no_event(cast: Cast) -> None:
    entitle(cast.owner.tenant.id, spend_nano=10**12)
    assert record(cast.owner, 0) == 0
    with tenant_scope(cast.owner.tenant.id):
        assert not UsageEvent.objects.exists()


@given(st.lists(st.integers(0, 10**13), max_size=20))
def test_rounding_never_charges_more_and_loses_less_than_a_nano_an_hour(sizes: list[int]) -> None:
    rated = [rate(Usage("storage", "files", requests=0, byte_hours=size), BOOK) for size in sizes]
    exact = sum(size * 137_000 for size in sizes)
    assert exact - len(sizes) * GB <= sum(rated) * GB <= exact


@pytest.mark.slow
@settings(
    max_examples=15,
    deadline=None,
    phases=WITHOUT_SHRINKING,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    cap=st.integers(0, 300_000),
    project_cap=st.none() | st.integers(0, 300_000),
    sizes=st.lists(st.integers(0, 2 * GB), min_size=1, max_size=5),
    leased=st.integers(0, 300_000),
)
def test_storage_and_calls_together_never_pass_a_limit(
    cap: int, project_cap: int | None, sizes: list[int], leased: int
) -> None:
    person = make_person("ada")
    tenant_id = person.tenant.id
    entitle(tenant_id, spend_nano=10**6)
    with tenant_scope(tenant_id):
        spend_limit_set(monthly_nano=cap)
        if project_cap is not None:
            project_limits_set(project=person.project, limits={"monthly_spend_nano": project_cap})
    name = Limit("tenant", tenant_id.hex, "spend", 0).name
    for number, size in enumerate(sizes):
        if number == 1:  # calls take their block in between
            lease_refill(
                store=quota_store(), tenant_id=tenant_id, scope="tenant", scope_id=tenant_id.hex, name=name,
                wanted=leased,
            )  # fmt: skip
        record(person, size, hours_ago=number)
    with tenant_scope(tenant_id):
        budget = Budget.objects.get_or_create(
            tenant_id=tenant_id, name=name, defaults={"scope": "tenant", "scope_id": tenant_id.hex}
        )[0]
        stored = sum(event.cost_nano for event in UsageEvent.objects.filter(kind="storage"))
        assert promised_nano(budget, this_hour().date().replace(day=1)) <= max(cap, 0) + late(tenant_id)
        if project_cap is not None:
            assert stored <= project_cap + late(tenant_id)
    assert list(findings([tenant_id])) == []


def late(tenant_id: uuid.UUID) -> int:
    """What fell into the month before: a cap of its own."""
    first = this_hour().replace(day=1, hour=0)
    return sum(event.cost_nano for event in UsageEvent.objects.filter(kind="storage", occurred_at__lt=first))


def test_storage_is_rated_posted_and_billed_with_its_own_quantity(cast: Cast) -> None:
    ada = cast.owner
    tenant_id = ada.tenant.id
    entitle(tenant_id, spend_nano=10**12, allowance_nano=100_000)
    record(ada, 2 * GB)
    usage_rollup(tenant_id=tenant_id)
    lines_post(tenant_id=tenant_id)
    with tenant_scope(tenant_id):
        line = RatedLine.objects.get(price_version=BOOK.version)
        assert (line.byte_hours, line.amount_nano, line.posted_nano) == (2 * GB, 274_000, 274_000)
        preview = invoice_preview()
        month = budget_month()
    storage, package, allowance = preview.lines
    assert (storage.key, storage.quantity, storage.unit) == (f"storage:files:{BOOK.version}", 2 * GB, "byte-hours")
    assert (storage.description, storage.amount_nano) == ("Storage · files", 274_000)
    whole = 101_928_000
    assert package.description == "Packages begun · Storage · files, 2 GB-hours"
    assert package.amount_nano == whole - 274_000
    assert allowance.amount_nano == -100_000 and preview.net_nano == whole - 100_000
    assert month is not None and month.spent_nano == 274_000
    assert check(tenant_id) == 0


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("billing_usageevent", "byte_hours = byte_hours - 10000"),
        ("billing_usageevent", "cost_nano = cost_nano + 1"),
        ("billing_usagehour", "byte_hours = byte_hours + 1"),
    ],
)
def test_one_nano_or_byte_off_is_found(cast: Cast, table: str, change: str) -> None:
    tenant_id = cast.owner.tenant.id
    entitle(tenant_id, spend_nano=10**12)
    record(cast.owner, GB)
    usage_rollup(tenant_id=tenant_id)
    tamper(tenant_id, table, change)
    assert check(tenant_id) == 1


def test_a_reconciled_lease_counts_no_storage(cast: Cast) -> None:
    ada = cast.owner
    tenant_id = ada.tenant.id
    entitle(tenant_id, spend_nano=10**9)
    name = Limit("tenant", tenant_id.hex, "spend", 0).name
    lease_refill(store=quota_store(), tenant_id=tenant_id, scope="tenant", scope_id=tenant_id.hex, name=name, wanted=0)
    record(ada, GB)
    lease_reconcile(quiet=-dt.timedelta(seconds=1))
    assert list(findings([tenant_id])) == []


def test_storage_is_on_the_usage_and_costs_api(cast: Cast) -> None:
    ada = cast.owner
    entitle(ada.tenant.id, spend_nano=10**12)
    record(ada, 2 * GB)
    usage_rollup(tenant_id=ada.tenant.id)
    since = f"start_time={int(this_hour().timestamp())}"
    page = json.loads(ada.api.get(f"/v1/organization/usage/storage?{since}").content)
    results = [result for bucket in page["data"] for result in bucket["results"]]
    assert [(r["x_byte_hours"], r["num_model_requests"]) for r in results] == [(2 * GB, 0)]
    page = json.loads(ada.api.get(f"/v1/organization/costs?group_by=line_item&{since}").content)
    costs = [result for bucket in page["data"] for result in bucket["results"]]
    assert [(c["line_item"], c["x_amount_nano"]) for c in costs] == [("storage, files", 274_000)]


def test_the_nightly_check_passes_with_storage(cast: Cast, capsys: pytest.CaptureFixture[str]) -> None:
    entitle(cast.owner.tenant.id, spend_nano=10**12)
    record(cast.owner, 12_345_678)
    call_command("billing_check", tenant=[cast.owner.tenant.id])
    assert "books are right" in capsys.readouterr().out
