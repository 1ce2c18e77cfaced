"""Rollouts for pages to show: running, as a shadow with answers compared, and rolled back."""

from typing import Any

from billing.services.entitlements import plan_grant
from kit.clock import now
from kit.ids import new_id
from registry.models import Model
from registry.services import alias_set
from serving.models import Deployment, RequestRecord, Rollout
from serving.models.counts import ShadowCount
from serving.rollouts import locked, rollout_change, rollout_create, rollout_end
from tenants.scope import tenant_scope
from tests.conftest import Person
from tests.console.things import made_deployment


def made_rollout(person: Person, *, mode: str = "canary", calls: int = 0, **more: Any) -> Rollout:
    """A rollout between two deployments, with so many calls of the stable version logged, a fifth of that on the
    candidate."""
    with tenant_scope(person.tenant.id):
        plan_grant(plan="enterprise", reason="tests", created_by="tests")
    stable, candidate = (made_deployment(person) for _ in range(2))
    alias = f"triage-{stable.pk.hex[-8:]}@prod"
    with tenant_scope(person.tenant.id):
        alias_set(project=person.project, alias=alias, version=stable.version)
        Deployment.objects.filter(pk=stable.pk).update(alias=alias)
        made = rollout_create(
            project=person.project, alias=alias, candidate=candidate, mode=mode, created_by="Ada", **more
        )
        other = "shadow" if mode == "shadow" else "candidate"
        for arm, row, n in (("stable", stable, calls), (other, candidate, calls // 5)):
            RequestRecord.objects.bulk_create(
                RequestRecord(
                    id=new_id(), tenant_id=person.tenant.id, project_id=person.project.id, at=now(), kind="classify",
                    model=alias, version_id=row.version_id, arm=arm, status=503 if i % 40 == 39 else 200,
                    duration_ms=4 + i % 9, engine_ms=2 + i % 5,
                )
                for i in range(n)
            )  # fmt: skip
    return made


def made_shadow(person: Person, task: str = "token-classification", **said: int) -> Rollout:
    """A shadow of models that find entities, or of another task, with answers compared."""
    made = made_rollout(person, mode="shadow", calls=40)
    with tenant_scope(person.tenant.id):
        pair = (made.stable.model_id, made.candidate.model_id)
        Model.objects.filter(pk__in=pair).update(task=task)
        said = {"compared": 2_310, "agreed": 1_204, "parts": 9_000, "parts_agreed": 8_100, "dropped": 12} | said
        ShadowCount.objects.filter(rollout=made).update(**said)
    return made


def made_writing_shadow(person: Person) -> Rollout:
    """A shadow of models that write."""
    lengths = {"endings_agreed": 2_190, "stable_tokens": 184_800, "candidate_tokens": 231_000}
    return made_shadow(person, "text-generation", **lengths)


def made_rolled_back(person: Person) -> Rollout:
    """A canary that climbed one step, failed there and was rolled back by itself."""
    steps = [{"share": share, "seconds": 1_800, "calls": 100, "feedback": 20} for share in (500, 2_500, 10_000)]
    made = made_rollout(person, calls=200, share=500, steps=steps)
    with tenant_scope(person.tenant.id):
        rollout_change(rollout=made, share=2_500, steps=steps)
        rollout_end(locked(made), reason="The candidate failed 31 of 70 calls (44.3%).", automatic=True)
    return made
