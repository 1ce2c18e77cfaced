"""An order of an organisation that pays in euros, from its quote to the paid invoice."""

from __future__ import annotations

import pytest
from django.core import mail
from django.test import Client

from billing.selectors.bills import balances
from billing.selectors.invariants import findings
from billing.services.receivables import mirrors_book_all
from kit.money import in_currency
from orders.errors import AmountRefused
from orders.models import Acceptance, OrderInvoice
from orders.pricing import cents_of
from orders.services import acceptance_mail, invoices_make
from tenants.scope import tenant_scope
from tests.billing.emulated import Emulator
from tests.conftest import Person, make_person
from tests.isolation.orders import a_quote, granted
from tests.orders.test_acceptance import accept
from tests.orders.test_contracts import invoices, pay


@pytest.fixture(scope="module")
def eva() -> Person:
    """An owner whose organisation pays in euros."""
    person = make_person("eva", currency="eur")
    granted(person)
    return person


def test_an_order_in_euros_is_quoted_accepted_invoiced_and_paid_in_euros(eva: Person, stripe_house: Emulator) -> None:
    order, quote, token = a_quote(eva)
    buyer = Client()
    page = buyer.get(f"/quotes/{token}").content.decode()
    assert "€11,000.00" in page and "$" not in page
    assert accept(buyer, token).status_code == 302
    after = buyer.get(f"/quotes/{token}").content.decode()
    assert "€11,000.00" in after and "$1" not in after
    with tenant_scope(eva.tenant.id):
        made = Acceptance.objects.get(revision__quote=quote)
    mail.outbox.clear()
    assert acceptance_mail(tenant_id=eva.tenant.id, acceptance_id=made.pk) >= 2
    assert all("Total: €11,000.00\nDeposit: €3,300.00\n" in sent.body for sent in mail.outbox)
    assert invoices_make(tenant_id=eva.tenant.id) >= 1
    (row,) = invoices(eva, order)
    found = stripe_house.v1.invoices.retrieve(row.stripe_id)
    assert (found.status, found.total, found.currency) == ("open", 330_000, "eur")
    pay(eva, stripe_house, row.stripe_id)
    mirrors_book_all()
    with tenant_scope(eva.tenant.id):
        assert balances()["cash"] == 3_300 * 10**9
        assert OrderInvoice.objects.get(pk=row.pk).cents == 330_000
    assert [str(one) for one in findings([eva.tenant.id])] == []
    shown = eva.browser.get(f"{eva.workspace}/orders/{order.public_id}/").content.decode()
    assert "€11,000.00" in shown and "$1" not in shown and "$3" not in shown
    told = eva.api.get(f"/v1/orders/{order.public_id}").json()
    assert (told["currency"], told["quote"]["total_cents"]) == ("eur", 1_100_000)
    beside = make_person("dora", currency="usd")
    granted(beside)
    _order, _quote, other = a_quote(beside)
    assert "$11,000.00" in buyer.get(f"/quotes/{other}").content.decode()


def test_amounts_are_typed_in_the_organisations_currency() -> None:
    with in_currency("eur"):
        assert cents_of("€1,200.50") == cents_of("1,200.50") == 120_050
        with pytest.raises(AmountRefused, match="not an amount of EUR"):
            cents_of("$1,200.50")
    assert cents_of("$1,200.50") == 120_050
