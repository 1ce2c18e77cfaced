"""What people are told of an invoice that is not paid, by how it would have been paid."""

import datetime as dt
import re
from collections.abc import Iterator
from typing import Any

import pytest
import stripe
from django.core import mail

from billing.models import BillingCustomer, DunningNotice, Invoice, TenantEntitlement
from billing.plans.entitlement import GRACE
from billing.plans.ladder import DAYS, NO_JOBS
from billing.selectors.subscriptions import entitlement_for
from billing.services.entitlements import entitlement_refresh
from billing.services.mirror import subscription_mirror
from billing.stripe_port import StripePort
from kit.clock import now
from tenants.scope import tenant_scope
from tests.billing.emulated import ROOT, Emulator
from tests.billing.stripe_emulator.test_three_d_secure import NAMED_ALWAYS
from tests.billing.test_ladder import owe
from tests.billing.test_life import card, synced
from tests.billing.test_subscriptions import buy
from tests.conftest import Cast, Person

DAY = dt.timedelta(days=1)
PAGE = "https://pay.example.com/in_1"


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One of its own: what is overdue depends on both clocks saying the same."""
    running = Emulator(tmp_path_factory.mktemp("stripe"))
    yield running
    running.stop()


def shown(person: Person) -> str:
    text = person.browser.get(f"{person.home}/billing/").content.decode()
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def asked_in_vain(person: Person, emulator: Emulator) -> Any:
    """An invoice like a renewal's, whose card was asked while nobody was there."""
    with tenant_scope(person.tenant.id):
        customer = BillingCustomer.objects.get().stripe_id
    emulator.v1.invoice_items.create({"customer": customer, "amount": 2_900, "currency": "usd"})
    made = emulator.v1.invoices.create(
        {"customer": customer, "pending_invoice_items_behavior": "include", "auto_advance": False}
    )
    final = emulator.v1.invoices.finalize_invoice(made.id)  # type: ignore[arg-type]
    with pytest.raises(stripe.CardError):
        emulator.v1.invoices.pay(final.id, {"off_session": True})  # type: ignore[arg-type]
    return final


def test_a_payment_that_waits_for_the_cards_owner_is_told_once_and_leads_to_its_page(
    cast: Cast, stripe_house: Emulator
) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    card(ada, stripe_house, NAMED_ALWAYS)
    mail.outbox.clear()
    waits = asked_in_vain(ada, stripe_house)
    for _ in range(3):
        synced(ada)
    (sent,) = mail.outbox
    assert sent.subject == "A payment of your organisation has to be confirmed" and sent.to == [ada.user.email]
    page = waits.hosted_invoice_url
    assert f"Confirm it here: {page}" in sent.body and "over $29" in sent.body and "nothing is charged" in sent.body
    text = ada.browser.get(f"{ada.home}/usage/").content.decode()
    assert "has to be confirmed" in text and f'href="{page}"' in text and "update the card" not in text.lower()
    with tenant_scope(ada.tenant.id):
        assert set(DunningNotice.objects.values_list("step", flat=True)) == {"warned", "confirm"}
    card(ada, stripe_house, "pm_card_visa")
    stripe_house.v1.invoices.pay(waits.id)
    synced(ada)
    with tenant_scope(ada.tenant.id):
        assert not Invoice.objects.filter(needs_action=True).exists()
    assert "has to be confirmed" not in shown(ada) and len(mail.outbox) == 1


def test_a_card_that_was_refused_and_then_wants_its_owner_is_told_of_both(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    card(ada, stripe_house, "pm_card_chargeCustomerFail")
    mail.outbox.clear()
    waits = asked_in_vain(ada, stripe_house)
    synced(ada)
    assert "did not go through" in mail.outbox[0].body and "onfirm" not in mail.outbox[0].body
    card(ada, stripe_house, NAMED_ALWAYS)
    with pytest.raises(stripe.CardError):
        stripe_house.v1.invoices.pay(waits.id, {"off_session": True})
    for _ in range(2):
        synced(ada)
    assert [one.subject for one in mail.outbox] == [
        "An invoice of your organisation is overdue",
        "A payment of your organisation has to be confirmed",
    ]


@pytest.mark.parametrize(
    ("days", "words"),
    [(1, "Everything works for now."), (8, "Nothing new is started"), (15, "The API only reads")],
)
def test_who_pays_by_invoice_reads_of_a_due_date_and_not_of_a_card(cast: Cast, days: int, words: str) -> None:
    ada = cast.owner
    due = now() - days * DAY
    mail.outbox.clear()
    by_mail = {"raw": {"collection_method": "send_invoice"}, "attempt_count": 0, "due_at": due, "number": "A-0007"}
    owe(ada, days + 30, hosted_url=PAGE, **by_mail)
    (sent,) = mail.outbox
    assert f"Invoice A-0007 over $29 was due on {due:%Y-%m-%d} and is not paid." in sent.body
    assert words in sent.body and f"Pay it here: {PAGE}" in sent.body and "card" not in sent.body
    text = shown(ada)
    assert "Invoice A-0007 over $29 was due on" in text and "See and pay the invoice" in text
    viewer = cast.teammate.browser.get(f"{ada.home}/usage/").content.decode()
    assert "A-0007" in viewer and PAGE not in viewer, "the page of an invoice is for those who may read it"


def test_a_subscription_paid_by_invoice_is_late_from_its_due_date(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    with tenant_scope(ada.tenant.id):
        customer = BillingCustomer.objects.get()
        row = TenantEntitlement.objects.get().subscription
    stripe_house.v1.subscriptions.update(row, {"collection_method": "send_invoice", "days_until_due": 30})
    real = stripe_house.v1.subscriptions.retrieve(row)
    assert real.collection_method == "send_invoice"
    issued, due = now() - 31 * DAY, now() - DAY
    late = {
        **real.to_dict(for_json=True), "status": "past_due",
        "latest_invoice": {"id": "in_x", "object": "invoice", "collection_method": "send_invoice",
                           "created": int(issued.timestamp()), "due_date": int(due.timestamp())},
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch, tenant_scope(ada.tenant.id):
        patch.setattr(StripePort, "subscription_fetch", lambda self, one: late)
        subscription_mirror(customer, row)
        entitlement_refresh()
    found = entitlement_for(ada.tenant.id)
    assert (found.plan, found.standing) == ("developer", "grace"), "its week begins with the due date"


def test_the_docs_have_the_days_of_the_ladder() -> None:
    text = (ROOT / "templates/docs/content/organisation.md").read_text()
    table = [int(day) for day in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)]
    assert table == list(DAYS.values())
    assert DAYS[NO_JOBS] == GRACE.days, "the plan itself goes on for as long as new work does"
