"""Credit: given or bought, drawn as usage is posted, ended, refunded.

Everything here runs in the tenant's scope and under `ledger_lock`, which is what makes grants (whose rows never change)
lose each nano once.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import partial

from django.db import transaction
from django.db.models import F, Max, Sum
from django.db.models.functions import Coalesce, TruncMonth

from billing.ledger.waterfall import Drawn, Flow, flow
from billing.models import (
    Account,
    Budget,
    CreditDraw,
    CreditGrant,
    LedgerEntry,
    LedgerTransaction,
    PeriodClose,
    RatedLine,
)
from billing.periods import bounds, month_of
from billing.quotas import QuotaStore, QuotaUnavailable
from billing.selectors import bills
from billing.selectors.budgets import WALLET, budget_name, cap_nano, promised_nano
from billing.selectors.wallet import (
    SETTLING,
    against_owed,
    credits_usable,
    drawn_billed,
    drawn_open,
    grant_of,
    grants_ended,
    owed_nano,
    with_left,
)
from billing.services.effects import funds_changed
from billing.services.jobs import taken_back
from billing.services.locks import ledger_lock, money_lock
from billing.services.posting import ledger_post
from billing.services.stores import quota_store
from billing.services.sweeps import for_each
from kit.clock import now
from kit.errors import BadRequest, Conflict, NotFound
from kit.ids import new_id
from kit.money import LIMIT, written
from tenants import audit
from tenants.scope import current_tenant_id, ops_scope, tenant_scope

Kind = CreditGrant.Kind
Lost = CreditDraw.Kind

HELD_IN = {kind: Account.PREPAID if kind == Kind.PREPAID else Account.PROMO for kind in Kind}
"""The account that holds what is left of a kind."""
CAME_FROM = {
    Kind.PROMO: Account.DISCOUNT,
    Kind.GOODWILL: Account.CREDIT,
    Kind.ROLLOVER: Account.ALLOWANCE,
    Kind.PREPAID: Account.CASH,
}
ENDS_IN = CAME_FROM | {Kind.PREPAID: Account.BREAKAGE}
"""Where the rest of a grant that ended goes."""


def credit_grant(
    *,
    kind: str,
    amount_nano: int,
    source: str,
    reason: str = "",
    expires_at: dt.datetime | None = None,
    priority: int = 50,
    created_by: str = "",
    actor: tuple[str, str, str] | None = None,
    came_from: Account | None = None,
) -> CreditGrant:
    """Give credit, or enter what was bought; it pays at once for what is owed. The same source again changes nothing.
    `came_from`: the account it comes out of, where that is not its kind's.

    BadRequest for an amount that is none, or an end that has passed.
    """
    if not isinstance(amount_nano, int) or isinstance(amount_nano, bool) or not 0 < amount_nano <= LIMIT:
        raise BadRequest(f"The amount must be more than 0 and at most {written(LIMIT)}.", param="amount")
    if expires_at is not None and expires_at <= now():
        raise BadRequest("The credit would end before it begins. Choose a later end, or none.", param="expires_at")
    tenant_id = current_tenant_id()
    ledger_lock(tenant_id)
    known: CreditGrant | None = CreditGrant.objects.filter(source=source).first()
    if known is not None:
        return known
    grant: CreditGrant = CreditGrant.objects.create(
        kind=Kind(kind),
        amount_nano=amount_nano,
        expires_at=expires_at,
        priority=priority,
        source=source,
        reason=reason.strip()[:300],
        created_by=created_by[:200],
    )
    ledger_post(
        kind="credit_grant",
        key=str(grant.pk),
        entries={came_from or CAME_FROM[Kind(kind)]: amount_nano, HELD_IN[Kind(kind)]: -amount_nano},
        memo=f"Credit, {kind}",
        detail={"source": source},
    )
    after = {"kind": kind, "amount_nano": amount_nano, "expires_at": expires_at.isoformat() if expires_at else None}
    audit.record(action="credit.granted", target=grant, after=after, reason=reason, actor=actor)
    credits_apply()
    transaction.on_commit(partial(funds_changed, tenant_id))
    return grant


def credits_apply(
    *, fresh: Mapping[dt.date, int] | None = None, until: dt.date | None = None, allowance: int | None = None
) -> int:
    """Let what was posted and is not billed run down the waterfall, under the ledger's lock; nano drawn.

    `fresh` is what was just posted, by month. With `until` (and its `allowance`), for the bill of that month: all usage
    up to it is one.
    """
    credits = credits_usable()
    drawn = drawn_open(until)
    if not credits and not drawn:
        return 0
    posted, usage = dict(fresh or {}), _open_usage(until)
    months = sorted({*usage, *drawn, *posted})
    closed = set(PeriodClose.objects.values_list("period", flat=True))
    billed = drawn_billed()
    bills_of: dict[dt.date, list[dt.date]] = defaultdict(list)
    for month in months:
        bills_of[until or _bill_of(month, closed)].append(month)
    total = 0
    for bill, covered in sorted(bills_of.items()):
        rest = {month: usage.get(month, 0) - drawn.get(month, 0) for month in covered}
        paid = _Paid([month for month in covered if month not in billed])
        result = flow(
            rest_nano=sum(rest.values()),
            fresh_nano=sum(posted.get(month, 0) for month in covered),
            allowance_nano=bills.allowance_nano(bill) if allowance is None else allowance,
            credits=credits,
            drawn=paid.by_grant,
        )
        if result.draws:
            _write(result, rest, paid)
            if min(result.draws.values()) < 0:
                settled_undo()
            total += result.total_nano
            credits = credits_usable()
    return total


def _open_usage(until: dt.date | None) -> dict[dt.date, int]:
    """Posted and not billed, by month of usage."""
    rows = RatedLine.objects.exclude(posted_nano=F("invoiced_nano"))
    if until is not None:
        rows = rows.filter(day__lt=bounds(until)[1].date())
    sums = rows.order_by().annotate(month=TruncMonth("day")).values_list("month")
    return {month_of(month): int(total) for month, total in sums.annotate(n=Sum(F("posted_nano") - F("invoiced_nano")))}


def _bill_of(month: dt.date, closed: set[dt.date]) -> dt.date:
    """The month on whose bill usage of a month will be."""
    if month not in closed:
        return month
    running = month_of(now())
    last = month_of(running - dt.timedelta(days=1))
    return running if last in closed else last


class _Paid:
    """What credit has paid for usage of months that no bill has taken off yet, in the order in which it was drawn."""

    def __init__(self, months: list[dt.date]) -> None:
        used = CreditDraw.objects.filter(kind=Lost.USED, period__in=months)
        rows = used.values_list("grant_id", "grant__kind", "period").annotate(nano=Sum("amount_nano"), last=Max("at"))
        self.kinds: dict[uuid.UUID, str] = {}
        self.months: dict[uuid.UUID, dict[dt.date, int]] = defaultdict(dict)
        for grant_id, kind, period, nano, _last in sorted(rows, key=lambda row: row[4]):
            if nano > 0:
                self.kinds[grant_id] = kind
                self.months[grant_id][period] = int(nano)

    @property
    def by_grant(self) -> list[Drawn]:
        """Each grant's part."""
        return [Drawn(grant, self.kinds[grant], sum(paid.values())) for grant, paid in self.months.items()]


