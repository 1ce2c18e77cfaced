"""Whom the nightly look has to look at: for each invariant one statement over all tenants, which finds those of whom it
may be broken.

A statement may name a tenant whose books are right, for the invariant itself then looks; it must name every one whose
books are not. An invariant without a statement is looked at of everybody.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from django.db import connections, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import Max, Min, QuerySet

from billing.ledger.lines import CREDIT, GIVEN, NOT_OF_EVENTS, RERATED
from billing.models import UsageEvent
from billing.prices import NOT_CALLS, Usage, price_books, rate
from billing.selectors.invariants_currency import MIRRORED_ELSEWHERE, SUBSCRIBED_ELSEWHERE, priced_elsewhere
from billing.selectors.many import quantities_differ
from kit.clock import now
from kit.money import CENT
from tenants.models import Tenant
from tenants.scope import OPS, ops_scope

QUANTITIES = ("kind", "model", "input_tokens", "output_tokens", "requests", "gpu_ms", "byte_hours", "cached_tokens")
"""What an event's price depends on, beside its price version."""
SUMS = ("input_tokens", "output_tokens", "requests", "gpu_ms", "byte_hours", "cost_nano")
"""What an hour is the sum of."""

_EVERY_SUM = ", ".join(f"sum({name}) AS {name}" for name in SUMS)
_DIFFER = " OR ".join(f"coalesce(truth.{name}, 0) <> coalesce(found.{name}, 0)" for name in SUMS)
_HOURS = f"""
SELECT DISTINCT tenant_id
  FROM (SELECT tenant_id, date_trunc('hour', occurred_at, 'UTC') AS hour, {_EVERY_SUM}
          FROM billing_usageevent GROUP BY 1, 2) truth
  FULL JOIN (SELECT tenant_id, hour, {_EVERY_SUM} FROM billing_usagehour GROUP BY 1, 2) found USING (tenant_id, hour)
  LEFT JOIN billing_dirtyhour dirty USING (tenant_id, hour)
 WHERE dirty.id IS NULL AND ({_DIFFER})
"""
_OF_NO_EVENT = " OR ".join(f"price_version LIKE '{prefix}%%'" for prefix in NOT_OF_EVENTS)
_DAYS = f"""
SELECT DISTINCT tenant_id
  FROM (SELECT tenant_id, (hour AT TIME ZONE 'UTC')::date AS day, sum(cost_nano) AS nano
          FROM billing_usagehour GROUP BY 1, 2) truth
  FULL JOIN (SELECT tenant_id, day, sum(amount_nano) AS nano FROM billing_ratedline
              WHERE NOT ({_OF_NO_EVENT}) GROUP BY 1, 2) found USING (tenant_id, day)
  LEFT JOIN (SELECT DISTINCT tenant_id, (hour AT TIME ZONE 'UTC')::date AS day
               FROM billing_dirtyhour) dirty USING (tenant_id, day)
 WHERE dirty.tenant_id IS NULL AND coalesce(truth.nano, 0) <> coalesce(found.nano, 0)
"""
_CORRECTED = f"""
SELECT tenant_id FROM billing_ratedchange
UNION SELECT tenant_id FROM billing_ratedline WHERE price_version LIKE '{RERATED}%%'
"""
_UNBALANCED = """
SELECT DISTINCT moved.tenant_id
  FROM billing_ledgertransaction moved LEFT JOIN billing_ledgerentry entry ON entry.transaction_id = moved.id
 GROUP BY moved.id HAVING sum(entry.amount_nano) IS DISTINCT FROM 0
"""
_LEDGER = """
SELECT tenant.id
  FROM tenants_tenant tenant
  LEFT JOIN (
    SELECT entry.tenant_id, sum(amount_nano) FILTER (WHERE account = 'usage_revenue') AS revenue,
      sum(amount_nano) FILTER (WHERE account = 'unbilled') AS unbilled,
      sum(amount_nano) FILTER (WHERE account IN ('receivable', 'allowance', 'credit')) AS billed
      FROM billing_ledgerentry entry JOIN billing_ledgertransaction moved ON moved.id = entry.transaction_id
     WHERE moved.kind IN ('usage', 'close', 'credit_draw') GROUP BY 1) booked ON booked.tenant_id = tenant.id
  LEFT JOIN (SELECT tenant_id, sum(posted_nano) AS posted, sum(invoiced_nano) AS invoiced
               FROM billing_ratedline GROUP BY 1) rated ON rated.tenant_id = tenant.id
  LEFT JOIN (SELECT tenant_id, sum(amount_nano) AS nano FROM billing_creditdraw
              WHERE kind = 'used' GROUP BY 1) paid ON paid.tenant_id = tenant.id
  LEFT JOIN (SELECT tenant_id, sum(drawn_nano) AS nano FROM billing_periodclose GROUP BY 1) taken
    ON taken.tenant_id = tenant.id
 WHERE coalesce(revenue, 0) <> -coalesce(posted, 0)
    OR coalesce(unbilled, 0)
      <> coalesce(posted, 0) - coalesce(invoiced, 0) - coalesce(paid.nano, 0) + coalesce(taken.nano, 0)
    OR coalesce(billed, 0) <> coalesce(invoiced, 0) - coalesce(taken.nano, 0)
"""
_BILLS = f"""
SELECT DISTINCT bill.tenant_id
  FROM billing_periodclose bill
  CROSS JOIN LATERAL (
    SELECT coalesce(sum((line->>'amount_nano')::bigint), 0) AS nano,
      coalesce(sum((line->>'amount_nano')::bigint) FILTER (WHERE line->>'key' = '{GIVEN}'), 0) AS given
      FROM jsonb_array_elements(bill.lines) line) lines
  LEFT JOIN billing_ledgertransaction moved
    ON moved.tenant_id = bill.tenant_id AND moved.kind = 'close' AND moved.key = to_char(bill.period, 'YYYY-MM')
  LEFT JOIN billing_ledgerentry entry ON entry.transaction_id = moved.id AND entry.account = 'unbilled'
 WHERE lines.nano <> net_nano OR usage_nano - allowance_nano - drawn_nano + lines.given <> net_nano
    OR (usage_nano <> drawn_nano AND entry.amount_nano IS DISTINCT FROM drawn_nano - usage_nano)
"""
_INVOICES = f"""
SELECT DISTINCT push.tenant_id
  FROM (SELECT tenant_id, period, line_key, amount_cents, remainder_nano,
          lag(remainder_nano, 1, 0) OVER (PARTITION BY tenant_id, line_key ORDER BY period, id) AS carried
          FROM billing_invoicelinepush) push
  LEFT JOIN (SELECT tenant_id, period, line->>'key' AS line_key, (line->>'amount_nano')::bigint AS nano
               FROM billing_periodclose CROSS JOIN LATERAL jsonb_array_elements(lines) line) bill
    USING (tenant_id, period, line_key)
 WHERE bill.nano IS NULL OR amount_cents * {CENT} + remainder_nano <> bill.nano + carried
"""
# Under no scope's limit more was spent than by its whole organisation.
_LEASES = f"""
SELECT tenant_id FROM billing_budgetlease WHERE spent_nano > granted_nano
UNION SELECT tenant_id FROM billing_jobhold WHERE spent_nano > reserved_nano OR spent_nano < 0
UNION SELECT lease.tenant_id
  FROM billing_budgetlease lease
  CROSS JOIN LATERAL (
    SELECT sum(cost_nano) AS nano FROM billing_usageevent event
     WHERE event.tenant_id = lease.tenant_id AND kind NOT IN ({", ".join(f"'{kind}'" for kind in NOT_CALLS)})
       AND occurred_at >= to_timestamp(opened_ms / 1000.0) - interval '1 s'
       AND (occurred_at < to_timestamp(closed_ms / 1000.0) + interval '1 s'
         OR closed_ms IS NULL AND occurred_at < (period + interval '1 month 1 s') AT TIME ZONE 'UTC')) spent
 WHERE state <> 'reconciled' AND blocks > 0 AND spent.nano > granted_nano
"""
_GRANTS = """
SELECT held.tenant_id
  FROM billing_creditgrant held LEFT JOIN billing_creditdraw draw ON draw.grant_id = held.id
 GROUP BY held.id
HAVING coalesce(sum(draw.amount_nano), 0) NOT BETWEEN 0 AND held.amount_nano
    OR (held.expires_at < %(now)s AND coalesce(sum(draw.amount_nano), 0) <> held.amount_nano)
    OR (coalesce(sum(draw.amount_nano) FILTER (WHERE draw.kind = 'settled'), 0) <> 0
        AND sum(draw.amount_nano) < held.amount_nano)
"""
_LEFT = """
SELECT tenant_id FROM (
  SELECT tenant_id, kind = 'prepaid' AS bought, amount_nano AS nano FROM billing_creditgrant
  UNION ALL SELECT draw.tenant_id, held.kind = 'prepaid', -draw.amount_nano
              FROM billing_creditdraw draw JOIN billing_creditgrant held ON held.id = draw.grant_id
  UNION ALL SELECT tenant_id, account = 'prepaid', amount_nano
              FROM billing_ledgerentry WHERE account IN ('prepaid', 'promo')) moved
 GROUP BY tenant_id, bought HAVING sum(nano) <> 0
"""
_OF_CREDIT = "kind IN ('credit_draw', 'credit_expired', 'credit_refunded', 'credit_settled')"
_DRAWS = f"""
SELECT tenant_id FROM (
  SELECT tenant_id, transaction_id, amount_nano AS nano FROM billing_creditdraw
  UNION ALL SELECT entry.tenant_id, entry.transaction_id, -entry.amount_nano
              FROM billing_ledgerentry entry JOIN billing_ledgertransaction made ON made.id = entry.transaction_id
             WHERE account IN ('prepaid', 'promo') AND made.{_OF_CREDIT}) moved
 GROUP BY tenant_id, transaction_id HAVING sum(nano) <> 0
UNION SELECT tenant_id FROM billing_ledgertransaction made
 WHERE {_OF_CREDIT} AND NOT EXISTS (SELECT FROM billing_creditdraw WHERE transaction_id = made.id)
"""
_DRAWN = f"""
SELECT tenant_id
  FROM billing_periodclose bill
  CROSS JOIN LATERAL (SELECT coalesce(sum((line->>'amount_nano')::bigint), 0) AS nano
                        FROM jsonb_array_elements(lines) line WHERE line->>'key' = '{CREDIT}') line
  CROSS JOIN LATERAL (SELECT coalesce(sum(value::bigint), 0) AS nano FROM jsonb_each_text(drawn)) months
 WHERE line.nano <> -drawn_nano OR months.nano <> drawn_nano
UNION
SELECT tenant_id FROM (
  SELECT tenant_id, period AS month, amount_nano AS paid, 0 AS used FROM billing_creditdraw WHERE kind = 'used'
  UNION ALL SELECT tenant_id, (key || '-01')::date, -value::bigint, 0
              FROM billing_periodclose CROSS JOIN LATERAL jsonb_each_text(drawn)
  UNION ALL SELECT tenant_id, date_trunc('month', day)::date, 0, posted_nano - invoiced_nano
              FROM billing_ratedline WHERE posted_nano <> invoiced_nano) moved
 GROUP BY tenant_id, month HAVING sum(paid) <> 0 AND sum(paid) NOT BETWEEN 0 AND sum(used)
"""
_MONEY_BACK = """
SELECT tenant_id FROM billing_refund WHERE grant_id IS NOT NULL
UNION SELECT tenant_id FROM billing_paymentdispute WHERE grant_id IS NOT NULL
"""
_TABLES = ("billing_invoice", "billing_creditnote", "billing_refund", "billing_paymentdispute")
_MIRRORED = " UNION ".join(f"SELECT tenant_id FROM {table}" for table in _TABLES)
_PROBLEMS = " UNION ".join(f"SELECT tenant_id FROM {table} WHERE problem <> ''" for table in _TABLES)
_WAITING = " UNION ".join(f"SELECT tenant_id FROM {table} WHERE booked_at IS NULL" for table in _TABLES)
_OWED = f"""
{_MIRRORED} UNION
SELECT tenant_id FROM (
  SELECT tenant_id, amount_nano AS nano FROM billing_ledgerentry WHERE account = 'receivable'
  UNION ALL SELECT tenant_id, -net_nano FROM billing_periodclose) moved
 GROUP BY 1 HAVING sum(nano) <> 0
"""
_TAXED = f"{_MIRRORED} UNION SELECT tenant_id FROM billing_ledgerentry WHERE account = 'tax'"
_PAID = f"""
{_MIRRORED} UNION SELECT tenant_id FROM billing_ledgerentry WHERE account = 'cash'
UNION SELECT tenant_id FROM billing_creditgrant WHERE kind = 'prepaid'
"""
_SOLD = f"{_MIRRORED} UNION SELECT tenant_id FROM billing_ledgerentry WHERE account = '{{account}}'"
_ROLLED = "SELECT tenant_id FROM billing_creditgrant WHERE kind = 'rollover'"

