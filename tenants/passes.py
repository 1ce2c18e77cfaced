"""Passes: what lets a page of a signed-in member call the gateway for a minute, without a key.

A door checks the member and signs a pass for him and the project at hand (`pass_make`); the page sends it as a bearer
token, and the gateway opens it with the same secret (`pass_read`, then `pass_open`). It opens nothing but inference in
that project, under the member's limits and while his role allows it, is stored nowhere, and cannot be renewed by who
holds it.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from uuid import UUID

from django.core import signing

from kit.clock import now
from tenants import selectors
from tenants.access import PERMISSIONS, KeyRecord
from tenants.errors import KeyRefused
from tenants.models import Member, Project
from tenants.scope import tenant_scope

PREFIX = "ts_pass_"
LIFE = dt.timedelta(seconds=60)
"""From the page to the first byte of the call; a call that runs may take longer."""
_SALT = "tenants.passes"


@dataclass(frozen=True, slots=True)
class Pass:
    """What a pass says: whose calls these are, and where."""

    tenant_id: UUID
    project_id: UUID
    user_id: UUID


def pass_make(project: Project, user_id: UUID) -> str:
    """A pass for a member and a project. The caller has checked that he may call models there."""
    return PREFIX + signing.dumps([project.tenant_id.hex, project.pk.hex, user_id.hex], salt=_SALT)


def is_pass(header: bytes | None) -> bool:
    """Whether an Authorization header brings a pass, good or not."""
    return header is not None and header[:7].lower() == b"bearer " and header[7:].lstrip().startswith(PREFIX.encode())


def pass_read(header: bytes) -> Pass:
    """What a pass says. KeyRefused for one that is forged or too old. Asks nobody."""
    value = header[7:].strip().decode("latin-1").removeprefix(PREFIX)
    try:
        return Pass(*(UUID(hex=part) for part in signing.loads(value, salt=_SALT, max_age=LIFE)))
    except (signing.BadSignature, ValueError, TypeError) as error:
        raise KeyRefused("This pass has expired. Run it again from the page.") from error


def pass_open(said: Pass) -> KeyRecord:
    """What a pass that was read opens, as if it were a key without a name. KeyRefused for a project that is gone, and
    for a member who has left or may call nothing any more. Reads the database; opens the tenant's scope itself."""
    with tenant_scope(said.tenant_id):
        project = selectors.projects().select_related("tenant").filter(pk=said.project_id).first()
        seat = Member.objects.select_related("user").filter(user_id=said.user_id).first()
    if project is None or seat is None or not seat.user.is_active or "inference" not in PERMISSIONS[seat.role]:
        raise KeyRefused
    tenant = project.tenant
    return KeyRecord(
        id=None,
        tenant_id=said.tenant_id,
        tenant_slug=tenant.slug,
        tenant_status=tenant.status,
        project_id=said.project_id,
        name="",
        secret_hash="",
        scopes=frozenset({"inference"}),
        limits={},
        expires_at=now() + LIFE,
        revoked_at=None,
        member_id=said.user_id,
    )
