"""What people say of answers: given by request, joined with the request log, counted by version."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Count, Q, QuerySet

from kit.clock import now
from kit.errors import BadRequest, NotFound
from kit.ids import parse_id, public_id
from serving.errors import RequestUnknown
from serving.models import Feedback, RequestRecord
from serving.models.counts import WritingTransaction
from serving.splits import SHADOW
from tenants.models import Project

REQUEST = RequestRecord.prefix


@dataclass(frozen=True, slots=True)
class Judged:
    """How many answers were judged, and how many of them were right."""

    judged: int
    right: int

    @property
    def accuracy(self) -> float | None:
        """Of the judged."""
        return self.right / self.judged if self.judged else None


def feedback_give(
    *, project: Project, request_id: str, correct: bool, label: str = "", created_by: str = ""
) -> Feedback:
    """Say whether a request's answer was right. Saying it again changes what was said. Raises RequestUnknown for a
    request that is not in the project's log, BadRequest for one that got no answer."""
    request = _request(project, request_id)
    row, made = Feedback.objects.select_for_update().get_or_create(
        tenant_id=project.tenant_id,
        request_id=request.pk,
        defaults={
            "project": project,
            "correct": correct,
            "label": label,
            "model": request.model,
            "version_id": request.version_id,
            "arm": request.arm,
            "requested_at": request.at,
            "created_by": created_by[:200],
        },
    )
    if not made and (row.correct, row.label) != (correct, label):
        row.correct, row.label, row.changed_at, row.written = correct, label, now(), WritingTransaction()
        row.save(update_fields=["correct", "label", "changed_at", "written"])
    found: Feedback = row
    return found


def feedback_of(project_id: UUID) -> "QuerySet[Feedback]":
    """A project's feedback, newest first."""
    found: QuerySet[Feedback] = Feedback.objects.filter(project_id=project_id).order_by("-pk")
    return found


def judged_of_version(version_id: UUID) -> Judged:
    """What was said of a version's answers, whatever name they were called by."""
    found = Feedback.objects.filter(version_id=version_id).aggregate(
        judged=Count("pk"), right=Count("pk", filter=Q(correct=True))
    )
    return Judged(**found)


def wire(row: Feedback) -> dict[str, Any]:
    """The object on the wire."""
    return {
        "id": row.public_id,
        "object": "feedback",
        "request_id": public_id(REQUEST, row.request_id),
        "correct": row.correct,
        "label": row.label or None,
        "model": row.model,
        "arm": row.arm or None,
        "created_at": int(row.created_at.timestamp()),
        "changed_at": int(row.changed_at.timestamp()),
    }


def _request(project: Project, request_id: str) -> RequestRecord:
    unknown = RequestUnknown(
        f"No request '{request_id[:100]}' in this project's log. It holds what a key of this project called, from "
        "about a second after the answer until the log forgets it.",
        param="request_id",
    )
    try:
        key = parse_id(REQUEST, request_id)
    except NotFound as error:
        raise unknown from error
    own = RequestRecord.objects.filter(project_id=project.pk).exclude(arm=SHADOW)
    found: RequestRecord | None = own.filter(pk=key).first()
    if found is None:
        raise unknown
    if found.status >= 400:
        raise BadRequest(
            f"The request '{request_id}' got no answer (status {found.status}), so there is nothing to judge.",
            param="request_id",
        )
    return found
