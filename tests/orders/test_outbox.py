"""Invoices of orders through the outbox: whoever dies at a step, Stripe has one; both sides read where it stands."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import override_settings
from stripe import InvoiceItemService, InvoiceService

import config.celery  # noqa: F401 - doorbells ring somewhere
from billing.models import BillingFinding, StripeCommand
from billing.services import commands
from billing.services.commands import commands_send
from billing.services.findings import commands_look
from billing.stripe_port import stripe_port
from kit.clock import now
from orders.models import OrderInvoice
from orders.services import invoices_make, invoices_settle
from tenants.scope import ops_scope, tenant_scope
from tests.billing.emulated import Emulator
from tests.billing.test_invoicing import taken_for_dead
from tests.conftest import Person, make_person
from tests.isolation.orders import accepted, granted
from tests.orders.test_contracts import invoices
from tests.orders.test_invoicing import asked, customer_of, only
from tests.orders.test_orders import WHY, kinds

STEPS: dict[str, tuple[Any, str, bool]] = {
    "written": (commands, "_claim", False),
    "claimed": (commands, "_claim", True),
    "created": (InvoiceService, "create", True),
    "lined": (InvoiceItemService, "create", True),
    "finalized": (InvoiceService, "finalize_invoice", True),
    "mailed": (InvoiceService, "send_invoice", True),
    "answered": (commands, "_end", False),
    "noted": (commands, "_end", True),
    "followed": (commands, "_follow", True),
}
"""Before or (true) after each step that sending one takes."""


class Killed(BaseException):
    """What kill -9 is to the code that runs."""


@pytest.fixture
def dies(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Let whoever sends die once at a step."""

    def arm(step: str) -> None:
        owner, name, after = STEPS[step]
        real, left = getattr(owner, name), [1]

        def once(*args: Any, **values: Any) -> Any:
            if not left:
                return real(*args, **values)
            left.clear()
            if after:
                real(*args, **values)
            raise Killed

        monkeypatch.setattr(owner, name, once)

    yield arm


def page(person: Person, order: Any) -> str:
    """What the customer reads."""
    return str(person.browser.get(f"{person.workspace}/orders/{order.public_id}/").content.decode())


@pytest.mark.parametrize("step", sorted(STEPS))
def test_an_invoice_is_there_once_whoever_dies(
    ada: Person, stripe_house: Emulator, dies: Callable[[str], None], step: str
) -> None:
    customer = customer_of(ada)
    order = accepted(ada)
    (row,) = invoices(ada, order)
    dies(step)
    with pytest.raises(Killed):
        invoices_make(tenant_id=ada.tenant.id)
    for _later in range(2):
        taken_for_dead(ada.tenant.id)
        invoices_settle()
        commands_send(ada.tenant.id)
    found = stripe_house.v1.invoices.list({"customer": customer, "limit": 100}).data
    mine = [one for one in found if one.metadata.to_dict().get("order_invoice") == str(row.pk)]
    assert [(one.id, one.status, one.total) for one in mine] == [(only(ada, order).stripe_id, "open", 330_000)]
    assert "invoice.sent" in stripe_house.event_types(mine[0].id or ""), "it was mailed"
    assert kinds(ada, order).count("invoice.sent") == 1


def test_what_is_rolled_back_asks_for_nothing(ada: Person, stripe_house: Emulator) -> None:
    with tenant_scope(ada.tenant.id):
        before = StripeCommand.objects.count()
    with pytest.raises(LookupError), tenant_scope(ada.tenant.id):
        accepted(ada)
        raise LookupError
    with tenant_scope(ada.tenant.id):
        assert StripeCommand.objects.count() == before


def test_both_sides_read_where_an_invoice_stands(ada: Person, staff: Person, stripe_house: Emulator) -> None:
    customer_of(ada)
    order = accepted(ada)
    (row,) = invoices(ada, order)
    assert asked(ada, order)[0].state == "sending" and "Being sent" in page(ada, order)
    assert ada.api.get(f"/v1/orders/{order.public_id}").json()["invoices"][0]["status"] == "pending"
    with tenant_scope(ada.tenant.id):  # Stripe would not have it
        StripeCommand.objects.filter(once=str(row.pk)).update(state="refused", error="No such tax code.", done_at=now())
    assert "was refused: No such tax code." in page(ada, order)
    assert ada.api.get(f"/v1/orders/{order.public_id}").json()["invoices"][0]["status"] == "refused"
    desk = staff.browser.get(f"/staff/orders/order/{order.pk}/change/").content.decode()
    assert "refused: No such tax code." in desk
    with ops_scope("test"):
        commands_look()
        assert BillingFinding.objects.filter(organisation=ada.tenant.id, found__contains="No such tax code").exists()
    with tenant_scope(ada.tenant.id):
        command = StripeCommand.objects.get(once=str(row.pk))
    again = f"/staff/billing/stripecommand/{command.pk}/again/"
    assert staff.browser.post(again, {"reason": WHY}).status_code == 302
    commands_send(ada.tenant.id)
    number = stripe_house.v1.invoices.retrieve(only(ada, order).stripe_id).number
    assert number is not None and number in page(ada, order) and "was refused" not in page(ada, order)


@override_settings(STRIPE_SECRET_KEY="", STRIPE_API_BASE="")
def test_an_order_without_a_key_of_stripes_waits_for_one(ada: Person) -> None:
    stripe_port.cache_clear()
    order = accepted(ada)
    (row,) = invoices(ada, order)
    with tenant_scope(ada.tenant.id):
        assert not StripeCommand.objects.filter(once=str(row.pk)).exists()
    assert asked(ada, order)[0].state == "sending"


def test_the_tick_writes_the_commands_that_are_missing(ada: Person, stripe_house: Emulator) -> None:
    order = accepted(ada)
    (row,) = invoices(ada, order)
    with tenant_scope(ada.tenant.id):
        StripeCommand.objects.filter(once=str(row.pk)).delete()
    invoices_settle()
    commands_send(ada.tenant.id)
    assert only(ada, order).stripe_id
    with tenant_scope(ada.tenant.id):
        assert OrderInvoice.objects.filter(pk=row.pk, sent_at__isnull=False).exists()


def test_a_customer_that_was_given_up_is_tried_anew_by_a_deed_and_not_by_the_tick(stripe_house: Emulator) -> None:
    bob = make_person("bob")
    granted(bob)
    first = accepted(bob)
    with tenant_scope(bob.tenant.id):
        mine = StripeCommand.objects.filter(operation="customer_create")
        assert mine.update(state="dropped", error="No such country.", error_code="given_up", done_at=now()) == 1
    commands_send(bob.tenant.id)
    invoices_settle()
    commands_send(bob.tenant.id)
    told = asked(bob, first)[0]
    assert (told.state, told.why) == ("refused", "No such country.")
    with tenant_scope(bob.tenant.id):
        assert mine.get().state == "dropped"
    second = accepted(bob)
    commands_send(bob.tenant.id)
    commands_send(bob.tenant.id)
    assert only(bob, second).stripe_id
