"""Staff look at organisations of several currencies at once: each amount is in its own."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest

from kit.clock import now
from kit.money import NANO
from tests.billing.test_credits import give
from tests.conftest import Person, make_person
from tests.ops.conftest import inside, make_staff

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
    assert refused.status_code == 422 and "Enter an amount of EUR" in refused.content.decode()
    done = staff.browser.post(path, {**form, "amount": "€7.50"}, follow=True)
    assert done.status_code == 200
    from billing.models import CreditGrant
    from tenants.scope import tenant_scope

    with tenant_scope(eva.tenant.id):
        assert CreditGrant.objects.get(kind="goodwill").amount_nano == 7.5 * NANO


def test_the_first_page_adds_no_two_currencies(staff: Person, ada: Person, eva: Person) -> None:
    for person in (ada, eva):
        give(person.tenant.id, "promo", 10**15)  # taken off revenue
    shown = text(staff, "/staff/")
    assert shown.count("total, from the ledger") >= 2 and "€" in shown and "$" in shown