STATEMENTS = {
    "hours_are_sums_of_events": _HOURS,
    "lines_are_sums_of_hours": _DAYS,
    "corrections_are_what_was_decided": _CORRECTED,
    "transactions_balance": _UNBALANCED,
    "ledger_agrees_with_lines": _LEDGER,
    "bills_add_up": _BILLS,
    "invoices_say_the_bill": _INVOICES,
    "leases_cover_calls": _LEASES,
    "grants_lose_what_they_have": _GRANTS,
    "credit_accounts_hold_what_is_left": _LEFT,
    "draws_are_in_the_ledger": _DRAWS,
    "credit_pays_for_usage_once": _DRAWN,
    "objects_can_be_booked": _PROBLEMS,
    "objects_are_booked_soon": _WAITING,
    "bookings_are_what_stripe_says": _MIRRORED,
    "receivable_is_what_is_open": _OWED,
    "tax_is_what_was_asked": _TAXED,
    "cash_is_what_stripe_took": _PAID,
    "credit_goes_with_its_money": _MONEY_BACK,
    "no_more_rolls_over_than_was_left": _ROLLED,
    "metered_bills_are_asked_for": "SELECT tenant_id FROM billing_billsink WHERE sink = 'meter_events'",
    "contracts_are_what_orders_asked": _SOLD.format(account="contract_revenue"),
    "credit_sold_is_on_open_invoices": _SOLD.format(account="credit_sold"),
    "booked_objects_are_in_its_currency": MIRRORED_ELSEWHERE,
    "subscriptions_are_in_its_currency": SUBSCRIBED_ELSEWHERE,
}

