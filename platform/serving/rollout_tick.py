"""What happens to rollouts by itself: rolled back on evidence, taken to the next step, promoted after the last one."""

import datetime as dt
import logging
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Q

from kit.clock import now
from registry.models import Alias
from serving import outcomes, rollouts, rounds, selectors, services
from serving.errors import SpanTooLarge
from serving.models import Rollout
from serving.rounds import Round
from serving.splits import CANDIDATE, STABLE, WHOLE
from serving.verdict import SLOW_SHARE, Arm, Finding, Verdict, judge
from tenants.scope import ops_scope, tenant_scope

logger = logging.getLogger(__name__)

LEAST_DRAIN = dt.timedelta(seconds=30)
"""Gateways that missed the news re-read their routes within ten seconds; nothing old is stopped before."""

ENDED = (Rollout.State.PROMOTED, Rollout.State.ROLLED_BACK)
COUNT_MS = 5_000
"""For counting what is new, each time."""


def rollouts_tick() -> int:
    """Look at every rollout that runs, at those whose old version drains, and at those whose figures could not be
    counted when they ended; how many."""
    with ops_scope("find rollouts to be looked at"):
        running = list(Rollout.ops.filter(state=Rollout.State.RUNNING).values_list("tenant_id", "pk"))
        draining = list(
            Rollout.ops.filter(
                Q(stable__state__in=selectors.ACTIVE),
                state=Rollout.State.PROMOTED,
                drain_seconds__isnull=False,
                ended_at__lt=now() - LEAST_DRAIN,
            ).values_list("tenant_id", "pk")
        )
        logged = now() - dt.timedelta(days=settings.REQUEST_LOG_DAYS)
        ended = Rollout.ops.filter(figures={}, state__in=ENDED, ended_at__gt=logged)
        uncounted = list(ended.values_list("tenant_id", "pk"))
    looks: list[tuple[Callable[..., object], UUID, UUID]] = [(rollout_look, *one) for one in running]
    looks += [(old_stop, *one) for one in draining]
    looks += [(figures_keep, *one) for one in uncounted]
    for look, tenant_id, pk in looks:
        try:
            look(tenant_id=tenant_id, rollout_id=pk)
        except Exception:  # one tenant's trouble is no reason to leave the others' candidates in place
            logger.exception("rollout %s could not be looked at", pk)
    return len(looks)


def rollout_look(*, tenant_id: UUID, rollout_id: UUID) -> str:
    """Decide about one rollout; what was done. Safe to run twice at once."""
    rounds.settle(tenant_id=tenant_id, rollout_id=rollout_id)
    with tenant_scope(tenant_id):
        running = Rollout.objects.select_related("stable", "candidate").filter(state=Rollout.State.RUNNING)
        found = running.filter(pk=rollout_id).first()
        if found is None:
            return "ended"
        counted = _rounds(found) if _watched(found) else None  # nobody's lock waits for the counting
        row = rollouts.locked(found)
        if row.state != Rollout.State.RUNNING:
            return "ended"
        if rollouts.alias_version(row) != row.stable.version_id:
            rollouts.rollout_end(row, reason=f"'{row.alias}' was moved to another version.")
            return "moved"
        if row.mode == Rollout.Mode.SHADOW:
            return "shadow"
        if counted is None or row.round != found.round:
            return "waiting"
        if row.guards["auto_rollback"]:
            verdict = judge(rounds.compared(counted), outcomes.guards_of(row))
            if verdict.why:
                reason = _sentence(verdict, counted, row)
                rollouts.rollout_end(row, reason=reason, automatic=True, numbers=_numbers(verdict, counted))
                return verdict.why
        return _step(row, counted[-1].arms[CANDIDATE])


def old_stop(*, tenant_id: UUID, rollout_id: UUID) -> bool:
    """Stop the old version of a promoted rollout once it has drained, unless something else needs it."""
    with tenant_scope(tenant_id):
        row = rollouts.locked(Rollout.objects.get(pk=rollout_id))  # whoever goes back takes turns with this
        if row.state != Rollout.State.PROMOTED or row.drain_seconds is None or row.ended_at is None:
            return False
        if row.stable.state not in selectors.ACTIVE or now() < row.ended_at + dt.timedelta(seconds=row.drain_seconds):
            return False
        old = row.stable
        needed = Rollout.objects.filter(Q(stable=old) | Q(candidate=old), state=Rollout.State.RUNNING).exists()
        if needed or Alias.objects.filter(version_id=old.version_id).exists():
            Rollout.objects.filter(pk=row.pk).update(drain_seconds=None)
            rollouts.note(row, "kept", "The old version was kept: a name or another rollout still needs it.")
            return False
        services.deployment_stop(deployment=old, reason=f"Replaced by the rollout {row.public_id}.")
        rollouts.note(row, "old_stopped", "The old version was stopped.")
        return True


