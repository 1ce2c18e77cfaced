"""Giving a deployment engines of its own, changing how many, and taking them away again."""

from dataclasses import asdict
from typing import Any

from serving import metering, pools, routes, selectors, services
from serving.models import Dedicated, Deployment
from serving.pools import Wish
from tenants import audit
from tenants.services.organisations import tenant_turn


def deployment_dedicated_set(*, deployment: Deployment, wish: Wish | None) -> Deployment:
    """Serve a deployment by so many engines of its own, or (None) the shared ones. Of what has ended nothing changes.

    A live one stays with the shared engines until the first of its own is ready. Raises as `pools.check_room`.
    """
    tenant_turn()
    row = Deployment.objects.select_for_update(of=("self",)).select_related("model", "version").get(pk=deployment.pk)
    own = Dedicated.objects.filter(deployment=row).first()
    before = selectors.wish_of(row) if own is not None else None
    if row.state not in selectors.ACTIVE or wish == before:
        return selectors.deployments(row.project_id).get(pk=row.pk)
    if wish is not None and (before is None or wish.replicas_max > before.replicas_max):
        pools.check_room(wish, besides=row)  # what is over a plan that shrank can be lowered, and stay
    if own is None and wish is not None:
        loading = row.state == Deployment.State.LOADING
        Dedicated.objects.create(deployment=row, serves=loading, **asdict(wish))
    elif own is not None and wish is not None:
        Dedicated.objects.filter(pk=own.pk).update(**asdict(wish))
    elif own is not None:
        own.deployment = row
        metering.hand_out(own)
        own.delete()
    services.note(row, row.state, _said(wish))
    audit.record(action="deployment.dedicated", target=row, before=_told(before), after=_told(wish))
    routes.announce(row.project_id)
    return selectors.deployments(row.project_id).get(pk=row.pk)


def _said(wish: Wish | None) -> str:
    if wish is None:
        return "Back on the shared engines."
    return (
        f"Engines of its own: {wish.replicas_min} at least, {wish.replicas_max} at most, "
        f"the least after {wish.idle_seconds // 60} minutes without a call."
    )


def _told(wish: Wish | None) -> dict[str, Any]:
    return {"dedicated": asdict(wish) if wish is not None else None}
