"""An organisation that pays in euros goes every way of money in euros, to the cent, beside one that pays in dollars."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from billing.errors import PlanNotSold, PromotionRefused, StripeRefused
from billing.models import (
    AllowanceChange,
    BillingCustomer,
    BillingFinding,
    CatalogueEntry,
    CreditGrant,
    Invoice,
    PaymentDispute,
    Refund,
    Subscription,
)
from billing.plans import plan_book
from billing.selectors.invariants import findings
from billing.selectors.statements import sums_of
from billing.selectors.subscriptions import usage_subscription
from billing.selectors.trials import trial_due
from billing.services import reconcile, subscriptions
from billing.services.catalogue import meter_prices_push, price_sold
from billing.services.credit_notes import credit_note_write
from billing.services.invoicing import invoice_lines_push
from billing.services.ledger import lines_post, period_close
from billing.services.purchases import purchase_finish
from billing.services.reconcile import stripe_compare
from billing.services.rerating import Wanted, rerate, rerating_preview
from billing.services.subscriptions import checkout_start, plan_change, plan_preview
from billing.services.sync import customer_sync
from billing.services.topups import topup_look
from billing.services.trials import then_charged
from kit.errors import BadRequest
from kit.money import CENT, NANO
from tenants.scope import tenant_scope
from tests.billing.commanded import asked, customer_made
from tests.billing.emulated import CANCEL, SUCCESS, Emulator, of_its_own
from tests.billing.metered import close, counted, lines_cents, renewed, subscribed, take
from tests.billing.money import EURO, entitle
from tests.billing.test_billing_check import findings_of, suspected, tamper
from tests.billing.test_credits import books, give, right
from tests.billing.test_ledger import MID_OCTOBER, OCTOBER, use
from tests.billing.test_promotion_codes import coupon, go, offered
from tests.billing.test_purchases import balance, paid, start, told
from tests.billing.test_seats import have
from tests.billing.test_subscriptions import buy
from tests.billing.topped import agreed, booked, charges, sent
from tests.billing.topped import told as heard_of
from tests.conftest import Person, make_person

emulator = pytest.fixture(scope="module")(of_its_own)


@pytest.fixture
def eve() -> Person:
    """Whose organisation pays in euros."""
    return make_person("eve", currency="eur")


def used(person: Person, number: int, nano: int, book: str = EURO) -> None:
    """So much in the middle of October, by a book, of a kind that has no tiers."""
    use(person.tenant.id, number, nano, kind="decisions", book=book)


def heard(person: Person) -> None:
    """What Stripe has of a customer, mirrored and booked; nothing is off."""
    with tenant_scope(person.tenant.id):
        customer_sync(customer=BillingCustomer.objects.get())
    booked(person.tenant.id)


def compared(person: Person) -> list[tuple[str, str, str]]:
    """What differs from Stripe, of one organisation."""
    stripe_compare()
    rows = BillingFinding.objects.filter(organisation=person.tenant.id, resolved_at=None, kind__startswith="stripe.")
    return list(rows.order_by("kind").values_list("kind", "expected", "found"))


def month_billed(person: Person, emulator: Emulator, nano: int, book: str) -> Invoice:
    """Usage of October, its bill, and the invoice that asks for it, paid."""
    tenant_id = person.tenant.id
    with tenant_scope(tenant_id):  # as if the plan had been bought before October
        AllowanceChange.objects.update(since=dt.datetime(2026, 9, 1, tzinfo=dt.UTC))
    used(person, 1, nano, book)
    closed = period_close(tenant_id=tenant_id, period=OCTOBER)
    assert closed.close.net_nano == nano - 20 * NANO, "20 are included, of whatever it pays in"
    invoice_lines_push(tenant_id=tenant_id, period=OCTOBER, lines=closed.lines)
    with tenant_scope(tenant_id):
        subscription = Subscription.objects.get()
    of = {"customer": subscription.raw["customer"], "subscription": subscription.stripe_id}
    made = emulator.v1.invoices.create({**of, "auto_advance": False})  # type: ignore[typeddict-item]
    if emulator.v1.invoices.finalize_invoice(made.id).status == "open":
        emulator.v1.invoices.pay(made.id)
    heard(person)
    with tenant_scope(tenant_id):
        found: Invoice = Invoice.objects.get(stripe_id=made.id)
    return found


def test_a_month_in_euros_beside_one_in_dollars(
    eve: Person, stripe_house: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "ON_ITS_WAY", dt.timedelta(hours=-1))
    ada = make_person("ada", currency="usd")
    for person, book in ((eve, EURO), (ada, "2026-11-01")):
        buy(person, stripe_house)
        row = month_billed(person, stripe_house, 23 * NANO + 456_780, book)
        assert (row.status, row.total, row.amount_paid, row.currency) == ("paid", 300, 300, person.tenant.currency)
    by_usage = {"usage_revenue": -23 * NANO - 456_780, "allowance": 20 * NANO, "rounding": 456_780}
    in_dollars = {"cash": 3_200 * CENT, "subscription_revenue": -2_900 * CENT, **by_usage}
    assert books(eve.tenant.id) == {"cash": 3_000 * CENT, "subscription_revenue": -2_700 * CENT, **by_usage}
    assert books(ada.tenant.id) == in_dollars

    with tenant_scope(eve.tenant.id):
        first = Invoice.objects.get(total=2_700).stripe_id
        payment = stripe_house.v1.payment_intents.list({"customer": BillingCustomer.objects.get().stripe_id}).data[-1]
    for cents, to in ((900, "card"), (500, "balance")):
        asked(eve.tenant.id, lambda cents=cents, to=to: credit_note_write(  # type: ignore[misc]
            invoice_id=first, cents=cents, to=to, memo="a bad month"))  # fmt: skip
    heard(eve)
    found = {"credit": 1_400 * CENT, "customer_balance": -500 * CENT, "cash": 2_100 * CENT}
    assert {account: nano for account, nano in books(eve.tenant.id).items() if account in found} == found
    dispute = stripe_house.control("/disputes", {"charge": payment.latest_charge})
    heard(eve)
    held = books(eve.tenant.id)["dispute"]
    with tenant_scope(eve.tenant.id):
        assert PaymentDispute.objects.get().amount * CENT == held > 0
        assert {*Refund.objects.values_list("currency", flat=True), PaymentDispute.objects.get().currency} == {"eur"}
    stripe_house.control(f"/disputes/{dispute['id']}/close", {"status": "lost"})
    heard(eve)
    assert books(eve.tenant.id)["bad_debt"] == held
    assert sum(books(eve.tenant.id).values()) == 0
    assert books(ada.tenant.id) == in_dollars, "nobody else's books moved"
    assert (compared(eve), compared(ada)) == ([], [])
    assert not suspected(ada.tenant.id) & {"prices_are_in_its_currency", "booked_objects_are_in_its_currency"}


def test_a_plan_is_changed_and_seats_are_bought_at_prices_in_euros(eve: Person, stripe_house: Emulator) -> None:
    buy(eve, stripe_house)
    have(eve, 2)
    with tenant_scope(eve.tenant.id):
        assert 1_500 < Invoice.objects.exclude(total=2_700).get().total <= 1_600, "two seats at 8.00"
        said = plan_preview(plan="team")()
    assert said["currency"] == "eur"
    assert 18_500 + 2 * 450 - 2_700 - 1_600 <= said["total"] < 18_500 + 2 * 450 - 2_700 - 1_600 + 100
    asked(eve.tenant.id, lambda: plan_change(plan="team", at=said["at"]))
    with tenant_scope(eve.tenant.id):
        assert Invoice.objects.get(total=said["total"]).currency == "eur"
        prices = [item["price"] for item in Subscription.objects.get().raw["items"]["data"]]
    assert sorted((one["unit_amount"], one["currency"]) for one in prices) == [(450, "eur"), (18_500, "eur")]
    heard(eve)


def test_a_trial_says_what_follows_in_euros(eve: Person, stripe_house: Emulator) -> None:
    with tenant_scope(eve.tenant.id):
        assert trial_due(plan_book().latest("team")) is not None
    url = go(eve, "", plan="team")
    assert "€0.00" in stripe_house.page(url)[1]
    session = stripe_house.pay(url, "378282246310005")[2]["Location"].split("session=")[1]
    with tenant_scope(eve.tenant.id):
        subscriptions.checkout_finish(session_id=session)
        assert then_charged(Subscription.objects.get()) == "€185 a month"


def test_a_plan_that_is_not_sold_in_euros_is_refused(eve: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    older = plan_book().get("developer", 5)
    monkeypatch.setattr(subscriptions, "plan_named", lambda code: older)
    with tenant_scope(eve.tenant.id), pytest.raises(PlanNotSold, match="not sold by the month in EUR"):
        checkout_start(plan="developer", success_url=SUCCESS, cancel_url=CANCEL)
    assert price_sold(older, "month", "usd") == 2_900


def test_credit_is_bought_used_topped_up_and_given_back_in_euros(eve: Person, stripe_house: Emulator) -> None:
    tenant_id = eve.tenant.id
    assert "€20.00" in stripe_house.page(start(eve, 20 * NANO))[1]
    session = paid(eve, stripe_house, 20 * NANO)
    assert told(stripe_house, session) == ["done"]
    assert balance(tenant_id) == 20 * NANO
    refund = {"payment_intent": stripe_house.v1.checkout.sessions.retrieve(session).payment_intent, "amount": 500}
    stripe_house.v1.refunds.create(refund)  # type: ignore[arg-type]
    heard(eve)
    assert (balance(tenant_id), books(tenant_id)) == (15 * NANO, {"cash": 15 * NANO, "prepaid": -15 * NANO})

    buy(eve, stripe_house)
    entitle(tenant_id, spend_nano=10**13)
    give(tenant_id, "promo", 10 * NANO)  # which is used before what the plan includes
    agreed(eve, below=20, amount=30)
    used(eve, 1, 6 * NANO)
    lines_post(tenant_id=tenant_id)
    assert topup_look(tenant_id=tenant_id) == 1
    sent(eve)
    with tenant_scope(tenant_id):
        customer = BillingCustomer.objects.get().stripe_id
    heard_of(stripe_house, customer)
    heard(eve)
    assert (charges(stripe_house, customer), balance(tenant_id)) == ([3_000], 49 * NANO)
    with tenant_scope(tenant_id):
        assert {row.currency for row in Invoice.objects.all()} == {"eur"}


def test_credit_that_was_paid_in_dollars_is_told_and_not_entered(
    eve: Person, stripe_house: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "ON_ITS_WAY", dt.timedelta(hours=-1))
    line = {"currency": "usd", "unit_amount": 2_000, "product_data": {"name": "Credit"}}
    session = stripe_house.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "customer": customer_made(eve.tenant.id),
            "line_items": [{"price_data": line, "quantity": 1}],  # type: ignore[typeddict-item]
            "success_url": SUCCESS,
            "cancel_url": CANCEL,
            "metadata": {"tenant_id": str(eve.tenant.id), "purpose": "credit"},
        }
    )
    assert session.url and stripe_house.pay(session.url)[0] == 303
    with tenant_scope(eve.tenant.id):
        assert purchase_finish(session_id=session.id) is None
        assert not CreditGrant.objects.exists()
    told = ("stripe.purchase_not_credited", "$20.00 of credit", "none: the organisation pays in EUR")
    assert compared(eve) == [told]


def test_what_stripe_has_in_dollars_is_told_and_not_booked(eve: Person, stripe_house: Emulator) -> None:
    tenant_id, v1 = eve.tenant.id, stripe_house.v1
    customer = customer_made(tenant_id)
    v1.invoice_items.create({"customer": customer, "amount": 900, "currency": "usd"})
    made = v1.invoices.create(
        {"customer": customer, "currency": "usd", "pending_invoice_items_behavior": "include",
         "collection_method": "send_invoice", "days_until_due": 30}
    )  # fmt: skip
    v1.invoices.finalize_invoice(made.id)
    card = v1.payment_methods.attach("pm_card_visa", {"customer": customer})
    items: Any = [{"price": stripe_house.price(1_000).id}]
    plan = v1.subscriptions.create({"customer": customer, "default_payment_method": card.id, "items": items})
    with tenant_scope(tenant_id):
        customer_sync(customer=BillingCustomer.objects.get())
        assert sorted(Invoice.objects.values_list("total", flat=True)) == [900, 1_000]
    with pytest.raises(AssertionError):
        booked(tenant_id)  # which asserts that nothing is off
    assert books(tenant_id) == {}
    said = [one.message for one in findings([tenant_id])]
    why = "is not in the books: It is in USD, and this organisation pays in EUR"
    assert any(f"invoice {made.id} {why}" in message for message in said)
    assert any(f"subscription {plan.id} charges in USD" in message for message in said)
    assert (
        {"objects_can_be_booked", "subscriptions_are_in_its_currency"} == findings_of(tenant_id) <= suspected(tenant_id)
    )
    with tenant_scope(tenant_id):
        assert [sums_of(row) for row in Invoice.objects.all()] == [None, None]
        assert usage_subscription() is None, "usage in euros would wait for its invoices in dollars for good"

    v1.subscriptions.cancel(plan.id)
    with tenant_scope(tenant_id):
        customer_sync(customer=BillingCustomer.objects.get())
    with pytest.raises(StripeRefused, match="pays in USD since its first purchase, and the plan is sold in EUR"):
        go(eve, "")


def test_a_code_in_euros_is_taken_and_one_in_dollars_is_refused(eve: Person, stripe_house: Emulator) -> None:
    off: Any = {"percent_off": None, "amount_off": 500}
    dollars = offered(stripe_house, coupon(stripe_house, currency="usd", **off))
    with pytest.raises(PromotionRefused, match="is for payments in USD, and this plan is paid in EUR"):
        go(eve, dollars)
    least = {"minimum_amount": 100, "minimum_amount_currency": "usd"}
    with pytest.raises(PromotionRefused, match="is for payments in USD"):
        go(eve, offered(stripe_house, restrictions=least))
    both = coupon(stripe_house, currency="usd", currency_options={"eur": {"amount_off": 300}}, **off)
    for code, left in (
        (offered(stripe_house, coupon(stripe_house, currency="eur", **off)), "€22.00"),
        (offered(stripe_house), "€20.25"),
        (offered(stripe_house, both), "€24.00"),
        (offered(stripe_house, restrictions=least | {"currency_options": {"eur": {"minimum_amount": 90}}}), "€20.25"),
    ):
        url = go(eve, code)
        assert left in stripe_house.page(url)[1]
    assert stripe_house.pay(url)[0] == 303
    heard(eve)
    assert books(eve.tenant.id) == {"cash": 2_025 * CENT, "subscription_revenue": -2_700 * CENT, "discount": 675 * CENT}


def test_usage_without_a_plan_has_an_invoice_in_euros(eve: Person, stripe_house: Emulator) -> None:
    tenant_id = eve.tenant.id
    entitle(tenant_id, spend_nano=10**12)
    used(eve, 1, 7 * NANO)
    closed = period_close(tenant_id=tenant_id, period=OCTOBER)
    invoice_lines_push(tenant_id=tenant_id, period=OCTOBER, lines=closed.lines)
    sent(eve)
    with tenant_scope(tenant_id):
        customer_sync(customer=BillingCustomer.objects.get())
        (row,) = Invoice.objects.all()
    assert (row.total, row.currency) == (700, "eur"), "the customer has no currency of its own yet"


def test_a_meter_counts_cents_of_euros(eve: Person, timed: Emulator) -> None:
    tenant_id = eve.tenant.id
    buy(eve, timed)
    subscribed(tenant_id)
    used(eve, 1, 13 * NANO + 3_456_780)
    lines_post(tenant_id=tenant_id)
    assert take(tenant_id, 1.5) > 0
    closed = close(tenant_id)
    assert counted(timed, tenant_id) == closed.net_nano // CENT and lines_cents(tenant_id) == 0
    invoice = renewed(timed, tenant_id)
    assert (invoice.total, invoice.currency) == (2_700 + closed.net_nano // CENT, "eur")
    right(tenant_id)
    for _ in range(2):
        assert {entry.currency: entry.lookup_key for entry in meter_prices_push()} == {
            "usd": "tunesmith_usage_cents",
            "eur": "tunesmith_usage_cents_eur",
        }
    assert CatalogueEntry.objects.filter(part="usage").count() == 2


def test_usage_is_priced_anew_by_a_book_in_euros_alone(eve: Person) -> None:
    used(eve, 1, 1_800)
    day = MID_OCTOBER.date()
    wanted = Wanted(first_day=day, last_day=day, price_version="2026-11-01")
    with tenant_scope(eve.tenant.id), pytest.raises(BadRequest, match="in USD, and this organisation pays in EUR"):
        rerating_preview(wanted=wanted)
    with pytest.raises(BadRequest, match=f"Price by one of {EURO}"):
        rerate(tenant_id=eve.tenant.id, wanted=wanted, reason="a mistake", created_by="staff")
    with tenant_scope(eve.tenant.id):
        assert rerating_preview(wanted=Wanted(first_day=day, last_day=day, price_version=EURO)) == []


@pytest.mark.parametrize("table", ["billing_usageevent", "billing_ratedline"])
def test_usage_priced_in_another_currency_is_found_each_night(eve: Person, table: str) -> None:
    used(eve, 1, 1_800)
    lines_post(tenant_id=eve.tenant.id)
    assert not (findings_of(eve.tenant.id) | suspected(eve.tenant.id)) & {"prices_are_in_its_currency"}
    tamper(eve.tenant.id, table, "price_version = '2026-11-30.5'")
    assert "prices_are_in_its_currency" in findings_of(eve.tenant.id) & suspected(eve.tenant.id)


def test_what_is_booked_in_another_currency_is_found_each_night(eve: Person, stripe_house: Emulator) -> None:
    buy(eve, stripe_house)
    heard(eve)
    assert not (findings_of(eve.tenant.id) | suspected(eve.tenant.id)) & {"booked_objects_are_in_its_currency"}
    tamper(eve.tenant.id, "billing_invoice", "currency = 'usd'")
    assert "booked_objects_are_in_its_currency" in findings_of(eve.tenant.id) & suspected(eve.tenant.id)


def test_given_credit_pays_before_what_the_plan_includes_in_euros_as_in_dollars(eve: Person) -> None:
    entitle(eve.tenant.id, spend_nano=10**12, allowance_nano=5 * NANO)
    give(eve.tenant.id, "promo", 2 * NANO)
    used(eve, 1, 9 * NANO)
    closed = period_close(tenant_id=eve.tenant.id, period=OCTOBER)
    assert closed.close.net_nano == 2 * NANO
    right(eve.tenant.id)