Check = Callable[[], Iterator[str]]


def suspects(checks: Sequence[Check]) -> dict[uuid.UUID, list[Check]]:
    """Of each tenant that has to be looked at, the checks to make, in their order."""
    found: dict[uuid.UUID, list[Check]] = defaultdict(list)
    asked: dict[str, set[uuid.UUID]] = {}
    with ops_scope("check the books"), transaction.atomic(using=OPS), connections[OPS].cursor() as cursor:
        cursor.execute("SET LOCAL work_mem = '128MB'")  # the sums of all hours are kept at once
        for check in checks:
            name = check.__name__
            statement = STATEMENTS.get(name, "")
            if name in LOOKS:
                of = LOOKS[name]()
            elif not statement:
                of = set(Tenant.ops.values_list("pk", flat=True))
            else:
                if statement not in asked:
                    cursor.execute(statement, {"now": now()})
                    asked[statement] = {row[0] for row in cursor.fetchall()}
                of = asked[statement]
            for tenant_id in of:
                found[tenant_id].append(check)
    return found


def _priced_wrong() -> set[uuid.UUID]:
    """Who has an event that costs more than its price version says, or less than nothing."""
    found: set[uuid.UUID] = set()
    statement, values = alike(UsageEvent.ops.all()).query.sql_with_params()
    with connections[OPS].cursor() as cursor:
        cursor.execute(f"DECLARE alike NO SCROLL CURSOR FOR {statement}", values)
        for usage, version, ceiling in priced_wrong(_fetched(cursor)):
            wrong = UsageEvent.ops.filter(price_version=version, **usage).exclude(cost_nano__range=(0, ceiling))
            found.update(wrong.values_list("tenant_id", flat=True))
    return found


