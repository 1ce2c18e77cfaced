"""Models that staff keep in the engines' memory: nothing else that is loaded pushes them out.

What is wanted stands in PostgreSQL, at the version that an engine knows the model by. Engines are told when it changes,
with every load, and by a tick: one that started again, or did not answer, is brought in line within a minute. How much
may be pinned is the engine's to say, half of its memory for models; what does not fit is served unpinned.
"""

import logging
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet

from inference.client import BlockingClient
from inference.errors import EngineError, NotResident
from registry.services import version_pin_set
from serving import engines, routes
from serving.errors import NotLive
from serving.models import Deployment
from serving.routes import Route
from serving.services import note
from tenants import audit
from tenants.scope import ops_scope, tenant_scope

logger = logging.getLogger(__name__)

MOST = 200
"""Deployments that a tick looks after."""
PATIENCE_S = 30.0
FULL = "Pinned models take the half of an engine's memory that they may take; it is served, and not kept."


def deployment_pin_set(*, deployment_id: UUID, pinned: bool, reason: str) -> Deployment:
    """Keep a live deployment's model in memory, or no longer, in its tenant's scope; `pin_tell` tells the engines.
    NotLive for any other. Doing it again changes nothing."""
    rows = Deployment.objects.select_for_update(of=("self",)).select_related("model", "version")
    row: Deployment = rows.get(pk=deployment_id)
    if row.state != Deployment.State.LIVE:
        raise NotLive(f"{row.public_id} is {row.state}; only what is live is kept in memory.")
    if row.version.pinned == pinned:
        return row
    version_pin_set(version=row.version, pinned=pinned)
    note(row, row.state, "Kept in the engines' memory." if pinned else "No longer kept in the engines' memory.")
    audit.record(
        action="deployment.pinned", target=row, before={"pinned": not pinned}, after={"pinned": pinned}, reason=reason
    )
    routes.announce(row.project_id)
    return row


def pin_tell(*, tenant_id: UUID, deployment_id: UUID) -> str:
    """Tell engines what is wanted of a live deployment; why it is not so yet, empty when it is. Outside a scope."""
    with tenant_scope(tenant_id):
        row = _live().filter(pk=deployment_id).first()
        if row is None:
            return ""
        route = routes.route_of(row)
    try:
        if route.pinned:
            with engines.connected(route.want(tenant_id.hex), timeout=PATIENCE_S, connect_timeout=2) as engine:
                return "" if _load(engine, tenant_id.hex, route) else FULL
        for address in engines.everywhere():
            with BlockingClient(address, settings.ENGINE_TOKEN, timeout=PATIENCE_S, connect_timeout=2) as engine:
                _release(engine, tenant_id.hex, route)
    except EngineError as error:
        return f"An engine did not answer and is told within a minute: {error.message}"
    return ""


def pins_settle() -> int:
    """Bring every engine in line with what is wanted; how many models are kept. Safe to repeat."""
    with ops_scope("find models that are kept in memory"):
        found = Deployment.ops.filter(version__pinned=True, state=Deployment.State.LIVE).order_by("pk")
        pairs = list(found.values_list("tenant_id", "pk")[:MOST])
    wanted: dict[tuple[str, str], Route] = {}
    for tenant_id, deployment_id in pairs:
        with tenant_scope(tenant_id):
            row = _live().filter(pk=deployment_id, version__pinned=True).first()
            if row is not None:
                route = routes.route_of(row)
                wanted[tenant_id.hex, route.version] = route
    here: set[tuple[str, str]] = set()
    for address in engines.everywhere():
        try:
            with BlockingClient(address, settings.ENGINE_TOKEN, timeout=PATIENCE_S, connect_timeout=2) as engine:
                here |= _settle(engine, wanted)
        except EngineError as error:
            logger.info("the engine at %s is told later what to keep: %s", address, error)
    kept = len(here)
    for key in wanted.keys() - here:
        try:
            with engines.connected(wanted[key].want(key[0]), timeout=PATIENCE_S, connect_timeout=2) as engine:
                kept += _load(engine, key[0], wanted[key])
        except EngineError as error:
            logger.info("%s is not in memory yet: %s", wanted[key].model, error)
    return kept


def _settle(engine: BlockingClient, wanted: dict[tuple[str, str], Route]) -> set[tuple[str, str]]:
    """Of what an engine holds, keep what is wanted and let go of the rest; what is wanted and there."""
    here = set()
    for one in engine.health().residents:
        key = one.tenant, one.model
        if key in wanted:
            here.add(key)
            if not one.pinned and not _load(engine, one.tenant, wanted[key]):
                logger.warning("%s is not kept: %s", wanted[key].model, FULL)
        elif one.pinned:
            engine.unload(tenant=one.tenant, model=one.model)  # its next call brings it in again
    return here


def _load(engine: BlockingClient, tenant: str, route: Route) -> bool:
    """Bring it in if it is not there; whether it is as wanted."""
    source = route.place.source()
    described = engine.load(tenant=tenant, model=route.version, sha256=route.sha256, pin=route.pinned, **source)
    return bool(described.pinned == route.pinned)


def _release(engine: BlockingClient, tenant: str, route: Route) -> None:
    try:
        described = engine.describe(tenant=tenant, model=route.version)
    except NotResident:
        return
    if described.pinned:
        _load(engine, tenant, route)


def _live() -> "QuerySet[Deployment]":
    live = Deployment.objects.filter(state=Deployment.State.LIVE)
    found: QuerySet[Deployment] = live.select_related("model", "version", "dedicated")
    return found
