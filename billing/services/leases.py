"""Lease keeping: blocks of a budget, debited in Postgres before the quota server may spend them.

The order is the safety: (1) under the budget's lock, debit the block and commit; (2) send it, once. A crash or a lost
answer between the two leaves money promised that nobody can spend: too little is admitted for a while, never too much.
While a block is on its way, others who want one of the same budget wait for it: the server cannot tell them yet.
A quota server that lost its state, restarted or entered a new month holds no living lease; the open epoch is closed
and counts in full until, a day later, the events it really carried are known (`lease_reconcile`).
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import logging
import time
import uuid

from django.db import connection
from django.db.models import F, Max
from django.db.models.functions import Now

from billing.models import Budget, BudgetLease
from billing.periods import bounds, from_ms, month_of, to_ms
from billing.quotas import QuotaStore
from billing.quotas.answers import LeaseState
from billing.selectors.budgets import WALLET, budget_name, cap_nano, promised_nano, spent_nano
from billing.selectors.wallet import balance_end
from billing.services.sweeps import for_each
from kit.clock import now
from kit.metrics import Counter
from kit.money import NANO
from tenants.scope import current_tenant_id, ops_scope, tenant_scope

logger = logging.getLogger(__name__)

BLOCK_SHARE = 100
"""A block is at most a hundredth of the cap: so much a lost quota server may cost a tenant for a day …"""
BLOCK_MOST = 2 * NANO
"""… and at most two dollars, unless one call needs more."""
TRIES = 3
"""A block may be refused (the server restarted since it was decided on): then another is tried."""
SENDING = dt.timedelta(seconds=3)
"""Blocks of one budget go out one at a time; longer than this none is on its way, whatever became of its sender."""
WAIT_SECONDS = 0.02
EVERYTHING = 10**15
"""More nano than any lease holds."""
QUIET = dt.timedelta(hours=24)
"""After this long every event of a closed epoch has been shipped; the gateways' files are replayed at their start."""

REFILLS = Counter("billing_lease_refills_total", "Lease blocks by what became of them", ["outcome"])


@dataclasses.dataclass(frozen=True, slots=True)
class _Block:
    lease_id: uuid.UUID
    epoch: int
    number: int
    nano: int
    ends_ms: int
    low_nano: int
    rest_nano: int
    until: dt.datetime | None
    """What `Budget.sending_until` says of this block."""


class _Turn(enum.Enum):
    """How one attempt at a refill ended."""

    THERE = enum.auto()
    EMPTY = enum.auto()
    REFUSED = enum.auto()
    WAIT = enum.auto()


def lease_refill(*, store: QuotaStore, tenant_id: uuid.UUID, scope: str, scope_id: str, name: str, wanted: int) -> bool:
    """Hand the quota server another block of a budget if it runs low (or holds less than `wanted` nano).

    True when money is there afterwards. QuotaUnavailable when the server does not answer; the block then counts as
    spent until reconciled.
    """
    if connection.in_atomic_block:
        raise RuntimeError("A refill must commit its debit before it sends the block: call it outside transactions.")
    with tenant_scope(tenant_id):
        budget, _ = Budget.objects.get_or_create(
            tenant_id=tenant_id, name=name, defaults={"scope": scope, "scope_id": scope_id}
        )
    refused = 0
    while refused < TRIES:
        turn = _refill_once(store, budget.pk, tenant_id, name, wanted)
        if turn is _Turn.WAIT:
            time.sleep(WAIT_SECONDS)
        elif turn is _Turn.REFUSED:
            refused += 1
        else:
            return turn is _Turn.THERE
    return False


