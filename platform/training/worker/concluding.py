"""The end of an attempt: what its trainer's end, and our own reasons to stop it, make of the job."""

import contextlib
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

from data.services import Stored as StoredFile
from data.services import file_store
from kit import storage, strict_json, untrusted
from kit.errors import BadRequest
from kit.storage import StorageAway
from registry.bases import Base
from registry.services import Stored, artefact_discard, artefact_store
from tenants.scope import tenant_scope
from training import states
from training.models import Job
from training.results import results_csv
from training.services.endings import Made, job_block, job_cancelled, job_fail, job_give_back, job_succeed
from training.services.leases import Lease, lease_advance
from training.worker.away import AWAY, outlast
from training.worker.keeping import kept
from training.worker.outcome import End, out_of_time
from training.worker.places import Places, disk_problem
from training.worker.supervisor import Supervisor
from training.worker.workfolder import WorkFolder, result_folder

logger = logging.getLogger(__name__)

RESULTS_BYTES = 100_000_000
REPORT_BYTES = 8 << 20
REPORT_PARTS = ("test", "baseline", "gate")
STOPPED = ("stopped", "crashed")
ASKED_BY = {
    "drained": "The worker is being replaced.",
    "preempted": "The job made room for one within its guarantee.",
}
"""Who asked an attempt to stop, in the words of its log."""
UNASKED = ("", "excess", "stalled")
"""Why an attempt stopped, where that says something of its place."""
STORAGE_AWAY = "Our storage did not answer for too long."
UNFIT = "The machine had no room for the run, and takes no more jobs until somebody has looked at it."


def conclude(lease: Lease, job: Job, base: Base, watch: Supervisor, end: End, places: Places) -> None:
    """Conclude, and again while database or storage are away: a finished run is worth waiting for.

    A COMMIT whose answer was lost is safe: the second try finds the lease gone, and Fenced ends it.
    """

    def once() -> None:
        if watch.why in UNASKED:
            places.judge(end)
        _conclude_once(lease, job, base, watch, end, places)

    what = f"the end of {lease.job_id}"
    try:
        outlast(once, what=what)
    except StorageAway:
        outlast(partial(job_give_back, lease=lease, outcome="unready", reason=STORAGE_AWAY, step=end.steps), what=what)


def _conclude_once(lease: Lease, job: Job, base: Base, watch: Supervisor, end: End, places: Places) -> None:
    """Turn the trainer's end and our own reasons into the attempt's end."""
    if watch.why == "cancelled":
        job_cancelled(lease=lease)
    elif end.kind == "done":
        _publish(lease, base, watch.folder, end)
    elif end.kind == "failed":
        job_fail(lease=lease, code=end.code, message=end.message, exit_code=end.exit_code)
    elif watch.why == "timeout":
        late = out_of_time(job.max_runtime_seconds / 3600, end.exit_code)
        job_fail(lease=lease, code=late.code, message=late.message, exit_code=late.exit_code)
    elif watch.why == "ceiling":
        job_block(lease=lease, by=states.BUDGET, exit_code=end.exit_code)
    elif watch.why in (states.PAUSED, *states.LIMITS) and end.kind in STOPPED:
        job_block(lease=lease, by=watch.why, exit_code=end.exit_code)
    elif watch.why in ASKED_BY and end.kind in STOPPED:
        job_give_back(lease=lease, outcome=watch.why, reason=ASKED_BY[watch.why], exit_code=end.exit_code)
    elif end.code == "scratch" and (problem := disk_problem()):
        places.quarantine(problem)
        job_give_back(lease=lease, outcome="unfit", reason=UNFIT, exit_code=end.exit_code)
    else:
        reason = "The trainer fell silent and was stopped." if watch.why == "stalled" else end.message
        step = watch.reading.standing.step
        job_give_back(lease=lease, outcome="crashed", reason=reason, step=step, exit_code=end.exit_code)


def _publish(lease: Lease, base: Base, folder: WorkFolder, end: End) -> None:
    """Store the artefact, then make it the job's result in one transaction; throw it away if that is refused."""
    if not lease_advance(lease=lease, state=states.FINISHING):
        job_cancelled(lease=lease)
        return
    try:
        with kept(lease), _handed_over(lease, folder, end) as result:
            report = _read_report(result)
            results = _store_results(lease)
            stored = _store_artefact(lease, result, results)
    except (BadRequest, OSError, ValueError) as error:
        logger.exception("could not store the result of %s", lease.job_id)
        why = "the machine failed" if isinstance(error, OSError) else "it is not what a training leaves"
        reason = f"The result could not be stored: {why}."
        job_give_back(lease=lease, outcome="crashed", reason=reason, step=end.steps)
        return
    try:
        job_succeed(lease=lease, made=Made(stored, base, report, end.trained_tokens, end.steps, results))
    finally:
        _discard_unless_published(lease, stored, results)


@contextlib.contextmanager
def _handed_over(lease: Lease, folder: WorkFolder, end: End) -> Iterator[Path]:
    """The artefact where its trainer cannot reach it: others may still train in that process."""
    opened = folder.hand_over(end.artefact)
    try:
        with result_folder(lease, opened) as result:
            yield result
    finally:
        opened.close()


def _store_artefact(lease: Lease, folder: Path, results: StoredFile) -> Stored:
    try:
        return artefact_store(tenant_id=lease.tenant_id, folder=folder)
    except BaseException:
        storage.drop_all([results.key])
        raise


def _store_results(lease: Lease) -> StoredFile:
    with tenant_scope(lease.tenant_id):
        lines = list(results_csv(Job.objects.get(pk=lease.job_id)))
    return file_store(tenant_id=lease.tenant_id, chunks=lines, limit=RESULTS_BYTES)


def _discard_unless_published(lease: Lease, stored: Stored, results: StoredFile) -> None:
    """A lost answer to a COMMIT looks like a failure: only the job's row says what became of the artefact."""
    try:
        with tenant_scope(lease.tenant_id):
            known = Job.objects.values_list("model_version_id", flat=True).get(pk=lease.job_id)
    except AWAY:
        logger.warning("left an artefact behind at %s; nobody points at it unless it was published", stored.prefix)
        return
    if known != stored.version_id:
        artefact_discard(stored)
        results.discard()


def _read_report(artefact: Path) -> dict[str, Any]:
    """The report a trainer wrote; ValueError or BadRequest when it is none."""
    with untrusted.file_open(artefact / "report.json") as file:
        report = strict_json.loads(b"".join(untrusted.chunks(file, most=REPORT_BYTES)), most=REPORT_BYTES)
    parts = [report, *(report.get(name) or {} for name in REPORT_PARTS)] if isinstance(report, dict) else [None]
    if not all(isinstance(part, dict) for part in parts):
        raise ValueError("report.json is not an object of objects")
    return cast("dict[str, Any]", report)
