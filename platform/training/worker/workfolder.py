"""The scratch folder of one attempt. It is removed when the attempt ends, however it ends."""

import contextlib
import json
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings

from kit import cgroups, storage
from kit.processes import end_marked
from registry.bases import Base
from training.services.claiming import worker_is_dead
from training.services.leases import Lease

OWNER = ".owner"
"""Ends the name of the file beside a folder that names the worker which it belongs to; in it a trainer could write."""
FORGOTTEN_SECONDS = 120.0


class WorkFolder:
    """Paths of one attempt."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "data.parquet"
        self.config = root / "config.json"
        self.output = root / "output"
        self.resume = root / "resume"
        self.staging = root / "staging"

    def fetch_data(self, key: str) -> None:
        """The dataset version's file, under a name of ours."""
        with storage.local_path(key) as source:
            shutil.copyfile(source, self.data)

    def write_config(self, spec: dict[str, Any], *, base: Base, resume: Path | None) -> None:
        """The lab's CONFIG.json: the frozen spec, and the paths of this machine."""
        config = dict(spec["config"]) | {
            "data": str(self.data),
            "base": str(base.folder),
            "output": str(self.output),
            "resume": None if resume is None else str(resume),
            "threads": settings.TRAINING_THREADS or "auto",
            "device": settings.TRAINING_DEVICE,
            "checkpoint_seconds": float(settings.TRAINING_CHECKPOINT_SECONDS),
        }
        self.config.write_text(json.dumps(config, indent=1), encoding="utf-8")

    def stage(self, checkpoint: Path) -> Path:
        """A second name for a checkpoint's files, which the trainer's own tidying does not touch."""
        self.staging.mkdir(exist_ok=True)
        target = self.staging / f"{checkpoint.name}-{uuid.uuid4().hex[:8]}"
        shutil.copytree(checkpoint, target, copy_function=_link)
        return target


@contextlib.contextmanager
def work_folder(lease: Lease) -> Iterator[WorkFolder]:
    """A fresh folder for an attempt, gone afterwards."""
    with _fresh(folder_name(lease.job_id, lease.attempt), lease.worker) as root:
        folder = WorkFolder(root)
        folder.output.mkdir()
        folder.resume.mkdir()
        yield folder


@contextlib.contextmanager
def shared_folder(worker: str) -> Iterator[Path]:
    """A fresh folder for a process that several attempts share, gone afterwards: it may outlive any of them."""
    with _fresh(f"shared-{uuid.uuid4()}", worker) as root:
        yield root


@contextlib.contextmanager
def _fresh(name: str, worker: str) -> Iterator[Path]:
    root = Path(settings.WORK_DIR) / "jobs" / name
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    try:
        root.chmod(0o700)
        _owner_of(root).write_text(worker, encoding="utf-8")
        yield root
    finally:
        folder_remove(root)


def folder_remove(root: Path) -> None:
    """A folder and its owner's name; safe to repeat."""
    shutil.rmtree(root, ignore_errors=True)
    _owner_of(root).unlink(missing_ok=True)


def _owner_of(root: Path) -> Path:
    return root.with_name(root.name + OWNER)


def folders_sweep(kept: set[str], *, host: str) -> int:
    """Remove the folders of attempts that ended with their worker, and end what of them still runs; `kept` are the
    names of those still running here. A worker of this host that lives removes its own."""
    removed = 0
    root = Path(settings.WORK_DIR) / "jobs"
    for folder in root.iterdir() if root.is_dir() else ():
        if folder.name in kept or folder.name.endswith(OWNER) or _is_owned(folder, host):
            continue
        if time.time() - folder.stat().st_mtime > FORGOTTEN_SECONDS:
            cgroups.end(folder.name)
            end_marked(folder.name)
            folder_remove(folder)
            removed += 1
    return removed


def _is_owned(folder: Path, host: str) -> bool:
    try:
        owner = _owner_of(folder).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return owner.startswith(f"{host}/") and not worker_is_dead(owner, host=host)


def folder_name(job_id: uuid.UUID, attempt: int) -> str:
    """The folder of an attempt under WORK_DIR/jobs."""
    return f"{job_id}-a{attempt}"


def _link(source: str, target: str) -> str:
    try:
        Path(target).hardlink_to(source)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
    return target
