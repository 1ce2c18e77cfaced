"""Time of deployments' own engines as usage: charged by the second, as far as the spend limits carry it.

Who measures it hands over pieces of time, each under a name of its own: recording a piece twice charges it once.
"""

from __future__ import annotations

import datetime as dt
from uuid import UUID

from billing.models import UsageEvent
from billing.periods import month_of
from billing.prices import ENGINES, Usage, price_books, rate
from billing.quotas import QuotaStore
from billing.selectors.budgets import cap_nano, promised_nano
from billing.services.jobs import budgets_lock, taken_back
from billing.services.metering import usage_record
from billing.services.stores import quota_store
from kit.clock import now
from tenants.currency import paid_in


def engine_price(*, model: str, seconds: int, at: dt.datetime | None = None) -> int:
    """What so many engine-seconds of a model cost by the book of that moment, in nano-USD."""
    book = price_books().current(int((at or now()).timestamp() * 1000), paid_in())
    return rate(_usage(model, seconds), book)


def engine_time_record(*, request_id: str, project_id: UUID, model: str, seconds: int, at: dt.datetime) -> UsageEvent:
    """Record engine-seconds as usage of the moment `at`, in the tenant's scope; never more than the limits carry."""
    price = engine_price(model=model, seconds=seconds, at=at)
    return usage_record(
        request_id=request_id,
        usage=_usage(model, seconds),
        project_id=project_id,
        key_id=None,
        cost_nano=_free(project_id, month_of(at), price),
        occurred_at=at,
    )


def engines_carried(*, project_id: UUID, model: str, seconds: int) -> bool:
    """Whether the spend limits of this month carry so many more engine-seconds, in the tenant's scope. Takes unspent
    money of calls back where that is needed for it."""
    price = engine_price(model=model, seconds=seconds)
    return _free(project_id, month_of(now()), price) >= price


def _usage(model: str, seconds: int) -> Usage:
    return Usage(ENGINES, model, requests=0, machine_ms=seconds * 1000)


def _free(project_id: UUID, period: dt.date, wanted: int, store: QuotaStore | None = None) -> int:
    """How much of `wanted` nano-USD the limits carry, their budgets locked."""
    carried = wanted
    for budget in budgets_lock(project_id, None):
        cap = cap_nano(budget.scope, budget.scope_id, period)
        if cap is None:
            continue
        free = cap - promised_nano(budget, period)
        free += taken_back(budget, wanted - free, period, store or quota_store())
        carried = min(carried, max(free, 0))
    return carried
