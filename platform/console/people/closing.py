"""Closing an organisation: its doors, its jobs, and what Stripe would go on charging."""

from dataclasses import dataclass

from billing.models import Subscription
from billing.selectors.subscriptions import subscription_current
from billing.services.subscriptions import subscription_cancel
from tenants import selectors
from tenants.access import AuthContext
from tenants.models import Tenant
from tenants.services.organisations import tenant_close
from training import states
from training.models import Job
from training.services.jobs import job_cancel


@dataclass(frozen=True, slots=True)
class AtStake:
    """What ends with an organisation."""

    keys: int
    members: int
    jobs: int
    subscription: Subscription | None


def at_stake() -> AtStake:
    """Counted in the scope's tenant."""
    return AtStake(
        keys=selectors.keys_open().count(),
        members=selectors.members().count(),
        jobs=Job.objects.exclude(state__in=states.FINAL).count(),
        subscription=subscription_current(),
    )


def organisation_close(*, tenant: Tenant, confirm_name: str, by: AuthContext) -> Tenant:
    """Shut every door, cancel what waits or runs, and let the plan end with the period that is paid.

    Stripe is asked last: when it does not answer, nothing is closed. What was used is billed when its month ends.
    """
    closed = tenant_close(tenant=tenant, confirm_name=confirm_name, by=by)
    for job in Job.objects.exclude(state__in=states.FINAL):
        job_cancel(job=job)
    subscription = subscription_current()
    if subscription is not None and not subscription.cancel_at_period_end:
        subscription_cancel()
    return closed
