"""The scratch folder of one attempt. It is removed when the attempt ends, however it ends."""

import contextlib
import json
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from django.conf import settings

from kit import cgroups, storage, untrusted
from kit.processes import end_marked
from kit.untrusted import Opened
from registry.bases import Base
from training.services.claiming import worker_is_dead
from training.services.leases import Lease

OWNER = ".owner"
"""Ends the name of the file beside a folder that names the worker which it belongs to; in it a trainer could write."""
STOP_FILE = "stop"
"""As the lab's `group.py` has it, which a worker does not import: it brings torch."""
FORGOTTEN_SECONDS = 120.0


class WorkFolder:
    """Paths of one attempt, and what its trainer hands over: nothing else that it wrote is ever opened by us."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "data.parquet"
        self.config = root / "config.json"
        self.output = root / "output"
        self.resume = root / "resume"
        self._opened = -1

    def fetch_data(self, key: str) -> None:
        """The dataset version's file, under a name of ours. `storage.Unreadable`, or OSError."""
        with self.data.open("wb") as copy:
            for chunk in storage.read_chunks(key):
                copy.write(chunk)

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

    def ask_stop(self) -> None:
        """Leave the file that asks one run of several to stop; OSError where that cannot be."""
        how = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        os.close(os.open(STOP_FILE, how, 0o644, dir_fd=self._opened))

    @contextlib.contextmanager
    def made(self) -> Iterator[None]:
        """The folders inside exist, and that of the output stays open: no trainer has run yet."""
        self.output.mkdir()
        self.resume.mkdir()
        self._opened = untrusted.folder_open(self.output)
        try:
            yield
        finally:
            opened, self._opened = self._opened, -1
            os.close(opened)

    def hand_over(self, path: str) -> Opened:
        """The files of a folder that the trainer names, below its output, open: its own tidying does not touch them,
        and nothing of them stays once they are closed. untrusted.Refused, or OSError."""
        try:
            inside = PurePath(path).relative_to(self.output)
        except ValueError as error:
            raise untrusted.Refused("The folder is not below the output.") from error
        return untrusted.files_open(self._opened, inside, limit=settings.TRAINING_DISK_MB * 1_000_000)


@contextlib.contextmanager
def work_folder(lease: Lease) -> Iterator[WorkFolder]:
    """A fresh folder for an attempt, gone afterwards."""
    with _fresh(folder_name(lease.job_id, lease.attempt), lease.worker) as root:
        folder = WorkFolder(root)
        with folder.made():
            yield folder


@contextlib.contextmanager
def shared_folder(worker: str) -> Iterator[Path]:
    """A fresh folder for a process that several attempts share, gone afterwards: it may outlive any of them."""
    with _fresh(f"shared-{uuid.uuid4()}", worker) as root:
        yield root


@contextlib.contextmanager
def result_folder(lease: Lease, opened: Opened) -> Iterator[Path]:
    """Copies of what a trainer handed over, where it cannot write any more; gone afterwards."""
    with _fresh(f"{folder_name(lease.job_id, lease.attempt)}-result", lease.worker) as root:
        untrusted.files_copy(opened, root, limit=settings.TRAINING_DISK_MB * 1_000_000)
        yield root


@contextlib.contextmanager
def _fresh(name: str, worker: str) -> Iterator[Path]:
    root = Path(settings.WORK_DIR) / "jobs" / name
    folder_remove(root)
    root.mkdir(parents=True)
    try:
        root.chmod(0o700)
        _owner_of(root).write_text(worker, encoding="utf-8")
        yield root
    finally:
        folder_remove(root)


def folder_remove(root: Path) -> None:
    """A folder and its owner's name; safe to repeat. By programs of the system, which a trainer's folders cannot be too
    deep for, nor closed to."""
    for command in (["rm", "-rf"], ["chmod", "-R", "u+rwX"], ["rm", "-rf"]):
        if root.is_symlink() or root.exists():
            subprocess.run([*command, "--", str(root)], check=False, capture_output=True)
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
        if time.time() - folder.lstat().st_mtime > FORGOTTEN_SECONDS:
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
