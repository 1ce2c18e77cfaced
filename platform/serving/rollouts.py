"""Changes to rollouts: begin, change the share, promote, roll back. Each is one transaction that gateways hear of.

Locks are taken in one order: deployments, the rollout, the model, the alias.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from hooks.catalogue import ROLLOUT_PROMOTED, ROLLOUT_ROLLED_BACK
from hooks.services import event_publish
from inference.tasks import EMBEDDINGS, REGRESSION
from kit.clock import now
from kit.errors import BadRequest
from registry import names
from registry import selectors as registry
from registry.models import Alias, Model
from registry.services import alias_set
from serving import outcomes, rounds, routes, selectors, telling
from serving.errors import AliasMoved, NotComparable, NotLive, RolloutEnded, RolloutRunning, SpanTooLarge
from serving.models import Deployment, Rollout, RolloutEvent
from serving.models.counts import ShadowCount
from serving.splits import WHOLE
from tenants import audit
from tenants.models import Project

SHARES = {Rollout.Mode.CANARY: 500, Rollout.Mode.AB: 5_000, Rollout.Mode.SHADOW: WHOLE}
"""The share where none is named, in basis points."""
MOST_STEPS = 20
END_MS = 3_000
"""For adding up what a rollout came to while it ends."""
GUARDS: dict[str, Any] = {
    "auto_rollback": True,
    "alpha": 0.01,
    "error_margin": 0.0,
    "quality_margin": 0.0,
    "latency_ms": None,
}


def rollout_create(
    *,
    project: Project,
    alias: str,
    candidate: Deployment,
    mode: str,
    share: int | None = None,
    steps: Sequence[dict[str, int]] = (),
    guards: dict[str, Any] | None = None,
    drain_seconds: int | None = None,
    created_by: str = "",
) -> Rollout:
    """Begin one: the alias's version is the stable one, `candidate` a deployment of the project. Shares are basis
    points; steps `{"share", "seconds", "calls", "feedback"}`. Raises NotLive, NotComparable, RolloutRunning."""
    mode, steps = Rollout.Mode(mode), list(steps)
    stable, candidate = _both(project, alias, candidate)
    _check(stable, candidate, mode)
    _check_steps(mode, steps)
    if share is None:
        share = steps[0]["share"] if steps else SHARES[mode]
    _check_share(share, steps)
    try:
        with transaction.atomic():
            made: Rollout = Rollout.objects.create(
                project=project,
                alias=alias,
                mode=mode,
                stable=stable,
                candidate=candidate,
                share=share,
                steps=steps,
                guards=GUARDS | {"auto_rollback": mode == Rollout.Mode.CANARY} | (guards or {}),
                drain_seconds=drain_seconds,
                created_by=created_by[:200],
            )
    except IntegrityError as error:
        running = Rollout.objects.filter(project=project, alias=alias, state=Rollout.State.RUNNING).first()
        where = f" ({running.public_id})" if running else ""
        raise RolloutRunning(
            f"A rollout{where} runs on '{alias}' already. Promote it or roll it back first.", param="alias"
        ) from error
    rounds.begin(made)
    if mode == Rollout.Mode.SHADOW:
        ShadowCount.objects.create(rollout=made)
    note(made, "started", f"Began with {percent(share)} of the callers{' as a shadow' if mode == 'shadow' else ''}.")
    audit.record(action="rollout.created", target=made, after={"alias": alias, "mode": str(mode), "share": share})
    routes.announce(project.pk)
    return made


def rollout_change(
    *, rollout: Rollout, share: int | None = None, steps: Sequence[dict[str, int]] | None = None
) -> Rollout:
    """Another share, or other steps. A share set by hand ends the steps, unless new ones are given with it."""
    row = _running(rollout)
    if share is None and steps is None:
        raise BadRequest("Name a share, or steps, or both.", param="share")
    new_steps = list(steps or ())
    _check_steps(row.mode, new_steps)
    if share is None:
        share = row.share
    _check_share(share, new_steps)
    before = {"share": row.share, "steps": row.steps}
    row.steps = new_steps
    row.save(update_fields=["steps"])
    share_set(row, share, "by hand")
    audit.record(action="rollout.changed", target=row, before=before, after={"share": share, "steps": new_steps})
    return row


def share_set(row: Rollout, share: int, why: str) -> None:
    """Begin a new round with a share; `row` is locked. The same share changes nothing."""
    if share == row.share:
        return
    before, row.share, row.round, row.round_at = row.share, share, row.round + 1, now()
    row.save(update_fields=["share", "round", "round_at"])
    rounds.begin_round(row)
    note(row, "share", f"The candidate's share went from {percent(before)} to {percent(share)}, {why}.")
    routes.announce(row.project_id)


def rollout_promote(*, rollout: Rollout, automatic: bool = False) -> Rollout:
    """The alias stands for the candidate from now on. No call in between fails: both versions stay live, and a gateway
    that has not heard yet answers as before."""
    row = _running(rollout)
    if row.candidate.state != Deployment.State.LIVE:
        raise NotLive("The candidate is not live any more, so it cannot take over.", param="candidate")
    if _alias_held(row, row.candidate) != row.stable.version_id:
        raise AliasMoved(f"'{row.alias}' was moved to another version meanwhile. Roll this one back and begin anew.")
    _move(row, row.stable, row.candidate)
    row.state, row.automatic = Rollout.State.PROMOTED, automatic
    row.reason = "Every step was passed." if automatic else "Promoted by hand."
    _end(row, "promoted", f"'{row.alias}' stands for the candidate now. {row.reason}")
    audit.record(action="rollout.promoted", target=row, before={"share": row.share}, after={"alias": row.alias})
    event_publish(project_id=row.project_id, type=ROLLOUT_PROMOTED, data={"id": row.public_id})
    return row


def rollout_rollback(*, rollout: Rollout, reason: str = "") -> Rollout:
    """All callers get the stable version again. Of a promoted one the alias moves back, while the old version is
    live."""
    row = locked(rollout)
    reason = reason or ("Stopped by hand." if row.mode == Rollout.Mode.SHADOW else "Rolled back by hand.")
    if row.state == Rollout.State.PROMOTED:
        return _undo(row, reason)
    if row.state == Rollout.State.RUNNING:
        rollout_end(row, reason=reason)
    return row


def rollout_end(row: Rollout, *, reason: str, automatic: bool = False, numbers: dict[str, Any] | None = None) -> None:
    """End a running one, whose row is locked, in favour of the stable version."""
    row.state, row.automatic, row.reason = Rollout.State.ROLLED_BACK, automatic, reason[:500]
    _end(row, "rolled_back", reason, numbers)
    audit.record(
        action="rollout.rolled_back",
        target=row,
        before={"share": row.share},
        after={"automatic": automatic, **(numbers or {})},
        reason=reason[:500],
    )
    event_publish(project_id=row.project_id, type=ROLLOUT_ROLLED_BACK, data={"id": row.public_id})
    if automatic:
        telling.tell_rolled_back(row)


def note(rollout: Rollout, kind: str, message: str, numbers: dict[str, Any] | None = None) -> None:
    """One line of a rollout's history."""
    RolloutEvent.objects.create(rollout=rollout, kind=kind, message=message[:500], numbers=numbers or {})


