"""Doorbells of orders: mail, invoices, and what follows from a date."""

import datetime as dt
from uuid import UUID

from celery import shared_task

from billing.services.sweeps import for_each
from kit.clock import now
from orders.models import Contract, Quote
from orders.services import invoicing, letters
from orders.services.assessing import MEASURE, feasibility_measure
from orders.services.contracts import warranties_due
from orders.services.quotes import quote_expire, quotes_due
from orders.services.timeline import LETTERS, MAIL
from tenants.scope import ops_scope, tenant_scope


@shared_task(name=MAIL, autoretry_for=(OSError,), retry_backoff=60, max_retries=8)
def mail(tenant: str, event: str) -> int:
    """Tell the other side of an entry of the timeline."""
    return letters.event_mail(tenant_id=UUID(tenant), event_id=UUID(event))


@shared_task(name=LETTERS, autoretry_for=(OSError,), retry_backoff=60, max_retries=8)
def acceptance_letters(tenant: str, acceptance: str) -> int:
    """Send both sides the copy of an acceptance."""
    return letters.acceptance_mail(tenant_id=UUID(tenant), acceptance_id=UUID(acceptance))


@shared_task(name=MEASURE)
def measure(tenant: str, shown: str, rows: int) -> str:
    """Measure what a data sample promises."""
    return feasibility_measure(tenant_id=UUID(tenant), shown_id=UUID(shown), rows=int(rows))


@shared_task(name="orders.settle")
def settle() -> int:
    """Note what was paid, and write the commands of invoices that have none."""
    return invoicing.invoices_settle()


@shared_task(name="orders.dates")
def dates() -> int:
    """Quotes that expired, warranties that end."""
    return for_each("quotes_expire", quotes_due(), _expire) + for_each("warranties", _warranties(), _warranty)


def _expire(entry: tuple[UUID, UUID]) -> int:
    with tenant_scope(entry[0]):
        return int(quote_expire(quote=Quote.objects.select_related("order").get(pk=entry[1])))


def _warranties() -> list[tuple[UUID, UUID]]:
    soon = now().date() + dt.timedelta(days=14)
    with ops_scope("warranties that end"):
        due = Contract.ops.filter(warranty_until__lte=soon, order__state="delivered")
        return list(due.values_list("tenant_id", "pk")[:500])


def _warranty(entry: tuple[UUID, UUID]) -> int:
    with tenant_scope(entry[0]):
        return int(warranties_due(contract=Contract.objects.select_related("order").get(pk=entry[1])))


SCHEDULE = {"orders.settle": 20, "orders.dates": 300}
