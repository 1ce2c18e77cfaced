"""The engines as tasks and pages reach them: who announces itself, whom to ask for a model, who holds it.

Gateways pick by `inference.fleet`; a model brought in from here goes to the engine that they would ask first.
"""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from redis.exceptions import RedisError

from billing.services.machines import Look, machines_seen
from inference.address import Address
from inference.announcement import NAMES, SHARED, Heartbeat, believed, digest, key_of
from inference.client import BlockingClient
from inference.errors import EngineError, Unreachable
from inference.fleet import Want, home
from kit import redis
from kit.clock import now
from kit.errors import NotFound, Unavailable
from serving.models import Replica

logger = logging.getLogger(__name__)

ANY = Want()
"""Of the shared engines, whichever."""


def announced() -> list[Heartbeat]:
    """Who announces itself now. Raises `RedisError` when that cannot be known."""
    names = sorted(_names())
    found: Any = redis.client().mget([key_of(name) for name in names]) if names else []
    beats, refused = believed(found, settings.ENGINE_TOKEN)
    if refused:
        logger.error("%d engines announce themselves with another ENGINE_TOKEN, or another clock", refused)
    return beats


def _names() -> set[str]:
    said: Any = redis.client().smembers(NAMES)
    return {name.decode() for name in said}


def known() -> list[Heartbeat]:
    """Who announces itself; with Redis away, who did when that was last written down."""
    try:
        return announced()
    except RedisError:
        return [replica.beat for replica in Replica.objects.all()]


def addresses(want: Want = ANY) -> list[str]:
    """Engines that can be asked, best first: who holds the model, then its home. The configured one where none of the
    shared pool has announced itself."""
    beats = [beat for beat in known() if beat.pool == want.pool]
    if not beats and want.pool == SHARED:
        return [settings.ENGINE_ADDRESS]
    able = {beat.name: beat for beat in beats if not beat.draining and (not want.base or want.base in beat.bases)}
    name = digest(want.tenant, want.model)
    order = home(able, name)
    return [able[one].address for one in sorted(order, key=lambda one: name not in able[one].residents)]


@contextlib.contextmanager
def connected(
    want: Want = ANY, *, timeout: float = 120.0, connect_timeout: float = 5.0
) -> Iterator[BlockingClient]:  # fmt: skip
    """A line to the first of these engines that takes one. Raises `EngineError` when none does."""
    failure: EngineError = Unreachable("No engine is there.", retry_after=2.0)
    for address in addresses(want):
        client = BlockingClient(address, settings.ENGINE_TOKEN, timeout=timeout, connect_timeout=connect_timeout)
        try:
            client.open()
        except EngineError as error:
            failure = error
            continue
        with contextlib.closing(client):
            yield client
        return
    raise failure


def everywhere() -> list[str]:
    """Every engine of every pool, leaving or not; the configured one where none has announced itself."""
    return sorted({str(Address.parse(beat.address)) for beat in known()} or {settings.ENGINE_ADDRESS})


def unload_everywhere(*, tenant: str, model: str) -> None:
    """Free the memory that a model takes, wherever. An engine that does not answer lets it age out."""
    for address in everywhere():
        try:
            with BlockingClient(address, settings.ENGINE_TOKEN, connect_timeout=2) as client:
                client.unload(tenant=tenant, model=model)
        except EngineError as error:
            logger.info("the engine at %s keeps %s until it ages out: %s", address, model, error)


def replicas_write_down() -> int:
    """Write down who announces itself, for staff and for when Redis is away; forget who is gone. How many there are."""
    try:
        beats = announced()
        gone = _names() - {beat.name for beat in beats}
        stale = [name for name in gone if not redis.client().exists(key_of(name))]
        if stale:
            redis.client().srem(NAMES, *stale)
    except RedisError as error:
        logger.warning("the engines that are known stay written down: %s", error)
        return 0
    for beat in beats:
        Replica.write(beat)
    Replica.objects.exclude(name__in=[beat.name for beat in beats]).delete()
    return len(beats)


def engines_seen() -> int:
    """Count the time of every engine that announces itself as what machines cost us; how many there are. Nothing with
    Redis away: the next look makes up for it."""
    try:
        beats = announced()
    except RedisError as error:
        logger.warning("the time of engines waits: %s", error)
        return 0
    looks = [
        Look(f"engine:{beat.name}", "engine" if beat.pool == SHARED else "engine_own", beat.load > 0) for beat in beats
    ]
    return machines_seen(looks, at=now())


def replica_leave(*, name: str) -> Replica:
    """Tell an engine to finish what it has and leave; whoever keeps engines running starts the next. NotFound for one
    that is gone, Unavailable for one that does not answer."""
    row: Replica | None = Replica.objects.filter(pk=name).first()
    if row is None:
        raise NotFound.of(name)
    try:
        with BlockingClient(row.address, settings.ENGINE_TOKEN, timeout=5, connect_timeout=2) as client:
            client.leave()
    except EngineError as error:
        raise Unavailable(error.message) from error
    return row