def _refill_once(store: QuotaStore, budget_id: uuid.UUID, tenant_id: uuid.UUID, name: str, wanted: int) -> _Turn:
    """One block, or none needed, or one of somebody else to wait for."""
    with tenant_scope(tenant_id):
        budget = Budget.objects.select_for_update().get(pk=budget_id)
        if _sending(budget):
            return _Turn.WAIT
        state, server_ms = store.lease_state(tenant_id, name)
        if budget.scope == WALLET:
            _drain_ended(store, budget, state)
        block = _debit(budget, state, server_ms, wanted)
    if block is None:
        enough = state is not None and state.alive and state.available >= wanted
        if not enough:
            store.tell_rest(tenant_id, name, 0)  # so that calls which can do with less are held to what is there
        return _Turn.THERE if enough else _Turn.EMPTY
    taken: bool | None = None
    try:
        taken, server_ms = store.grant(
            tenant_id,
            name,
            epoch=block.epoch,
            block=block.number,
            nano=block.nano,
            ends_ms=block.ends_ms,
            low_nano=block.low_nano,
            rest_nano=block.rest_nano,
        )
    finally:
        REFILLS.labels({True: "taken", False: "refused", None: "unknown"}[taken]).inc()
        _sent(tenant_id, budget_id, block, taken=taken, server_ms=server_ms)
    return _Turn.THERE if taken else _Turn.REFUSED


def _drain_ended(store: QuotaStore, budget: Budget, state: LeaseState | None) -> None:
    """A lease of the wallet that ended with a grant: what nobody held of it is still there, and not for a day lost."""
    lease: BudgetLease | None = BudgetLease.objects.filter(budget=budget, state=BudgetLease.State.OPEN).first()
    if lease is None or state is None or state.alive or state.epoch != lease.epoch:
        return
    taken = store.drain(budget.tenant_id, budget.name, epoch=lease.epoch, at_most=EVERYTHING)
    if taken:
        BudgetLease.objects.filter(pk=lease.pk).update(granted_nano=F("granted_nano") - taken)


def _sending(budget: Budget) -> bool:
    """Whether a block is on its way, by the database's clock: keepers on several hosts must agree."""
    if budget.sending_until is None:
        return False
    return bool(Budget.objects.filter(pk=budget.pk, sending_until__gt=Now()).exists())


def _sent(tenant_id: uuid.UUID, budget_id: uuid.UUID, block: _Block, *, taken: bool | None, server_ms: int) -> None:
    """Write down what became of a block (None: nobody knows, so it counts), and let the next one go."""
    with tenant_scope(tenant_id):
        Budget.objects.filter(pk=budget_id, sending_until=block.until).update(sending_until=None)
        lease = BudgetLease.objects.filter(pk=block.lease_id)
        if taken is False:  # for certain, so it never was spendable: the debit can be undone
            lease.update(granted_nano=F("granted_nano") - block.nano)
        elif taken and block.number == 1:
            # An epoch begins, and the one before ends, when the server took the opening block, not when we decided.
            lease.update(opened_ms=server_ms)
            BudgetLease.objects.filter(
                budget_id=budget_id, epoch=block.epoch - 1, state=BudgetLease.State.CLOSED
            ).update(closed_ms=server_ms)


