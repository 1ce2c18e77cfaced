"""Checkpoints: into storage under the attempt's own prefix, then onto the job by compare-and-swap, and back.

Two good ones are kept. What is read back is compared with its hashes first; a damaged one falls back to the one before.
"""

import datetime as dt
import hashlib
import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from kit import storage, untrusted
from kit.clock import now
from kit.untrusted import Opened, Refused
from tenants.scope import ops_scope, tenant_scope
from training import states
from training.models import Attempt, Checkpoint, Job
from training.services.leases import Lease, fenced_update

KEPT = 2
AFTER = dt.timedelta(days=1)
"""Nobody uploads for a job that has ended for so long."""
MANIFEST = "manifest.json"
MOST_MANIFEST = 1 << 20
"""Bytes."""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A checkpoint whose files are in storage, known to nobody yet."""

    step: int
    prefix: str
    files: dict[str, dict[str, Any]]
    manifest_sha256: str

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(int(entry["bytes"]) for entry in self.files.values())


def checkpoint_upload(*, lease: Lease, opened: Opened, step: int, manifest_sha256: str) -> Uploaded:
    """Copy a checkpoint's files into storage. Touches no database; may run in a thread. `untrusted.Refused` where they
    are not what its manifest says, with nothing left behind; StorageAway, OSError."""
    raw = b"".join(untrusted.chunks(opened.files[MANIFEST], most=MOST_MANIFEST)) if MANIFEST in opened.files else b""
    if hashlib.sha256(raw).hexdigest() != manifest_sha256:
        raise Refused("The manifest is not the one that was announced.")
    listed = _listed(raw, step)
    if set(listed) != set(opened.files) - {MANIFEST}:
        raise Refused("The folder and its manifest name different files.")
    # Each try has a prefix of its own: what one that failed has left behind is in nobody's way.
    folder = f"a{lease.attempt:06}/step-{step:08}-{uuid.uuid4().hex[:8]}"
    prefix = f"{storage.tenant_key(lease.tenant_id, 'jobs', lease.job_id)}/{folder}"
    for name, entry in listed.items():
        if entry["bytes"] != os.fstat(opened.files[name].fileno()).st_size:
            raise Refused(f"{name} has not the size that the manifest says.")
    stored = listed | {MANIFEST: {"sha256": manifest_sha256, "bytes": len(raw)}}
    kept: list[str] = []
    try:
        for name, entry in stored.items():
            key = f"{prefix}/{name}"
            _, digest = storage.write_stream(key, untrusted.chunks(opened.files[name], most=entry["bytes"]))
            kept.append(key)
            if digest != entry["sha256"]:
                raise Refused(f"{name} is not what the manifest says.")
    except BaseException:
        storage.drop_all(kept)
        raise
    return Uploaded(step, prefix, stored, manifest_sha256)


def _listed(raw: bytes, step: int) -> dict[str, dict[str, Any]]:
    """Hash and size of each file, as a manifest has them; Refused where it has not."""
    try:
        manifest = json.loads(raw)
        if manifest["step"] != step:
            raise Refused("The manifest is one of another step.")
        return {str(name): _entry(entry) for name, entry in manifest["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise error if isinstance(error, Refused) else Refused("The manifest cannot be read.") from error


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    digest, size = entry["sha256"], entry["bytes"]
    if not isinstance(digest, str) or not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise Refused("The manifest gives no hash or size for a file.")
    return {"sha256": digest, "bytes": size}


def checkpoint_record(*, lease: Lease, uploaded: Uploaded, metrics: dict[str, Any]) -> bool:
    """Make it the job's newest: False when the job already has another as far or farther. Safe to repeat: a COMMIT
    whose answer was lost has happened. Fenced without the lease."""
    with tenant_scope(lease.tenant_id):
        fenced_update(lease, heartbeat_at=Now())
        row = Checkpoint(
            tenant_id=lease.tenant_id,
            job_id=lease.job_id,
            attempt=lease.attempt,
            step=uploaded.step,
            storage_prefix=uploaded.prefix,
            files=uploaded.files,
            manifest_sha256=uploaded.manifest_sha256,
            size_bytes=uploaded.size,
            metrics=metrics,
        )
        newest = Job.objects.values_list("checkpoint_step", flat=True).get(pk=lease.job_id)
        if newest >= uploaded.step:
            if Checkpoint.objects.filter(job_id=lease.job_id, storage_prefix=uploaded.prefix).exists():
                return True
            discard(uploaded.prefix, uploaded.files)
            return False
        row.save(force_insert=True)
        fenced_update(lease, within=states.HELD, checkpoint_id=row.pk, checkpoint_step=uploaded.step)
        kept = Checkpoint.objects.filter(job_id=lease.job_id, removed_at=None).order_by("-step")
        for old in kept[KEPT:]:
            Checkpoint.objects.filter(pk=old.pk).update(removed_at=now())
            discard(old.storage_prefix, old.files)
        return True


def checkpoint_fetch(*, lease: Lease, target: Path) -> tuple[Path | None, list[str]]:
    """The newest sound checkpoint of the job under `target`, and what was wrong with newer ones. Only bytes that were
    read tell of damage: `storage.Unreadable` where the storage does not answer, OSError where this machine fails."""
    with tenant_scope(lease.tenant_id):
        known = list(Checkpoint.objects.filter(job_id=lease.job_id, removed_at=None).order_by("-step"))
    damaged: list[str] = []
    for row in known:
        folder = target / f"step-{row.step:08d}"
        problem = _copy(row, folder)
        if problem is None:
            return folder, damaged
        damaged.append(f"The checkpoint of step {row.step} is damaged ({problem}).")
    return None, damaged


def _copy(row: Checkpoint, folder: Path) -> str | None:
    folder.mkdir(parents=True)
    for name, entry in row.files.items():
        digest, key = hashlib.sha256(), f"{row.storage_prefix}/{name}"
        if not storage.is_there(key):
            return f"{name} is gone"
        with (folder / name).open("wb") as copy:
            for chunk in storage.read_chunks(key):
                digest.update(chunk)
                copy.write(chunk)
        if digest.hexdigest() != entry["sha256"]:
            return f"{name} does not match its hash"
    return None


def checkpoints_drop(*, job: Job) -> None:
    """The job has ended for good: nothing will be resumed, so its states give their room back after the commit, and
    with them what dead workers had uploaded and told nobody of. The rows stay."""
    Checkpoint.objects.filter(job=job, removed_at=None).update(removed_at=now())
    if job.attempt:
        prefix = storage.tenant_key(job.tenant_id, "jobs", job.pk)
        transaction.on_commit(lambda: storage.drop_folder(prefix), robust=True)


def leftovers_sweep() -> int:
    """Remove what came into storage after a job's end, from workers that did not know of it yet or died meanwhile, a
    day after its last attempts. How many jobs had some."""
    moment = now()
    with ops_scope("find jobs that ended a day ago"):
        ended = Attempt.ops.filter(ended_at__range=(moment - 2 * AFTER, moment - AFTER), job__state__in=states.FINAL)
        jobs = list(ended.values_list("tenant_id", "job_id").distinct())
    return sum(storage.drop_folder(storage.tenant_key(tenant, "jobs", job)) > 0 for tenant, job in jobs)


def discard(prefix: str, files: dict[str, Any]) -> None:
    """Remove a checkpoint's files after the commit; a file that stays behind is only waste."""
    keys = [f"{prefix}/{name}" for name in files]
    transaction.on_commit(lambda: storage.delete_all(keys), robust=True)
