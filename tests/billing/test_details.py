"""Who invoices are made out to: legal name, address and tax ids, on our own page; and receipts of payments."""

import re
from typing import Any

import pytest

from billing.models import BillingCustomer, Invoice
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tests.billing.emulated import Emulator
from tests.billing.test_life import synced
from tests.billing.test_subscriptions import buy
from tests.conftest import Cast, Person, make_person
from tests.console.billed import made_invoice

ADDRESS = {
    "name": "Ada Works GmbH", "line1": "Hauptstr. 1", "line2": "", "postal_code": "10115", "city": "Berlin",
    "state": "", "country": "de",
}  # fmt: skip


def press(person: Person, **form: str) -> Any:
    return person.browser.post(f"{person.home}/billing/details", form)


def shown(person: Person, page: str = "details") -> str:
    text = person.browser.get(f"{person.home}/billing/{page}").content.decode()
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def customer(person: Person) -> BillingCustomer:
    with tenant_scope(person.tenant.id):
        found: BillingCustomer = BillingCustomer.objects.get()
    return found


def test_name_and_address_are_on_the_next_invoice(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    assert press(ada, action="details", **ADDRESS).status_code == 302, "nobody has to buy first"
    there = stripe_house.v1.customers.retrieve(customer(ada).stripe_id)
    assert there.name == "Ada Works GmbH" and there.address is not None
    assert (there.address.city, there.address.country) == ("Berlin", "DE")
    assert "Ada Works GmbH" in shown(ada, "") and "10115 Berlin DE" in shown(ada, "")
    wrong = press(ada, action="details", **{**ADDRESS, "country": "Germany", "city": ""})
    assert wrong.status_code == 422 and "Two letters, such as DE or US." in wrong.content.decode()
    assert customer(ada).address["country"] == "DE"
    with tenant_scope(ada.tenant.id):
        assert AuditEvent.objects.filter(action="billing.details_changed").count() == 1


def test_tax_ids_come_and_go_and_one_that_is_none_is_told_in_plain_words(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    assert press(ada, action="add", type="eu_vat", value="DE000000000").status_code == 302
    assert press(ada, action="add", type="us_ein", value=" 12-3456789 ").status_code == 302
    text = shown(ada)
    assert "DE000000000 verified" in text and "EU VAT number" in text and "12-3456789" in text
    refused = press(ada, action="add", type="eu_vat", value="nonsense")
    assert refused.status_code == 422 and "This is no tax id of that kind." in refused.content.decode()
    again = press(ada, action="add", type="us_ein", value="12-3456789")
    assert again.status_code == 422 and "there already" in again.content.decode()
    for kind, value in (("root", "1"), ("eu_vat", ""), ("", "DE123456789"), ("eu_vat", "x" * 101)):
        assert press(ada, action="add", type=kind, value=value).status_code == 422, (kind, value)
    first = next(one for one in customer(ada).tax_ids if one["type"] == "eu_vat")
    assert press(ada, action="remove", tax_id=first["id"]).status_code == 302
    assert [one["type"] for one in customer(ada).tax_ids] == ["us_ein"]
    assert [one.type for one in stripe_house.v1.customers.tax_ids.list(customer(ada).stripe_id)] == ["us_ein"]
    assert press(ada, action="remove", tax_id=first["id"]).status_code == 404
    for value in ("DE1234", "DE1235", "DE1236", "DE1237"):
        assert press(ada, action="add", type="eu_vat", value=value).status_code == 302
    assert "at most 5" in press(ada, action="add", type="eu_vat", value="DE1238").content.decode()
    assert "Add a tax id" not in shown(ada)


def test_what_is_added_at_the_payment_provider_shows_here(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    made = {"type": "ch_vat", "value": "CHE-123.456.789 MWST"}
    stripe_house.v1.customers.tax_ids.create(customer(ada).stripe_id, made)  # type: ignore[arg-type]
    synced(ada)
    assert "CHE-123.456.789 MWST" in shown(ada) and "Swiss VAT number" in shown(ada)


def test_nobody_removes_anothers_tax_id_and_roles_hold(cast: Cast, stripe_house: Emulator) -> None:
    ada, eve = cast.owner, cast.stranger
    press(ada, action="add", type="eu_vat", value="DE123456789")
    press(eve, action="add", type="eu_vat", value="DE123456780")
    (mine,) = customer(ada).tax_ids
    assert press(eve, action="remove", tax_id=mine["id"]).status_code == 404
    assert customer(ada).tax_ids == [mine]
    for role, status in (("developer", 403), ("viewer", 403), ("billing", 302)):
        mate = make_person("mate", beside=ada, role=role)
        assert press(mate, action="add", type="us_ein", value="12-3456789").status_code == status, role


@pytest.mark.parametrize("form", [{}, {"action": "drop"}, {"action": "details"}, {"action": "add"}], ids=str)
def test_nonsense_changes_nothing(cast: Cast, form: dict[str, str]) -> None:
    assert press(cast.owner, **form).status_code == 422
    with tenant_scope(cast.owner.tenant.id):
        assert not BillingCustomer.objects.exists()


def test_a_paid_invoice_leads_to_its_receipt(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    with tenant_scope(ada.tenant.id):
        paid = Invoice.objects.get()
    page = f"{ada.home}/billing/invoices/"
    link = f"{page}{paid.public_id}/receipt"
    assert f'href="{link}"' in ada.browser.get(page).content.decode()
    answer = ada.browser.get(link)
    assert answer.status_code == 302 and answer["Location"].startswith(f"{stripe_house.url}/r/ch_")
    status, text, _headers = stripe_house.page(answer["Location"])
    assert status == 200 and "Paid" in text and "29.00" in text
    assert cast.stranger.browser.get(link.replace(ada.home, cast.stranger.home)).status_code == 404
    unpaid = made_invoice(cast.stranger)
    answer = cast.stranger.browser.get(f"{cast.stranger.home}/billing/invoices/{unpaid.public_id}/receipt")
    assert answer.status_code == 409 and "not paid" in answer.content.decode()
