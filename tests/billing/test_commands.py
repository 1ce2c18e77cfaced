"""The outbox to Stripe: whoever dies between any two of its steps, what Stripe has is what was asked for, once."""

import datetime as dt
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings

from billing.errors import CardRefused, ChangePending, StripeRefused
from billing.models import BillingCustomer, InvoiceLinePush, StripeCommand
from billing.selectors.subscriptions import entitlement_for, invoices
from billing.services import commands, operations
from billing.services import operation as operation_kinds
from billing.services.commands import command_again, command_drop, command_finish, command_write, commands_send
from billing.services.invoicing import invoice_lines_push
from billing.services.subscriptions import (
    checkout_start,
    customer_write,
    plan_change,
    subscription_cancel,
    subscription_keep,
)
from billing.services.sync import customer_sync
from billing.stripe_port import StripePort, stripe_port
from kit.clock import now
from tenants.scope import tenant_scope
from tests.billing.commanded import asked, checkout_url
from tests.billing.emulated import CANCEL, SUCCESS, Emulator
from tests.billing.test_invoicing import OCTOBER, Line, taken_for_dead
from tests.billing.test_subscriptions import buy
from tests.conftest import Cast, Person

CENT = 10_000_000


class Killed(BaseException):
    """What kill -9 is to the code that runs: nothing of it goes on, and no handler of ours sees it."""


BORDERS: dict[str, tuple[Any, str, bool]] = {
    "written": (commands, "_claim", False),
    "claimed": (commands, "_claim", True),
    "sent": (StripePort, "{write}", True),
    "answered": (commands, "_end", False),
    "noted": (commands, "_end", True),
    "followed": (commands, "_follow", True),
}
"""Before a step of the sending, or after it (true), as `tests/chaos/borders.py` has them for the metering."""
WRITES = ("customer_create", "invoice_item_add", "invoice_create", "subscription_change")


