"""Making, changing, rotating and revoking API keys. Each change is announced, so that gateways forget a key at once."""

import datetime as dt
import logging
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connections, transaction
from django.db.models import Q
from redis.exceptions import RedisError

from kit import redis
from kit.clock import now
from kit.errors import BadRequest, NotFound
from tenants import audit, keys
from tenants.access import KEY_SCOPES, READ, WRITE
from tenants.models import ApiKey, Project, User
from tenants.scope import OPS, ops_scope
from tenants.services.organisations import KEY_NEWS as NEWS
from tenants.services.organisations import clean_name, project_open, tenant_turn

logger = logging.getLogger(__name__)

SEEN = "keys:seen"
"""Redis set of ids of keys used since the last flush."""
FLUSH = 10_000
"""Keys written by one flush."""
MAX_OVERLAP = dt.timedelta(days=7)
LIMIT_NAMES = (
    "requests_per_minute",
    "tokens_per_minute",
    "input_tokens_per_minute",
    "output_tokens_per_minute",
    "concurrency",
    "monthly_spend_nano",
    "slow_from_percent",
)
"""The limits that a project, a member, a key and a model can have of their own."""


def key_create(
    *,
    project: Project,
    name: str,
    scopes: list[str] | None = None,
    expires_at: dt.datetime | None = None,
    limits: dict[str, int] | None = None,
    created_by: User | None = None,
    rotated_from: ApiKey | None = None,
) -> tuple[ApiKey, str]:
    """A key of a project; returns it with the plaintext, which is shown once and kept nowhere.
    Without `scopes` it may do everything in its project, and see and move no money."""
    name = clean_name(name)
    wanted = sorted(READ | WRITE) if scopes is None else _scopes(scopes)
    if expires_at is not None and expires_at <= now():
        raise BadRequest("The expiry lies in the past.", param="expires_at")
    tenant_turn()
    project_open(project.pk)
    plaintext, parts = keys.generate()
    key: ApiKey = ApiKey.objects.create(
        project=project,
        name=name,
        lookup=parts.lookup,
        secret_hash=keys.secret_hash(parts.secret, settings.API_KEY_PEPPER),
        last_four=plaintext[-4:],
        scopes=wanted,
        limits=_limits(limits),
        expires_at=expires_at,
        created_by=created_by,
        rotated_from=rotated_from,
    )
    audit.record(action="key.created", target=key, after={"scopes": wanted, "project": project.slug})
    return key, plaintext


def key_rotate(*, key: ApiKey, overlap: dt.timedelta, by: User | None = None) -> tuple[ApiKey, str]:
    """A successor with the same rights; the old key goes on working for the overlap, then expires. BadRequest for a
    closed key: none comes back that way."""
    tenant_turn()
    # Locked: rights that are taken away at this moment are not handed on.
    key = ApiKey.objects.select_for_update(of=("self",)).select_related("project").get(pk=key.pk)
    _check_open(key)
    if not dt.timedelta(0) <= overlap <= MAX_OVERLAP:
        raise BadRequest("The overlap must be between 0 and 7 days.", param="overlap")
    fresh, plaintext = key_create(
        project=key.project,
        name=key.name,
        scopes=key.scopes,
        expires_at=key.expires_at,
        limits=key.limits,
        created_by=by,
        rotated_from=key,
    )
    end = now() + overlap
    if key.expires_at is None or key.expires_at > end:
        key.expires_at = end
        key.save(update_fields=["expires_at"])
    audit.record(action="key.rotated", target=key, after={"successor": fresh.public_id, "works_until": end.isoformat()})
    _announce(key)
    return fresh, plaintext


def key_change(*, key: ApiKey, name: str, limits: dict[str, int]) -> ApiKey:
    """Another name and other limits for an open key; what it may do stays. BadRequest for a closed one."""
    _check_open(key)
    before = {"name": key.name, "limits": key.limits}
    key.name, key.limits = clean_name(name), _limits(limits)
    after = {"name": key.name, "limits": key.limits}
    if before != after:
        key.save(update_fields=["name", "limits"])
        audit.record(action="key.changed", target=key, before=before, after=after)
        _announce(key)
    return key


