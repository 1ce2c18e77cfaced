"""Reading many tenants at once, for ticks that work on all of them. In an ops scope, by statements that name each
row's tenant; what they say of one is what its own scope would say."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from typing import Any

from django.db import connections

from billing.ledger.adjustments import Counts, Group, kinds_by_quantity, month_changes, months_of
from billing.ledger.lines import PACKAGES, RERATED, TIERS
from billing.models import AllowanceChange, EntitlementOverride, Subscription, TenantEntitlement
from billing.periods import bounds, month_of
from billing.plans import AllowanceFrom, Entitlement, entitlement_derive, plan_book
from billing.prices import PriceBooks, price_books
from billing.selectors.bills import allowance_from, included_nano
from billing.selectors.budgets import THRESHOLDS
from billing.selectors.subscriptions import entitlement_of
from kit.clock import now
from tenants.scope import OPS, ops_scope

_WITH_CREDIT = """
SELECT g.tenant_id FROM billing_creditgrant g
  CROSS JOIN LATERAL (
    SELECT coalesce(sum(amount_nano), 0) AS lost FROM billing_creditdraw
     WHERE tenant_id = g.tenant_id AND grant_id = g.id) d
 WHERE g.tenant_id = ANY(%(tenants)s) AND g.amount_nano <> d.lost
UNION
SELECT tenant_id FROM (
  SELECT tenant_id, period, amount_nano AS nano FROM billing_creditdraw
   WHERE tenant_id = ANY(%(tenants)s) AND kind = 'used'
  UNION ALL
  SELECT c.tenant_id, (entry.key || '-01')::date, -entry.value::bigint
    FROM billing_periodclose c CROSS JOIN LATERAL jsonb_each_text(c.drawn) entry
   WHERE c.tenant_id = ANY(%(tenants)s) AND c.drawn <> '{}'
) moved GROUP BY tenant_id, period HAVING sum(nano) <> 0
"""

_SMALLEST_CAP = """
SELECT tenant_id, min(cap) FROM (
  SELECT tenant_id, monthly_nano AS cap FROM billing_spendlimit
  UNION ALL SELECT tenant_id, (limits->>'monthly_spend_nano')::bigint FROM billing_projectlimits
  UNION ALL SELECT tenant_id, (limits->>'monthly_spend_nano')::bigint FROM billing_memberlimits
  UNION ALL SELECT tenant_id, (limits->>'monthly_spend_nano')::bigint FROM billing_modellimits
  UNION ALL SELECT tenant_id, (limits->>'monthly_spend_nano')::bigint FROM tenants_apikey
) every_limit WHERE tenant_id = ANY(%(tenants)s) AND cap > 0 GROUP BY tenant_id
"""

_SPENT = """
SELECT tenant_id, sum(cost_nano) FROM billing_usagehour
 WHERE tenant_id = ANY(%(tenants)s) AND hour >= %(start)s AND hour < %(end)s GROUP BY tenant_id
"""

_QUANTITIES = """
SELECT tenant_id, date_trunc('month', day)::date,
  kind, CASE WHEN model LIKE 'ft:%%' THEN split_part(model, ':', 2) ELSE model END, price_version,
  sum(input_tokens), sum(output_tokens), sum(requests), sum(gpu_ms), sum(byte_hours), sum(amount_nano),
  bool_and(amount_nano = posted_nano AND extract(day FROM day) = 1)
  FROM billing_ratedline
 WHERE kind = ANY(%(kinds)s) AND (%(tenants)s::uuid[] IS NULL OR tenant_id = ANY(%(tenants)s)) AND day >= %(since)s
 GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2
"""
"""The sums of `months_of`, with each model's base, a month of a tenant at a time."""
_PRICED_ANEW = """
SELECT DISTINCT tenant_id FROM billing_ratedchange
 WHERE kind = ANY(%(kinds)s) AND (%(tenants)s::uuid[] IS NULL OR tenant_id = ANY(%(tenants)s)) AND day >= %(since)s
"""

_GRANTED = "SELECT DISTINCT tenant_id, 1 FROM billing_creditgrant WHERE tenant_id = ANY(%(tenants)s)"


