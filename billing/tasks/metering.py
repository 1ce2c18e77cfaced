"""Ticks of the usage side. Each is safe to run twice at once."""

from celery import shared_task

from billing.quotas import QuotaUnavailable
from billing.services import (
    credits,
    decisions,
    findings,
    leases,
    ledger,
    metering,
    receivables,
    reservations,
    topups,
)  # fmt: skip
from billing.services.stores import quota_store
from billing.services.sweeps import for_each


@shared_task(name="billing.usage_rollup")
def usage_rollup() -> int:
    """Sum hours with new events, so that a call is on the usage page within seconds."""
    return metering.usage_rollup_all()


@shared_task(name="billing.usage_post")
def usage_post() -> int:
    """Bring the ledger up to the rated lines and to what Stripe says; top up balances that fell. Each of them runs also
    where another failed for somebody, which is raised at the end."""
    steps = (ledger.lines_post_all, topups.topups_look_all, receivables.mirrors_book_all)
    return for_each("usage_post", steps, lambda step: step())


@shared_task(name="billing.reservations_sweep")
def reservations_sweep() -> int:
    """End reservations whose caller vanished, refill leases that run low; nothing while the quota server is away."""
    try:
        swept = reservations.reservations_sweep(store=quota_store())
        leases.lease_refill_all(store=quota_store())
    except QuotaUnavailable:
        return 0
    reservations.disputes_close()
    return swept


@shared_task(name="billing.leases_reconcile")
def leases_reconcile() -> int:
    """Replace closed leases by what their calls cost."""
    return leases.lease_reconcile()


@shared_task(name="billing.periods_close")
def periods_close() -> int:
    """Close last month for whoever used something, once its late events had time to arrive."""
    return ledger.periods_close_all()


@shared_task(name="billing.credits_expire")
def credits_expire() -> int:
    """Take what is left of credit that ended."""
    return credits.credits_expire_all()


@shared_task(name="billing.check")
def check() -> int:
    """The nightly look at the books: each finding is kept, shown to staff and an error in the log."""
    return findings.books_look()


@shared_task(name="billing.decisions_prune")
def decisions_prune() -> int:
    """Forget refusals after a month."""
    return decisions.decisions_prune()


SCHEDULE = {
    "billing.usage_rollup": 2,
    "billing.usage_post": 60,
    "billing.reservations_sweep": 10,
    "billing.leases_reconcile": 3600,
    "billing.periods_close": 3600,
    "billing.credits_expire": 60,
    "billing.check": 86_400,
    "billing.decisions_prune": 86_400,
}
