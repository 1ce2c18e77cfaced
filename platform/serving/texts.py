"""Texts of requests: kept for a project whose owners or admins asked for it, and for nobody else.

Off means off: the gateway hands no text on, the statement that writes one looks whether the project still wants it, and
switching off deletes what there is. A sweep deletes what is older than the days that were asked for.
"""

from __future__ import annotations

import datetime as dt
from uuid import UUID

import msgspec
from django.db import connections

from kit.clock import now
from kit.errors import BadRequest
from serving import routes
from serving.models import RequestRecord, RequestText, TextKeeping
from tenants import audit
from tenants.models import Project
from tenants.scope import OPS, ops_scope, tenant_scope
from tenants.services.organisations import tenant_turn

MOST_LETTERS = 16_000
"""Of each side of a request; the rest is cut."""
MOST_WAITING = 500
"""Texts that wait while the database is away; more are dropped."""
PARCEL = 5_000

INSERT = """
    INSERT INTO serving_requesttext (id, tenant_id, project_id, at, input, output)
    SELECT DISTINCT ON (note.id) note.id, note.tenant_id, note.project_id,
        timestamptz 'epoch' + at_ms * interval '1 millisecond', input, output
    FROM json_to_recordset(%s) AS note (
        id uuid, tenant_id uuid, project_id uuid, at_ms bigint, input text, output text, status int)
    JOIN serving_textkeeping AS keeping ON keeping.project_id = note.project_id
    WHERE status < 400 OR NOT EXISTS (SELECT FROM serving_requesttext AS kept WHERE kept.id = note.id)
    ORDER BY note.id, (status < 400) DESC, at_ms DESC
    ON CONFLICT (id) DO UPDATE SET at = excluded.at, input = excluded.input, output = excluded.output"""
"""Of a batch's line that is asked again, the answer takes the place of what failed before it."""

WHOSE = """
    WITH RECURSIVE whose AS (
        (SELECT tenant_id, project_id FROM serving_requesttext ORDER BY tenant_id, project_id LIMIT 1)
        UNION ALL
        SELECT following.* FROM whose CROSS JOIN LATERAL (
            SELECT tenant_id, project_id FROM serving_requesttext
            WHERE (tenant_id, project_id) > (whose.tenant_id, whose.project_id)
            ORDER BY tenant_id, project_id LIMIT 1) AS following)
    SELECT tenant_id, project_id FROM whose"""
"""Whose texts there are: one step along the index for each project, however many texts it has."""


class TextNote(msgspec.Struct, kw_only=True, gc=False):
    """One request's texts on their way. `status` is the answer's; it is not kept here."""

    id: UUID
    tenant_id: UUID
    project_id: UUID
    at_ms: int
    input: str
    output: str
    status: int = 200


def clean(text: bytes | str) -> str:
    """A text as PostgreSQL takes it, cut at `MOST_LETTERS`."""
    if isinstance(text, bytes):
        text = text[: 4 * MOST_LETTERS].decode(errors="replace")
    return text[:MOST_LETTERS].replace("\x00", "\ufffd").encode(errors="replace").decode()


def without_training_rows(answer: bytes) -> bytes:
    """An answer without the texts of training rows that an explanation shows (`x_explain`): they belong to a dataset,
    are deleted with it, and may be read by others than a request's texts."""
    if b'"x_explain"' not in answer:
        return answer
    whole = msgspec.json.decode(answer)
    parts = [whole, *(whole.get("data") or ())]
    for part in parts:
        for row in (part.get("x_explain") or {}).get("nearest") or ():
            row["text"] = None
    return msgspec.json.encode(whole)


def kept_days(*, tenant_id: UUID, project_id: UUID) -> int:
    """For how long a project's texts are kept; 0: they are not. Opens the tenant's scope itself."""
    with tenant_scope(tenant_id):
        found = keeping_of(project_id)
    return found.days if found is not None else 0


def keeping_of(project_id: UUID) -> TextKeeping | None:
    """What a project's owners have asked for; None: keep nothing."""
    found: TextKeeping | None = TextKeeping.objects.filter(project_id=project_id).first()
    return found


def text_of(record: RequestRecord) -> RequestText | None:
    """What is kept of a request."""
    found: RequestText | None = RequestText.objects.filter(pk=record.pk, project_id=record.project_id).first()
    return found


def texts_keep(*, project: Project, days: int, by: str = "") -> None:
    """Keep texts from now on, for so many days (1 to 30). BadRequest for any other number."""
    if not 1 <= days <= TextKeeping.MOST_DAYS:
        raise BadRequest(f"Texts are kept for 1 to {TextKeeping.MOST_DAYS} days.", param="days")
    tenant_turn()  # two who switch it on at once take turns
    before = keeping_of(project.pk)
    values = {"days": days, "changed_by": by[:200], "changed_at": now()}
    if before is None:
        TextKeeping.objects.create(project=project, **values)
    else:
        TextKeeping.objects.filter(pk=before.pk).update(**values)
    audit.record(
        action="project.request_texts_kept", target=project, before={"days": before.days if before else 0},
        after={"days": days},
    )  # fmt: skip
    routes.announce(project.pk)


def texts_forget(*, project: Project) -> int:
    """Keep none from now on, and delete what there is: how many. Twice changes nothing."""
    before = keeping_of(project.pk)
    if before is None:
        return 0
    before.delete()
    gone, _ = RequestText.objects.filter(project_id=project.pk).delete()
    audit.record(
        action="project.request_texts_forgotten", target=project, before={"days": before.days},
        after={"days": 0, "deleted": gone},
    )  # fmt: skip
    routes.announce(project.pk)
    return gone


def text_note(record: RequestRecord, *, input: str, output: str) -> None:
    """Keep the texts of a call from the console's own pages, where its project wants that. In the tenant's scope."""
    if keeping_of(record.project_id) is not None:
        RequestText.objects.create(
            id=record.pk, project_id=record.project_id, at=record.at, input=clean(input), output=clean(output)
        )


def texts_prune() -> int:
    """Delete texts that are older than their project asked for, or whose project asks for none: how many."""
    deleted = 0
    with ops_scope("forget old texts"):
        days = dict(TextKeeping.ops.values_list("project_id", "days"))
        with connections[OPS].cursor() as cursor:
            cursor.execute(WHOSE)
            whose = cursor.fetchall()
        for tenant, project in whose:
            until = now() - dt.timedelta(days=days.get(project, 0))
            old = RequestText.ops.filter(tenant_id=tenant, project_id=project, at__lt=until)
            while parcel := list(old.values_list("pk", flat=True)[:PARCEL]):
                deleted += RequestText.ops.filter(pk__in=parcel).delete()[0]
    return deleted