def percent(share: int) -> str:
    """Basis points in words."""
    return f"{share / 100:g}%"


def _undo(row: Rollout, reason: str) -> Rollout:
    if row.stable.state != Deployment.State.LIVE:
        raise NotLive(
            f"The old version was stopped. Deploy it again with the alias '{row.alias}' to go back.", param="stable"
        )
    if _alias_held(row, row.stable) != row.candidate.version_id:
        raise AliasMoved(f"'{row.alias}' stands for another version meanwhile; there is nothing to undo.")
    if Rollout.objects.filter(project_id=row.project_id, alias=row.alias, state=Rollout.State.RUNNING).exists():
        raise RolloutRunning(f"Another rollout runs on '{row.alias}'. Roll that one back first.")
    _move(row, row.candidate, row.stable)
    row.state, row.reason, row.automatic, row.ended_at = Rollout.State.ROLLED_BACK, reason[:500], False, now()
    row.save(update_fields=["state", "reason", "automatic", "ended_at"])
    note(row, "rolled_back", f"'{row.alias}' stands for the old version again. {reason}")
    audit.record(action="rollout.rolled_back", target=row, before={"state": "promoted"}, reason=reason[:500])
    event_publish(project_id=row.project_id, type=ROLLOUT_ROLLED_BACK, data={"id": row.public_id})
    routes.announce(row.project_id)
    return row


def _move(row: Rollout, source: Deployment, target: Deployment) -> None:
    """The alias from one version to the other; deployments show it where it is, unless they have one of their own."""
    alias_set(project=row.project, alias=row.alias, version=target.version)
    Deployment.objects.filter(pk=source.pk, alias=row.alias).update(alias="")
    Deployment.objects.filter(pk=target.pk, alias="").update(alias=row.alias)


def _end(row: Rollout, kind: str, message: str, numbers: dict[str, Any] | None = None) -> None:
    row.ended_at = now()
    try:
        found = outcomes.figures_of(row, patience_ms=END_MS)
    except SpanTooLarge:  # what ends it is worth more than what it came to, which a tick counts later
        found = {}
    row.figures = {arm: figures.stored() for arm, figures in found.items()}
    row.save(update_fields=["state", "automatic", "reason", "figures", "ended_at"])
    note(row, kind, message, numbers)
    routes.announce(row.project_id)


def locked(rollout: Rollout) -> Rollout:
    """Its row with both deployments, all locked."""
    keys = [rollout.stable_id, rollout.candidate_id]
    held = {one.pk: one for one in _deployments().filter(pk__in=keys).select_for_update(of=("self",)).order_by("pk")}
    row: Rollout = Rollout.objects.select_related("project").select_for_update(of=("self",)).get(pk=rollout.pk)
    row.stable, row.candidate = held[row.stable_id], held[row.candidate_id]
    return row


