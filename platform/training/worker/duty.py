"""One doorbell: claim the next job and run it to its end; nothing when there is nothing to claim."""

import errno
import json
import logging
import socket
import threading
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connections

from data.services import Stored as StoredFile
from data.services import file_store
from registry.bases import Base, BaseError, catalogue, verify
from registry.errors import BadArtefact
from registry.services import Stored, artefact_discard, artefact_store
from tenants.scope import tenant_scope
from training import forecast, states
from training.errors import Fenced
from training.models import Job, Slot
from training.results import results_csv
from training.services.checkpoints import checkpoint_fetch
from training.services.claiming import claim, slots_drain, slots_keep, worker_name
from training.services.endings import Made, job_block, job_cancelled, job_fail, job_give_back, job_succeed
from training.services.leases import Lease, Standing, lease_advance, lease_renew
from training.services.sweeping import leases_of_the_dead
from training.worker.inventory import Inventory
from training.worker.keeping import kept
from training.worker.limits import limits_of
from training.worker.outcome import End, out_of_time
from training.worker.places import Places, disk_problem
from training.worker.supervisor import AWAY, SELF_FENCE, Supervisor, resumed
from training.worker.trainer import Trainer
from training.worker.workfolder import WorkFolder, folder_name, folders_sweep, work_folder

logger = logging.getLogger(__name__)

RESULTS_BYTES = 100_000_000
STOPPED = ("stopped", "crashed")
ASKED_BY = {
    "drained": "The worker is being replaced.",
    "preempted": "The job made room for one within its guarantee.",
}
"""Who asked an attempt to stop, in the words of its log."""
UNASKED = ("", "excess", "stalled")
"""Why an attempt stopped, where that says something of its place."""
UNFIT = "The machine had no room for the run, and takes no more jobs until somebody has looked at it."
FULL = (errno.ENOSPC, errno.EDQUOT)

seen = Inventory()
draining = threading.Event()
"""Set when this process is asked to leave; see `training.tasks`."""


class Unfit(OSError):
    """This machine cannot carry the attempt; the message is for staff."""


def host_name() -> str:
    """This host, as slots know it."""
    return (settings.TRAINING_HOST or socket.gethostname())[:60]


def gpu_class() -> str:
    """The class of this host's places: as set, else by whether it has a GPU."""
    if settings.TRAINING_GPU_CLASS != "auto":
        return str(settings.TRAINING_GPU_CLASS)
    return "shared" if forecast.device().startswith("cuda") else "cpu"


def work_once() -> bool:
    """Claim and run one job; whether there was one."""
    host = host_name()
    if draining.is_set():
        slots_drain(host=host)
        return False
    count, kind = settings.TRAINING_SLOTS, forecast.device()
    slots_keep(host=host, count=count, kind=kind, gpu_class=gpu_class(), inventory=_inventory(host, count, kind))
    leases_of_the_dead(host=host)
    held = Slot.objects.filter(host=host).exclude(job_id=None).values_list("job_id", "attempt")
    folders_sweep({folder_name(job_id, attempt) for job_id, attempt in held if job_id is not None})
    lease = claim(host=host, worker=worker_name(host))
    if lease is None:
        return False
    try:
        run(lease)
    except Fenced as error:
        logger.warning("threw an attempt away: %s", error)
    return True


def _inventory(host: str, count: int, kind: str) -> dict[int, dict[str, Any]] | None:
    """What this host's places run on; None when that was said a moment ago."""
    machines = seen.due(cuda=kind.startswith("cuda"))
    if machines is None:
        return None
    busy = set(Slot.objects.filter(host=host).exclude(job_id=None).values_list("number", flat=True))
    # One GPU may carry several places.
    used = {number % len(machines) for number in busy}
    return {number: machines[at].as_dict(busy=at in used) for number in range(count) for at in [number % len(machines)]}


