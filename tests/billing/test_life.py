"""A subscription beyond buying and leaving: a rest, cards whose owner must confirm, money that goes back."""

import pytest

from billing.errors import MoreThanPaid, PlanNotSold
from billing.models import BillingCustomer, CatalogueEntry, CreditNote, Invoice, Refund, StripeCommand
from billing.selectors.subscriptions import entitlement_for, subscription_held
from billing.services.credit_notes import credit_note_write, creditable
from billing.services.subscriptions import checkout_start, plan_change, plan_pause, plan_resume
from billing.services.sync import customer_sync
from kit.errors import BadRequest, Conflict, NotFound
from tenants.scope import tenant_scope
from tests.billing.commanded import asked
from tests.billing.emulated import CANCEL, SUCCESS, Emulator, of_its_own
from tests.billing.stripe_emulator.test_three_d_secure import NAMED_ALWAYS
from tests.billing.test_subscriptions import buy
from tests.conftest import Cast, Person

emulator = pytest.fixture(scope="module")(of_its_own)


def synced(person: Person) -> None:
    with tenant_scope(person.tenant.id):
        customer_sync(customer=BillingCustomer.objects.get())


def card(person: Person, emulator: Emulator, named: str) -> None:
    """Its default card from now on."""
    with tenant_scope(person.tenant.id):
        customer, held = BillingCustomer.objects.get().stripe_id, subscription_held()
    method = emulator.v1.payment_methods.attach(named, {"customer": customer})
    emulator.v1.customers.update(customer, {"invoice_settings": {"default_payment_method": method.id}})
    assert held is not None
    emulator.v1.subscriptions.update(held.stripe_id, {"default_payment_method": method.id})


