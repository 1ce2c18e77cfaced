"""Staff look at organisations of several currencies at once: each amount is in its own."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest

from billing.models import CreditGrant, Invoice
from billing.services.metering import usage_rollup
from kit.clock import now
from kit.money import NANO
from ops.models import StaffAction
from tenants.scope import tenant_scope
from tests.billing.money import EURO, call, store_events
from tests.billing.test_credits import give
from tests.conftest import Person, make_person
from tests.ops.conftest import inside, make_staff
from tests.ops.test_tables import queries

WHY = "asked for by the customer"


@pytest.fixture(scope="module")
def staff() -> Person:
    return inside(make_staff())


@pytest.fixture(scope="module")
def eva() -> Person:
    """Pays in euros."""
    return make_person("eva", currency="eur")


@pytest.fixture(scope="module")
def ada() -> Person:
    """Pays in dollars."""
    return make_person("ada", currency="usd")


def text(staff: Person, path: str, **query: str) -> str:
    answer = staff.browser.get(path, query)
    assert answer.status_code == 200, (path, answer.status_code)
    return str(answer.content.decode())


def test_tables_and_pages_write_each_amount_in_its_organisations_currency(
    staff: Person, ada: Person, eva: Person
) -> None:
    for person, symbol, other in ((ada, "$", "€"), (eva, "€", "$")):
        grant = give(person.tenant.id, "promo", 12_345_670_000)
        slug = person.tenant.slug
        for path, query in (
            ("/staff/billing/creditgrant/", {"q": slug}),
            (f"/staff/billing/creditgrant/{grant}/change/", {}),
            ("/staff/billing/ledgerentry/", {"q": slug}),
        ):
            shown = text(staff, path, **query)
            assert f"{symbol}12.35" in shown and f"{other}12.35" not in shown, path
        assert f"{symbol}0.00" in text(staff, f"/staff/customers/{person.tenant.pk}/")
        assert f"{symbol}0.00" in text(staff, f"/staff/tenants/tenant/{person.tenant.pk}/change/")
        assert f"{symbol}0.00" in text(staff, "/staff/customers/", q=slug)


def test_amounts_that_staff_type_are_in_the_organisations_currency(staff: Person, eva: Person) -> None:
    path = f"/staff/tenants/tenant/{eva.tenant.pk}/credit/"
    assert "Amount, EUR" in text(staff, path)
    day = (now() + dt.timedelta(days=9)).date().isoformat()
    form = {"kind": "goodwill", "expires": day, "once": str(uuid.uuid4()), "reason": WHY}
    refused = staff.browser.post(path, {**form, "amount": "$7"})
    assert refused.status_code == 422 and "pays in EUR" in refused.content.decode()
    for wrong in ("7 USD", "£7"):
        assert "pays in EUR" in staff.browser.post(path, {**form, "amount": wrong}).content.decode()
    assert "Enter an amount of EUR" in staff.browser.post(path, {**form, "amount": "x"}).content.decode()
    done = staff.browser.post(path, {**form, "amount": "€7.50"}, follow=True)
    assert done.status_code == 200
    with tenant_scope(eva.tenant.id):
        assert CreditGrant.objects.get(kind="goodwill").amount_nano == 7.5 * NANO
    assert StaffAction.objects.get(organisation=eva.tenant.pk, action="credit.give").detail["currency"] == "eur"


def test_the_first_page_adds_no_two_currencies(staff: Person, ada: Person, eva: Person) -> None:
    for person in (ada, eva):
        give(person.tenant.id, "promo", 10**15)  # taken off revenue
    shown = text(staff, "/staff/")
    assert shown.count("total, from the ledger") >= 2 and "€" in shown and "$" in shown


def test_what_was_used_is_said_in_the_currency_it_was_charged_in(staff: Person, ada: Person, eva: Person) -> None:
    for person, book, symbol, other in ((ada, "2026-11-01", "$", "€"), (eva, EURO, "€", "$")):
        tenant = person.tenant
        store_events([call(tenant.pk, 1, cost=4_560_000_000, at=now(), project_id=person.project.pk, book=book)])
        usage_rollup(tenant_id=tenant.pk)
        code = tenant.currency.upper()
        for path in (f"/staff/tenants/tenant/{tenant.pk}/change/", f"/staff/customers/{tenant.pk}/"):
            page = text(staff, path)
            assert f"{symbol}4.56" in page and f"{other}4.56" not in page and code in page, path
        assert f"{symbol}4.56" in text(staff, "/staff/customers/", q=tenant.slug)


def test_cents_of_stripes_objects_are_in_the_currency_stripe_says(staff: Person, ada: Person, eva: Person) -> None:
    for person, symbol in ((ada, "$"), (eva, "€")):
        tenant = person.tenant
        sums = {"currency": tenant.currency, "total": 2_950, "amount_due": 2_950, "amount_paid": 2_950}
        with tenant_scope(tenant.pk):
            invoice = Invoice.objects.create(stripe_id=f"in_{tenant.pk.hex}", status="paid", issued_at=now(), **sums)
        assert f"{symbol}29.50" in text(staff, "/staff/billing/invoice/", q=tenant.slug)
        assert f"{symbol}29.50" in text(staff, f"/staff/billing/invoice/{invoice.pk}/change/")
        label = f"Amount, {tenant.currency.upper()}"
        assert label in text(staff, f"/staff/billing/invoice/{invoice.pk}/credit/")


def test_organisations_are_filtered_by_what_they_pay_in(staff: Person, ada: Person, eva: Person) -> None:
    page = text(staff, "/staff/tenants/tenant/", currency="eur")
    assert eva.tenant.slug in page and ada.tenant.slug not in page
    assert "currency=usd" in page


def test_limits_that_staff_type_are_in_the_organisations_currency(staff: Person, eva: Person) -> None:
    path = f"/staff/tenants/tenant/{eva.tenant.pk}"
    assert "in a month, EUR" in text(staff, f"{path}/account/")
    override = text(staff, f"{path}/override/")
    assert "(now €" in override and "(now $" not in override
    form = {"limit": "monthly_spend_nano", "value": "$40", "reason": WHY}
    refused = staff.browser.post(f"{path}/override/", form)
    assert refused.status_code == 422 and "pays in EUR" in refused.content.decode()
    assert staff.browser.post(f"{path}/override/", form | {"value": "€40"}).status_code == 302
    assert staff.browser.post(f"{path}/account/", {"most": "$40", "reason": WHY}).status_code == 422


def test_more_rows_of_either_currency_take_no_more_queries(staff: Person, ada: Person, eva: Person) -> None:
    for path in ("/staff/billing/ledgerentry/", "/staff/billing/creditdraw/"):
        before = [queries(staff, f"{path}?q={person.tenant.slug}") for person in (ada, eva)]
        for person in (ada, eva):
            give(person.tenant.id, "promo", NANO)
        assert [queries(staff, f"{path}?q={person.tenant.slug}") for person in (ada, eva)] == before, path
