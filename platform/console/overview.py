"""The overview, gathered from the rooms' selectors: the next step, what needs you, what runs, what it costs."""

import datetime as dt
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from billing.selectors import budgets, subscriptions
from billing.selectors.dunning import BY_DUE_DATE, TO_CONFIRM, overdue
from billing.selectors.usage import UsageFilter, usage_sums, usage_totals
from console import job_page
from console.views.names import job_name, short_name
from data import selectors as data
from data.models import File
from kit.clock import now
from kit.money import NANO
from registry import selectors as registry
from serving import selectors as serving
from serving.models import Deployment
from tenants import selectors as people
from training import selectors as training
from training import states
from training.models import Job

if TYPE_CHECKING:
    from console.views.base import ConsoleView

DAYS = 30
MOST_KEYS = 200
ANSWERS = ("decisions", "classify", "embeddings", "rerank", "chat", "completions")
"""Kinds of usage that are answers of a model."""


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the checklist. `state` is done, now or later."""

    title: str | Promise
    detail: str
    state: str
    href: str
    action: str


@dataclass(frozen=True, slots=True)
class Need:
    """Something that waits for a person."""

    text: str
    detail: str
    href: str
    tone: str


def context(view: "ConsoleView") -> dict[str, Any]:
    """Everything on the page."""
    jobs = list(training.jobs(view.project.pk)[:50])
    deployments = [d for d in serving.deployments(view.project.pk)[:50] if d.state in serving.ACTIVE]
    moment = now()
    month = UsageFilter(since=moment - dt.timedelta(days=DAYS), until=moment + dt.timedelta(days=1))
    budget = budgets.budget_month()
    steps = checklist(view, jobs, deployments, calls=calls_by_key(view, month))
    return {
        "steps": steps,
        "done": sum(step.state == "done" for step in steps),
        "onboarded": all(step.state == "done" for step in steps),
        "needs": [*spend_need(view, budget), *needs(view, jobs, deployments)],
        "running": [running_line(view, job) for job in jobs if not job.is_final][:6],
        "finished": [running_line(view, job) for job in jobs if job.is_final][:5],
        "deployments": [
            {"deployment": d, "name": short_name(d.model), "href": view.project_path("deployment", d.public_id)}
            for d in deployments[:6]
        ],
        "budget": budget,
        "trend": cost_trend(month),
        "busy": any(not job.is_final for job in jobs) or any(d.state == Deployment.State.LOADING for d in deployments),
        "new_job_url": view.project_path("job_new"),
        "month": moment.date(),
    }


def running_line(view: "ConsoleView", job: Job) -> dict[str, Any]:
    """A job as a line."""
    return {
        "job": job,
        "name": job_name(job),
        "badge": job_page.badge(job.state),
        "text": job_page.steps_text(job) if job.state in states.HELD else job_page.phase_text(job),
        "href": view.project_path("job", job.public_id),
    }


def cost_trend(month: UsageFilter) -> list[float]:
    """Cost a day, oldest first, days without usage as zero."""
    sums = {one.start.date(): one.cost_nano / NANO for one in usage_sums(wanted=month, width="1d")}
    first = month.since.date()
    return [sums.get(first + dt.timedelta(days=i), 0.0) for i in range(DAYS + 1)]


def checklist(view: "ConsoleView", jobs: list[Job], deployments: list[Deployment], *, calls: int) -> list[Step]:
    """Five steps to the first answered call; each is done when its object exists."""
    files = data.files(view.project.pk)
    checked = files.filter(status=File.Status.PROCESSED).order_by("-pk").first()
    datasets = data.datasets(view.project.pk).exists()
    models = registry.models(view.project.pk).exists()
    served = bool(deployments) or serving.deployments(view.project.pk).exists()
    facts = [
        (_("Upload data"), files.exists() or datasets, view.project_path("dataset_new"), _("Upload data")),
        (
            _("Review findings"),
            datasets or bool(jobs),
            view.project_path("file", checked.public_id) if checked else view.project_path("datasets"),
            _("Review"),
        ),
        (_("Train a model"), models, view.project_path("job_new"), _("New job")),
        (_("Deploy it"), served, view.project_path("deployments"), _("Deploy")),
        (_("Call it from your code"), calls > 0, *_way_to_a_call(view)),
    ]
    details = [
        _("CSV, TSV, JSONL or Parquet; or the sample dataset."),
        _("Every problem with its row numbers; most have a fix."),
        _("Price and time are shown before it starts."),
        _("Costs nothing while nobody calls."),
        _("Your program needs a key. It is shown with a call to copy: curl, Python or Node."),
    ]
    steps, waiting = [], True
    for (title, done, href, action), detail in zip(facts, details, strict=True):
        state = "done" if done else "now" if waiting else "later"
        waiting = waiting and done
        steps.append(Step(title, detail, state, href, action))
    return steps


def calls_by_key(view: "ConsoleView", month: UsageFilter) -> int:
    """Calls that came from a program: with one of the project's keys, and not from the playground."""
    keys = list(people.keys(view.project).values_list("pk", flat=True)[:MOST_KEYS])
    if not keys:
        return 0
    return usage_totals(wanted=replace(month, key_ids=keys, kinds=ANSWERS)).requests


