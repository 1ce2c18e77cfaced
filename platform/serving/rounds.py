"""What each round of a rollout came to: every call and every word of feedback counted once, however many there are.

Each row of the request log and of feedback carries the number of the transaction that wrote it last. What older
transactions wrote than every one that still runs is final: PostgreSQL hands numbers out in order, so no row with such a
number can come any more, however late its writer was. A tick adds that part to the sums (`settle`) and moves the mark.
What lies above the mark is looked at anew each time, so that nobody waits for a transaction that takes long.

Two kinds of row change after they were written. A failed line of a batch may be asked again and then becomes what it
came to in the end: failed lines are looked at each time, through an index of failures alone, and added up when the log
forgets them (`forget`). And feedback is given anew: its row says as what it was counted, and the sums get the
difference.

A row belongs to the round in which its *call* came, by the gateway's clock, whenever the row arrives. What came after
the rollout had ended belongs to none.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Case, Count, IntegerField, Q, QuerySet, Value, When

from billing.prices.rating import BATCH
from kit.clock import now
from serving.errors import SpanTooLarge
from serving.figures import MANY
from serving.models import Feedback, RequestRecord, Rollout
from serving.models.counts import OF_ROLLOUTS, RolloutCount, WritingTransaction
from serving.patience import bounded
from serving.splits import CANDIDATE, SHADOW, STABLE, WHOLE
from serving.verdict import Arm
from tenants.scope import tenant_scope

NOBODYS = ("slow_down", "model_cold")
"""Codes of failures that say nothing of a version."""
TIMED = Q(explained=False) & ~Q(kind__startswith=BATCH) & ~Q(model_state__startswith="loaded")
"""The calls whose time is the version's own."""
UNSURE = Q(status__gte=500, kind__startswith=BATCH)
"""A line that failed, and may be asked again."""
STRIDE = 1 << 16
"""Transactions added up at a time, at first."""
STRIDE_MS = 1_000
"""For one such stretch. One that takes longer is tried again with fewer."""
LEAST_MS = 60_000
"""For a single transaction, which cannot be parted."""
SETTLE_SECONDS = 5.0
"""For all stretches of a tick; the next tick goes on."""
TRIES = 5
"""To count while nobody moves the sums."""
PARCEL = 5_000
"""Failed lines that are forgotten at a time."""

JUDGED = """
    WITH slice AS (
        SELECT id, correct, counted, (SELECT max(place) FROM unnest(%(began)s::timestamptz[]) WITH ORDINALITY
            AS round (began_at, place) WHERE began_at <= requested_at) AS round
        FROM serving_feedback
        WHERE project_id = %(project)s AND version_id = %(version)s AND model = %(alias)s AND arm = %(arm)s
            AND arm <> '' AND requested_at >= %(since)s AND written >= %(mark)s AND written < %(until)s
            AND created_at < coalesce(%(ended)s::timestamptz, 'infinity')
        FOR UPDATE),
    noted AS (UPDATE serving_feedback AS said SET counted = slice.correct FROM slice WHERE said.id = slice.id)
    SELECT round, count(*) FILTER (WHERE counted IS NULL),
        count(*) FILTER (WHERE NOT correct AND counted IS NOT FALSE)
            - count(*) FILTER (WHERE correct AND counted IS FALSE)
    FROM slice GROUP BY round"""
"""What feedback adds to the sums of its rounds, and that it did."""


@dataclass(slots=True)
class Round:
    """One share's time, and what both arms did in it. `closed`: its rows cannot be told from older ones any more."""

    share: int
    began_at: dt.datetime
    arms: dict[str, Arm] = field(default_factory=lambda: {STABLE: Arm(), CANDIDATE: Arm()})
    closed: bool = False

    @classmethod
    def read(cls, kept: dict[str, Any]) -> Round:
        """One that was kept."""
        arms = {arm: Arm(**kept[arm]) for arm in (STABLE, CANDIDATE)}
        return cls(kept["share"], dt.datetime.fromisoformat(kept["began_at"]), arms, kept["closed"])

    def kept(self) -> dict[str, Any]:
        """To be kept."""
        arms = {name: arm.kept() for name, arm in self.arms.items()}
        return {"share": self.share, "began_at": self.began_at.isoformat(), "closed": self.closed, **arms}


def begin(rollout: Rollout) -> None:
    """Count from now on. A rollout's calls are written by later transactions than the one that makes it."""
    first = Round(rollout.share, rollout.created_at)
    RolloutCount.objects.create(rollout=rollout, counted_to=WritingTransaction(), rounds=[first.kept()])


def begin_round(rollout: Rollout) -> None:
    """Another round from `round_at` on, with the share of now. The rollout is locked."""
    row = _locked(rollout)
    row.rounds = [one.kept() for one in _read(row, rollout)]
    row.save(update_fields=["rounds"])


