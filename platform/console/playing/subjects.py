"""What the playground can try in a project: every live deployment, and every base as it comes."""

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from console.views.names import short_name
from registry import selectors as registry
from serving import selectors
from serving.models import Deployment
from tenants.models import Project

MOST = 200
VECTORS = "embeddings"
"""What a base does that reads: it has no task of its own yet."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Something to try. `value` stands for it in addresses and forms, `name` in calls."""

    value: str
    name: str
    label: str
    task: str
    base: str
    project: Project
    deployment: Deployment | None = None


def subjects_of(project: Project) -> list[Subject]:
    """Everything callable now, the tenant's own first."""
    live = selectors.deployments(project.pk).filter(state=Deployment.State.LIVE)[:MOST]
    return [_deployed(project, one) for one in live] + [_base(project, one) for one in registry.bases()]


def found(subjects: list[Subject], value: str | None) -> Subject | None:
    """The subject that an address or a form names; a model's own name serves as well."""
    return next((one for one in subjects if value and value in (one.value, one.name)), None)


def _deployed(project: Project, one: Deployment) -> Subject:
    label = short_name(one.model) + (f" ({one.alias})" if one.alias else "")
    return Subject(one.public_id, one.model.name, label, one.model.task, one.model.base, project, one)


def _base(project: Project, base: Any) -> Subject:
    writes = "text-generation" in base.tasks
    task = "text-generation" if writes else VECTORS
    return Subject(base.name, base.name, _("%(name)s, untuned") % {"name": base.name}, task, base.name, project)
