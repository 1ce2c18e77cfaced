"""Attempts from the claim to their ends: each made ready, one trainer for all of them, a supervisor for each.

Nearly always there is one. Several are jobs that may train in one process (docs/decisions/0026); from the start of the
trainer each is for itself, and what befalls one is nothing to the others.
"""

import contextlib
import datetime as dt
import errno
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from django.db import connections

from billing.plans import GPU_CLASSES
from kit import storage
from kit.storage import StorageAway
from registry.bases import Base, BaseError, catalogue, verify
from tenants.scope import tenant_scope
from training import states
from training.errors import Fenced
from training.models import Attempt, Job, Slot, TenantShare
from training.selectors.capacity import fails_elsewhere, other_hosts
from training.services.checkpoints import checkpoint_fetch
from training.services.endings import job_cancelled, job_give_back
from training.services.events import News
from training.services.leases import Lease, Standing, lease_advance, lease_renew
from training.services.parking import slots_crashed
from training.worker.away import outlast
from training.worker.concluding import STORAGE_AWAY, UNFIT, conclude
from training.worker.keeping import kept
from training.worker.limits import Limits, limits_of, limits_together
from training.worker.places import Places
from training.worker.spent import spent_seconds
from training.worker.supervisor import Supervisor, resumed
from training.worker.together import Part, Shared
from training.worker.trainer import Trainer
from training.worker.workfolder import WorkFolder, folder_remove, shared_folder, work_folder

logger = logging.getLogger(__name__)

FULL = (errno.ENOSPC, errno.EDQUOT)
LATELY = dt.timedelta(minutes=30)
"""What other hosts lacked or did not reach either in this time is no fault of this one."""
NO_BASE = "The base model {base} is missing or damaged on the machine."
NOT_READY = "The machine could not make the run ready."


class Unfit(OSError):
    """This machine cannot carry the attempt; the message is for staff."""


class Unready(RuntimeError):
    """What the attempt needs is not there, for any machine; the message is for the job's log."""


@dataclass(frozen=True, slots=True)
class Ready:
    """One attempt with everything its trainer needs on this machine."""

    lease: Lease
    job: Job
    base: Base
    folder: WorkFolder
    places: Places
    limits: Limits
    began: float
    spent: float

    def watch(self, trainer: Trainer | Part, limits: Limits, draining: threading.Event, *, beside: int = 0) -> None:
        """Supervise it to its end, beside so many others in its process. Fenced when the job was taken away."""
        watch = Supervisor(self.lease, self.job, trainer, self.folder, draining, self.began, limits, self.spent)
        if beside:
            others = "one other job" if beside == 1 else f"{beside} other jobs"
            words = f"Trains in one process with {others} over the same base."
            watch.reading.pending.append(News(words, code="shared", data={"others": beside}))
        end = watch.watch()
        conclude(self.lease, self.job, self.base, watch, end, self.places)


def run(leases: Sequence[Lease], draining: threading.Event) -> None:
    """Attempts from the claim to their ends. `draining` is set when this worker is asked to leave."""
    with contextlib.ExitStack() as folders:
        team = _team(leases, folders, draining)
        if not team:
            return
        limits = limits_together([one.limits for one in team])
        root = team[0].folder.root if len(team) == 1 else folders.enter_context(shared_folder(team[0].lease.worker))
        trainer = _start(team, root, limits)
        if trainer is None:
            return
        try:
            if len(team) == 1:
                with _thrown_away():
                    team[0].watch(trainer, limits, draining)
            else:
                _watch_all(team, trainer, limits, draining)
        finally:
            trainer.close()


def _team(leases: Sequence[Lease], folders: contextlib.ExitStack, draining: threading.Event) -> list[Ready]:
    """Those that could be made ready; their leases are kept until the last of them is."""
    team = []
    with contextlib.ExitStack() as waiting:
        for lease in leases:
            waiting.enter_context(kept(lease))
        for lease in leases:
            try:
                with _thrown_away():
                    ready = _outlasting(lease, folders, draining)
                    team += [ready] if ready is not None else []
            except Exception:  # this worker gives it back with its next look
                if len(leases) == 1:
                    raise
                logger.exception("could not make attempt %s of %s ready", lease.attempt, lease.job_id)
    return team


