"""A purchase of a top-up that was refused, or whose money goes back: charged once, and nothing waits for ever."""

from __future__ import annotations

import json

import pytest
from django.core import mail
from django.test import override_settings

from billing.errors import StripeRefused
from billing.models import CreditDraw, TopUp
from billing.selectors.topups import card_words
from billing.services.topup_settling import topup_pause
from billing.services.topups import PAYABLE, topup_look, topups_tidy
from billing.services.webhooks import event_handle, event_receive
from billing.stripe_port import StripePort
from kit.clock import now
from kit.money import NANO
from tenants.scope import tenant_scope
from tests.billing.emulated import GOOD, Emulator
from tests.billing.money import entitle
from tests.billing.topped import agreed, balance, booked, charges, fall, is_on, sent, states, told, with_card
from tests.conftest import Cast


def test_turned_on_by_who_just_paid_the_refused_invoice_it_buys_no_second(cast: Cast, stripe_house: Emulator) -> None:
    ada, tenant_id = cast.owner, cast.owner.tenant.id
    customer = with_card(ada, stripe_house)
    agreed(ada)
    stripe_house.control("/payments/fail", {"count": 1})
    fall(ada, 1, 6)
    sent(ada)
    with tenant_scope(tenant_id):
        url = TopUp.objects.get().url
    assert stripe_house.page(url, {"number": GOOD, "expiry": "12/40", "cvc": "123"})[0] == 303
    agreed(ada)
    assert states(tenant_id) == ["failed"] and topup_look(tenant_id=tenant_id) == 0
    sent(ada)
    assert (states(tenant_id), charges(stripe_house, customer), is_on(tenant_id)) == (["paid"], [2000], True)
    assert balance(tenant_id) == 24 * NANO
    booked(tenant_id)


def test_what_was_refused_without_an_invoice_takes_nothing_of_the_month(
    cast: Cast, stripe_house: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise StripeRefused("no such card")

    ada, tenant_id = cast.owner, cast.owner.tenant.id
    customer = with_card(ada, stripe_house)
    agreed(ada, most=20)
    fall(ada, 1, 6)
    with monkeypatch.context() as patch:
        patch.setattr(StripePort, "topup_charge", refuse)
        sent(ada)
    assert (states(tenant_id), is_on(tenant_id)) == (["failed"], False)
    agreed(ada, most=20)
    assert states(tenant_id) == ["void", "waiting"]
    sent(ada)
    assert (states(tenant_id), charges(stripe_house, customer)) == (["void", "paid"], [2000])


@override_settings(EMAIL_BACKEND="django.core.mail.backends.locmem.EmailBackend")
def test_what_is_not_sent_yet_when_money_goes_back_is_not_bought(cast: Cast, stripe_house: Emulator) -> None:
    mail.outbox = []
    ada, tenant_id = cast.owner, cast.owner.tenant.id
    customer = with_card(ada, stripe_house)
    agreed(ada)
    assert fall(ada, 1, 6) == 1
    with tenant_scope(tenant_id):
        topup_pause()
        topup_pause()
    sent(ada)
    assert (charges(stripe_house, customer), states(tenant_id), len(mail.outbox)) == ([], ["void"], 1)


def test_a_refund_heard_before_its_top_up_takes_the_credit_along(
    cast: Cast, stripe_house: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, tenant_id = cast.owner, cast.owner.tenant.id
    customer = with_card(ada, stripe_house)
    agreed(ada)
    fall(ada, 1, 6)
    with monkeypatch.context() as patch:
        patch.setattr("billing.services.commands._follow", lambda command: None)
        sent(ada)
    charge = stripe_house.v1.charges.list({"customer": customer, "limit": 1}).data[0]
    stripe_house.v1.refunds.create({"charge": charge.id, "amount": 2000})
    for event in stripe_house.events(type="refund.created"):
        found = json.loads(str(event))
        if found["data"]["object"]["charge"] == charge.id:
            event_handle(event_receive(found).pk)
    assert (states(tenant_id), balance(tenant_id)) == (["waiting"], 4 * NANO)
    booked(tenant_id)
    assert (states(tenant_id), balance(tenant_id), is_on(tenant_id)) == (["paid"], 4 * NANO, False)
    booked(tenant_id)
    with tenant_scope(tenant_id):
        assert list(CreditDraw.objects.filter(kind="returned").values_list("amount_nano", flat=True)) == [20 * NANO]


@pytest.mark.parametrize("paid", [True, False])
def test_a_payment_that_the_bank_is_still_at_is_no_refusal(
    cast: Cast, stripe_house: Emulator, monkeypatch: pytest.MonkeyPatch, paid: bool
) -> None:
    charge = StripePort.topup_charge
    ada, tenant_id = cast.owner, cast.owner.tenant.id
    customer = with_card(ada, stripe_house)
    agreed(ada)
    fall(ada, 1, 6)
    stripe_house.control("/payments/fail", {"count": 1})  # so that the invoice is open, as one is meanwhile
    with monkeypatch.context() as patch:
        patch.setattr(StripePort, "topup_charge", lambda *a, **k: charge(*a, **k) | {"code": "", "message": ""})
        sent(ada)
    assert (states(tenant_id), is_on(tenant_id), topup_look(tenant_id=tenant_id)) == (["waiting"], True, 0)
    with tenant_scope(tenant_id):
        url = TopUp.objects.get().url
        TopUp.objects.update(changed_at=now() - PAYABLE)
    if paid:
        assert stripe_house.page(url, {"number": GOOD, "expiry": "12/40", "cvc": "123"})[0] == 303
    topups_tidy()
    sent(ada)
    assert (states(tenant_id), is_on(tenant_id)) == (["paid" if paid else "void"], True)
    assert charges(stripe_house, customer) == ([2000] if paid else [])


def test_the_card_that_the_page_shows_is_charged_when_the_plan_has_ended(cast: Cast, stripe_house: Emulator) -> None:
    ada, tenant_id = cast.owner, cast.owner.tenant.id
    customer = with_card(ada, stripe_house)
    for one in stripe_house.v1.subscriptions.list({"customer": customer}).data:
        stripe_house.v1.subscriptions.cancel(one.id)
    method = stripe_house.v1.payment_methods.attach("pm_card_mastercard", {"customer": customer})
    stripe_house.v1.customers.update(customer, {"invoice_settings": {"default_payment_method": method.id}})
    told(stripe_house, customer)
    entitle(tenant_id, spend_nano=10**13)
    agreed(ada)
    with tenant_scope(tenant_id):
        assert card_words() == "Mastercard 4444"
    fall(ada, 1, 6)
    sent(ada)
    assert states(tenant_id) == ["paid"]
    assert stripe_house.v1.charges.list({"customer": customer, "limit": 1}).data[0].payment_method == method.id
