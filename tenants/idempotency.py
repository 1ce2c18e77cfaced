"""Creates that a client repeats have one effect.

With an `Idempotency-Key` header: the first answer is kept 24 hours in the same transaction as its effect and replayed;
another body under the same key is refused. Without one: a create that the official client says it is retrying
(`X-Stainless-Retry-Count` above 0) is matched with the same caller's same body of the last five minutes, because that
client sends no key and would otherwise create twice after a lost answer.

The gateway's calls are no creates: of a key it checks the form alone (docs/decisions/0054).
"""

import datetime as dt
import hashlib
from collections.abc import Callable
from typing import Any

from django.db import IntegrityError, transaction

from kit.clock import now
from kit.errors import BadRequest, NotFound, Unprocessable
from tenants.models.idempotency import IdempotentRequest

KEEP = dt.timedelta(hours=24)
RETRY_WINDOW = dt.timedelta(minutes=5)


def check_form(given: str) -> None:
    """BadRequest for an `Idempotency-Key` that no route takes."""
    if not 1 <= len(given) <= 255 or not given.isprintable():
        raise BadRequest("Idempotency-Key must be 1 to 255 printable characters.", param="Idempotency-Key")


def key_for(headers: Any, *, path: str, body: bytes) -> tuple[str, str, bool]:
    """(key, body sha256, whether a stored answer may be replayed) of a create."""
    digest = hashlib.sha256(path.encode() + b"\n" + body).hexdigest()
    given = headers.get("Idempotency-Key")
    if given is not None:
        check_form(given)
        return given, digest, True
    try:
        retrying = int(headers.get("X-Stainless-Retry-Count", "0")) > 0
    except ValueError:
        retrying = False
    return f"auto:{digest}", digest, retrying


def run(
    *,
    actor: str,
    path: str,
    headers: Any,
    body: bytes,
    create: Callable[[], tuple[int, dict[str, Any]]],
) -> tuple[int, dict[str, Any], bool]:
    """Run `create` once; returns (status, answer, whether it is a replay). Must be called inside `tenant_scope`."""
    if "\0" in path:  # nothing has such a name, and the database takes none
        raise NotFound(f"Nothing is at {path[:200]!r}.")
    key, digest, may_replay = key_for(headers, path=path, body=body)
    automatic = key.startswith("auto:")
    oldest = now() - (RETRY_WINDOW if automatic else KEEP)
    stored = IdempotentRequest.objects.filter(actor=actor, key=key).first()
    if stored is not None and (not may_replay or stored.created_at < oldest):
        stored.delete()
        stored = None
    if stored is None:
        try:
            with transaction.atomic():
                # A twin request in flight holds the same unique key: this insert waits for it to commit.
                row = IdempotentRequest.objects.create(actor=actor, key=key, path=path[:200], body_sha256=digest)
        except IntegrityError:
            stored = IdempotentRequest.objects.filter(actor=actor, key=key).first()
            if stored is None:  # a third request has just put the old row aside: begin again
                return run(actor=actor, path=path, headers=headers, body=body, create=create)
        else:
            status, answer = create()
            IdempotentRequest.objects.filter(pk=row.pk).update(status=status, answer=answer)
            return status, answer, False
    if stored.body_sha256 != digest:
        raise Unprocessable(
            "This Idempotency-Key was used with another body. Use a new key for a new request.",
            code="idempotency_mismatch",
            param="Idempotency-Key",
        )
    return stored.status, stored.answer, True
