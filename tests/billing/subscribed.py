"""Subscriptions of long ago. The books of a month are of all tenants and what is kept stays, so each test has years of
its own, before those of every test before it."""

import datetime as dt
import itertools
from typing import Any

from billing.models import SubscriptionChange
from tenants.scope import tenant_scope
from tests.conftest import Person

YEARS = itertools.count(1990, -3)


def changed(person: Person, at: dt.datetime, plan: str = "developer", status: str = "active", **more: Any) -> None:
    """A change of a subscription as the mirror would have kept it then."""
    facts = {"subscription": f"sub_{person.tenant.id.hex}", "plan_version": 4, "interval": "month", **more}
    with tenant_scope(person.tenant.id):
        SubscriptionChange.objects.create(at=at, plan=plan, status=status, **facts)
