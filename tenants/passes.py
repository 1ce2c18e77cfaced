"""Passes: what lets a page of a signed-in member call the gateway for a minute, without a key.

A door checks the member and signs a pass for the project at hand (`pass_make`); the page sends it as a bearer token,
and the gateway opens it with the same secret (`pass_read`, then `pass_open`). It opens nothing but inference in that
project, is stored nowhere, and cannot be renewed by who holds it.
"""

from __future__ import annotations

import datetime as dt
from uuid import UUID

from django.core import signing

from kit.clock import now
from tenants import selectors
from tenants.access import KeyRecord
from tenants.errors import KeyRefused
from tenants.models import Project
from tenants.scope import tenant_scope

PREFIX = "ts_pass_"
LIFE = dt.timedelta(seconds=60)
"""From the page to the first byte of the call; a call that runs may take longer."""
_SALT = "tenants.passes"


def pass_make(project: Project) -> str:
    """A pass for a project. The caller has checked that its holder may call models there."""
    return PREFIX + signing.dumps([project.tenant_id.hex, project.pk.hex], salt=_SALT)


def is_pass(header: bytes | None) -> bool:
    """Whether an Authorization header brings a pass, good or not."""
    return header is not None and header[:7].lower() == b"bearer " and header[7:].lstrip().startswith(PREFIX.encode())


def pass_read(header: bytes) -> tuple[UUID, UUID]:
    """The tenant and the project that a pass is for. KeyRefused for one that is forged or too old. Asks nobody."""
    value = header[7:].strip().decode("latin-1").removeprefix(PREFIX)
    try:
        tenant_id, project_id = (UUID(hex=part) for part in signing.loads(value, salt=_SALT, max_age=LIFE))
    except (signing.BadSignature, ValueError, TypeError) as error:
        raise KeyRefused("This pass has expired. Run it again from the page.") from error
    return tenant_id, project_id


def pass_open(tenant_id: UUID, project_id: UUID) -> KeyRecord:
    """What a pass that was read opens, as if it were a key without a name. KeyRefused for a project that is gone. Reads
    the database; opens the tenant's scope itself."""
    with tenant_scope(tenant_id):
        project = selectors.projects().select_related("tenant").filter(pk=project_id).first()
    if project is None:
        raise KeyRefused
    tenant = project.tenant
    return KeyRecord(
        id=None,
        tenant_id=tenant_id,
        tenant_slug=tenant.slug,
        tenant_status=tenant.status,
        project_id=project_id,
        name="",
        secret_hash="",
        scopes=frozenset({"inference"}),
        limits={},
        expires_at=now() + LIFE,
        revoked_at=None,
    )
