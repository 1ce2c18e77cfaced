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
from enum import StrEnum
from typing import Any, Protocol

from django.conf import settings
from django.db import connection
from django.db.models import QuerySet, Sum
from redis.exceptions import RedisError

from billing.selectors.subscriptions import entitlement_for, plans_offered
from inference.announcement import LASTS_S, SHARED, WARM, Heartbeat
from inference.client import BlockingClient
from inference.fleet import Want
from kit import redis
from kit.clock import now
from serving import autoscale, engines
from serving.errors import DedicatedFull, DedicatedNotInPlan, DedicatedNotOffered, ModelCold
from serving.models import Dedicated, Deployment
from tenants.scope import current_tenant_id, ops_scope

ACTIVE = (Deployment.State.LOADING, Deployment.State.LIVE)
"""What counts against a plan, and has engines."""
PROMISE_LOCK = 0x706F6F6C
"""Held by whoever counts what is promised and promises more."""
CALLED_SECONDS = 120
"""How long a call without an engine counts as under way: longer than an engine takes to start."""

SILENT, SILENT_SECONDS = "silent_since", LASTS_S + CALLED_SECONDS
"""Engines that are wanted and not heard start, or Redis was emptied: so long nothing is concluded from it."""
PAGE_SECONDS = 20.0
"""How long a page waits for an engine that is being started for it."""
LOOK_SECONDS = 0.25
"""Between two looks whether it is there."""


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


@dataclass(frozen=True, slots=True)
class Room:
    """Engines that deployments may have of their own: of this installation, of this organisation, and of its plan."""

    offered: int
    taken: int
    most: int
    own: int
    planned: int

    @property
    def free(self) -> int:
        """As many more the organisation can have."""
        return max(0, min(self.offered - self.taken, min(self.most, self.planned) - self.own))


def room(*, besides: Deployment | None = None) -> Room:
    """The room there is for the scope's organisation; what `besides` has does not count as taken."""
    with ops_scope("count the engines that are promised"):
        taken = _promised(Dedicated.ops.all(), besides)
    own = _promised(Dedicated.objects.all(), besides)
    planned = entitlement_for(current_tenant_id()).limits.own_engines
    return Room(settings.DEDICATED_REPLICAS, taken, settings.DEDICATED_REPLICAS_PER_TENANT, own, planned)


def _promised(rows: QuerySet[Dedicated], besides: Deployment | None) -> int:
    rows = rows.filter(deployment__state__in=ACTIVE)
    if besides is not None:
        rows = rows.exclude(deployment_id=besides.pk)
    return rows.aggregate(n=Sum("replicas_max"))["n"] or 0


def check_room(wish: Wish, *, besides: Deployment | None = None) -> None:
    """Refuse what the operator has no machines for or keeps for others, and what the plan does not have. In the
    transaction that makes the deployment, or changes `besides`: others wait until it ends.

    Raises `DedicatedNotOffered`, `DedicatedNotInPlan` or `DedicatedFull`.
    """
    if not settings.DEDICATED_REPLICAS:
        raise DedicatedNotOffered(
            "This installation offers no engines of your own. Leave 'dedicated' out: the shared engines serve the "
            "model at no idle cost.",
            param="dedicated",
        )
    with connection.cursor() as cursor:  # until the deployment is there, whoever else asks waits
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PROMISE_LOCK])
    there = room(besides=besides)
    if not there.planned:
        raise DedicatedNotInPlan(
            f"Your plan has no engines of its own for a deployment. {_plan_with_some()} Without 'dedicated' the shared "
            "engines serve the model.",
            param="dedicated",
        )
    if there.taken + wish.replicas_max > there.offered:
        raise DedicatedFull(
            f"{wish.replicas_max} engines of your own are more than the {max(there.offered - there.taken, 0)} that are "
            "free here. Ask for fewer, or deploy without 'dedicated'.",
            param="dedicated",
        )
    if there.own + wish.replicas_max > min(there.most, there.planned):
        why = "Your plan has" if there.planned <= there.most else "An organization may have"
        raise DedicatedFull(
            f"{why} {min(there.most, there.planned)} engines of its own here; {there.own} are promised to yours, and "
            f"{wish.replicas_max} more would be too many. Ask for fewer, stop a deployment that has some, or deploy "
            "without 'dedicated'.",
            param="dedicated",
        )


def _plan_with_some() -> str:
    """Which plan to take for engines of one's own."""
    plan = next((plan for plan in plans_offered() if plan.limits.own_engines), None)
    return f"The {plan.name} plan of today has some: take it under Billing." if plan is not None else ""


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
    if row.halted:
        _keep(row, 0, {})
        return
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
    asked = row.deployment.state == Deployment.State.LOADING or not row.serves or (called_now and not own)
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
        told: dict[str, Any] = {"wanted": wanted, "scaling": scaling}
        if bool(wanted) != bool(row.wanted):
            told["cold_since"] = now() if wanted else None
        Dedicated.ops.filter(pk=row.pk, deployment__state__in=ACTIVE).update(**told)
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


class State(StrEnum):
    """How a deployment's own engines are."""

    COLD = "cold"
    """None, and none wanted: nobody calls."""
    STARTING = "starting"
    """None yet; one at least is being started."""
    RUNNING = "running"
    HALTED = "halted"
    """None, for something stands against it."""


def ended(deployment: Deployment) -> None:
    """Its deployment has ended: none is wanted, and nothing is said of them any more. In the transaction that ends it;
    what they still cost is handed out by the meter."""
    Dedicated.objects.filter(deployment=deployment).update(wanted=0, ready=0, scaling={}, cold_since=None, halted="")


def state_of(row: Dedicated) -> State:
    """How they are, as a tick last saw them; of a deployment that has ended there are none."""
    if row.deployment.state not in ACTIVE:
        return State.COLD
    if row.halted:
        return State.HALTED
    if row.ready and row.wanted:
        return State.RUNNING
    return State.STARTING if row.wanted else State.COLD


def wire(row: Dedicated) -> dict[str, Any]:
    """A deployment's own engines on the wire."""
    active = row.deployment.state in ACTIVE
    return {
        "replicas_min": row.replicas_min,
        "replicas_max": row.replicas_max,
        "idle_seconds": row.idle_seconds,
        "replicas_wanted": row.wanted if active else 0,
        "replicas_ready": row.ready if active else 0,
        "state": state_of(row).value,
        "halted": (row.halted or None) if active else None,
        "cold_start_ms": row.cold_start_ms,
    }
