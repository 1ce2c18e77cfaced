"""Posting usage and closing months of many tenants in one transaction.

The rules are those of one tenant (`services.ledger`): the same lock, the same pure functions, the same rows. Rows are
read and written by statements over many tenants in the ops role, where each row goes by its own tenant; that what
belongs together is one tenant's, the composite keys of the tables check as they do for everybody. Left to the way of
one tenant is who needs more than that: somebody else holds a lock, credit has to be drawn, tiers or packages change,
a bill is below nothing, or a rule failed.
"""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from django.db import connections, transaction
from django.db.models import F, Min

from billing.ledger.closing import Closing, closing
from billing.models import Account, PeriodClose, RatedLine
from billing.periods import bounds, month_of
from billing.selectors.many import allowances_nano, quantities_differ, with_credit
from billing.services.locks import posting_locks
from billing.services.posting import Posting, ledger_post_many
from billing.services.sweeps import FAILED
from kit.clock import now
from kit.ids import new_id
from tenants.scope import OPS, ops_scope

logger = logging.getLogger(__name__)
Due = tuple[uuid.UUID, dt.date]


def lines_post_many(tenant_ids: Sequence[uuid.UUID]) -> tuple[int, list[uuid.UUID]]:
    """`ledger.lines_post` for many; the nano posted, and who was left."""
    with ops_scope("post usage"), transaction.atomic(using=OPS):
        mine = _mine(tenant_ids)
        return _post(mine), [one for one in tenant_ids if one not in mine]


def _mine(tenant_ids: Sequence[uuid.UUID], *, wanted: Collection[dt.date] = ()) -> set[uuid.UUID]:
    """Those whose ledger and rated lines are locked now, whose usage no credit pays for, and whose tiers and packages
    stay as they are in the `wanted` months and those that have something to post. What is read here is posted: the
    roll-up writes nothing in between."""
    locked = posting_locks(tenant_ids)
    rest = list(locked - with_credit(list(locked)))
    return set(rest) - quantities_differ(rest, since=min([_earliest(rest), *wanted]))


def _earliest(tenant_ids: Sequence[uuid.UUID]) -> dt.date:
    """The first month that has something to post."""
    due = RatedLine.ops.filter(tenant_id__in=tenant_ids).exclude(amount_nano=F("posted_nano"))
    first: dt.date = due.aggregate(first=Min("day"))["first"] or now().date()
    return month_of(first)


def _post(tenant_ids: Iterable[uuid.UUID]) -> int:
    due = RatedLine.ops.filter(tenant_id__in=tenant_ids).exclude(amount_nano=F("posted_nano"))
    names = ("tenant_id", "pk", "amount_nano", "posted_nano")
    delta: dict[uuid.UUID, dict[str, int]] = defaultdict(dict)
    for tenant_id, line, amount, posted in due.select_for_update().order_by("tenant_id", "pk").values_list(*names):
        delta[tenant_id][str(line)] = amount - posted
    postings = [
        Posting(
            tenant_id=tenant_id,
            kind="usage",
            key=str(new_id()),
            entries={Account.UNBILLED: total, Account.USAGE_REVENUE: -total},
            memo="Usage",
            detail={"lines": lines},
        )
        for tenant_id, lines in delta.items()
        if (total := sum(lines.values()))
    ]
    ledger_post_many(postings)
    _set("posted_nano = amount_nano", [line for lines in delta.values() for line in lines])
    return sum(sum(lines.values()) for lines in delta.values())


def periods_close_many(due: Sequence[Due]) -> tuple[int, list[Due]]:
    """`ledger.period_close` of months that have ended, one of each tenant; how many were closed, and which were
    left."""
    wanted_of = dict(due)
    with ops_scope("close months"), transaction.atomic(using=OPS):
        mine = _mine(list(wanted_of), wanted=wanted_of.values())
        _post(mine)
        done = set(PeriodClose.ops.filter(tenant_id__in=mine).values_list("tenant_id", "period"))
        wanted = {one: wanted_of[one] for one in mine if (one, wanted_of[one]) not in done}
        bills = _bills(wanted)
        PeriodClose.ops.bulk_create(
            [PeriodClose(tenant_id=tenant_id, **bill.row) for tenant_id, (bill, _) in bills.items()]
        )
        ledger_post_many(
            Posting(tenant_id=tenant_id, **bill.posting) for tenant_id, (bill, _) in bills.items() if bill.posting
        )
        _set("invoiced_nano = posted_nano", [line.pk for _, lines in bills.values() for line in lines])
    closed = {(tenant_id, bill.period) for tenant_id, (bill, _) in bills.items()} | done
    return len(bills), [one for one in due if one not in closed]


def _bills(wanted: dict[uuid.UUID, dt.date]) -> dict[uuid.UUID, tuple[Closing, list[Any]]]:
    """The bill of each tenant's month and the lines that are on it; who fails is left out."""
    allowances = allowances_nano(list(wanted), set(wanted.values()))
    rated: dict[uuid.UUID, list[Any]] = defaultdict(list)
    ends = {period: bounds(period)[1].date() for period in wanted.values()}
    open_lines = RatedLine.ops.filter(tenant_id__in=wanted, day__lt=max(ends.values(), default=dt.date.min))
    open_lines = open_lines.exclude(posted_nano=F("invoiced_nano"))
    for line in open_lines.select_for_update().order_by("tenant_id", "pk"):
        if line.day < ends[wanted[line.tenant_id]]:
            rated[line.tenant_id].append(line)
    bills = {}
    for tenant_id, period in wanted.items():
        if (tenant_id, period) not in allowances:
            continue
        try:
            bill = closing(rated[tenant_id], period=period, allowance_nano=allowances[tenant_id, period])
            if bill.net_nano < 0:  # what becomes credit of it is for the way of one
                continue
            if bill.posting:
                Posting(tenant_id=tenant_id, **bill.posting)
        except FAILED:
            logger.warning("the month of %s cannot be closed with others", tenant_id, exc_info=True)
            continue
        bills[tenant_id] = bill, rated[tenant_id]
    return bills


def _set(change: str, lines: Sequence[Any]) -> None:
    """Bring one column of these lines, which are locked, up to another."""
    with connections[OPS].cursor() as cursor:
        cursor.execute(f"UPDATE billing_ratedline SET {change} WHERE id = ANY(%s::uuid[])", [list(lines)])
