"""The end of a batch: its files, its state and the news of it, in one transaction. However often a worker is killed on
the way, what it had not committed is done again by the next one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import msgspec
from django.db.models.functions import Now

from batches.errors import Fenced
from batches.lines import Line, Problem, parse, split
from batches.models import OPEN, Batch, Segment
from batches.selectors import lines_done, segments
from batches.services.results import Outcome, folder_of, results_keep, unasked
from batches.services.turns import Turn, fenced_update
from batches.services.validating import Keep, chunks_of
from batches.wire import PROBLEMS_SHOWN
from data.models import BATCH_OUTPUT, File
from data.services import Stored, file_keep_result
from hooks.catalogue import BATCH_CANCELLED, BATCH_COMPLETED, BATCH_EXPIRED, BATCH_FAILED
from hooks.services import event_publish
from kit import storage
from kit.ids import new_id, public_id
from tenants import audit
from tenants.scope import ops_scope, tenant_scope

GROUP = 1_000
"""Lines that were not asked, stored at a time."""
NEWS: dict[str, str] = {
    Batch.State.COMPLETED: BATCH_COMPLETED,
    Batch.State.FAILED: BATCH_FAILED,
    Batch.State.EXPIRED: BATCH_EXPIRED,
    Batch.State.CANCELLED: BATCH_CANCELLED,
}
LEFT: dict[str, str] = {Batch.State.EXPIRED: "batch_expired", Batch.State.CANCELLED: "batch_cancelled"}
"""What is said of the lines that were not asked."""


def lines_left(turn: Turn, keep: Keep) -> Iterator[Line]:
    """The lines without a result, in the file's order."""
    with tenant_scope(turn.tenant_id):
        done = lines_done(turn.batch_id)
    for number, raw in split(chunks_of(turn, keep)):
        if raw is not None and number not in done:
            yield parse(number, raw)


def batch_stop(turn: Turn, problem: Problem) -> None:
    """Begin to cancel a batch that may not go on, and say why."""
    with tenant_scope(turn.tenant_id):
        fenced_update(
            turn, state=Batch.State.CANCELLING, cancelling_at=Now(), errors=[problem.wire()], waits_for=""
        )  # fmt: skip


def batch_fail(turn: Turn, problems: list[Problem]) -> None:
    """End a batch whose file has problems. Those that are too many to list stand in its error file, every one."""
    shown = [problem.wire() for problem in problems[:PROBLEMS_SHOWN]]
    stored = None
    if len(problems) > PROBLEMS_SHOWN:
        more = Problem(
            "more_problems", f"{len(problems) - PROBLEMS_SHOWN:,} more problems; the error file lists all of them."
        )
        shown.append(more.wire())
        stored = _stored(turn, (msgspec.json.encode(problem.wire()) + b"\n" for problem in problems))
    _end(turn, Batch.State.FAILED, {"error": stored}, errors=shown)


def batch_finish(turn: Turn, state: str, keep: Keep) -> None:
    """End a batch that ran, as completed, expired or cancelled, with the files of what it has."""
    if state in LEFT:
        _left_behind(turn, LEFT[state], keep)
    else:
        with tenant_scope(turn.tenant_id):
            fenced_update(turn, state=Batch.State.FINALIZING, finalizing_at=Now())
    stored: dict[str, Stored | None] = {}
    for kind in Segment.Kind.values:
        with tenant_scope(turn.tenant_id):
            parts = segments(turn.batch_id, kind)
        stored[kind] = _stored(turn, _joined(parts, keep)) if parts else None
    _end(turn, state, stored)
    batch_sweep(turn)


def batch_sweep(turn: Turn) -> None:
    """Remove the pieces of a batch that has ended; what stays behind, `leftovers_sweep` removes."""
    storage.drop_folder(folder_of(turn))
    with tenant_scope(turn.tenant_id):
        Segment.objects.filter(batch_id=turn.batch_id).exclude(batch__state__in=OPEN).delete()


def leftovers_sweep() -> int:
    """Remove pieces of batches that ended while their worker was killed; of how many batches."""
    with ops_scope("find pieces of ended batches"):
        rows = Segment.ops.exclude(batch__state__in=OPEN).order_by().values_list("tenant_id", "batch_id").distinct()
        found = list(rows[:200])
    for tenant_id, batch_id in found:
        storage.drop_folder(storage.tenant_key(tenant_id, "batches", batch_id))
        with tenant_scope(tenant_id):
            Segment.objects.filter(batch_id=batch_id).exclude(batch__state__in=OPEN).delete()
    return len(found)


def _left_behind(turn: Turn, code: str, keep: Keep) -> None:
    """Say of every line that was not asked why. A file that was never checked has no lines to tell of."""
    with tenant_scope(turn.tenant_id):
        if Batch.objects.filter(pk=turn.batch_id, in_progress_at=None).exists():
            return
    group: list[Outcome] = []
    for line in lines_left(turn, keep):
        group.append(unasked(turn, line, code))
        if len(group) == GROUP:
            results_keep(turn, group)
            group.clear()
    if group:
        results_keep(turn, group)


def _joined(parts: list[Segment], keep: Keep) -> Iterator[bytes]:
    for chunk in chain.from_iterable(storage.read_chunks(part.storage_key) for part in parts):
        keep()
        yield chunk


def _stored(turn: Turn, chunks: Iterator[bytes]) -> Stored:
    key = storage.tenant_key(turn.tenant_id, "files", new_id())
    size, sha256 = storage.write_stream(key, chunks)
    return Stored(key, size, sha256)


def _end(
    turn: Turn, state: str, stored: dict[str, Stored | None], errors: list[dict[str, object]] | None = None
) -> None:
    """The transaction. Where the turn is over, nothing points at what was stored and it is removed again. After any
    other failure it stays: the commit may have reached the database, and only its answer been lost."""
    try:
        with tenant_scope(turn.tenant_id):
            batch: Batch = Batch.objects.select_for_update().get(pk=turn.batch_id)
            changes: dict[str, Any] = {} if errors is None else {"errors": errors}
            files = {kind: _file(batch, kind, one) for kind, one in stored.items() if one is not None}
            fenced_update(
                turn,
                state=state,
                ended_at=Now(),
                waits_for="",
                waiting_tokens=0,
                output_file=files.get("output"),
                error_file=files.get("error"),
                lease_expires_at=None,
                **changes,
            )
            event_publish(project_id=batch.project_id, type=NEWS[state], data={"id": batch.public_id})
            ended = {"completed": batch.completed, "failed": batch.failed}
            audit.record(action=f"batch.{state}", target=batch, after=ended)
    except Fenced:
        for one in stored.values():
            if one is not None:
                storage.drop_all([one.key])
        raise


def _file(batch: Batch, kind: str, stored: Stored) -> File:
    return file_keep_result(
        project_id=batch.project_id,
        filename=f"{public_id(Batch.prefix, batch.pk)}_{kind}.jsonl",
        stored=stored,
        purpose=BATCH_OUTPUT,
        keep_seconds=batch.output_seconds,
    )