def _write(result: Flow, rest: dict[dt.date, int], paid: _Paid) -> None:
    """One transaction of the ledger, and a draw for each grant and month of usage."""
    ids = [grant for grant in result.draws if isinstance(grant, uuid.UUID)]
    kinds = dict(CreditGrant.objects.filter(pk__in=ids).values_list("pk", "kind"))
    room = dict(sorted(rest.items()))
    parts: list[tuple[uuid.UUID, dt.date, int]] = []
    entries: dict[str, int] = defaultdict(int)
    for grant in ids:
        nano = result.draws[grant]
        entries[HELD_IN[Kind(kinds[grant])]] += nano
        entries[Account.UNBILLED] -= nano
        if nano < 0:
            parts += [(grant, month, -one) for month, one in _spread(-nano, reversed(paid.months[grant].items()))]
    for _, month, nano in parts:
        room[month] -= nano  # what is given back is to be paid for again, by whoever's turn it is
    for grant in ids:
        for month, nano in _spread(max(0, result.draws[grant]), room.items()):
            parts.append((grant, month, nano))
            room[month] -= nano
    made = ledger_post(
        kind="credit_draw", key=str(new_id()), entries=entries, memo="Usage paid from credit"
    )  # fmt: skip
    tenant_id = current_tenant_id()
    CreditDraw.objects.bulk_create(
        [
            CreditDraw(
                tenant_id=tenant_id, grant_id=grant, transaction=made, kind=Lost.USED, period=month, amount_nano=nano
            )
            for grant, month, nano in parts
        ]
    )


def _spread(nano: int, room: Iterable[tuple[dt.date, int]]) -> list[tuple[dt.date, int]]:
    """An amount over months, each as far as it has room."""
    found: list[tuple[dt.date, int]] = []
    for month, most in room:
        part = min(nano, most)
        if part > 0:
            found.append((month, part))
            nano -= part
    if nano:
        raise LookupError(f"{nano} nano of a draw have no usage to pay for")
    return found


def credits_expire(*, tenant_id: uuid.UUID) -> int:
    """Take what is left of grants that ended, once usage of before has had time to be paid for; nano. What of it
    could pay for nothing, because it stood against credit below zero, settles that."""
    with tenant_scope(tenant_id):
        ledger_lock(tenant_id)
        taken, against = 0, against_owed()
        for grant in grants_ended():
            left, into = int(grant.left_nano), ENDS_IN[Kind(grant.kind)]
            _lose(grant, left, Lost.EXPIRED, into, memo="Credit ended")
            _settle(against.get(grant.pk, 0), into)
            taken += left
        if taken:
            transaction.on_commit(partial(funds_changed, tenant_id))
        return taken