def key_scopes_set(*, key: ApiKey, scopes: list[str]) -> ApiKey:
    """Other scopes for an open key, whose secret stays; they hold everywhere within seconds. BadRequest for a closed
    key, an unknown scope, or none."""
    wanted = _scopes(scopes)
    row: ApiKey = ApiKey.objects.select_for_update().get(pk=key.pk)
    _check_open(row)
    before = sorted(row.scopes)
    if before != wanted:
        row.scopes = wanted
        row.save(update_fields=["scopes"])
        audit.record(action="key.scopes_changed", target=row, before={"scopes": before}, after={"scopes": wanted})
        _announce(row)
    return row


def key_revoke(*, key: ApiKey) -> ApiKey:
    """Close a key for good, everywhere within seconds. Doing it twice changes nothing."""
    if key.revoked_at is None:
        key.revoked_at = now()
        key.save(update_fields=["revoked_at"])
        audit.record(action="key.revoked", target=key)
        _announce(key)
    return key


def keys_revoke_all(*, project: Project) -> int:
    """Close every open key of a project; returns how many."""
    open_keys = list(ApiKey.objects.filter(project=project, revoked_at=None))
    for key in open_keys:
        key_revoke(key=key)
    return len(open_keys)


def key_seen(key_id: UUID) -> None:
    """Note that a key was used. One Redis call; losing it loses only a "last used" time."""
    try:
        redis.client().sadd(SEEN, str(key_id))
    except RedisError:
        logger.warning("could not note the use of a key: Redis is away")


_TOUCH = """
UPDATE tenants_apikey AS key SET last_used_at = used.at
FROM unnest(%(ids)s::uuid[], %(moments)s::timestamptz[]) AS used (id, at)
WHERE key.id = used.id AND key.id IN (
    SELECT id FROM tenants_apikey WHERE id = ANY(%(ids)s::uuid[]) ORDER BY id FOR UPDATE SKIP LOCKED
) AND (key.last_used_at IS NULL OR key.last_used_at < used.at)
"""


def keys_touch(*, ids: Iterable[UUID], at: dt.datetime) -> int:
    """Set `last_used_at` of many keys, of any tenants, in one statement; never backwards. Returns how many rows."""
    with ops_scope("key use"):
        rows = ApiKey.ops.filter(pk__in=list(ids))
        return rows.filter(Q(last_used_at=None) | Q(last_used_at__lt=at)).update(last_used_at=at)


def keys_used(used: Mapping[UUID, dt.datetime]) -> int:
    """The same of keys that were used at different times. Keys that somebody else is writing are left: whoever touches
    them too has a newer time, and one that is being changed is used again."""
    if not used:
        return 0
    with ops_scope("key use"), connections[OPS].cursor() as cursor:
        cursor.execute(_TOUCH, {"ids": list(used), "moments": list(used.values())})
        return cursor.rowcount


def keys_flush() -> int:
    """Write what `key_seen` noted; beat calls it. Returns how many keys."""
    names: Any = redis.client().spop(SEEN, FLUSH) or []
    return keys_touch(ids=[UUID(name.decode()) for name in names], at=now()) if names else 0


def key_of(key_id: UUID) -> ApiKey:
    """A key of the scope's tenant."""
    key = ApiKey.objects.select_related("project").filter(pk=key_id).first()
    if key is None:
        raise NotFound.of(key_id)
    found: ApiKey = key
    return found


def _check_open(key: ApiKey) -> None:
    if key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now()):
        raise BadRequest("This key is closed. Nothing about it can change.")


def _scopes(scopes: list[str]) -> list[str]:
    wanted = sorted(set(scopes))
    unknown = [scope for scope in wanted if scope not in KEY_SCOPES]
    if unknown or not wanted:
        what = f"Unknown scope {', '.join(unknown)!r}." if unknown else "A key needs at least one scope."
        raise BadRequest(f"{what} Scopes: {', '.join(KEY_SCOPES)}.", param="scopes")
    return wanted


def _limits(limits: dict[str, int] | None) -> dict[str, int]:
    clean = {}
    for name, value in (limits or {}).items():
        if name not in LIMIT_NAMES:
            raise BadRequest(f"Unknown limit '{name}'. Limits: {', '.join(LIMIT_NAMES)}.", param="limits")
        if value is not None:
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 10**15:
                raise BadRequest(f"'{name}' must be a whole number, 0 or more.", param=f"limits.{name}")
            clean[name] = value
    return clean


def _announce(key: ApiKey) -> None:
    lookup = key.lookup
    transaction.on_commit(lambda: redis.publish(NEWS, lookup))