def with_credit(tenant_ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Those whose usage credit may pay for or has paid for: something is left of a grant, or a draw is on no bill."""
    with connections[OPS].cursor() as cursor:
        cursor.execute(_WITH_CREDIT, {"tenants": list(tenant_ids)})
        return {row[0] for row in cursor.fetchall()}


def quantities_differ(tenant_ids: Sequence[uuid.UUID] | None = None, *, since: dt.date = dt.date.min) -> set[uuid.UUID]:
    """Of these, or of all, whose lines may not say what tiers and packages change in months from `since` on; who had
    usage priced anew is among them. What is rated counts, posted or not."""
    books = price_books()
    kinds = sorted(kinds_by_quantity(books))
    if not kinds:
        return set()
    asked = {"kinds": kinds, "tenants": None if tenant_ids is None else list(tenant_ids), "since": since}
    with connections[OPS].cursor() as cursor:
        cursor.execute(_PRICED_ANEW, asked)
        differ = {row[0] for row in cursor.fetchall()}
    with connections[OPS].chunked_cursor() as cursor:  # everybody's months are never in memory at once
        cursor.execute(_QUANTITIES, asked)
        for (tenant_id, _), rows in groupby(cursor, key=itemgetter(0, 1)):
            if _month_differs(rows, books):
                differ.add(tenant_id)
    return differ


def _month_differs(rows: Iterable[tuple[Any, ...]], books: PriceBooks) -> bool:
    """Whether a month has lines of tiers and packages that are not posted, not on its first day, or not what its
    quantities make."""
    usage: list[tuple[str, str, str, Counts, int]] = []
    held: dict[tuple[str, Group], int] = {}
    wrong = False
    for _, _, kind, base, version, *counts, nano, in_place in rows:
        what = next((prefix for prefix in (TIERS, PACKAGES) if version.startswith(prefix)), "")
        if what:
            held[what, (kind, base, version.removeprefix(what))] = int(nano)
            wrong |= not in_place
        elif not version.startswith(RERATED):
            read, written, requests, machine_ms, byte_hours = (int(count) for count in counts)
            usage.append((kind, base, version, (read, written, requests, machine_ms, byte_hours), int(nano)))
    return wrong or month_changes(months_of(usage), books) != {line: nano for line, nano in held.items() if nano}


def entitlements(tenant_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Entitlement]:
    """What each may do. Left out is who has none stored but something that it would be derived from,
    and whose stored one cannot be read."""
    found, has = {}, set()
    for row in TenantEntitlement.ops.filter(tenant_id__in=tenant_ids):
        has.add(row.tenant_id)
        with suppress(LookupError, TypeError, ValueError):  # what is wrong with one is found when it is looked at alone
            found[row.tenant_id] = entitlement_of(row)
    rest = [one for one in tenant_ids if one not in has]
    has |= set(Subscription.ops.filter(tenant_id__in=rest).values_list("tenant_id", flat=True))
    has |= set(EntitlementOverride.ops.filter(tenant_id__in=rest).values_list("tenant_id", flat=True))
    nothing = entitlement_derive([], [], plan_book(), now())
    return found | {one: nothing for one in rest if one not in has}


def allowances_nano(tenant_ids: Sequence[uuid.UUID], periods: set[dt.date]) -> dict[tuple[uuid.UUID, dt.date], int]:
    """`bills.allowance_nano` of each and each month, but for those whom `entitlements` leaves out."""
    changes: dict[uuid.UUID, list[AllowanceFrom]] = defaultdict(list)
    for row in AllowanceChange.ops.filter(tenant_id__in=tenant_ids):
        changes[row.tenant_id].append(allowance_from(row))
    return {
        (tenant_id, period): included_nano(period, now_theirs.allowance_nano, changes.get(tenant_id, []))
        for tenant_id, now_theirs in entitlements(tenant_ids).items()
        for period in periods
    }


def limits_to_look_at(tenant_ids: Sequence[uuid.UUID], *, at_once: int = 1000) -> list[uuid.UUID]:
    """Those of whom a spend limit or the wallet may be at a threshold. No limit has more spent under it than the whole
    organisation spent; so while that is below the first threshold of the smallest limit, none is at one."""
    found: list[uuid.UUID] = []
    start, end = bounds(month_of(now()))
    with ops_scope("find spend limits that fill up"):
        for first in range(0, len(tenant_ids), at_once):
            batch = list(tenant_ids[first : first + at_once])
            rows = []
            with connections[OPS].cursor() as cursor:
                for statement in (_SPENT, _SMALLEST_CAP, _GRANTED):
                    cursor.execute(statement, {"tenants": batch, "start": start, "end": end})
                    rows.append({tenant_id: int(nano) for tenant_id, nano in cursor.fetchall()})
            spent, smallest, granted = rows
            known = entitlements(batch)
            for tenant_id in batch:
                theirs = known.get(tenant_id)
                if theirs is None or tenant_id in granted:
                    found.append(tenant_id)
                    continue
                caps = [one for one in (smallest.get(tenant_id), theirs.limits.monthly_spend_nano) if one]
                if caps and spent.get(tenant_id, 0) * 100 >= min(caps) * THRESHOLDS[0]:
                    found.append(tenant_id)
    return found
