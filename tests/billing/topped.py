"""A tenant whose credit is topped up by itself, and what its tests look at."""

from __future__ import annotations

import uuid

from billing.models import AutoTopUp, BillingCustomer, StripeCommand, TopUp
from billing.selectors.bookings import MIRRORS
from billing.selectors.wallet import balance_nano
from billing.services.commands import commands_send
from billing.services.ledger import lines_post
from billing.services.receivables import mirror_book
from billing.services.topups import topup_look, topup_set
from billing.services.webhooks import event_handle, event_receive
from kit.clock import now
from kit.money import NANO
from tenants.scope import tenant_scope
from tests.billing.emulated import Emulator
from tests.billing.money import entitle
from tests.billing.test_alerts import spend
from tests.billing.test_credits import give, right
from tests.billing.test_subscriptions import buy
from tests.conftest import Person

BY = ("user", "u", "ada@example.com")


def agreed(person: Person, *, below: int = 5, amount: int = 20, most: int = 60) -> None:
    """Automatic top-up in whole dollars."""
    with tenant_scope(person.tenant.id):
        topup_set(
            below_nano=below * NANO, amount_nano=amount * NANO, month_most_nano=most * NANO, agreed=True, by=BY
        )  # fmt: skip


def with_card(person: Person, emulator: Emulator, *, card: str = "", credit: int = 10) -> str:
    """A subscription, whose card is saved (or another one, named as Stripe names its test cards), and some credit; the
    customer."""
    buy(person, emulator)
    entitle(person.tenant.id, spend_nano=10**13)
    give(person.tenant.id, "promo", credit * NANO)  # which is used before what the plan includes
    with tenant_scope(person.tenant.id):
        customer = str(BillingCustomer.objects.get().stripe_id)
    if card:
        new_card(emulator, customer, card)
    return customer


def new_card(emulator: Emulator, customer: str, card: str) -> None:
    """Put another card in the place of what the subscription is paid with."""
    method = emulator.v1.payment_methods.attach(card, {"customer": customer})
    for subscription in emulator.v1.subscriptions.list({"customer": customer}).data:
        emulator.v1.subscriptions.update(subscription.id, {"default_payment_method": method.id})
    told(emulator, customer)


def fall(person: Person, number: int, dollars: int) -> int:
    """So much is used and posted, and the tick looks; whether it bought."""
    spend(person, number, dollars * NANO)
    lines_post(tenant_id=person.tenant.id)
    return topup_look(tenant_id=person.tenant.id)


def sent(person: Person) -> None:
    """What the doorbell does."""
    commands_send(person.tenant.id)


def healed(person: Person) -> None:
    """The worker that had claimed something is dead, and another comes."""
    with tenant_scope(person.tenant.id):
        StripeCommand.objects.exclude(claimed_until=None).update(claimed_until=now(), due_at=now())
    for _ in range(3):
        commands_send(person.tenant.id)


def told(emulator: Emulator, customer: str, *, reverse: bool = False, times: int = 1) -> None:
    """Deliver what Stripe says of a customer's objects, in its order or the other way round."""
    since = emulator.v1.customers.retrieve(customer).created
    found = [event.to_dict(for_json=True) for event in emulator.events(created={"gte": since})]
    events = [event for event in found if event["data"]["object"].get("customer") == customer]
    for event in (events[::-1] if reverse else events) * times:
        event_handle(event_receive(event).pk)


def charges(emulator: Emulator, customer: str) -> list[int]:
    """Cents of what Stripe took for credit, oldest first."""
    found = emulator.v1.invoices.list({"customer": customer, "limit": 100}).data
    paid = [one.to_dict(for_json=True) for one in found[::-1] if one.status == "paid"]
    return [one["amount_paid"] for one in paid if "topup" in one["metadata"]]


def balance(tenant_id: uuid.UUID) -> int:
    with tenant_scope(tenant_id):
        return balance_nano()


def states(tenant_id: uuid.UUID) -> list[str]:
    """Of the purchases, oldest first."""
    with tenant_scope(tenant_id):
        return list(TopUp.objects.order_by("created_at").values_list("state", flat=True))


def is_on(tenant_id: uuid.UUID) -> bool:
    with tenant_scope(tenant_id):
        return bool(AutoTopUp.objects.get().on)


def booked(tenant_id: uuid.UUID) -> None:
    """The books are brought up to Stripe, and nothing is off."""
    with tenant_scope(tenant_id):
        for model in MIRRORS:
            for row in model.objects.filter(booked_at=None).exclude(status="draft"):
                mirror_book(row=row)
    right(tenant_id)