def _running(rollout: Rollout) -> Rollout:
    row = locked(rollout)
    if row.state != Rollout.State.RUNNING:
        raise RolloutEnded(f"The rollout has ended: {row.get_state_display().lower()}. {row.reason}")
    return row


def _deployments() -> Any:
    return Deployment.objects.select_related("model", "version")


def alias_version(row: Rollout) -> Any:
    """What its alias stands for; None where that is gone."""
    return _alias(row).values_list("version_id", flat=True).first()


def _alias_held(row: Rollout, target: Deployment) -> Any:
    """What its alias stands for, which nobody changes until we have moved it to the target."""
    Model.objects.select_for_update().get(pk=target.model_id)
    return _alias(row).select_for_update().values_list("version_id", flat=True).first()


def _alias(row: Rollout) -> "QuerySet[Alias]":
    parts = names.split_alias(row.alias) or ("", "")
    found: QuerySet[Alias] = Alias.objects.filter(project_id=row.project_id, name=parts[0], stage=parts[1])
    return found


def _both(project: Project, alias: str, candidate: Deployment) -> tuple[Deployment, Deployment]:
    """The stable deployment and the candidate, locked."""
    if names.split_alias(alias) is None:
        raise BadRequest(f"An alias is {names.ALIAS_RULE}.", param="alias")
    version = registry.model_version_by_name(project.pk, alias, param="alias")
    stable = selectors.deployment_of_version(version.pk)
    if stable is None:
        raise NotLive(f"What '{alias}' stands for is not live. Deploy it first: POST /v1/deployments.", param="alias")
    keys = [stable.pk, candidate.pk]
    held = {one.pk: one for one in _deployments().filter(pk__in=keys).select_for_update(of=("self",)).order_by("pk")}
    return held[stable.pk], held[candidate.pk]


def _check(stable: Deployment, candidate: Deployment, mode: str) -> None:
    for row, param, what in ((stable, "alias", "stable version"), (candidate, "candidate", "candidate")):
        if row.state != Deployment.State.LIVE:
            raise NotLive(
                f"The {what}'s deployment {row.public_id} is {row.state}. Both must be live before a rollout begins.",
                param=param,
            )
    if stable.version_id == candidate.version_id:
        raise NotComparable("The alias stands for the candidate already. Name another deployment.", param="candidate")
    if stable.model.task != candidate.model.task:
        raise NotComparable(
            f"The alias's model does {stable.model.task}, the candidate {candidate.model.task}: callers of one name "
            "need one kind of answer.",
            param="candidate",
        )
    promised, kept = stable.precision, candidate.precision
    if promised is not None and (kept is None or kept < promised):
        raise NotComparable(
            f"The stable version answers only where {promised:.1%} of its answers are right, the candidate "
            f"{'always' if kept is None else f'where {kept:.1%} are'}. Set the candidate's 'precision' to at least "
            f"{promised:g} first, on its page or with POST /v1/deployments/{candidate.public_id}, or take the stable "
            "version's back.",
            param="candidate",
        )
    if mode == Rollout.Mode.SHADOW:
        _check_shadow(stable, candidate)


def _check_shadow(stable: Deployment, candidate: Deployment) -> None:
    """NotComparable for what no number could honestly say how alike it is."""
    task = stable.model.task
    if task == EMBEDDINGS and stable.model.base != candidate.model.base:
        raise NotComparable(
            f"The stable version's vectors are those of {stable.model.base}, the candidate's of "
            f"{candidate.model.base}: vectors of two bases have no direction in common, so a shadow could not compare "
            "them. Use a canary or an A/B test.",
            param="mode",
        )
    if task == REGRESSION and set(stable.version.labels) != set(candidate.version.labels):
        mine, theirs = (", ".join(one.version.labels) for one in (stable, candidate))
        raise NotComparable(
            f"The stable version measures {mine}, the candidate {theirs}: a shadow compares the same quantities. Use a "
            "canary or an A/B test.",
            param="mode",
        )


def _check_share(share: int, steps: Sequence[dict[str, int]]) -> None:
    if not 0 <= share <= WHOLE:
        raise BadRequest("A share is 0 to 100 percent.", param="share")
    shares = [step["share"] for step in steps]
    if steps and share not in shares:
        raise BadRequest(
            f"A canary goes on from the step whose share it has, and none of the steps has {percent(share)}. Name one "
            f"of their shares ({', '.join(percent(one) for one in shares)}), or a step of {percent(share)}.",
            param="share",
        )


def _check_steps(mode: str, steps: Sequence[dict[str, int]]) -> None:
    if steps and mode != Rollout.Mode.CANARY:
        raise BadRequest("Only a canary goes through steps.", param="steps")
    if len(steps) > MOST_STEPS:
        raise BadRequest(f"At most {MOST_STEPS} steps.", param="steps")
    shares = [step["share"] for step in steps]
    if any(later <= earlier for earlier, later in pairwise(shares)):
        raise BadRequest("Each step's share must be larger than the one before.", param="steps")
