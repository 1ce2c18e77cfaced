"""What must always be true of an organisation's one currency: what it uses is priced in it, and what is booked of
Stripe's objects is in it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from django.db import connections

from billing.ledger.lines import NOT_OF_EVENTS
from billing.models import RatedLine, Rerating, Subscription, UsageEvent
from billing.prices import price_books
from billing.selectors.bookings import KINDS, MIRRORS, booked_for
from billing.selectors.invariants_stripe import object_name
from billing.selectors.subscriptions import LIVE, PAUSED
from kit.money import currency
from tenants.scope import OPS

HELD = (*LIVE, PAUSED)
"""States of a subscription that charges, or may again."""

MIRRORED_ELSEWHERE = " UNION ".join(
    f"SELECT tenant_id FROM {model._meta.db_table} mirror JOIN tenants_tenant tenant ON tenant.id = tenant_id "
    "WHERE mirror.currency <> tenant.currency"
    for model in MIRRORS
)
SUBSCRIBED_ELSEWHERE = f"""
SELECT tenant_id FROM billing_subscription held JOIN tenants_tenant tenant ON tenant.id = tenant_id
 WHERE held.status IN ({", ".join(f"'{state}'" for state in HELD)}) AND held.raw->>'currency' <> tenant.currency
"""
_PRICED_ELSEWHERE = """
SELECT DISTINCT tenant_id
  FROM (SELECT tenant_id, price_version FROM billing_usageevent GROUP BY 1, 2
        UNION SELECT tenant_id, price_version FROM billing_ratedline GROUP BY 1, 2
        UNION SELECT tenant_id, price_version FROM billing_rerating) priced
  JOIN unnest(%(names)s::text[], %(currencies)s::text[]) AS book (name, currency) ON book.name = price_version
  JOIN tenants_tenant tenant ON tenant.id = tenant_id
 WHERE book.currency <> tenant.currency
"""


def _in() -> dict[str, str]:
    """The currency of every price version, and of what lines are called that say something about one."""
    books = {name: book.currency for name, book in price_books().versions.items()}
    return {what + name: code for name, code in books.items() for what in ("", *NOT_OF_EVENTS)}


def prices_are_in_its_currency() -> Iterator[str]:
    """What an organisation uses is priced by books in its currency."""
    books, ours = _in(), currency()
    others = [name for name, code in books.items() if code != ours]
    for model, what in ((UsageEvent, "events"), (RatedLine, "rated lines"), (Rerating, "re-ratings")):
        rows = model.objects.filter(price_version__in=others).order_by()
        for version in sorted(set(rows.values_list("price_version", flat=True))):
            yield (
                f"{what} are priced by {version}, which is in {books[version].upper()}; the organisation pays in "
                f"{ours.upper()}"
            )


def priced_elsewhere() -> set[uuid.UUID]:
    """Of whom that may not be so, over all; in an ops scope."""
    books = _in()
    with connections[OPS].cursor() as cursor:
        cursor.execute(_PRICED_ELSEWHERE, {"names": list(books), "currencies": list(books.values())})
        return {row[0] for row in cursor.fetchall()}


def booked_objects_are_in_its_currency() -> Iterator[str]:
    """Nothing is in the ledger because of an object at Stripe in another currency."""
    for model in MIRRORS:
        for row in model.objects.exclude(currency=currency()):
            if any(booked_for(kind, row.stripe_id)[0] for kind in KINDS[model]):
                yield (
                    f"{object_name(row)} is booked and in {row.currency.upper()}; the organisation pays in "
                    f"{currency().upper()}"
                )


def subscriptions_are_in_its_currency() -> Iterator[str]:
    """No subscription charges an organisation in another currency."""
    for row in Subscription.objects.filter(status__in=HELD):
        paid_in = row.raw.get("currency") or currency()
        if paid_in != currency():
            yield (
                f"subscription {row.stripe_id} charges in {paid_in.upper()}; the organisation pays in "
                f"{currency().upper()}, and nothing of it is booked"
            )


CHECKS = (prices_are_in_its_currency, booked_objects_are_in_its_currency, subscriptions_are_in_its_currency)
