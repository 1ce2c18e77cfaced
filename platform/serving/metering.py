"""The time of deployments' own engines into usage, and what happens where no spend limit carries it any more.

A tick looks at who announces itself (`serving.engine_time` says what is counted) and writes the count, what is handed
out as usage, and what follows from it in one transaction for each deployment: killed, doubled or late, it counts once.
"""

from __future__ import annotations

import datetime as dt
import math
from uuid import UUID

from django.db.models import Q
from redis.exceptions import RedisError

from billing.selectors.usage import engine_time_month
from billing.services.engines import engine_time_record, engines_carried
from billing.services.sweeps import for_each
from inference.announcement import Heartbeat
from kit.clock import now
from serving import engine_time, engines, routes, services, telling
from serving.engine_time import HOUR, MINUTE, Meter, Piece
from serving.models import Dedicated, Deployment
from serving.pools import ACTIVE
from tenants.models import Tenant
from tenants.scope import ops_scope, tenant_scope
from tenants.selectors import tenant_current

HALTED = {
    Dedicated.Halt.SPEND_LIMIT: "Its engines were stopped: a spend limit no longer carries them. They are back within "
    "a minute once it carries an hour of them: raise it under Billing, or wait for the next month.",
    Dedicated.Halt.SUSPENDED: "Its engines were stopped: your organisation is suspended.",
}


def engines_meter(*, at: dt.datetime | None = None) -> int:
    """Count the engine time of every deployment with engines of its own, up to now; how many were looked at.

    With Redis away nothing is known and nothing counted; the next look makes up for it.
    """
    moment = at or now()
    try:
        beats = engines.announced()
    except RedisError:
        return 0
    with ops_scope("find deployments with engines of their own"):
        rows = Dedicated.ops.filter(Q(deployment__state__in=ACTIVE) | Q(open_seconds__gt=0))
        found = list(rows.values_list("tenant_id", "deployment_id"))
    return for_each("serving.engines_meter", found, lambda one: _look(one[0], one[1], beats, moment))


def _look(tenant_id: UUID, deployment_id: UUID, beats: list[Heartbeat], moment: dt.datetime) -> int:
    with tenant_scope(tenant_id):
        # The deployment's lock is the meter's: taken first, so that what is read next is what the last look wrote.
        locked = Deployment.objects.select_for_update(of=("self",), no_key=True).select_related("model", "project")
        deployment = locked.filter(pk=deployment_id).first()
        row = Dedicated.objects.filter(deployment_id=deployment_id).first()
        if deployment is None or row is None:
            return 0
        row.deployment = deployment
        if deployment.state not in ACTIVE:
            hand_out(row)
            return 1
        if int(moment.timestamp()) <= _meter(row).looked:
            return 0
        _count(row, _ready(row, beats, moment), moment)
        return 1


def _ready(row: Dedicated, beats: list[Heartbeat], moment: dt.datetime) -> dict[str, float]:
    """Who could be asked, and since when."""
    base = row.deployment.model.base
    own = [beat for beat in beats if beat.pool == row.pool and not beat.draining and base in beat.bases]
    return {beat.name: moment.timestamp() - beat.ready_s for beat in own}


def _count(row: Dedicated, ready: dict[str, float], moment: dt.datetime) -> None:
    deployment = row.deployment
    since = {}
    if deployment.state == Deployment.State.LIVE and deployment.live_at is not None:
        live = deployment.live_at.timestamp()
        asked_for = sorted(ready.items(), key=lambda one: one[1])[: row.wanted]  # nobody pays for one too many
        since = {name: math.ceil(max(begun, live)) for name, begun in asked_for}
    before = _meter(row)
    meter, pieces = engine_time.look(before, int(moment.timestamp()), since)
    _keep(row, meter, pieces)
    row.ready, changed = len(ready), ["ready"]
    if ready and row.cold_since is not None:  # only then: a tick of `pools.scale` writes it too, without our lock
        took = min(ready.values()) - row.cold_since.timestamp()
        row.cold_start_ms, row.cold_since = max(0, round(took * 1000)), None
        changed += ["cold_start_ms", "cold_since"]
    if since and not row.serves:
        row.serves = True
        changed.append("serves")
        services.note(deployment, deployment.state, "Calls go to its own engines from now on.")
        routes.announce(deployment.project_id)
    row.save(update_fields=changed)
    _obey_limits(row, charged=bool(pieces), minute=meter.handed != before.handed)


def hand_out(row: Dedicated) -> None:
    """Make usage of what is counted and not handed out yet: its engines are gone for good. In the tenant's scope, the
    deployment locked."""
    meter, pieces = engine_time.close(_meter(row))
    row.ready = 0
    row.save(update_fields=["ready"])
    _keep(row, meter, pieces)


def _keep(row: Dedicated, meter: Meter, pieces: list[Piece]) -> None:
    for piece in pieces:
        engine_time_record(
            request_id=f"{usage_name(row.deployment_id)}{piece.start}",
            project_id=row.deployment.project_id,
            model=row.deployment.model.name,
            seconds=piece.seconds,
            at=_moment(piece.start),
        )
    row.looked_at, row.handed_to, row.open_seconds = _moment(meter.looked), _moment(meter.handed), meter.open
    row.save(update_fields=["looked_at", "handed_to", "open_seconds"])


def _obey_limits(row: Dedicated, *, charged: bool, minute: bool) -> None:
    """Halt what the limits do not carry for another minute; let go on what they carry for an hour.

    `minute`: another one is over. Only then are limits asked while they are halted: it takes back what calls may spend.
    """
    halted = row.halted
    if tenant_current().status != Tenant.Status.ACTIVE:
        halted = Dedicated.Halt.SUSPENDED
    elif charged or halted == Dedicated.Halt.SUSPENDED or (halted and minute):
        wanted = HOUR * max(1, row.replicas_min) if halted else MINUTE * max(1, row.ready)
        model = row.deployment.model.name
        carried = engines_carried(project_id=row.deployment.project_id, model=model, seconds=wanted)
        halted = "" if carried else Dedicated.Halt.SPEND_LIMIT
    if halted == row.halted:
        return
    row.halted = halted
    row.save(update_fields=["halted"])
    deployment = row.deployment
    if halted:
        Dedicated.objects.filter(pk=row.pk).update(wanted=0, scaling={}, cold_since=None)
        services.note(deployment, deployment.state, HALTED[Dedicated.Halt(halted)])
    else:
        services.note(deployment, deployment.state, "Its engines may run again.")
    if halted == Dedicated.Halt.SPEND_LIMIT:
        telling.tell_halted(deployment)
    routes.announce(deployment.project_id)


def month_of_engines(deployment: Deployment) -> tuple[int, int]:
    """Engine-seconds of a deployment in this month, and what they cost in nano; a minute or so behind."""
    return engine_time_month(usage_name(deployment.pk))


def usage_name(deployment_id: UUID) -> str:
    """What the request ids of a deployment's engine time begin with."""
    return f"engines:{deployment_id.hex}:"


def _meter(row: Dedicated) -> Meter:
    return Meter(int(row.looked_at.timestamp()), int(row.handed_to.timestamp()), row.open_seconds)


def _moment(second: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(second, dt.UTC)
