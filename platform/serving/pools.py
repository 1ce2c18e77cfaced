"""Engines reserved to one deployment: how many are wanted, and the contract with whoever starts engines.

`desired` is the whole contract: so many engines with `--pool NAME`, and so many that wait warm. Whatever starts engines
(`manage.py engines` on one machine, an operator on Kubernetes) reads it, starts what is missing and stops (SIGTERM)
what is over. What there is, engines say themselves: the pool is part of their heartbeat.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from django.conf import settings
from django.db import connection
from django.db.models import Sum
from redis.exceptions import RedisError

from inference.announcement import LASTS_S, SHARED, WARM, Heartbeat
from inference.client import BlockingClient
from inference.fleet import Want
from kit import redis
from kit.clock import now
from serving import autoscale, engines
from serving.errors import DedicatedFull, DedicatedNotOffered, ModelCold
from serving.models import Dedicated, Deployment
from tenants.scope import ops_scope

ACTIVE = (Deployment.State.LOADING, Deployment.State.LIVE)
"""What counts against a plan, and has engines."""
PROMISE_LOCK = 0x706F6F6C
"""Held by whoever counts what is promised and promises more."""
CALLED_SECONDS = 120
"""How long a call without an engine counts as under way: longer than an engine takes to start."""

SILENT, SILENT_SECONDS = "silent_since", LASTS_S + CALLED_SECONDS
"""Engines that are wanted and not heard start, or Redis was emptied: so long nothing is concluded from it."""
PAGE_SECONDS = 20.0
"""How long a page waits for an engine that is being started for it; LOOK_SECONDS between two looks."""
LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Wish:
    """What a tenant wants of its own engines."""

    replicas_min: int = 0
    replicas_max: int = 1
    idle_seconds: int = 900


class Supervisor(Protocol):
    """Who starts engines. `name` is the engine's, as it announces itself."""

    def start(self, pool: str) -> None:
        """One more engine of this pool; it announces itself when it is ready."""

    def stop(self, name: str) -> None:
        """Let this one finish what it has and leave."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What brings the engines that there are to those that are wanted."""

    start: list[str]
    stop: list[str]
    join: list[tuple[str, str]]
    """(address of an engine that waits warm, the pool that it shall serve)"""


def check_room(wish: Wish) -> None:
    """Refuse what the operator has no machines for, or keeps for others. In the transaction that makes the deployment:
    others wait until it ends. Raises `DedicatedNotOffered` or `DedicatedFull`."""
    offered = settings.DEDICATED_REPLICAS
    if not offered:
        raise DedicatedNotOffered(
            "This installation offers no engines of your own. Leave 'dedicated' out: the shared engines serve the "
            "model at no idle cost.",
            param="dedicated",
        )
    with connection.cursor() as cursor:  # until the deployment is there, whoever else asks waits
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PROMISE_LOCK])
    with ops_scope("count the engines that are promised"):
        taken = Dedicated.ops.filter(deployment__state__in=ACTIVE).aggregate(n=Sum("replicas_max"))["n"] or 0
    if taken + wish.replicas_max > offered:
        raise DedicatedFull(
            f"{wish.replicas_max} engines of your own are more than the {max(offered - taken, 0)} that are free here. "
            "Ask for fewer, or deploy without 'dedicated'.",
            param="dedicated",
        )
    most = settings.DEDICATED_REPLICAS_PER_TENANT
    own = Dedicated.objects.filter(deployment__state__in=ACTIVE).aggregate(n=Sum("replicas_max"))["n"] or 0
    if own + wish.replicas_max > most:
        raise DedicatedFull(
            f"An organization may have {most} engines of its own here; {own} are promised to yours, and "
            f"{wish.replicas_max} more would be too many. Ask for fewer, stop a deployment that has some, or deploy "
            "without 'dedicated'.",
            param="dedicated",
        )


def called(pool: str) -> bool:
    """Note that a call waits for an engine of this pool. Only a hint: the next call says it again."""
    return redis.set_for(f"pool:called:{pool}", "1", seconds=CALLED_SECONDS)