def _way_to_a_call(view: "ConsoleView") -> tuple[str, str]:
    """Where a first call begins: with a key, then with the code of the playground."""
    if people.keys(view.project).filter(revoked_at=None).exists():
        return view.project_path("playground") + "#same-call", _("Copy the code")
    return view.project_path("key_new"), _("New key")


def needs(view: "ConsoleView", jobs: list[Job], deployments: list[Deployment]) -> list[Need]:
    """Failures of the last week, data that blocks, money that runs out."""
    found: list[Need] = []
    since = now() - dt.timedelta(days=7)
    for job in jobs:
        if job.state == states.FAILED and job.created_at > since:
            text = _("%(name)s failed") % {"name": job_name(job)}
            found.append(Need(text, job.error_message[:160], view.project_path("job", job.public_id), "danger"))
    for rollout in serving.rollouts_rolled_back(view.project.pk, since):
        text = _("%(alias)s was rolled back") % {"alias": rollout.alias}
        found.append(Need(text, rollout.reason[:160], view.project_path("rollout", rollout.public_id), "danger"))
    files = list(data.files(view.project.pk).order_by("-pk")[:20])
    used = data.files_used(file for file in files if _blocking(file))
    for file in files:
        blocking = _blocking(file)
        if file.status == File.Status.ERROR:
            text = _("%(name)s cannot be used") % {"name": file.filename[:60]}
            href = view.project_path("file", file.public_id)
            found.append(Need(text, file.status_details[:160], href, "danger"))
        elif blocking and file.pk not in used:
            detail = ngettext("%(n)s blocking finding", "%(n)s blocking findings", blocking) % {"n": blocking}
            found.append(Need(file.filename[:60], detail, view.project_path("file", file.public_id), "warn"))
    if subscriptions.entitlement_for(view.tenant.pk).standing != "good":
        late = overdue()
        text, detail = _("The last payment did not go through"), _("Update the card under Billing.")
        if late is not None and late.way == TO_CONFIRM:
            text, detail = _("A payment has to be confirmed"), _("The card's owner does that on the invoice's page.")
        elif late is not None and late.way == BY_DUE_DATE:
            text, detail = _("An invoice is past its due date"), _("Pay it under Billing.")
        found.append(Need(text, detail, view.org_path("billing"), "warn"))
    return found[:6]


def _blocking(file: File) -> int:
    return int((file.levels or {}).get("blocking", 0))


def spend_need(view: "ConsoleView", budget: budgets.BudgetState | None) -> list[Need]:
    """A word once the spend limit is near or reached."""
    if budget is None or not budget.level:
        return []
    href = view.org_path("billing") if view.can("billing.read") else view.org_path("usage")
    if budget.level == "over":
        detail = _("Calls and jobs that cost money are refused until the month ends or the limit is raised.")
        return [Need(_("The monthly spend limit is reached"), detail, href, "danger")]
    text = _("%(percent)s%% of the monthly spend limit is used") % {"percent": budget.percent}
    return [Need(text, _("At the limit, calls and jobs that cost money are refused."), href, "warn")]