def _watch_all(team: Sequence[Ready], trainer: Trainer, limits: Limits, draining: threading.Event) -> None:
    def attend(ready: Ready, part: Part) -> None:
        try:
            with _thrown_away():
                ready.watch(part, limits, draining, beside=len(team) - 1)
        except Exception:  # this worker gives it back with its next look
            logger.exception("attempt %s of %s was left", ready.lease.attempt, ready.lease.job_id)
        finally:
            connections.close_all()
            part.gone.wait()
            folder_remove(ready.folder.root)  # the others may go on for hours

    shared = Shared(trainer, [one.folder for one in team])
    pairs = zip(team, shared.parts, strict=True)
    threads = [threading.Thread(target=attend, args=pair, name="supervisor") for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextlib.contextmanager
def _thrown_away() -> Iterator[None]:
    """An attempt whose job was taken away ends here, and nothing comes of it."""
    try:
        yield
    except Fenced as error:
        logger.warning("threw an attempt away: %s", error)


def _outlasting(lease: Lease, folders: contextlib.ExitStack, draining: threading.Event) -> Ready | None:
    """`_make_ready`, however long database or storage are away, within reason."""
    try:
        return outlast(partial(_make_ready, lease, folders), what=f"the start of {lease.job_id}", leaving=draining)
    except StorageAway:
        leaving = draining.is_set()
        if not leaving and not fails_elsewhere(host=_host(lease), reason=STORAGE_AWAY, within=LATELY):
            held = Slot.objects.filter(job_id=lease.job_id, attempt=lease.attempt)
            slots_crashed(slot_ids=[slot.pk for slot in held], job_id=lease.job_id, reason=STORAGE_AWAY)
        back = partial(job_give_back, lease=lease, outcome="drained" if leaving else "unready", reason=STORAGE_AWAY)
        outlast(back, what=f"the end of {lease.job_id}")
        return None


def _make_ready(lease: Lease, folders: contextlib.ExitStack) -> Ready | None:
    """An attempt's folder with all that it needs, until `folders` closes; None where its job ended or went back into
    the queue."""
    with tenant_scope(lease.tenant_id):
        job = Job.objects.get(pk=lease.job_id)
    began = time.monotonic()
    if not lease_advance(lease=lease, state=states.STARTING):
        job_cancelled(lease=lease)
        return None
    limits = limits_of(job.width)
    places = Places(lease, limits)
    with contextlib.ExitStack() as mine:
        try:
            folder = mine.enter_context(work_folder(lease))
            base = _prepare(lease, job, folder, places)
        except (BaseError, OSError, Unready) as error:
            _unprepared(lease, job, places, error)
            return None
        folders.enter_context(mine.pop_all())
    return Ready(lease, job, base, folder, places, limits, began, spent_seconds(lease))


def _start(team: Sequence[Ready], root: Path, limits: Limits) -> Trainer | None:
    """The trainer of one or several attempts, which are alike in base and device; None where it cannot be started."""
    first = team[0]
    try:
        return Trainer(
            *[one.folder.config for one in team],
            folder=root,
            also=[one.folder.root for one in team if one.folder.root != root],
            base=first.base.folder,
            gpus=first.places.gpus,
            memory_bytes=limits.memory,
            processes=limits.processes,
        )
    except OSError as error:
        for one in team:
            with _thrown_away():
                outlast(
                    partial(_unprepared, one.lease, one.job, one.places, error), what=f"the end of {one.lease.job_id}"
                )
        return None


def _unprepared(lease: Lease, job: Job, places: Places, error: Exception) -> None:
    """Back into the queue; where the machine is to blame, without a try counted. A place without room takes nothing
    more; one that fails in another way not for long."""
    if isinstance(error, Unfit) or (isinstance(error, OSError) and error.errno in FULL):
        places.quarantine(str(error) if isinstance(error, Unfit) else "the scratch disk is full")
        job_give_back(lease=lease, outcome="unfit", reason=UNFIT)
        return
    logger.error("could not prepare %s", lease.job_id, exc_info=error)
    if isinstance(error, Unready):
        job_give_back(lease=lease, outcome="unready", reason=str(error))
        return
    _failed_here(lease, job, places, error)


def _failed_here(lease: Lease, job: Job, places: Places, error: Exception) -> None:
    """The machine is blamed until another one fails in the same way: at a base for whomever, at anything else for this
    very job, as two hosts may each have a bad disk. From its second time on a try of the job is counted, so that it
    waits between them and comes to an end."""
    reason = NO_BASE.format(base=job.base) if isinstance(error, BaseError) else NOT_READY
    whose = None if isinstance(error, BaseError) else lease.job_id
    everywhere = fails_elsewhere(host=_host(lease), reason=reason, within=LATELY, job_id=whose)
    with tenant_scope(lease.tenant_id):
        again = Attempt.objects.filter(job=job, reason=reason).exists()
        gpu_class = TenantShare.objects.values_list("gpu_class", flat=True).first() or GPU_CLASSES[0]
    # One job alone takes no place from others, unless that sends it to another host.
    alone = again and not other_hosts(host=_host(lease), gpu_class=gpu_class, width=job.width)
    if not everywhere and not alone:
        places.fault(str(error))
    job_give_back(lease=lease, outcome="unready" if everywhere or again else "unfit", reason=reason)


def _host(lease: Lease) -> str:
    return lease.worker.split("/", 1)[0]


def _prepare(lease: Lease, job: Job, folder: WorkFolder, places: Places) -> Base:
    """Data, base and checkpoint onto this machine, each compared with its hash. Unfit where it has no room for them,
    BaseError or OSError where it fails, Unready where another would as well."""
    base = catalogue().get(job.base)
    if base is None:
        raise BaseError(f"Base {job.base} is not in this machine's catalogue.")
    verify(base)
    if base.fingerprint != job.spec["base_sha256"]:
        raise Unready("The base model is not the one that the run was planned with.")
    if not storage.is_there(job.spec["dataset_key"]):
        raise Unready("The rows of the dataset version are not in our storage.")
    if problem := places.unfit(job, base):
        raise Unfit(problem)
    folder.fetch_data(job.spec["dataset_key"])
    resume, damaged = checkpoint_fetch(lease=lease, target=folder.resume)
    folder.write_config(job.spec, base=base, resume=resume)
    step = int(resume.name.removeprefix("step-")) if resume is not None else 0
    standing = Standing("starting", step, job.total_steps, job.progress, None, job.trained_tokens)
    lease_renew(lease=lease, standing=standing, news=resumed(step, damaged))
    return base