def settle(*, tenant_id: UUID, rollout_id: UUID) -> bool:
    """Add up what is final, in stretches that each commit; whether that is all of it. Holds no lock but its own."""
    until, stride = time.monotonic() + SETTLE_SECONDS, STRIDE
    while True:
        try:
            with tenant_scope(tenant_id):
                if _settle(rollout_id, stride):
                    return True
            stride *= 4
        except SpanTooLarge:
            if stride == 1:
                return False
            stride = max(1, stride // 256)  # each failed one has cost a second of the few there are
        if time.monotonic() > until:
            return False


def forget(*, tenant_id: UUID, rollout_id: UUID, before: dt.datetime) -> int:
    """Delete some of its failed lines of batches that came earlier, and add them to the sums; how many. Nobody asks
    them again where no batch that had them is still open."""
    with tenant_scope(tenant_id):
        rollout = Rollout.objects.select_related("stable", "candidate").get(pk=rollout_id)
        row, gone = _locked(rollout), 0
        rounds = _read(row, rollout)
        for arm in (STABLE, CANDIDATE):
            lines = records_of(rollout, arm, _since(rounds)).filter(OF_ROLLOUTS, UNSURE, at__lt=before)
            keys = list(lines.select_for_update().values_list("pk", flat=True)[:PARCEL])
            old = RequestRecord.objects.filter(pk__in=keys)
            _add(rounds, arm, _calls(rollout, rounds, old))
            gone += old.delete()[0]
        row.rounds = [one.kept() for one in rounds]
        row.save(update_fields=["rounds"])
    return gone


def rounds_of(rollout: Rollout, *, patience_ms: int) -> list[Round]:
    """All rounds with everything that can be seen now, oldest first. SpanTooLarge where too much is new since the last
    tick."""
    with bounded(MANY, milliseconds=patience_ms):
        row = _seen(rollout)
        for _ in range(TRIES):
            found = _above(row, rollout)
            before, row = row, _seen(rollout)
            if (row.counted_to, row.rounds) == (before.counted_to, before.rounds):
                return found
    raise SpanTooLarge(MANY)  # a tick adds up all the time: what it moved meanwhile was counted twice, or not at all


def compared(rounds: Sequence[Round]) -> list[tuple[Arm, Arm]]:
    """Stable and candidate of each round. With the whole share the stable version gets no calls, so there it is judged
    by all it has had."""
    whole = total(rounds, STABLE)
    return [(whole if one.share == WHOLE else one.arms[STABLE], one.arms[CANDIDATE]) for one in rounds]


def total(rounds: Sequence[Round], arm: str) -> Arm:
    """One arm's sums over all rounds."""
    found = Arm()
    for one in rounds:
        found += one.arms[arm]
    return found


def records_of(rollout: Rollout, arm: str, since: dt.datetime) -> QuerySet[RequestRecord]:
    """The calls of an arm that count. Gateways that had not heard of its end yet are none of a rollout's."""
    seen = SHADOW if arm == CANDIDATE and rollout.mode == Rollout.Mode.SHADOW else arm
    found: QuerySet[RequestRecord] = RequestRecord.objects.filter(
        Q(status__lt=400) | Q(status__gte=500),
        project_id=rollout.project_id,
        version_id=_version(rollout, arm),
        model=rollout.alias,
        arm=seen,
        at__gte=since,
    ).exclude(code__in=NOBODYS)
    return found if rollout.ended_at is None else found.filter(at__lt=rollout.ended_at)


def _settle(rollout_id: UUID, stride: int) -> bool:
    rollout = Rollout.objects.select_related("stable", "candidate").get(pk=rollout_id)
    row = _locked(rollout)
    rounds = _read(row, rollout)
    final, following = _snapshot()
    if row.counted_to > following:  # these numbers are another cluster's: the rows came here in a dump
        for one in rounds:
            one.closed = True
        row.rounds = [one.kept() for one in (*rounds, Round(rollout.share, now()))]
        row.counted_to = final
        row.save(update_fields=["rounds", "counted_to"])
        return True
    until = min(final, row.counted_to + stride)
    if until <= row.counted_to:
        return True
    with bounded(MANY, milliseconds=STRIDE_MS if stride > 1 else LEAST_MS) as cursor:
        for arm in (STABLE, CANDIDATE):
            lines = records_of(rollout, arm, _since(rounds)).filter(OF_ROLLOUTS, written__gte=row.counted_to)
            _add(rounds, arm, _calls(rollout, rounds, lines.filter(written__lt=until).exclude(UNSURE)))
            cursor.execute(JUDGED, _said(rollout, arm, rounds) | {"mark": row.counted_to, "until": until})
            _add(rounds, arm, {place: Arm(judged=new, wrong=wrong) for place, new, wrong in cursor.fetchall()})
    row.rounds, row.counted_to = [one.kept() for one in rounds], until
    row.save(update_fields=["rounds", "counted_to"])
    return until == final


def _seen(rollout: Rollout) -> RolloutCount:
    return RolloutCount.objects.filter(rollout=rollout).first() or RolloutCount(**_unbegun(rollout))


def _above(row: RolloutCount, rollout: Rollout) -> list[Round]:
    """The sums with what lies above the mark."""
    rounds = _read(row, rollout)
    for arm in (STABLE, CANDIDATE):
        lines = records_of(rollout, arm, _since(rounds)).filter(OF_ROLLOUTS)
        new = lines.filter(written__gte=row.counted_to).exclude(UNSURE)
        _add(rounds, arm, _calls(rollout, rounds, new, lines.filter(UNSURE)))
        _add(rounds, arm, _judged(rollout, arm, rounds, row.counted_to))
    return rounds


def _read(row: RolloutCount, rollout: Rollout) -> list[Round]:
    """The rounds, with the one of now: in the middle of an update a server of an earlier version may have begun it."""
    rounds = [Round.read(kept) for kept in row.rounds]
    if rounds[-1].began_at < rollout.round_at:
        rounds.append(Round(rollout.share, rollout.round_at))
    return rounds


def _locked(rollout: Rollout) -> RolloutCount:
    wanted = _unbegun(rollout)
    found, _ = RolloutCount.objects.select_for_update().get_or_create(rollout=wanted.pop("rollout"), defaults=wanted)
    return found


def _unbegun(rollout: Rollout) -> dict[str, Any]:
    """Where a server of an earlier version began the rollout, in the middle of an update: its round, from the start."""
    return {
        "rollout": rollout,
        "tenant_id": rollout.tenant_id,
        "rounds": [Round(rollout.share, rollout.round_at).kept()],
    }


def _snapshot() -> tuple[int, int]:
    """The oldest transaction that still runs, and the one after the newest that has ended."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_snapshot_xmin(now)::text::bigint, pg_snapshot_xmax(now)::text::bigint"
            " FROM pg_current_snapshot() AS now"
        )
        oldest, following = cursor.fetchone()
    return oldest, following


def _since(rounds: Sequence[Round]) -> dt.datetime:
    return min(one.began_at for one in rounds if not one.closed)


def _version(rollout: Rollout, arm: str) -> UUID:
    deployment = rollout.stable if arm == STABLE else rollout.candidate
    return deployment.version_id


def _said(rollout: Rollout, arm: str, rounds: Sequence[Round]) -> dict[str, Any]:
    return {
        "project": rollout.project_id,
        "version": _version(rollout, arm),
        "alias": rollout.alias,
        "arm": arm,
        "since": _since(rounds),
        "began": [one.began_at for one in rounds],
        "ended": rollout.ended_at,
    }


def _place(column: str, rounds: Sequence[Round]) -> Case:
    """The round of a row, from 1, by the moment of its call."""
    whens = [When(**{f"{column}__gte": one.began_at}, then=Value(n)) for n, one in enumerate(rounds, 1)]
    return Case(*reversed(whens), output_field=IntegerField())


def _calls(rollout: Rollout, rounds: Sequence[Round], *lines: QuerySet[RequestRecord]) -> dict[int, Arm]:
    """What calls add, by round. In one statement: a line may be in one set of rows now and in another later."""
    limit, found = rollout.guards["latency_ms"], dict[int, Arm]()
    first, *rest = [
        one.values(place=_place("at", rounds)).annotate(
            calls=Count("pk"),
            errors=Count("pk", filter=Q(status__gte=500)),
            timed=Count("pk", filter=TIMED),
            slow=Count("pk", filter=TIMED & Q(duration_ms__gt=limit) if limit is not None else Q(pk=None)),
        )
        for one in lines
    ]
    sums: Any = first.union(*rest, all=True) if rest else first
    for one in sums:
        place = one.pop("place")
        found[place] = found.get(place, Arm()) + Arm(**one)
    return found


def _judged(rollout: Rollout, arm: str, rounds: Sequence[Round], mark: int) -> dict[int, Arm]:
    """What feedback above the mark would add."""
    said = _said(rollout, arm, rounds)
    found = (
        Feedback.objects.filter(
            Q() if rollout.ended_at is None else Q(created_at__lt=rollout.ended_at),
            OF_ROLLOUTS,
            project_id=said["project"],
            version_id=said["version"],
            model=said["alias"],
            arm=arm,
            requested_at__gte=said["since"],
            written__gte=mark,
        )
        .values(place=_place("requested_at", rounds))
        .annotate(
            new=Count("pk", filter=Q(counted=None)),
            worse=Count("pk", filter=Q(correct=False) & (Q(counted=None) | Q(counted=True))),
            better=Count("pk", filter=Q(correct=True, counted=False)),
        )
    )
    return {one["place"]: Arm(judged=one["new"], wrong=one["worse"] - one["better"]) for one in found}


def _add(rounds: list[Round], arm: str, found: dict[int, Arm]) -> None:
    for place, more in found.items():
        rounds[place - 1].arms[arm] += more