def test_a_plan_rests_and_comes_back(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    page, home = f"{ada.home}/billing/plan", f"{ada.home}/billing/"
    assert ada.browser.post(page, {"action": "pause"}).status_code == 302
    assert entitlement_for(ada.tenant.id).plan == "free"
    words = " ".join(ada.browser.get(home).content.decode().split())
    assert "The plan rests" in words and "Resume the plan" in words and "Choose Team" not in words
    with tenant_scope(ada.tenant.id):
        held = subscription_held()
        assert held is not None and held.status == "paused"
        with pytest.raises(PlanNotSold, match="already has a subscription"):
            checkout_start(plan="team", success_url=SUCCESS, cancel_url=CANCEL)
    assert ada.browser.post(page, {"action": "pause"}).status_code == 409, "twice"
    assert ada.browser.post(page, {"action": "resume"}).status_code == 302
    assert entitlement_for(ada.tenant.id).plan == "developer"
    with tenant_scope(ada.tenant.id):
        last = Invoice.objects.order_by("-issued_at", "-pk").first()
        assert last is not None and last.status == "paid" and last.total < 100, "what was left is credited"
    assert ada.browser.post(page, {"action": "resume"}).status_code == 409


def test_a_rest_waits_until_what_is_late_is_paid(cast: Cast, stripe_house: Emulator) -> None:
    buy(cast.owner, stripe_house)
    with tenant_scope(cast.owner.tenant.id):
        row = subscription_held()
        assert row is not None
        row.status = "past_due"
        row.save()
        with pytest.raises(Conflict, match="paid"):
            plan_pause()
        with pytest.raises(Conflict):
            plan_resume()


def test_an_upgrade_that_its_owner_must_confirm_waits_on_the_bills_page(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    card(ada, stripe_house, NAMED_ALWAYS)
    asks = ada.browser.get(f"{ada.home}/billing/plan?plan=team").headers["Content-Security-Policy"]
    assert stripe_house.url in asks.split("form-action")[1].split(";")[0], "or the browser would not go there"
    answer = ada.browser.post(f"{ada.home}/billing/plan", {"action": "change", "plan": "team"})
    assert answer.status_code == 302 and answer["Location"].startswith(stripe_house.url), "to confirm it there"
    assert entitlement_for(ada.tenant.id).plan == "developer", "nothing changes before that"
    with tenant_scope(ada.tenant.id):
        held = subscription_held()
        assert held is not None
    waiting = stripe_house.v1.subscriptions.retrieve(held.stripe_id, {"expand": ["latest_invoice"]})
    assert waiting.pending_update is not None
    card(ada, stripe_house, "pm_card_visa")
    stripe_house.v1.invoices.pay(waiting.latest_invoice.id)  # type: ignore[union-attr,arg-type]
    synced(ada)
    assert entitlement_for(ada.tenant.id).plan == "team"


def test_what_a_page_showed_is_what_is_charged(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    for entry in CatalogueEntry.objects.filter(plan="team"):
        CatalogueEntry.objects.filter(pk=entry.pk).update(price_id=f"price_of_another_account_{entry.pk}")
    page = f"{ada.home}/billing/plan"
    shown = ada.browser.get(f"{page}?plan=team").content.decode()
    pin = shown.split('name="at" value="')[1].split('"')[0]
    assert pin, "the second that it counted from"
    total = round(float(shown.split("Charged now, before tax")[1].split("$")[1].split("<")[0].replace(",", "")) * 100)
    stripe_house.advance(seconds=3 * 3600)
    assert ada.browser.post(page, {"action": "change", "plan": "team", "at": "forged"}).status_code == 409
    assert ada.browser.post(page, {"action": "change", "plan": "team", "at": pin}).status_code == 302
    with tenant_scope(ada.tenant.id):
        charged = Invoice.objects.order_by("-total").first()
        assert charged is not None and charged.total == total


def test_a_part_goes_back_to_the_card_and_never_more_than_was_paid(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    with tenant_scope(ada.tenant.id):
        invoice = Invoice.objects.get()

    def give(cents: int, to: str = "card") -> StripeCommand:
        return credit_note_write(invoice_id=invoice.stripe_id, cents=cents, to=to, memo="a bad month")

    with tenant_scope(ada.tenant.id):
        for cents in (2_901, 10**15):
            with pytest.raises(MoreThanPaid, match=r"At most \$29 of"):
                give(cents)
        for cents in (0, -5):
            with pytest.raises(BadRequest):
                give(cents)
        with pytest.raises(BadRequest):
            give(5, "mattress")
        with pytest.raises(Conflict):
            give(5, "open")
    assert asked(ada.tenant.id, lambda: give(900)).state == "done"
    with tenant_scope(ada.tenant.id):
        assert (CreditNote.objects.get().amount, Refund.objects.get().amount) == (900, 900)
        assert creditable(Invoice.objects.get()) == 2_000
        give(1_500, "balance")
        with pytest.raises(MoreThanPaid, match=r"At most \$5 of"):
            give(600)
    with tenant_scope(cast.stranger.tenant.id), pytest.raises(NotFound):
        give(1)


def test_an_open_invoice_is_lowered(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    with tenant_scope(ada.tenant.id):
        customer = BillingCustomer.objects.get().stripe_id
    stripe_house.v1.invoice_items.create({"customer": customer, "amount": 900, "currency": "usd"})
    made = stripe_house.v1.invoices.create(
        {
            "customer": customer,
            "pending_invoice_items_behavior": "include",
            "collection_method": "send_invoice",
            "days_until_due": 30,
        }
    )
    stripe_house.v1.invoices.finalize_invoice(made.id)
    synced(ada)
    asked(ada.tenant.id, lambda: credit_note_write(invoice_id=made.id, cents=400, to="open", memo="agreed"))
    with tenant_scope(ada.tenant.id):
        row = Invoice.objects.get(stripe_id=made.id)
        assert row.status == "open" and creditable(row) == 500
    card(ada, stripe_house, "pm_card_visa")
    stripe_house.v1.invoices.pay(made.id)
    synced(ada)
    with tenant_scope(ada.tenant.id):
        row = Invoice.objects.get(stripe_id=made.id)
        assert (row.status, row.amount_paid, creditable(row)) == ("paid", 500, 500), "the note was never paid"
    asked(ada.tenant.id, lambda: credit_note_write(invoice_id=made.id, cents=200, to="card", memo="agreed"))
    with tenant_scope(ada.tenant.id):
        assert creditable(Invoice.objects.get(stripe_id=made.id)) == 300


def test_a_plan_change_is_one_at_a_time_with_a_rest(cast: Cast, stripe_house: Emulator) -> None:
    buy(cast.owner, stripe_house)
    with tenant_scope(cast.owner.tenant.id):
        plan_pause()
        with pytest.raises(Conflict, match="on its way"):
            plan_change(plan="team")
