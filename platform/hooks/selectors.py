"""Reading endpoints and deliveries of the scope's tenant, and both in the words of the wire."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from hooks.models import Delivery, DeliveryTry, Endpoint
from kit.clock import unix
from kit.errors import NotFound
from kit.ids import parse_id

TRIES_SHOWN = 30
"""Of one delivery, the newest; a schedule has ten, and replays begin it anew."""


def endpoints(project_id: UUID) -> "QuerySet[Endpoint]":
    """A project's endpoints, newest first."""
    found: QuerySet[Endpoint] = Endpoint.objects.filter(project_id=project_id).order_by("-pk")
    return found


def endpoint_by_id(project_id: UUID, public_id: str) -> Endpoint:
    """One endpoint of a project; NotFound for anybody else's."""
    found = endpoints(project_id).filter(pk=parse_id(Endpoint.prefix, public_id)).first()
    if found is None:
        raise NotFound.of(public_id)
    return found


def deliveries(endpoint: Endpoint) -> "QuerySet[Delivery]":
    """What was or will be sent to an endpoint, newest first."""
    found: QuerySet[Delivery] = Delivery.objects.filter(endpoint=endpoint).select_related("event").order_by("-pk")
    return found


def delivery_by_id(endpoint: Endpoint, public_id: str) -> Delivery:
    """One delivery of an endpoint; NotFound otherwise."""
    found = deliveries(endpoint).select_related("endpoint").filter(pk=parse_id(Delivery.prefix, public_id)).first()
    if found is None:
        raise NotFound.of(public_id)
    return found


def tries(rows: Iterable[Delivery]) -> dict[UUID, list[DeliveryTry]]:
    """The newest tries of each delivery, oldest first, by the delivery's key."""
    found: dict[UUID, list[DeliveryTry]] = defaultdict(list)
    for one in DeliveryTry.objects.filter(delivery__in=list(rows)).order_by("delivery", "number"):
        found[one.delivery_id].append(one)
    return {key: some[-TRIES_SHOWN:] for key, some in found.items()}


def endpoint_object(endpoint: Endpoint, *, secret: str = "") -> dict[str, Any]:
    """The object on the wire; with its secret where it was just made."""
    return {
        "id": endpoint.public_id,
        "object": "webhook_endpoint",
        "created_at": unix(endpoint.created_at),
        "updated_at": unix(endpoint.updated_at),
        "name": endpoint.name,
        "url": endpoint.url,
        "event_types": endpoint.event_types,
        "signing_secret_hint": endpoint.secret_hint,
        **({"signing_secret": secret} if secret else {}),
        "x_state": endpoint.state,
        "x_reason": endpoint.reason or None,
        "x_failing_since": unix(endpoint.failing_since),
        "x_old_secret_until": unix(endpoint.old_secret_until),
    }


def delivery_object(delivery: Delivery, made: list[DeliveryTry]) -> dict[str, Any]:
    """A delivery on the wire, with its tries."""
    return {
        "id": delivery.public_id,
        "object": "webhook_endpoint.delivery",
        "created_at": unix(delivery.created_at),
        "finished_at": unix(delivery.finished_at),
        "event": {
            "id": delivery.event.public_id,
            "type": delivery.event.type,
            "created_at": unix(delivery.event.created_at),
            "data": delivery.event.data,
        },
        "state": delivery.state,
        "next_try_at": unix(delivery.next_at),
        "tries": [
            {
                "number": one.number,
                "at": unix(one.at),
                "status_code": one.status_code,
                "error": one.error or None,
                "duration_ms": one.duration_ms,
                "response": one.excerpt,
            }
            for one in made
        ],
    }