def run(lease: Lease) -> None:
    """One attempt from the claim to its end. Fenced when the job was taken away."""
    with tenant_scope(lease.tenant_id):
        job = Job.objects.get(pk=lease.job_id)
    began = time.monotonic()
    if not lease_advance(lease=lease, state=states.STARTING):
        job_cancelled(lease=lease)
        return
    limits = limits_of(job.width)
    places = Places(lease, limits)
    with work_folder(lease) as folder:
        try:
            base = _prepare(lease, job, folder, places)
            trainer = Trainer(
                folder.config,
                folder=folder.root,
                base=base.folder,
                gpus=places.gpus,
                memory_bytes=limits.memory,
                processes=limits.processes,
            )
        except (BaseError, OSError, KeyError) as error:
            _unprepared(lease, places, error)
            return
        try:
            watch = Supervisor(lease, job, trainer, folder, draining, began, limits)
            end = watch.watch()
            _conclude_surely(lease, job, base, watch, end, places)
        finally:
            trainer.close()


def _unprepared(lease: Lease, places: Places, error: Exception) -> None:
    """Back into the queue; where the machine is to blame, without a try counted and never again to this place."""
    if isinstance(error, Unfit) or (isinstance(error, OSError) and error.errno in FULL):
        places.quarantine(str(error) if isinstance(error, Unfit) else "the scratch disk is full")
        job_give_back(lease=lease, outcome="unfit", reason=UNFIT)
        return
    logger.error("could not prepare %s", lease.job_id, exc_info=error)
    reason = f"The worker could not prepare the run: {type(error).__name__}."
    job_give_back(lease=lease, outcome="crashed", reason=reason)


def _prepare(lease: Lease, job: Job, folder: WorkFolder, places: Places) -> Base:
    """Data, base and checkpoint onto this machine, each compared with its hash. Unfit where it has no room for them."""
    base = catalogue()[job.base]
    verify(base)
    if base.fingerprint != job.spec["base_sha256"]:
        raise BaseError(f"base {base.name} is not the one the job was planned with")
    if problem := places.unfit(job, base):
        raise Unfit(problem)
    with kept(lease):
        folder.fetch_data(job.spec["dataset_key"])
        resume, damaged = checkpoint_fetch(lease=lease, target=folder.resume)
    folder.write_config(job.spec, base=base, resume=resume)
    step = int(resume.name.removeprefix("step-")) if resume is not None else 0
    standing = Standing("starting", step, job.total_steps, job.progress, None, job.trained_tokens)
    lease_renew(lease=lease, standing=standing, news=resumed(step, damaged))
    return base


def _conclude_surely(lease: Lease, job: Job, base: Base, watch: Supervisor, end: End, places: Places) -> None:
    """Conclude, and again while the database is away: a finished run is worth waiting for.

    A COMMIT whose answer was lost is safe: the second try finds the lease gone, and Fenced ends it.
    """
    deadline = time.monotonic() + SELF_FENCE
    while True:
        try:
            if watch.why in UNASKED:
                places.judge(end)
            _conclude(lease, job, base, watch, end, places)
            return
        except AWAY as error:
            if time.monotonic() > deadline:
                raise
            logger.warning("the database is away; the end of %s waits: %s", lease.job_id, error)
            connections["default"].close()
            time.sleep(1.0)


def _conclude(lease: Lease, job: Job, base: Base, watch: Supervisor, end: End, places: Places) -> None:
    """Turn the trainer's end and our own reasons into the attempt's end."""
    if watch.why == "cancelled":
        job_cancelled(lease=lease)
    elif end.kind == "done":
        _publish(lease, base, end)
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


def _publish(lease: Lease, base: Base, end: End) -> None:
    """Store the artefact, then make it the job's result in one transaction; throw it away if that is refused."""
    if not lease_advance(lease=lease, state=states.FINISHING):
        job_cancelled(lease=lease)
        return
    try:
        with kept(lease):
            stored = artefact_store(tenant_id=lease.tenant_id, folder=Path(end.artefact))
            report = read_report(Path(end.artefact))
            results = _store_results(lease)
    except (BadArtefact, OSError, ValueError) as error:
        logger.exception("could not store the result of %s", lease.job_id)
        reason = f"The result could not be stored: {type(error).__name__}."
        job_give_back(lease=lease, outcome="crashed", reason=reason, step=end.steps)
        return
    try:
        job_succeed(lease=lease, made=Made(stored, base, report, end.trained_tokens, end.steps, results))
    finally:
        _discard_unless_published(lease, stored, results)


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


def read_report(artefact: Path) -> dict[str, Any]:
    """The report a trainer wrote; ValueError when it is not an object."""
    report = json.loads((artefact / "report.json").read_text(encoding="utf-8"))
    if not isinstance(report, dict):
        raise ValueError("report.json is not an object")
    return report
