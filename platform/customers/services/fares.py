"""Keeping every customer's health score, for lists. A customer's page computes its own, which is never old."""

from customers.health import health
from customers.models import HealthScore
from customers.selectors.facts import facts_of
from kit.clock import now
from tenants.models import Tenant
from tenants.scope import ops_scope

BATCH = 500


def health_compute() -> int:
    """Compute the score of everybody that is active or suspended; how many. Safe to run twice at once: the later
    writes what the earlier did."""
    with ops_scope("compute how customers fare"):
        alive = Tenant.ops.filter(status__in=(Tenant.Status.ACTIVE, Tenant.Status.SUSPENDED)).order_by("pk")
        done, last = 0, None
        while rows := list((alive if last is None else alive.filter(pk__gt=last))[:BATCH]):
            done, last = done + _keep(rows), rows[-1].pk
        return done


def _keep(tenants: list[Tenant]) -> int:
    moment = now()
    scores = {pk: health(facts) for pk, facts in facts_of(tenants).items()}
    HealthScore.ops.bulk_create(
        [
            HealthScore(tenant_id=pk, score=found.score, band=found.band, computed_at=moment)
            for pk, found in sorted(scores.items())
        ],
        update_conflicts=True,
        unique_fields=["tenant"],
        update_fields=["score", "band", "computed_at"],
    )
    return len(scores)
