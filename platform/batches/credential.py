"""What opens the gateway for one line of a batch: signed by us, for a few minutes, for one request id.

It says whose line it is, and the gateway looks up what that key or member may do now, as for any call. It carries no
rights of its own: whoever could make one has our secret key, and with it every session.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid5

from django.core import signing

from kit.ids import encode, public_id

PREFIX = "tsbatch_"
SALT = "batches.credential"
SECONDS = 300
"""How long after it was made a credential opens the gateway; a call that has begun goes on."""
NOBODY = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a line is asked: with the key that made the batch, or as the member who did."""

    tenant_id: UUID
    project_id: UUID
    key_id: UUID | None
    user_id: UUID | None


@dataclass(frozen=True, slots=True)
class Credential:
    """One line of one caller."""

    caller: Caller
    identity: UUID
    """What its request id stands for."""


def identity_of(batch_id: UUID, line: int) -> UUID:
    """What the request id of a line stands for: the same however often the line is asked, so that it is metered
    once."""
    return uuid5(batch_id, str(line))


def request_id_of(batch_id: UUID, line: int) -> str:
    """The request id of a line, as clients see it."""
    return public_id("req_", identity_of(batch_id, line))


def line_id(batch_id: UUID, line: int) -> str:
    """The id of a line's result."""
    return "batch_req_" + encode(identity_of(batch_id, line))


def sign(caller: Caller, identity: UUID) -> str:
    """The credential for a line, made now."""
    ids = (caller.tenant_id, caller.project_id, caller.key_id or NOBODY, caller.user_id or NOBODY, identity)
    return PREFIX + signing.dumps([one.hex for one in ids], salt=SALT)


def read(text: str) -> Credential | None:
    """What a credential says; None for one that we did not make, or made too long ago."""
    if not text.startswith(PREFIX):
        return None
    try:
        ids = signing.loads(text.removeprefix(PREFIX), salt=SALT, max_age=SECONDS)
    except signing.BadSignature:
        return None
    tenant_id, project_id, key_id, user_id, identity = (UUID(hex=one) for one in ids)
    caller = Caller(tenant_id, project_id, key_id if key_id != NOBODY else None, user_id if user_id != NOBODY else None)
    return Credential(caller, identity)
