"""Closing a project or an organisation: doors, jobs, deployments, and what Stripe would go on charging."""

from dataclasses import dataclass

from django.db.models import QuerySet

from billing.models import Subscription
from billing.selectors.subscriptions import subscription_current
from billing.services.commands import command_finish
from billing.services.subscriptions import subscription_cancel
from billing.services.topups import topup_stop
from serving.models import Deployment
from serving.selectors import ACTIVE
from serving.services import deployment_stop
from tenants import selectors
from tenants.access import AuthContext
from tenants.models import Project, Tenant
from tenants.scope import tenant_scope
from tenants.services.keys import keys_revoke_all
from tenants.services.organisations import project_archive, tenant_close
from training import states
from training.models import Job, Sweep
from training.services.jobs import job_cancel
from training.services.sweeps import sweep_cancel


@dataclass(frozen=True, slots=True)
class AtStake:
    """What ends with an organisation."""

    keys: int
    members: int
    jobs: int
    deployments: int
    subscription: Subscription | None


@dataclass(frozen=True, slots=True)
class ProjectAtStake:
    """What ends with a project."""

    keys: int
    jobs: int
    deployments: int


def project_at_stake(project: Project) -> ProjectAtStake:
    """Counted in the scope's tenant."""
    return ProjectAtStake(
        keys=selectors.keys_open(project).count(),
        jobs=_unfinished().filter(project=project).count(),
        deployments=_served().filter(project=project).count(),
    )


def project_close(*, project: Project) -> None:
    """Archive a project and end what works in it: nobody would see it any more, and it would go on costing money."""
    project_archive(project=project)
    keys_revoke_all(project=project)
    for sweep in _searching().filter(project=project):
        sweep_cancel(sweep=sweep)
    for job in _unfinished().filter(project=project):
        job_cancel(job=job)
    for deployment in _served().filter(project=project):
        deployment_stop(deployment=deployment, reason="The project was archived.")


def _unfinished() -> "QuerySet[Job]":
    found: QuerySet[Job] = Job.objects.exclude(state__in=states.FINAL).order_by("-pk")
    return found


def _searching() -> "QuerySet[Sweep]":
    found: QuerySet[Sweep] = Sweep.objects.exclude(state__in=Sweep.FINAL)
    return found


def _served() -> "QuerySet[Deployment]":
    found: QuerySet[Deployment] = Deployment.objects.filter(state__in=ACTIVE)
    return found


def at_stake() -> AtStake:
    """Counted in the scope's tenant."""
    return AtStake(
        keys=selectors.keys_open().count(),
        members=selectors.members().count(),
        jobs=_unfinished().count(),
        deployments=_served().count(),
        subscription=subscription_current(),
    )


def plan_end(*, tenant: Tenant) -> None:
    """Let the plan end with the period that is paid. Outside any scope, and before the closing: no transaction of the
    closing waits for Stripe. When it does not answer, it is told later; when it refuses, nothing is closed."""
    with tenant_scope(tenant.pk):
        subscription = subscription_current()
        if subscription is None or subscription.cancel_at_period_end:
            return
        command = subscription_cancel()
    command_finish(command)


def organisation_close(*, tenant: Tenant, confirm_name: str, by: AuthContext) -> Tenant:
    """Shut every door, cancel what waits or runs, give back the engine's memory, and buy no more credit. What was used
    is billed when its month ends."""
    closed = tenant_close(tenant=tenant, confirm_name=confirm_name, by=by)
    for sweep in _searching():  # before the jobs, or it would start others in their place
        sweep_cancel(sweep=sweep)
    for job in _unfinished():
        job_cancel(job=job)
    for deployment in _served():
        deployment_stop(deployment=deployment, reason="The organisation was closed.")
    topup_stop()
    return closed
