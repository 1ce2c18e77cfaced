"""Recording changes. Called by every service that changes something, inside its transaction."""

from contextvars import ContextVar
from typing import Any

from kit.logs import request_id
from tenants.access import AuthContext
from tenants.models.audit import AuditEvent

_actor: ContextVar[AuthContext | None] = ContextVar("actor", default=None)

SYSTEM = ("system", "", "Tunesmith")


def set_actor(context: AuthContext | None) -> Any:
    """Who acts in this request or task; returns a token for `reset_actor`."""
    return _actor.set(context)


def reset_actor(token: Any) -> None:
    """Undo `set_actor`."""
    _actor.reset(token)


def record(
    *,
    action: str,
    target: Any,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    reason: str = "",
    actor: tuple[str, str, str] | None = None,
) -> None:
    """Write one change into the scope's tenant's log.

    `action` is a stable code (`key.created`); `target` a model instance with `public_id`; `before` and `after` hold
    only the changed fields and never a secret. `actor` overrides (kind, id, label) of the door's caller.
    """
    context = _actor.get()
    if actor is None:
        actor = (context.actor_kind, context.actor_id, context.actor_label) if context else SYSTEM
    AuditEvent.objects.create(
        actor_kind=actor[0],
        actor_id=actor[1],
        actor_label=actor[2][:254],
        action=action,
        target_kind=type(target).__name__.lower(),
        target_id=getattr(target, "public_id", str(target.pk)),
        target_label=str(target)[:200],
        before=before,
        after=after,
        reason=reason[:300],
        ip=context.ip if context else None,
        request_id=request_id.get(),
    )
