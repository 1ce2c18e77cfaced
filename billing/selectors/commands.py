"""Reading the outbox to Stripe."""

from billing.models import StripeCommand


def commands_pending() -> list[StripeCommand]:
    """What the scope's tenant has asked of Stripe and is not answered yet, oldest first."""
    return list(StripeCommand.objects.filter(state=StripeCommand.State.WAITING).order_by("created_at", "pk"))