@pytest.fixture
def deadly(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Let the process die once at a border, at the n-th time it comes there."""

    def arm(border: str, write: str, *, at: int = 1) -> None:
        owner, name, after = BORDERS[border]
        name, left = name.format(write=write), [at]
        real = getattr(owner, name)

        def dies(*args: Any, **values: Any) -> Any:
            left[0] -= 1
            if not after and left[0] == 0:
                raise Killed
            result = real(*args, **values)
            if after and left[0] == 0:
                raise Killed
            return result

        monkeypatch.setattr(owner, name, dies)

    yield arm


def totals(person: Person, emulator: Emulator) -> dict[str, Any]:
    """What there is at Stripe of a tenant: its customers, items and invoices in cents."""
    tenant = str(person.tenant.id)
    found = emulator.v1.customers.list({"limit": 100}).auto_paging_iter()
    mine = [customer.id for customer in found if (customer.metadata or {}).to_dict().get("tenant_id") == tenant]  # type: ignore[union-attr]
    items, bills = [], []
    for customer in mine:
        items += [item.amount for item in emulator.v1.invoice_items.list({"customer": customer, "limit": 100}).data]
        bills += [invoice.total for invoice in emulator.v1.invoices.list({"customer": customer, "limit": 100}).data]
    return {"customers": len(mine), "items": sorted(items), "invoices": sorted(bills)}


def healed(person: Person) -> None:
    """A worker comes by some time later, as often as it takes."""
    for _ in range(6):
        taken_for_dead(person.tenant.id)
        commands_send(person.tenant.id)


@pytest.mark.parametrize("at", [1, 2, 3, 4])
@pytest.mark.parametrize("border", sorted(BORDERS))
def test_a_month_on_its_way_to_stripe_is_there_once_whoever_dies(
    cast: Cast, stripe_house: Emulator, deadly: Callable[..., None], border: str, at: int
) -> None:
    lines = [Line("classify:a", 700 * CENT), Line("classify:b", 50 * CENT)]
    write = {1: "customer_create", 2: "invoice_item_add", 3: "invoice_item_add", 4: "invoice_create"}[at]
    deadly(border, write, at={1: 1, 2: 1, 3: 2, 4: 1}[at] if border == "sent" else at)
    with pytest.raises(Killed):
        invoice_lines_push(tenant_id=cast.owner.tenant.id, period=OCTOBER, lines=lines)
    healed(cast.owner)
    invoice_lines_push(tenant_id=cast.owner.tenant.id, period=OCTOBER, lines=lines)
    assert totals(cast.owner, stripe_house) == {"customers": 1, "items": [50, 700], "invoices": [750]}
    with tenant_scope(cast.owner.tenant.id):
        assert not StripeCommand.objects.exclude(state="done").exists()
        assert InvoiceLinePush.objects.filter(sent_at=None).count() == 0
        assert BillingCustomer.objects.count() == 1


@pytest.mark.parametrize("border", sorted(BORDERS))
def test_an_upgrade_is_charged_once_whoever_dies(
    cast: Cast, stripe_house: Emulator, deadly: Callable[..., None], border: str
) -> None:
    buy(cast.owner, stripe_house)
    before = totals(cast.owner, stripe_house)["invoices"]
    deadly(border, "subscription_change")
    with pytest.raises(Killed):
        asked(cast.owner.tenant.id, lambda: plan_change(plan="team"))
    healed(cast.owner)
    with tenant_scope(cast.owner.tenant.id):
        customer_sync(customer=BillingCustomer.objects.get())
        assert StripeCommand.objects.get(operation="plan_change").state == "done"
    after = totals(cast.owner, stripe_house)["invoices"]
    assert len(after) == len(before) + 1 and after[1] in range(16_900, 17_001)
    assert entitlement_for(cast.owner.tenant.id).plan == "team"


def test_a_change_that_is_rolled_back_asks_nothing_of_stripe(cast: Cast, stripe_house: Emulator) -> None:
    with pytest.raises(LookupError), tenant_scope(cast.owner.tenant.id):
        customer_write()
        raise LookupError
    assert commands_send(cast.owner.tenant.id) == 0
    assert totals(cast.owner, stripe_house)["customers"] == 0


def test_while_stripe_is_away_a_page_says_so_and_the_tick_does_it_later(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    page = f"{ada.home}/billing/plan"
    with override_settings(STRIPE_API_BASE="http://127.0.0.1:9"):
        stripe_port.cache_clear()
        assert ada.browser.post(page, {"action": "cancel"}).status_code == 302
        words = " ".join(ada.browser.get(f"{ada.home}/billing/").content.decode().split())
        assert "has not answered yet" in words and "on its way to the payment provider" in words
        refused = ada.browser.post(page, {"action": "change", "plan": "team"})
        assert refused.status_code == 409, "one change at a time"
    stripe_port.cache_clear()
    with tenant_scope(ada.tenant.id):
        waiting = StripeCommand.objects.get(operation="plan_end")
        assert waiting.state == "waiting" and waiting.due_at > now() and waiting.claimed_until is None
        StripeCommand.objects.filter(pk=waiting.pk).update(due_at=now())
    commands.commands_send_all()
    with tenant_scope(ada.tenant.id):
        assert StripeCommand.objects.get(pk=waiting.pk).state == "done"
    assert "on its way to the payment provider" not in ada.browser.get(f"{ada.home}/billing/").content.decode()


def test_a_tenants_commands_go_in_their_order(cast: Cast, stripe_house: Emulator) -> None:
    buy(cast.owner, stripe_house)
    tenant_id = cast.owner.tenant.id
    with tenant_scope(tenant_id):
        subscription_cancel()
    with tenant_scope(tenant_id):
        kept = subscription_keep()
    command_finish(kept)
    with tenant_scope(tenant_id):
        states = list(StripeCommand.objects.filter(operation="plan_end").values_list("state", flat=True))
        subscription = kept.params["subscription"]
    assert states == ["done", "done"]
    assert not stripe_house.v1.subscriptions.retrieve(subscription).cancel_at_period_end


def test_what_somebody_else_is_sending_is_waited_for_and_not_sent(cast: Cast, stripe_house: Emulator) -> None:
    tenant_id = cast.owner.tenant.id
    with tenant_scope(tenant_id):
        command = customer_write()
        assert command is not None
        StripeCommand.objects.update(claimed_until=now() + dt.timedelta(seconds=60))
    assert command_finish(command, patience=0.3).state == "waiting"
    assert totals(cast.owner, stripe_house)["customers"] == 0


def old(tenant_id: Any, operation: str) -> None:
    """It went out two days ago, and nobody heard an answer."""
    with tenant_scope(tenant_id):
        long_ago = now() - dt.timedelta(days=2)
        StripeCommand.objects.filter(operation=operation).update(
            state="waiting", first_sent_at=long_ago, claimed_until=None, answer=None, done_at=None
        )


def test_after_a_day_a_customer_is_looked_for_before_another_is_made(cast: Cast, stripe_house: Emulator) -> None:
    checkout_url(cast.owner.tenant.id)
    old(cast.owner.tenant.id, "customer_create")
    commands_send(cast.owner.tenant.id)
    assert totals(cast.owner, stripe_house)["customers"] == 1
    with tenant_scope(cast.owner.tenant.id):
        row = StripeCommand.objects.get(operation="customer_create")
        assert (row.state, row.round) == ("done", 1)
        assert row.answer["id"] == BillingCustomer.objects.get().stripe_id


def test_after_a_day_what_is_not_there_goes_out_under_a_new_key(cast: Cast, stripe_house: Emulator) -> None:
    tenant_id = cast.owner.tenant.id
    with tenant_scope(tenant_id):
        customer_write()
        StripeCommand.objects.update(
            first_sent_at=now() - dt.timedelta(days=2), request={"tenant_id": str(tenant_id), "email": "", "name": "A"}
        )
    commands_send(tenant_id)
    with tenant_scope(tenant_id):
        row = StripeCommand.objects.get()
        assert (row.state, row.round) == ("done", 2) and row.key_now == f"{row.key}/2"
    assert totals(cast.owner, stripe_house)["customers"] == 1


def test_after_a_day_a_charge_that_is_not_there_is_for_a_person_to_decide(cast: Cast, stripe_house: Emulator) -> None:
    buy(cast.owner, stripe_house)
    tenant_id = cast.owner.tenant.id
    with tenant_scope(tenant_id):
        plan_change(plan="team")
    old(tenant_id, "plan_change")
    commands_send(tenant_id)
    with tenant_scope(tenant_id):
        row = StripeCommand.objects.get(operation="plan_change")
        assert row.state == "doubt" and "not reached in time" in row.error
        assert len(invoices()) == 1
        command_again(command_id=row.pk)
    commands_send(tenant_id)
    assert entitlement_for(tenant_id).plan == "team"


def test_after_a_day_a_charge_that_is_there_is_found(cast: Cast, stripe_house: Emulator) -> None:
    buy(cast.owner, stripe_house)
    tenant_id = cast.owner.tenant.id
    asked(tenant_id, lambda: plan_change(plan="team"))
    old(tenant_id, "plan_change")
    commands_send(tenant_id)
    with tenant_scope(tenant_id):
        assert StripeCommand.objects.get(operation="plan_change").state == "done"
        customer_sync(customer=BillingCustomer.objects.get())
        assert len(invoices()) == 2


def test_a_no_is_said_again_as_it_was(cast: Cast, stripe_house: Emulator) -> None:
    buy(cast.owner, stripe_house)
    stripe_house.control("/payments/fail", {"decline_code": "insufficient_funds"})
    with tenant_scope(cast.owner.tenant.id):
        command = plan_change(plan="team")
    commands_send(cast.owner.tenant.id)
    for _ in range(2):
        with pytest.raises(CardRefused, match="insufficient funds"):
            command_finish(command)
    with tenant_scope(cast.owner.tenant.id):
        command_drop(command_id=command.pk)
    assert command_finish(command).state == "dropped"


def test_a_customer_that_was_refused_is_tried_again_at_the_next_need(
    cast: Cast, stripe_house: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **values: Any) -> str:
        raise StripeRefused("The name is too long.")

    with monkeypatch.context() as patch:
        patch.setattr(StripePort, "customer_create", refuse)
        with pytest.raises(StripeRefused, match="too long"):
            checkout_url(cast.owner.tenant.id)
    assert checkout_url(cast.owner.tenant.id).startswith("http")
    assert totals(cast.owner, stripe_house)["customers"] == 1


def test_a_push_that_was_refused_or_given_up_stays_so_until_staff_send_it_again(
    cast: Cast, stripe_house: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **values: Any) -> str:
        raise StripeRefused("The text is too long.")

    buy(cast.owner, stripe_house)
    tenant_id, lines = cast.owner.tenant.id, [Line("classify:a", 500 * CENT)]
    with monkeypatch.context() as patch:
        patch.setattr(StripePort, "invoice_item_add", refuse)
        invoice_lines_push(tenant_id=tenant_id, period=OCTOBER, lines=lines)
    for state in ("refused", "dropped"):
        assert invoice_lines_push(tenant_id=tenant_id, period=OCTOBER, lines=lines) == 0, "the tick comes by"
        with tenant_scope(tenant_id):
            row = StripeCommand.objects.get(operation="invoice_item")
            assert (row.state, row.round, row.attempts) == (state, 1, 1) and row.first_sent_at is not None
            if state == "refused":
                command_drop(command_id=row.pk)
    assert totals(cast.owner, stripe_house)["items"] == []
    with tenant_scope(tenant_id):
        assert row.state == "dropped"
        command_again(command_id=row.pk)
    assert invoice_lines_push(tenant_id=tenant_id, period=OCTOBER, lines=lines) == 1
    assert totals(cast.owner, stripe_house)["items"] == [500]


def test_what_was_not_needed_and_has_no_mark_of_it_yet_is_sent_once_it_is(cast: Cast, stripe_house: Emulator) -> None:
    tenant_id = cast.owner.tenant.id
    write = lambda: command_write("customer_create", {}, once="customer")
    with tenant_scope(tenant_id):
        first = write()
        StripeCommand.objects.update(state="dropped", error="Not so any more.", done_at=now())
        assert (write().pk, write().state) == (first.pk, "waiting")
        StripeCommand.objects.update(state="refused")
        command_drop(command_id=first.pk)
        assert write().state == "dropped", "staff gave it up"
        assert command_again(command_id=first.pk).state == "waiting"


def test_what_was_not_needed_is_sent_once_it_is(cast: Cast, stripe_house: Emulator) -> None:
    buy(cast.owner, stripe_house)
    tenant_id = cast.owner.tenant.id
    write = lambda: command_write("invoice_make", {"period": "2026-10"}, once="2026-10")
    with tenant_scope(tenant_id):
        first = write()
    commands_send(tenant_id)
    with tenant_scope(tenant_id):
        assert StripeCommand.objects.get(pk=first.pk).state == "dropped"
        again = write()
        assert (again.pk, again.state, again.round, again.error_code) == (first.pk, "waiting", 2, "")


def test_a_fault_of_ours_keeps_the_command_and_says_why(
    cast: Cast, stripe_house: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant_id = cast.owner.tenant.id
    with monkeypatch.context() as patch:
        patch.setattr(StripePort, "customer_create", None)
        with tenant_scope(tenant_id):
            customer_write()
        assert commands_send(tenant_id) == 0
    with tenant_scope(tenant_id):
        row = StripeCommand.objects.get()
        assert row.state == "waiting" and row.error.startswith("TypeError")
    assert commands_send(tenant_id) == 1


def test_every_kind_of_command_that_costs_money_asks_a_person_when_it_is_late() -> None:
    late = {name: operation.late for name, operation in operations.OPERATIONS.items()}
    assert {name for name, what in late.items() if what == "ask"} >= {"plan_change", "plan_pause", "plan_resume"}
    looked = {name for name, operation in operations.OPERATIONS.items() if operation.look is not operation_kinds.never}
    unseen, again = {"checkout_create", "credit_checkout"}, {"customer_describe", "tax_id_remove"}
    assert set(late) - looked == unseen | again, "a page that nobody saw is let be; what is said twice stays the same"


def test_pending_changes_are_one_at_a_time(cast: Cast, stripe_house: Emulator) -> None:
    buy(cast.owner, stripe_house)
    with tenant_scope(cast.owner.tenant.id):
        plan_change(plan="team")
        with pytest.raises(ChangePending):
            plan_change(plan="team")
    with tenant_scope(cast.stranger.tenant.id):
        start = lambda: checkout_start(plan="team", success_url=SUCCESS, cancel_url=CANCEL)
        assert start().pk != start().pk
        first = command_write("customer_create", {}, once="customer")
        assert command_write("customer_create", {}, once="customer").pk == first.pk


def test_a_line_that_went_out_before_there_was_an_outbox_is_found_and_not_sent_again(
    cast: Cast, stripe_house: Emulator
) -> None:
    buy(cast.owner, stripe_house)
    tenant_id = cast.owner.tenant.id
    with tenant_scope(tenant_id):
        customer = BillingCustomer.objects.get().stripe_id
        push = InvoiceLinePush.objects.create(
            period=OCTOBER, line_key="classify:a", description="Usage", amount_nano=500 * CENT, amount_cents=500
        )
        InvoiceLinePush.objects.update(created_at=now() - dt.timedelta(days=2))
    stripe_house.v1.invoice_items.create(
        {"customer": customer, "amount": 500, "currency": "usd", "metadata": {"push": str(push.pk)}}
    )
    assert invoice_lines_push(tenant_id=tenant_id, period=OCTOBER, lines=[Line("classify:a", 500 * CENT)]) == 1
    assert totals(cast.owner, stripe_house)["items"] == [500]


def test_many_who_send_at_once_send_once(cast: Cast, stripe_house: Emulator) -> None:
    tenant_id = cast.owner.tenant.id
    with tenant_scope(tenant_id):
        customer_write()
        command = checkout_start(plan="developer", success_url=SUCCESS, cancel_url=CANCEL)

    def send(_: int) -> str:
        try:
            return str((command_finish(command).answer or {})["url"])
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as many:
        urls = set(many.map(send, range(6)))
    assert len(urls) == 1 and totals(cast.owner, stripe_house)["customers"] == 1
    with tenant_scope(tenant_id):
        assert set(StripeCommand.objects.values_list("attempts", flat=True)) == {1}