@contextlib.contextmanager
def awake(want: Want, *, timeout: float) -> Iterator[BlockingClient]:
    """`engines.connected`, for pages: where a deployment's own engines sleep, one is called and waited for.

    Raises `ModelCold` where none is there in time.
    """
    if want.pool != SHARED and not engines.addresses(want):
        called(want.pool)
        deadline = time.monotonic() + PAGE_SECONDS
        while not engines.addresses(want):
            if time.monotonic() > deadline:
                raise ModelCold(PAGE_SECONDS)
            time.sleep(LOOK_SECONDS)
    with engines.connected(want, timeout=timeout) as engine:
        yield engine


def scale() -> int:
    """Decide for every dedicated deployment how many engines it should have now. Returns how many are wanted in all.

    From several processes at once it decides the same; with Redis away nothing changes, for nothing is known.
    """
    try:
        beats = engines.announced()
        with ops_scope("decide how many engines dedicated deployments should have"):
            rows = list(Dedicated.ops.filter(deployment__state__in=ACTIVE).select_related("deployment"))
            waiting = {row.pool for row in rows if redis.client().exists(f"pool:called:{row.pool}")}
            for row in rows:
                _scale(row, beats, row.pool in waiting)
    except RedisError:
        return 0
    return sum(row.wanted for row in rows)


def _scale(row: Dedicated, beats: list[Heartbeat], called_now: bool) -> None:
    own = [beat for beat in beats if beat.pool == row.pool]
    moment, scaling = now().timestamp(), dict(row.scaling)
    silent_since = scaling.pop(SILENT, None)
    if row.wanted and not own:
        silent_since = moment if silent_since is None else silent_since
        if moment - silent_since <= SILENT_SECONDS:
            _keep(row, row.wanted, scaling | {SILENT: silent_since})
            return
    else:
        silent_since = None
    asked = row.deployment.state == Deployment.State.LOADING or (called_now and not own)
    load = sum(beat.load for beat in own) + int(asked)
    idle = 0.0 if asked else min((beat.idle_s for beat in own), default=float("inf"))
    policy = autoscale.Policy(row.replicas_min, row.replicas_max, row.idle_seconds)
    before = autoscale.Scale(**({"wanted": row.wanted} | scaling))
    after = autoscale.decide(policy, before, autoscale.Seen(moment, load, idle))
    found = asdict(after) | {SILENT: silent_since if after.wanted else None}
    _keep(row, found.pop("wanted"), {key: value for key, value in found.items() if value is not None})


def _keep(row: Dedicated, wanted: int, scaling: dict[str, Any]) -> None:
    """Write down what was decided, where it is anything new."""
    if (wanted, scaling) != (row.wanted, row.scaling):
        Dedicated.ops.filter(pk=row.pk).update(wanted=wanted, scaling=scaling)
        row.wanted, row.scaling = wanted, scaling


def desired() -> dict[str, int]:
    """Engines wanted, by the name of their pool; warm ones among them. The shared ones are the operator's."""
    with ops_scope("say which engines are wanted"):
        rows = Dedicated.ops.filter(deployment__state__in=ACTIVE, wanted__gt=0)
        wanted = {row.pool: row.wanted for row in rows}
    return wanted | ({WARM: settings.WARM_REPLICAS} if settings.WARM_REPLICAS else {})


def changes(wanted: dict[str, int], there: list[tuple[str, str, str]], coming: Counter[str]) -> Changes:
    """What to do. `there`: name, address and pool of each engine that does not leave; `coming`: engines started and not
    heard of yet, by pool. Who waits warm is taken first: it has its bases in memory."""
    have = Counter(pool for _, _, pool in there)
    warm = [address for _, address, pool in there if pool == WARM]
    found = Changes([], [], [])
    for pool in sorted(wanted, key=lambda pool: pool == WARM):
        missing = wanted[pool] - have[pool] - coming[pool]
        while missing > 0 and warm and pool != WARM:
            found.join.append((warm.pop(), pool))
            have[WARM] -= 1
            missing -= 1
        found.start.extend([pool] * max(missing, 0))
    left = Counter(wanted)
    taken = {address for address, _ in found.join}
    for name, address, pool in there:
        if address in taken:
            continue
        if left[pool] > 0:
            left[pool] -= 1
        else:
            found.stop.append(name)
    return found


def wire(row: Dedicated) -> dict[str, Any]:
    """A deployment's own engines on the wire."""
    return {
        "replicas_min": row.replicas_min,
        "replicas_max": row.replicas_max,
        "idle_seconds": row.idle_seconds,
        "replicas_wanted": row.wanted,
    }
