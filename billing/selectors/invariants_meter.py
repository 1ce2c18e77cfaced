"""What must always be true of bills that a meter at Stripe takes part of."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from billing.models import PeriodClose
from billing.selectors.meters import hour_closed, meter_account, months_metered
from kit.clock import now
from kit.money import CENT

PATIENCE = dt.timedelta(days=1)
"""How long after its close a bill may still be on its way to a meter or a line."""


def metered_bills_are_asked_for() -> Iterator[str]:
    """What closed months owe was told to a meter or put on a line, to the cent, and no more than is owed."""
    months = months_metered()
    closes = PeriodClose.objects.filter(period__in=months)
    newest = closes.order_by("-closed_at").first()
    if newest is None or newest.closed_at > now() - PATIENCE:
        return
    account = meter_account(hour_closed(now()))
    closed = account.closed_nano - account.taken_cents * CENT
    if closed >= CENT:
        yield f"of bills that go to a meter {closed} nano were never asked for"
    if account.left_nano < 0 and set(closes.values_list("period", flat=True)) == months:
        yield f"a meter was told {-account.left_nano} nano more than bills say"


CHECKS = (metered_bills_are_asked_for,)
