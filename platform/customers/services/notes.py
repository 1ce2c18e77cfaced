"""Staff notes and tags. All of it runs on the ops role, inside `ops_scope`."""

import re
from uuid import UUID

from django.db import transaction

from customers.limits import NOTE, NOTES, TAG, TAGS
from customers.models import Note, Tag
from kit.clock import now
from kit.errors import BadRequest, Conflict, NotFound
from tenants.models import Tenant
from tenants.scope import OPS

_TAG = re.compile(r"[a-z0-9][a-z0-9-]*")


def clean_tag(raw: str) -> str:
    """A tag as it is kept: small letters, digits and dashes. BadRequest for anything else."""
    name = "-".join(raw.strip().lower().split())
    if not _TAG.fullmatch(name) or len(name) > TAG:
        raise BadRequest(f"Use letters, digits and dashes, at most {TAG}: early-adopter, for example.", param="tag")
    return name


def clean_text(raw: str, *, most: int, param: str = "text") -> str:
    """What somebody wrote, with its lines, without what no database keeps; 1 to `most` characters. BadRequest."""
    lines = raw.replace("\r\n", "\n").replace("\r", "\n")
    text = "".join(char for char in lines if char in "\n\t" or char.isprintable()).strip()
    if not 1 <= len(text) <= most:
        raise BadRequest(f"Write 1 to {most:,} characters.", param=param)
    return text


def note_add(*, tenant_id: UUID, text: str, by: str) -> Note:
    """Keep a note about a customer; `by` is an e-mail. BadRequest, Conflict past NOTES."""
    text = clean_text(text, most=NOTE)
    with transaction.atomic(using=OPS):
        _tenant(tenant_id)
        if Note.ops.filter(tenant_id=tenant_id, removed_at=None).count() >= NOTES:
            raise Conflict(f"{NOTES:,} notes are kept of this customer. Remove some that nobody needs.")
        note: Note = Note.ops.create(tenant_id=tenant_id, text=text, created_by=by)
    return note


def note_remove(*, tenant_id: UUID, note_id: UUID, by: str) -> Note:
    """Take a note off the customer's page. NotFound for one that is not there."""
    with transaction.atomic(using=OPS):
        rows = Note.ops.filter(pk=note_id, tenant_id=tenant_id, removed_at=None)
        note = rows.select_for_update().first()
        if note is None:
            raise NotFound("This note is not there any more.")
        rows.update(removed_at=now(), removed_by=by)
    found: Note = note
    return found


def tag_add(*, tenant_id: UUID, name: str, by: str) -> Tag:
    """Give a customer a tag; one it has stays as it is. BadRequest, Conflict past TAGS."""
    name = clean_tag(name)
    with transaction.atomic(using=OPS):
        _tenant(tenant_id)
        rows = Tag.ops.filter(tenant_id=tenant_id, removed_at=None)
        tag = rows.filter(name=name).first()
        if tag is None and rows.count() >= TAGS:
            raise Conflict(f"A customer has at most {TAGS} tags. Remove one first.", param="tag")
        tag = tag or Tag.ops.create(tenant_id=tenant_id, name=name, created_by=by)
    found: Tag = tag
    return found


def tag_remove(*, tenant_id: UUID, name: str, by: str) -> Tag:
    """Take a tag from a customer. NotFound for one it has not."""
    with transaction.atomic(using=OPS):
        rows = Tag.ops.filter(tenant_id=tenant_id, name=name, removed_at=None)
        tag = rows.select_for_update().first()
        if tag is None:
            raise NotFound("The customer has no such tag any more.")
        rows.update(removed_at=now(), removed_by=by)
    found: Tag = tag
    return found


def _tenant(tenant_id: UUID) -> Tenant:
    """The customer, locked so that two who count do so one after the other."""
    rows = Tenant.ops.exclude(status=Tenant.Status.ERASED).select_for_update(no_key=True)
    tenant = rows.filter(pk=tenant_id).first()
    if tenant is None:
        raise NotFound.of(tenant_id)
    found: Tenant = tenant
    return found