def _settle(nano: int, out_of: Account) -> None:
    """Make up for credit below zero, the oldest first, out of where credit that stood against it has gone."""
    for owing in with_left().filter(left_nano__lt=0).order_by("created_at", "pk"):
        part = min(nano, -int(owing.left_nano))
        if part > 0:
            _lose(owing, -part, Lost.SETTLED, out_of, memo="Settled by credit that ended")
            nano -= part


def settled_undo() -> None:
    """Take back what made up for credit below zero, as far as that is above zero again: its usage was corrected, or its
    money came again. Credit that has ended comes back as nothing, least of all as bought credit."""
    settled = CreditDraw.objects.filter(kind=Lost.SETTLED)
    for grant in with_left().filter(left_nano__gt=0, pk__in=settled.values("grant")):
        nano = int(grant.left_nano)
        sources = LedgerEntry.objects.filter(transaction__in=settled.filter(grant=grant).values("transaction"))
        sources = sources.exclude(account=HELD_IN[Kind(grant.kind)]).order_by().values_list("account")
        for account, out in sources.annotate(n=Sum("amount_nano")):
            part = min(nano, int(out))
            if part > 0:
                _lose(grant, part, Lost.SETTLED, Account(account), memo="Nothing is left to be settled")
                nano -= part


def credits_expire_all() -> int:
    """The same for every tenant; nano."""
    with ops_scope("find credit that has ended"):
        ended = CreditGrant.ops.filter(expires_at__lte=now() - SETTLING).annotate(
            left_nano=F("amount_nano") - Coalesce(Sum("draws__amount_nano"), 0)
        )
        tenants = sorted(set(ended.filter(left_nano__gt=0).values_list("tenant_id", flat=True)))
    return for_each("credits_expire", tenants, lambda tenant_id: credits_expire(tenant_id=tenant_id))


def credit_refund(
    *, grant_id: uuid.UUID, amount_nano: int | None = None, reason: str, store: QuotaStore | None = None
) -> int:
    """Take unused prepaid credit out of the wallet, because its money goes back to whom it came from; nano.

    All that is left, or so much. NotFound; Conflict for credit that was given, or more than nobody has promised.
    """
    tenant_id = current_tenant_id()
    budget = Budget.objects.select_for_update().filter(name=budget_name(WALLET, tenant_id.hex)).first()
    grant = grant_of(grant_id)
    if grant is None:
        raise NotFound.of(grant_id)
    if grant.kind != Kind.PREPAID:
        raise Conflict("This credit was given, not bought: there is no money to give back.")
    left = int(grant.left_nano) - owed_nano()
    free = _free_nano(budget, amount_nano, left, store or quota_store()) if budget is not None and left > 0 else None
    money_lock(tenant_id)  # before the ledger's, for a caller that stops automatic top-up with it
    ledger_lock(tenant_id)
    grant = grant_of(grant_id) or grant
    left = max(0, int(grant.left_nano) - owed_nano())
    most = left if free is None else min(left, free)
    nano = most if amount_nano is None else amount_nano
    if not 0 < nano <= most:
        raise Conflict(f"Of this credit {written(most)} is unused and not promised to running calls and jobs.")
    _lose(grant, nano, Lost.REFUNDED, Account.REFUND, memo="Credit refunded")
    audit.record(action="credit.refunded", target=grant, after={"amount_nano": nano}, reason=reason)
    transaction.on_commit(partial(funds_changed, tenant_id))
    return nano


def _free_nano(budget: Budget, amount_nano: int | None, left: int, store: QuotaStore) -> int | None:
    """What of a wallet is not promised, once so much is back of its lease as a refund still needs; None without a
    limit. Where the lease does not have it either, it stays where it is: calls go on."""
    cap, period = cap_nano(WALLET, budget.scope_id), month_of(now())
    if cap is None:
        return None
    free = cap - promised_nano(budget, period)
    wanted = left if amount_nano is None else amount_nano
    if free < wanted <= left:
        within = free + _leased_nano(budget, store)
        if within >= (wanted if amount_nano is not None else 1):
            free += taken_back(budget, wanted - free, period, store)
        else:
            free = within  # for the message: more than this could not be had
    return max(0, free)


def _leased_nano(budget: Budget, store: QuotaStore) -> int:
    """What nobody holds of the wallet's lease; 0 where the quota server cannot be asked."""
    try:
        state, _ = store.lease_state(budget.tenant_id, budget.name)
    except QuotaUnavailable:
        return 0
    return state.available if state is not None else 0


def _lose(grant: CreditGrant, nano: int, kind: CreditDraw.Kind, into: Account, *, memo: str) -> LedgerTransaction:
    made = ledger_post(
        kind=f"credit_{kind}", key=str(new_id()), entries={HELD_IN[Kind(grant.kind)]: nano, into: -nano}, memo=memo
    )
    CreditDraw.objects.create(grant=grant, transaction=made, kind=kind, amount_nano=nano)
    return made
