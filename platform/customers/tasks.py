"""Doorbells of this room. None carries authority: each looks in the database for what is due."""

from uuid import UUID

from celery import shared_task

from customers.services.fares import health_compute
from customers.services.mailing import MAIL, message_mail
from customers.services.sequences import sequences_send


@shared_task(name=MAIL, autoretry_for=(OSError,), retry_backoff=30, max_retries=6)
def mail(tenant_id: str, message_id: str) -> int:
    """Tell the other side of a message."""
    return message_mail(tenant_id=UUID(tenant_id), message_id=UUID(message_id))


@shared_task(name="customers.health")
def health() -> int:
    """Compute every customer's score anew."""
    return health_compute()


@shared_task(name="customers.sequences")
def sequences() -> int:
    """Send the hints that are due."""
    return sequences_send()


SCHEDULE = {"customers.health": 3600, "customers.sequences": 300}
