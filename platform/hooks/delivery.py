"""Delivering what is due: at least once, never twice at once, and no endpoint in the way of another.

A run claims endpoints, one delivery each, in short transactions; sends on threads that touch no database; and writes
what came of each in another short transaction, fenced by the endpoint's lease. Whatever a killed run was sending is due
again when that lease runs out.
"""

import contextlib
import datetime as dt
import logging
import random
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from uuid import UUID, uuid4

from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Window
from django.db.models.functions import RowNumber

from hooks import signing
from hooks.models import Delivery, DeliveryTry, Endpoint
from hooks.sending import Answer, send
from hooks.services import endpoint_disable
from kit import redis, sealing
from kit.clock import now
from kit.metrics import Counter
from tenants.models import Tenant
from tenants.scope import ops_scope, tenant_scope

logger = logging.getLogger(__name__)

TRIES = Counter("hooks_tries_total", "Tries to deliver a webhook, by what came of them.", ("outcome",))
DELAYS = (0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Seconds before each try, counted from the one before."""
JITTER = 0.1
LANES = 16
"""Endpoints that one run sends to at a time."""
TENANT_LANES = 4
"""Of them, those of one tenant."""
LISTED = 200
"""Endpoints looked at for one round of claims."""
RUNS = 2
"""Runs side by side in the whole house: the other places of the `default` queue stay free for its other work."""
RUN_SECONDS = 20.0
"""After that a run takes nothing new; with the longest try it stays below the lives of its place and leases."""
LEASE = dt.timedelta(seconds=60)
LATEST_START = 20.0
"""Seconds after the claim: what has not begun by then is left to whoever claims next."""
PLACE_SECONDS = 60
GIVE_UP = dt.timedelta(days=5)
QUIET = dt.timedelta(days=2)
"""More than the longest pause of the schedule: failures further apart are not one spell."""
TIMEOUTS = 3
REST = dt.timedelta(minutes=1)
LONGEST_REST = dt.timedelta(hours=1)
GONE = 410
THROTTLED = frozenset({429, 502, 503, 504})
LOST_KEY = "Its signing secret can no longer be read, since the server's key was changed. Rotate the secret."


@dataclass(frozen=True, slots=True)
class Claim:
    """What a thread needs to send one delivery, and the lease under which its result is written."""

    tenant_id: UUID
    endpoint_id: UUID
    delivery_id: UUID
    lease: UUID
    url: str
    identifier: str
    body: bytes
    keys: tuple[str, ...]
    claimed: float
    """By the monotonic clock."""


def is_due() -> bool:
    """Whether anything waits that may be sent now."""
    with ops_scope("look for webhooks that are due"):
        return _due(now()).exists()


def deliver_due() -> int:
    """Send what is due until nothing is, or for twenty seconds; returns how many tries. 0 at once where enough runs are
    under way: they take up what has come."""
    with _place() as free:
        return _run() if free else 0


def _run() -> int:
    tried, last = 0, time.monotonic() + RUN_SECONDS
    flying: dict[Future[Answer | None], Claim] = {}
    with ThreadPoolExecutor(LANES, thread_name_prefix="hooks") as lanes:
        while True:
            if time.monotonic() < last:
                for claim in claims(LANES - len(flying)):
                    flying[lanes.submit(_send, claim)] = claim
            if not flying:
                return tried
            done, _pending = wait(flying, timeout=1, return_when=FIRST_COMPLETED)  # a second, and what is new is seen
            for future in done:
                claim, answer = flying.pop(future), future.result()
                if answer is not None:
                    settle(claim, answer)
                    tried += 1


def claims(most: int) -> Iterator[Claim]:
    """Up to so many claims, each committed when it is given: those first that waited longest for a turn."""
    if most <= 0:
        return
    with ops_scope("find endpoints with webhooks that are due"):
        waiting = _waiting(now())
    for tenant_id, endpoint_id in waiting:
        claim = _claim(tenant_id, endpoint_id)
        if claim is not None:
            yield claim
            most -= 1
            if not most:
                return


def _waiting(moment: dt.datetime) -> list[tuple[UUID, UUID]]:
    """Tenant and key of endpoints that are due: of each tenant as many as it has lanes, of those with none free none.
    However many one tenant has, the others stand in the list as well."""
    crowded = Endpoint.ops.filter(busy_until__gt=moment).values("tenant_id").annotate(n=Count("pk"))
    turn = F("claimed_at").asc(nulls_first=True)
    place = Window(RowNumber(), partition_by=F("tenant_id"), order_by=[turn, F("pk").asc()])
    rows = _due(moment).exclude(tenant_id__in=[one["tenant_id"] for one in crowded.filter(n__gte=TENANT_LANES)])
    few = rows.annotate(place=place).filter(place__lte=TENANT_LANES).order_by(turn, "pk")
    return list(few.values_list("tenant_id", "pk")[:LISTED])


def _due(moment: dt.datetime) -> "QuerySet[Endpoint]":
    """Endpoints with something to send; in the ops scope."""
    ripe = Delivery.ops.filter(endpoint=OuterRef("pk"), state=Delivery.State.PENDING, next_at__lte=moment)
    found: QuerySet[Endpoint] = Endpoint.ops.filter(_free(moment), Exists(ripe), tenant__status=Tenant.Status.ACTIVE)
    return found


def _free(moment: dt.datetime) -> Q:
    idle = Q(busy_until=None) | Q(busy_until__lte=moment)
    awake = Q(resting_until=None) | Q(resting_until__lte=moment)
    return Q(state=Endpoint.State.ENABLED) & idle & awake


def _claim(tenant_id: UUID, endpoint_id: UUID) -> Claim | None:
    """The endpoint's lease and its first delivery that is due; None where somebody else has it."""
    with tenant_scope(tenant_id):
        moment = now()
        rows = Endpoint.objects.select_for_update(skip_locked=True, no_key=True)
        endpoint: Endpoint | None = rows.filter(_free(moment), pk=endpoint_id).first()
        if endpoint is None or Endpoint.objects.filter(busy_until__gt=moment).count() >= TENANT_LANES:
            return None
        ripe = Delivery.objects.filter(endpoint=endpoint, state=Delivery.State.PENDING, next_at__lte=moment)
        delivery: Delivery | None = ripe.select_related("event").order_by("next_at", "pk").first()
        if delivery is None:
            return None
        endpoint.lease, endpoint.busy_until, endpoint.claimed_at = uuid4(), moment + LEASE, moment
        endpoint.save(update_fields=["lease", "busy_until", "claimed_at"])
        try:
            keys = tuple(signing.secrets_of(endpoint))
        except sealing.CannotOpen:
            keys = ()
        return Claim(
            tenant_id=tenant_id,
            endpoint_id=endpoint.pk,
            delivery_id=delivery.pk,
            lease=endpoint.lease,
            url=endpoint.url,
            identifier=delivery.event.public_id,
            body=signing.body_of(delivery.event),
            keys=keys,
            claimed=time.monotonic(),
        )


def _send(claim: Claim) -> Answer | None:
    """On a thread. None when it began so late that its lease could run out on the way."""
    if time.monotonic() - claim.claimed > LATEST_START:
        return None
    if not claim.keys:
        return Answer(error=LOST_KEY, blocked=True)
    headers = signing.headers_of(claim.body, identifier=claim.identifier, keys=list(claim.keys))
    return send(claim.url, headers=headers, body=claim.body)


def settle(claim: Claim, answer: Answer) -> bool:
    """Write what came of a try and free its endpoint. False where the lease is somebody else's by now."""
    with tenant_scope(claim.tenant_id):
        held = Endpoint.objects.select_for_update(no_key=True).filter(pk=claim.endpoint_id, lease=claim.lease)
        endpoint: Endpoint | None = held.first()
        if endpoint is None:
            logger.warning("a webhook's lease ran out before its answer was written; it will be sent again")
            return False
        endpoint.lease = endpoint.busy_until = None
        delivery: Delivery | None = Delivery.objects.select_for_update().filter(pk=claim.delivery_id).first()
        if delivery is not None:
            _log(delivery, answer)
            _move(delivery, answer)
            delivery.save()
            _judge(endpoint, answer)
            TRIES.labels(delivery.state if delivery.state != Delivery.State.PENDING else "retried").inc()
        endpoint.save()
        if answer.status == GONE:
            endpoint_disable(endpoint=endpoint, reason=Endpoint.Reason.GONE)
        elif endpoint.failing_since is not None and endpoint.failing_since <= now() - GIVE_UP:
            endpoint_disable(endpoint=endpoint, reason=Endpoint.Reason.FAILING)
        return True


def _log(delivery: Delivery, answer: Answer) -> None:
    delivery.tries += 1
    said = {"status_code": answer.status, "error": answer.error, "duration_ms": answer.ms, "excerpt": answer.excerpt}
    for name, value in said.items():
        setattr(delivery, name, value)
    DeliveryTry.objects.create(delivery=delivery, number=delivery.tries, **said)


def _move(delivery: Delivery, answer: Answer) -> None:
    """The delivery's next state: an end, or a wait."""
    delivery.step += 1
    if answer.arrived:
        end = Delivery.State.DELIVERED
    elif answer.blocked:
        end = Delivery.State.BLOCKED
    elif answer.status == GONE or delivery.step >= len(DELAYS):
        end = Delivery.State.FAILED
    else:
        pause = DELAYS[delivery.step] * random.uniform(1 - JITTER, 1 + JITTER)
        if answer.status in THROTTLED:
            pause = max(pause, answer.retry_after or 0.0)
        delivery.state, delivery.next_at = Delivery.State.PENDING, now() + dt.timedelta(seconds=pause)
        return
    delivery.state, delivery.next_at, delivery.finished_at = end, None, now()


def _judge(endpoint: Endpoint, answer: Answer) -> None:
    """What a try tells of its endpoint: since when it fails, and whether it needs a rest."""
    moment = now()
    if answer.arrived:
        endpoint.failures = endpoint.timeouts = 0
        endpoint.failing_since = endpoint.failed_at = endpoint.resting_until = None
        return
    if endpoint.failing_since is None or endpoint.failed_at is None or endpoint.failed_at < moment - QUIET:
        endpoint.failing_since = moment
    endpoint.failures, endpoint.failed_at = endpoint.failures + 1, moment
    endpoint.timeouts = endpoint.timeouts + 1 if answer.timed_out else 0
    rest = dt.timedelta()
    if endpoint.timeouts >= TIMEOUTS:
        rest = REST * 2 ** min(endpoint.timeouts - TIMEOUTS, 10)
    if answer.status in THROTTLED and answer.retry_after:
        rest = max(rest, dt.timedelta(seconds=answer.retry_after))
    endpoint.resting_until = moment + min(rest, LONGEST_REST) if rest else None


@contextlib.contextmanager
def _place() -> Iterator[bool]:
    """One of the few places for runs; whether one was free. A killed run's place is free again after a minute."""
    mine = uuid4().hex
    names = [f"hooks:run:{number}" for number in range(RUNS)]
    held = next((name for name in names if redis.client().set(name, mine, nx=True, ex=PLACE_SECONDS)), None)
    try:
        yield held is not None
    finally:
        if held is not None and redis.client().get(held) == mine.encode():
            redis.client().delete(held)