def _debit(budget: Budget, state: LeaseState | None, server_ms: int, wanted: int) -> _Block | None:
    """Under the budget's lock: decide on a block and write it down, or None."""
    period = month_of(from_ms(server_ms))
    lease: BudgetLease | None = BudgetLease.objects.filter(budget=budget, state=BudgetLease.State.OPEN).first()
    lives = lease is not None and state is not None and state.alive and state.epoch == lease.epoch
    if lease is not None and not (lives and lease.period == period):
        lease.state, lease.closed_ms, lease.updated_at = BudgetLease.State.CLOSED, server_ms, now()
        lease.save(update_fields=["state", "closed_ms", "updated_at"])
        lease = None
    if lease is None:
        wallet_begin(budget, period)
    cap = cap_nano(budget.scope, budget.scope_id, period) or 0
    usual = max(1, min(cap // BLOCK_SHARE, BLOCK_MOST))
    available = state.available if lease is not None and state is not None else 0
    if available >= max(wanted, usual // 4):
        return None
    free = cap - promised_nano(budget, period)
    nano = min(max(usual, 2 * wanted - available), free)
    if nano <= 0:
        return None
    if lease is None:
        budget.epoch += 1
        budget.save(update_fields=["epoch"])
        lease = BudgetLease.objects.create(budget=budget, period=period, epoch=budget.epoch, opened_ms=server_ms)
    lease.blocks += 1
    lease.granted_nano += nano
    lease.updated_at = now()
    lease.save(update_fields=["blocks", "granted_nano", "updated_at"])
    Budget.objects.filter(pk=budget.pk).update(sending_until=Now() + SENDING)
    budget.refresh_from_db(fields=["sending_until"])
    ends_ms = to_ms(_lease_end(budget, period))
    return _Block(
        lease.pk, lease.epoch, lease.blocks, nano, ends_ms, usual // 4, free - nano, budget.sending_until
    )  # fmt: skip


def _lease_end(budget: Budget, period: dt.date) -> dt.datetime:
    """A month's end, or before it that of the credit which ends next: what was leased on it must not outlive it."""
    month_end = bounds(period)[1]
    credit_end = balance_end() if budget.scope == WALLET else None
    return month_end if credit_end is None else min(month_end, credit_end)


def lease_return(*, store: QuotaStore, tenant_id: uuid.UUID, name: str, at_most: int) -> int:
    """Take unspent money back from the quota server, for a job that needs it; the nano taken.

    First out of the server, then off the debit: a crash between the two leaves it promised.
    """
    with tenant_scope(tenant_id):
        lease = BudgetLease.objects.filter(budget__name=name, state=BudgetLease.State.OPEN).first()
    if lease is None:
        return 0
    taken = store.drain(tenant_id, name, epoch=lease.epoch, at_most=at_most)
    if taken:
        with tenant_scope(tenant_id):
            BudgetLease.objects.filter(pk=lease.pk).update(granted_nano=F("granted_nano") - taken, updated_at=now())
    return taken or 0


def lease_recall(*, store: QuotaStore, tenant_id: uuid.UUID, name: str) -> int:
    """Take back what nobody holds of a budget whose limit changed; nano. Blocks measured by the old limit may be
    large beside the new one; the gateways ask for new ones."""
    under_way = _on_its_way(tenant_id, name)  # debited under the old limit; those after it know the new one
    while under_way is not None and _on_its_way(tenant_id, name) == under_way:
        time.sleep(WAIT_SECONDS)
    return lease_return(store=store, tenant_id=tenant_id, name=name, at_most=EVERYTHING)


def _on_its_way(tenant_id: uuid.UUID, name: str) -> dt.datetime | None:
    """`Budget.sending_until` of the block that is under way, which tells it from every other."""
    with tenant_scope(tenant_id):
        budget = Budget.objects.filter(name=name).first()
        return budget.sending_until if budget is not None and _sending(budget) else None


def lease_trim(*, store: QuotaStore, tenant_id: uuid.UUID, name: str) -> int:
    """Recall a budget's lease where it promised more than a limit that was lowered since; nano."""
    with tenant_scope(tenant_id):
        budget = Budget.objects.filter(name=name).first()
        cap = cap_nano(budget.scope, budget.scope_id) if budget is not None else None
        over = promised_nano(budget, month_of(now())) - cap if budget is not None and cap is not None else 0
    if cap is not None:  # jobs and storage take money without a block: what calls are told is left follows here
        store.tell_rest(tenant_id, name, max(0, -over))
    return lease_recall(store=store, tenant_id=tenant_id, name=name) if over > 0 else 0


def budget_begin(*, scope: str, scope_id: str) -> None:
    """A limit is set in the middle of a month: what was called before counts under it, as an epoch without blocks.

    It ends when the first lease opens, and is reconciled with the events like any other.
    """
    budget, _ = Budget.objects.get_or_create(
        tenant_id=current_tenant_id(),
        name=budget_name(scope, scope_id),
        defaults={"scope": scope, "scope_id": scope_id},
    )
    budget = Budget.objects.select_for_update().get(pk=budget.pk)
    moment = now()
    period = month_of(moment)
    _close(budget, to_ms(moment))
    known = BudgetLease.objects.filter(budget=budget, period=period).aggregate(last=Max("closed_ms"))["last"]
    since_ms = known if known is not None else to_ms(bounds(period)[0])
    budget.epoch += 1
    budget.save(update_fields=["epoch"])
    BudgetLease.objects.create(
        budget=budget,
        period=period,
        epoch=budget.epoch,
        granted_nano=spent_nano(scope, scope_id, from_ms(since_ms), moment, calls_only=True),
        state=BudgetLease.State.CLOSED,
        opened_ms=since_ms,
        closed_ms=to_ms(moment),
    )


def wallet_begin(budget: Budget, period: dt.date) -> None:
    """Where nothing was promised of a wallet this month, what was called before counts under it.

    Its limit comes without anybody setting one when credit falls below zero; what the month used of credit and of the
    plan would be given a second time. Under the budget's lock.
    """
    if budget.scope == WALLET and not BudgetLease.objects.filter(budget=budget, period=period).exists():
        budget_begin(scope=WALLET, scope_id=budget.scope_id)
        budget.refresh_from_db(fields=["epoch"])


def budget_end(*, scope: str, scope_id: str) -> None:
    """A limit is lifted: its lease no longer counts calls."""
    budget = Budget.objects.filter(name=budget_name(scope, scope_id)).first()
    if budget is not None:
        _close(budget, to_ms(now()))


def _close(budget: Budget, closed_ms: int) -> None:
    BudgetLease.objects.filter(budget=budget, state=BudgetLease.State.OPEN).update(
        state=BudgetLease.State.CLOSED, closed_ms=closed_ms, updated_at=now()
    )


def lease_refill_all(*, store: QuotaStore) -> int:
    """Refill what runs low among recently used leases, and trim what a lowered limit no longer covers; the scheduled
    net under the gateways' asking."""
    with ops_scope("find leases to refill"):
        recent = BudgetLease.ops.filter(state=BudgetLease.State.OPEN, updated_at__gte=now() - dt.timedelta(hours=1))
        open_now = list(recent.values_list("tenant_id", "budget__scope", "budget__scope_id", "budget__name"))

    def refill(lease: tuple[uuid.UUID, str, str, str]) -> int:
        tenant_id, scope, scope_id, name = lease
        if lease_trim(store=store, tenant_id=tenant_id, name=name):
            return 0
        return lease_refill(store=store, tenant_id=tenant_id, scope=scope, scope_id=scope_id, name=name, wanted=0)

    return for_each("lease_refill", open_now, refill)


def lease_reconcile(*, quiet: dt.timedelta = QUIET) -> int:
    """Replace what closed epochs were granted by what their events cost; how many epochs."""
    with ops_scope("find leases to reconcile"):
        before = to_ms(now() - quiet)
        closed = list(
            BudgetLease.ops.filter(state=BudgetLease.State.CLOSED, closed_ms__lt=before).values_list("tenant_id", "pk")
        )

    def reconcile(lease: tuple[uuid.UUID, uuid.UUID]) -> int:
        tenant_id, lease_id = lease
        with tenant_scope(tenant_id):
            _reconcile(lease_id)
        return 1

    return for_each("lease_reconcile", closed, reconcile)


def _reconcile(lease_id: uuid.UUID) -> None:
    lease = BudgetLease.objects.select_related("budget").select_for_update(of=("self",)).get(pk=lease_id)
    if lease.state != BudgetLease.State.CLOSED or lease.closed_ms is None:
        return
    start, end = from_ms(lease.opened_ms), from_ms(lease.closed_ms + 1)
    spent = spent_nano(lease.budget.scope, lease.budget.scope_id, start, end, calls_only=True)
    if lease.blocks == 0:
        lease.granted_nano = spent
    if spent > lease.granted_nano:
        logger.error("lease %s carried %d nano beyond its grant", lease.pk, spent - lease.granted_nano)
    lease.state, lease.spent_nano, lease.updated_at = BudgetLease.State.RECONCILED, spent, now()
    lease.save(update_fields=["state", "granted_nano", "spent_nano", "updated_at"])
