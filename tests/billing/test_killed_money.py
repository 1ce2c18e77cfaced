"""A worker that dies between any two steps of a month's close: what it leaves is brought to the same end.

A child of this process does the work of the ticks and kills itself at one statement, commit or call to Stripe: first
at the first, then at the second, and so on until it gets through. After each death the ticks run again, whole.
"""

from __future__ import annotations

import datetime as dt
import itertools
import os
import signal
import uuid
from collections.abc import Callable, Iterable
from typing import Any
from unittest import mock

import pytest
import stripe
from django.core.management import call_command
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from billing.models import BillingCustomer, PeriodClose, StripeCommand, Subscription
from billing.services import invoicing
from billing.services.commands import commands_send
from billing.services.invoicing import periods_push_all, waiting_invoice_all
from billing.services.ledger import lines_post, period_close
from billing.services.metering import usage_rollup
from billing.services.sweeps import for_each
from billing.services.sync import customer_sync
from billing.stripe_port import stripe_port
from kit.clock import now
from kit.money import CENT, NANO
from tenants.scope import tenant_scope
from tests.billing.emulated import Emulator
from tests.billing.money import call, store_events
from tests.billing.test_subscriptions import buy
from tests.conftest import Person, make_person

pytestmark = pytest.mark.slow  # a hundred deaths

OCTOBER = dt.date(2026, 10, 1)
MID_OCTOBER = dt.datetime(2026, 10, 15, 12, tzinfo=dt.UTC)
USED = 3 * NANO + 456_780
STRIDE = int(os.environ.get("KILL_STRIDE", "9"))
"""Each run tries every ninth border, from another one on; KILL_STRIDE=1 tries all."""


def ticks(tenant_id: uuid.UUID) -> None:
    """What beat's ticks do for a tenant when a month has ended; other tests' tenants are left to them."""

    def for_this_one(sweep: str, items: Iterable[Any], work: Callable[[Any], int]) -> int:
        return for_each(sweep, [one for one in items if getattr(one, "tenant_id", one) == tenant_id], work)

    usage_rollup(tenant_id=tenant_id)
    lines_post(tenant_id=tenant_id)
    period_close(tenant_id=tenant_id, period=OCTOBER, allowance_nano=NANO)
    with mock.patch.object(invoicing, "for_each", for_this_one):
        periods_push_all()
        waiting_invoice_all()
    commands_send(tenant_id)


def dies_at(border: int, work: Callable[[], None]) -> bool:
    """Run the work in a child that kills itself at its so-many-th step; whether it died (and did not get through)."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the child failed by itself"
        return os.WIFSIGNALED(status)
    try:
        _arm(border)
        work()
        os._exit(0)
    finally:
        os._exit(1)


def _arm(border: int) -> None:
    left = border

    def step() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def statement(execute: Callable[..., Any], *arguments: Any) -> Any:
        step()
        return execute(*arguments)

    for connection in connections.all():
        connection.connection = None  # the parent's; to close it here would end it there
        connection.in_atomic_block, connection.savepoint_ids = False, []
        connection.execute_wrappers.append(statement)

    def around(owner: type, name: str) -> None:
        real = getattr(owner, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            step()
            found = real(*arguments, **named)
            step()
            return found

        setattr(owner, name, counted)

    around(BaseDatabaseWrapper, "_commit")
    around(stripe.RequestsClient, "request")
    stripe_port.cache_clear()


def used_something(name: str) -> Person:
    person = make_person(name)
    tenant_id = person.tenant.id
    cost = 2 * NANO
    store_events([call(tenant_id, 1, cost=cost, at=MID_OCTOBER), call(tenant_id, 2, cost=USED - cost, at=MID_OCTOBER)])
    return person


@pytest.mark.parametrize("subscribed", [True, False], ids=["with a subscription", "without"])
def test_a_worker_killed_at_any_step_of_a_close_loses_and_doubles_nothing(
    stripe_house: Emulator, subscribed: bool
) -> None:
    border = 1 + uuid.uuid4().int % STRIDE
    deaths = 0
    while True:
        person = used_something(f"killed{border}")
        if subscribed:
            buy(person, stripe_house)
        died = dies_at(border, lambda: ticks(person.tenant.id))  # noqa: B023  # done before the next round
        with tenant_scope(person.tenant.id):  # what the dead one had claimed is free again after a while
            StripeCommand.objects.exclude(claimed_until=None).update(claimed_until=now(), due_at=now())
        for _ in range(2):
            ticks(person.tenant.id)
        _ended_well(person, stripe_house, subscribed=subscribed)
        if not died:
            break
        deaths += 1
        border += STRIDE
    assert deaths > 40 // STRIDE, "fewer steps than the work has"


ENDS = list(itertools.product(("paused", "cancelled", "unpaid, then cancelled"), ("closed before the end", "after it")))


def test_a_worker_killed_while_it_invoices_what_waits_asks_for_it_once(stripe_house: Emulator) -> None:
    """Each death is another way in which a plan ends and a month closes, in turn."""
    stride = 3 * STRIDE  # each round closes a month up to five times
    border = 1 + uuid.uuid4().int % stride
    for deaths in itertools.count():
        end, closed = ENDS[deaths % len(ENDS)]
        person = used_something(f"ended{border}")
        buy(person, stripe_house)
        if closed == "closed before the end":
            ticks(person.tenant.id)
        ended(person, stripe_house, end)

        def work() -> None:
            with tenant_scope(person.tenant.id):  # noqa: B023  # done before the next round
                customer_sync(customer=BillingCustomer.objects.get())
            ticks(person.tenant.id)  # noqa: B023

        died = dies_at(border, work)
        with tenant_scope(person.tenant.id):
            StripeCommand.objects.exclude(claimed_until=None).update(claimed_until=now(), due_at=now())
        for _ in range(3):
            work()
        _ended_well(person, stripe_house, subscribed=False)
        if not died and closed == "after it":  # which has more steps
            break
        border += stride
    assert deaths > 40 // stride, "fewer steps than the work has"


def ended(person: Person, emulator: Emulator, end: str) -> None:
    """What happens at Stripe, of which we have not heard."""
    with tenant_scope(person.tenant.id):
        subscription = Subscription.objects.get()
        if end.startswith("unpaid"):  # as we have it from a webhook before
            Subscription.objects.update(status="unpaid")
    if end == "paused":
        emulator.v1.subscriptions.pause(subscription.stripe_id)
    else:
        emulator.v1.subscriptions.cancel(subscription.stripe_id)


def _ended_well(person: Person, emulator: Emulator, *, subscribed: bool) -> None:
    tenant_id = person.tenant.id
    with tenant_scope(tenant_id):
        close, customer = PeriodClose.objects.get(), BillingCustomer.objects.get().stripe_id
    assert (close.usage_nano, close.net_nano) == (USED, USED - NANO)
    items = emulator.v1.invoice_items.list({"customer": customer, "limit": 100}).data
    assert sum(item.amount for item in items) == round((USED - NANO) / CENT)
    assert len(items) == len(close.lines)
    own = [one for one in emulator.v1.invoices.list({"customer": customer}).data if one.billing_reason == "manual"]
    assert [one.total for one in own] == ([] if subscribed else [sum(item.amount for item in items)])
    call_command("billing_check", tenant=[tenant_id])
