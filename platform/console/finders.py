"""Finding objects of a project by name or id, for search. Each finder is asked inside the tenant's scope."""

from collections.abc import Callable, Iterator

from django.urls import reverse
from django.utils.translation import gettext as _

from batches import selectors as batches
from console.results import Result, matches
from console.views.names import job_name, short_name
from customers.selectors.threads import threads
from data import selectors as data
from hooks import selectors as hooks
from orders import selectors as orders
from registry import selectors as registry
from serving import selectors as serving
from tenants.access import Membership
from tenants.models import Project
from training import selectors as training

MOST_LOOKED_AT = 500


def _place(seat: Membership, project: Project, name: str, public_id: str) -> str:
    return reverse(f"console:{name}", args=[seat.tenant_slug, project.slug, public_id])


def find_datasets(project: Project, query: str, seat: Membership) -> Iterator[Result]:
    """Datasets, then files."""
    if "datasets.read" not in seat.scopes:
        return
    for dataset in data.datasets(project.pk).order_by("-id")[:MOST_LOOKED_AT]:
        if matches(query, dataset.name, dataset.public_id):
            yield Result(dataset.name, _("dataset"), "database", _place(seat, project, "dataset", dataset.public_id))
    for file in data.files(project.pk).order_by("-id")[:MOST_LOOKED_AT]:
        if matches(query, file.filename, file.public_id):
            yield Result(file.filename, _("file"), "file-text", _place(seat, project, "file", file.public_id))


def find_jobs(project: Project, query: str, seat: Membership) -> Iterator[Result]:
    """Jobs by name or id."""
    if "jobs.read" not in seat.scopes:
        return
    for job in training.jobs(project.pk)[:MOST_LOOKED_AT]:
        if matches(query, job_name(job), job.public_id):
            yield Result(job_name(job), _("job"), "wrench", _place(seat, project, "job", job.public_id))


def find_models(project: Project, query: str, seat: Membership) -> Iterator[Result]:
    """Models by name, then what serves them."""
    if "models.read" not in seat.scopes:
        return
    for model in registry.models(project.pk)[:MOST_LOOKED_AT]:
        if matches(query, model.name, model.public_id):
            yield Result(short_name(model), _("model"), "box", _place(seat, project, "model", model.public_id))
    for row in serving.deployments(project.pk)[:MOST_LOOKED_AT]:
        if row.state in serving.ACTIVE and matches(query, row.model.name, row.alias, row.public_id):
            href = _place(seat, project, "deployment", row.public_id)
            yield Result(row.alias or short_name(row.model), _("deployment"), "radio-tower", href)


def find_batches(project: Project, query: str, seat: Membership) -> Iterator[Result]:
    """Batches by their file's name or id."""
    if "jobs.read" not in seat.scopes:
        return
    for row in batches.batches(project.pk).order_by("-pk")[:MOST_LOOKED_AT]:
        if matches(query, row.input_file.filename, row.public_id):
            href = _place(seat, project, "batch", row.public_id)
            yield Result(row.input_file.filename, _("batch"), "clock", href)


def find_orders(project: Project, query: str, seat: Membership) -> Iterator[Result]:
    """Orders of custom models by title or id."""
    if "jobs.read" not in seat.scopes:
        return
    for row in orders.orders(project.pk).order_by("-pk")[:MOST_LOOKED_AT]:
        if matches(query, row.title, row.public_id):
            yield Result(row.title, _("order"), "file-text", _place(seat, project, "order", row.public_id))


def find_webhooks(project: Project, query: str, seat: Membership) -> Iterator[Result]:
    """Endpoints of webhooks by name, URL or id."""
    if "webhooks.read" not in seat.scopes:
        return
    for row in hooks.endpoints(project.pk):
        if matches(query, row.name, row.url, row.public_id):
            yield Result(row.name, _("webhook"), "waypoints", _place(seat, project, "webhook", row.public_id))


def find_threads(project: Project, query: str, seat: Membership) -> Iterator[Result]:
    """Support threads by subject or id; they are the organisation's, not a project's."""
    if "support.read" not in seat.scopes:
        return
    for row in threads(user_id=seat.member_id)[:MOST_LOOKED_AT]:
        if matches(query, row.subject, row.public_id):
            href = reverse("console:support_thread", args=[seat.tenant_slug, row.public_id])
            yield Result(row.subject, _("support"), "mail", href)


FINDERS: list[Callable[[Project, str, Membership], Iterator[Result]]] = [
    find_datasets,
    find_jobs,
    find_models,
    find_batches,
    find_orders,
    find_webhooks,
    find_threads,
]
