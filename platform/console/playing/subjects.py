"""What the playground can try in a project: every live deployment, and every base as it comes."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _

from console.views.names import short_name
from inference.tasks import EMBEDDINGS, RERANK, TEXT_GENERATION
from registry import selectors as registry
from serving import selectors
from serving.models import Deployment
from tenants.models import Project

MOST = 200
KINDS = {TEXT_GENERATION: "chat", EMBEDDINGS: "embeddings", RERANK: "rerank"}


@dataclass(frozen=True, slots=True)
class Subject:
    """Something to try. `value` stands for it in addresses and forms, `called` in calls; that is empty where a call's
    name would get another version's answer."""

    value: str
    name: str
    called: str
    label: str
    task: str
    base: str
    project: Project
    user_id: UUID
    """Whose calls these are."""
    deployment: Deployment | None = None

    @property
    def kind(self) -> str:
        """What the request log calls a call of it."""
        return kind_of(self.task)


def kind_of(task: str) -> str:
    """What the request log calls a call of a model of that task, known or not."""
    return KINDS.get(task, "classify")


def subjects_of(project: Project, user_id: UUID) -> list[Subject]:
    """Everything that a member can call now, the tenant's own first."""
    live = list(selectors.deployments(project.pk).filter(state=Deployment.State.LIVE)[:MOST])
    called = selectors.names_called(project.pk, live)
    own = [_deployed(project, user_id, one, called[one.pk]) for one in live]
    return own + [_base(project, user_id, one) for one in registry.bases()]


def found(subjects: list[Subject], value: str | None) -> Subject | None:
    """The subject that an address or a form names; a model's own name serves as well."""
    ranked = [[one.value for one in subjects], [one.called for one in subjects], [one.name for one in subjects]]
    return next((subjects[names.index(value)] for names in ranked if value and value in names), None)


def _deployed(project: Project, user_id: UUID, one: Deployment, called: str) -> Subject:
    label = f"{short_name(one.model)} v{one.version.number}" + (f" ({one.alias})" if one.alias else "")
    return Subject(one.public_id, one.model.name, called, label, one.model.task, one.model.base, project, user_id, one)


def _base(project: Project, user_id: UUID, base: Any) -> Subject:
    task = TEXT_GENERATION if TEXT_GENERATION in base.tasks else EMBEDDINGS  # what reads has no task of its own yet
    label = _("%(name)s, untuned") % {"name": base.name}
    return Subject(base.name, base.name, base.name, label, task, base.name, project, user_id)