def _fetched(cursor: CursorWrapper, at_once: int = 5000) -> Iterator[tuple[Any, ...]]:
    """Everybody's events are never in memory at once, however little alike they are."""
    while True:
        cursor.execute(f"FETCH {at_once} FROM alike")
        rows = cursor.fetchall()
        if not rows:
            return
        yield from rows


def alike(events: QuerySet[Any]) -> QuerySet[Any, tuple[Any, ...]]:
    """Price versions and quantities that events have, with the most and the least that one of them costs. There are
    millions of events, and few that are not alike."""
    groups = events.order_by().values_list("price_version", *QUANTITIES)
    return groups.annotate(most=Max("cost_nano"), least=Min("cost_nano"))


def priced_wrong(groups: Iterable[tuple[Any, ...]]) -> Iterator[tuple[dict[str, Any], str, int]]:
    """Quantities, price version and price of events of which one costs something else. Where the version sells nothing
    of the kind the price is -1: whatever such an event costs is wrong."""
    books = price_books()
    for version, *quantities, most, least in groups:
        usage = dict(zip(QUANTITIES, quantities, strict=True))
        priced = {("machine_ms" if name == "gpu_ms" else name): value for name, value in usage.items()}
        try:
            ceiling = rate(Usage(**priced), books.get(version))
        except LookupError:  # one organisation's event must not keep everybody's books from being looked at
            ceiling = -1
        if least < 0 or most > ceiling:
            yield usage, version, ceiling


LOOKS = {
    "events_are_priced_right": _priced_wrong,
    "months_are_what_their_quantities_cost": quantities_differ,
    "prices_are_in_its_currency": priced_elsewhere,
}
"""Those that no single statement finds."""