def figures_keep(*, tenant_id: UUID, rollout_id: UUID) -> bool:
    """Keep what a rollout came to that could not be counted when it ended; whether that is done."""
    if not rounds.settle(tenant_id=tenant_id, rollout_id=rollout_id):
        return False
    with tenant_scope(tenant_id):
        row = Rollout.objects.select_related("stable", "candidate").get(pk=rollout_id)
        try:
            found = outcomes.figures_of(row, patience_ms=COUNT_MS)
        except SpanTooLarge:
            return False
        kept = {arm: figures.stored() for arm, figures in found.items()}
        return bool(Rollout.objects.filter(pk=rollout_id, figures={}, state__in=ENDED).update(figures=kept))


def _watched(row: Rollout) -> bool:
    """Whether anything hangs on what its calls came to."""
    return row.mode != Rollout.Mode.SHADOW and bool(row.guards["auto_rollback"] or row.steps)


def _rounds(row: Rollout) -> list[Round] | None:
    """What its rounds came to; None where more is new than can be counted in a few seconds, so the next tick looks."""
    try:
        return rounds.rounds_of(row, patience_ms=COUNT_MS)
    except SpanTooLarge:
        logger.warning("rollout %s has too much that is new to be counted", row.public_id)
        return None


def _step(row: Rollout, candidate: Arm) -> str:
    """The next step once this one has had its time, its calls and its feedback."""
    here = next((step for step in row.steps if step["share"] == row.share), None)
    if here is None:
        return "waiting"
    if (
        now() < row.round_at + dt.timedelta(seconds=here["seconds"])
        or candidate.calls < here["calls"]
        or candidate.judged < here["feedback"]
    ):
        return "waiting"
    following = next((step for step in row.steps if step["share"] > row.share), None)
    if following is not None:
        rollouts.share_set(row, following["share"], "the next step")
        return "step"
    if row.share < WHOLE:
        return "waiting"
    rollouts.rollout_promote(rollout=row, automatic=True)
    return "promoted"


def _sentence(verdict: Verdict, counted: list[Round], row: Rollout) -> str:
    decided = _decided(verdict)
    stable, candidate = rounds.compared(counted)[decided.round - 1]
    said = _words(verdict, stable, candidate, row)
    if len(counted) == 1:
        return said
    return f"{said} That was while it had {rollouts.percent(counted[decided.round - 1].share)} of the callers."


def _words(verdict: Verdict, stable: Arm, candidate: Arm, row: Rollout) -> str:
    if verdict.why == "errors":
        return (
            f"The candidate failed {candidate.errors:,} of {candidate.calls:,} calls "
            f"({_rate(candidate.errors, candidate.calls)}), the stable version {stable.errors:,} of {stable.calls:,} "
            f"({_rate(stable.errors, stable.calls)})."
        )
    if verdict.why == "latency":
        return (
            f"{candidate.slow:,} of {candidate.timed:,} timed calls of the candidate took longer than "
            f"{row.guards['latency_ms']:,} ms ({_rate(candidate.slow, candidate.timed)}, allowed {SLOW_SHARE:.0%})."
        )
    return (
        f"{candidate.wrong:,} of {candidate.judged:,} judged answers of the candidate were wrong "
        f"({_rate(candidate.wrong, candidate.judged)}), of the stable version {stable.wrong:,} of {stable.judged:,} "
        f"({_rate(stable.wrong, stable.judged)})."
    )


def _rate(events: int, calls: int) -> str:
    return f"{100 * events / calls:.1f}%" if calls else "–"


def _decided(verdict: Verdict) -> Finding:
    return next(finding for finding in verdict.findings if finding.why == verdict.why)


def _numbers(verdict: Verdict, counted: list[Round]) -> dict[str, Any]:
    decided = _decided(verdict)
    stable, candidate = rounds.compared(counted)[decided.round - 1]
    return {
        "why": verdict.why,
        "evidence": float(f"{decided.evidence:.4g}"),
        "enough": decided.enough,
        "round": decided.round,
        "share": counted[decided.round - 1].share / 100,
        STABLE: stable.kept(),
        CANDIDATE: candidate.kept(),
    }
