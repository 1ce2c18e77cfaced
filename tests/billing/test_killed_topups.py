"""A worker that dies between any two steps of a top-up: the card is charged once, and the credit is there once."""

from __future__ import annotations

import os
import uuid

import pytest
from django.core.management import call_command

from billing.models import BillingCustomer
from billing.services.commands import commands_send
from billing.services.sync import customer_sync
from billing.services.topups import topup_look
from kit.money import NANO
from tenants.scope import tenant_scope
from tests.billing.emulated import Emulator
from tests.billing.test_killed_money import dies_at
from tests.billing.topped import agreed, balance, booked, charges, healed, is_on, spend, states, with_card
from tests.billing.topped import lines_post as posted
from tests.conftest import make_person

pytestmark = pytest.mark.slow

STRIDE = int(os.environ.get("KILL_STRIDE", "29"))
"""Each run tries every 29th border, from another one on; KILL_STRIDE=1 tries all."""


def ticks(tenant_id: uuid.UUID) -> None:
    """What the ticks and the doorbell do."""
    topup_look(tenant_id=tenant_id)
    commands_send(tenant_id)


@pytest.mark.parametrize("declined", [False, True], ids=["paid", "declined"])
def test_a_worker_killed_at_any_step_charges_once(stripe_house: Emulator, declined: bool) -> None:
    border = 1 + uuid.uuid4().int % STRIDE
    deaths = 0
    while True:
        person = make_person(f"topup{border}")
        tenant_id = person.tenant.id
        card = "pm_card_chargeCustomerFail" if declined else ""
        customer = with_card(person, stripe_house, card=card)
        agreed(person)
        spend(person, 1, 6 * NANO)
        posted(tenant_id=tenant_id)
        died = dies_at(border, lambda: ticks(tenant_id))  # noqa: B023  # done before the next round
        for _ in range(2):
            healed(person)
            ticks(tenant_id)
        with tenant_scope(tenant_id):  # as the sweep does where an end is not known
            customer_sync(customer=BillingCustomer.objects.get())
        assert charges(stripe_house, customer) == ([] if declined else [2000])
        assert states(tenant_id) == (["failed"] if declined else ["paid"]) and is_on(tenant_id) is not declined
        assert balance(tenant_id) == (4 if declined else 24) * NANO
        booked(tenant_id)
        call_command("billing_check", tenant=[tenant_id])
        if not died:
            break
        deaths += 1
        border += STRIDE
    assert deaths > 40 // STRIDE, "fewer steps than the work has"
