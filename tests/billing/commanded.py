"""Asking Stripe for something, as a page does: written in the tenant's scope, sent after the commit."""

from collections.abc import Callable
from uuid import UUID

from billing.models import BillingCustomer, StripeCommand
from billing.services.commands import command_finish, commands_send
from billing.services.subscriptions import checkout_start, customer_write
from tenants.scope import tenant_scope
from tests.billing.emulated import CANCEL, SUCCESS


def asked(tenant_id: UUID, write: Callable[[], StripeCommand]) -> StripeCommand:
    """The command after it was sent."""
    with tenant_scope(tenant_id):
        command = write()
    return command_finish(command)


def checkout_url(tenant_id: UUID, plan: str = "developer") -> str:
    """Where the buyer of a plan goes."""
    command = asked(tenant_id, lambda: checkout_start(plan=plan, success_url=SUCCESS, cancel_url=CANCEL))
    assert command.answer is not None
    return str(command.answer["url"])


def customer_made(tenant_id: UUID) -> str:
    """The tenant's customer at Stripe, made if need be."""
    with tenant_scope(tenant_id):
        customer_write()
    commands_send(tenant_id)
    with tenant_scope(tenant_id):
        return str(BillingCustomer.objects.get().stripe_id)
