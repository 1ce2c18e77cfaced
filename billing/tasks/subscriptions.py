"""Doorbells and ticks of the subscription side."""

from uuid import UUID

from celery import shared_task

from billing.errors import PaymentsAway, PaymentsClosed
from billing.services import (
    commands,
    entitlements,
    findings,
    invoicing,
    meter_reports,
    meters,
    reconcile,
    topups,
    trials,
    webhooks,
)
from tenants.scope import tenant_scope


@shared_task(name=webhooks.TASK)
def stripe_event(event_pk: int) -> str:
    """Work on one event of the inbox."""
    return webhooks.event_handle(event_pk)


@shared_task(name="billing.stripe_retry")
def stripe_retry() -> int:
    """Work on events that are due again."""
    return webhooks.events_retry()


@shared_task(name=commands.TASK)
def stripe_command(tenant_id: str) -> int:
    """Send what waits of a tenant; nothing without Stripe."""
    try:
        return commands.commands_send(UUID(tenant_id))
    except PaymentsClosed:
        return 0


@shared_task(name="billing.stripe_commands")
def stripe_commands() -> int:
    """Send what is due again; nothing without Stripe."""
    try:
        return commands.commands_send_all()
    except PaymentsClosed:
        return 0


@shared_task(name=trials.TASK)
def trial_begun(tenant_id: str, subscription_id: str) -> bool:
    """Look whose trial a subscription began with; whether it goes on. Nothing without Stripe."""
    try:
        with tenant_scope(UUID(tenant_id)):
            taken = trials.trial_begun(subscription_id=subscription_id)
    except PaymentsClosed:
        return False
    return taken is not None and not taken.refused


@shared_task(name="billing.stripe_sweep")
def stripe_sweep() -> dict[str, int]:
    """Fetch what webhooks may have dropped; nothing without Stripe."""
    try:
        return webhooks.stripe_sweep()
    except (PaymentsClosed, PaymentsAway):
        return {}


@shared_task(name="billing.topups_tidy")
def topups_tidy() -> int:
    """End refused top-ups that nobody paid; nothing without Stripe."""
    try:
        return topups.topups_tidy()
    except PaymentsClosed:
        return 0


@shared_task(name="billing.stripe_compare")
def stripe_compare() -> int:
    """Compare with Stripe and look for commands that need a person; nothing without Stripe."""
    open_ones = findings.commands_look()
    try:
        return open_ones + reconcile.stripe_compare()
    except (PaymentsClosed, PaymentsAway):
        return open_ones


@shared_task(name="billing.commands_look")
def commands_look() -> int:
    """Look for commands that need a person."""
    return findings.commands_look()


@shared_task(name="billing.entitlements_due")
def entitlements_due() -> int:
    """Derive again what changes by the clock."""
    return entitlements.entitlements_due()


@shared_task(name="billing.periods_push")
def periods_push() -> int:
    """Put closed months on the next invoices, and what no renewal takes along on one of its own; nothing without
    Stripe."""
    try:
        return invoicing.periods_push_all() + invoicing.waiting_invoice_all()
    except PaymentsClosed:
        return 0


@shared_task(name="billing.meter_hours")
def meter_hours() -> int:
    """Tell Stripe's meter what closed hours owe, and see what became of what was told; nothing without Stripe."""
    try:
        return meters.hours_take_all() + meters.readings_settle_all()
    except PaymentsClosed:
        return 0


@shared_task(name="billing.meters_look")
def meters_look() -> int:
    """Look for readings that Stripe refused, and invoices that bill something else."""
    return meter_reports.meters_look()


SCHEDULE = {
    "billing.stripe_retry": 20,
    "billing.stripe_commands": 10,
    "billing.stripe_sweep": 3600,
    "billing.topups_tidy": 3600,
    "billing.stripe_compare": 86_400,
    "billing.commands_look": 300,
    "billing.entitlements_due": 60,
    "billing.periods_push": 300,
    "billing.meter_hours": 300,
    "billing.meters_look": 3600,
}
