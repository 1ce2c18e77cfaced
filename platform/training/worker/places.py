"""The places an attempt holds: whether they can carry it, what they run on, and what its end says of them."""

import logging
import os
import shutil
from pathlib import Path

from django.conf import settings

from kit import storage
from registry.bases import Base
from training import forecast
from training.models import Job, Slot
from training.services.leases import Lease
from training.services.parking import slots_crashed, slots_failed, slots_quarantine, slots_worked
from training.worker import inventory, memory
from training.worker.limits import Limits
from training.worker.outcome import End

logger = logging.getLogger(__name__)

SPARE_BYTES = 200_000_000
"""Disk that must be free beside what a run is expected to write."""
PROCESS_BYTES = 500_000_000
"""Memory of a trainer before it has loaded anything of its own."""
COPIES = {"full": 12, "lora": 2, "head": 2}
"""How often the base's weights lie on disk at most: tuned, with the optimiser's two numbers for each, in two kept
checkpoints, one being written and one on its way to the store."""
IN_MEMORY = {"full": 4, "lora": 2, "head": 1}
"""How often the base's weights are in memory: weights, gradients and the optimiser's two."""


class Places:
    """The places of one attempt, as they were when it began."""

    def __init__(self, lease: Lease, limits: Limits) -> None:
        self._lease, self._limits = lease, limits
        held = Slot.objects.filter(job_id=lease.job_id, attempt=lease.attempt).order_by("number")
        self._ids, self._numbers = [], []
        for key, number in held.values_list("pk", "number"):
            self._ids.append(key)
            self._numbers.append(number)
        self._machines = inventory.machines(cuda=True) if forecast.device().startswith("cuda") else []

    @property
    def gpus(self) -> str | None:
        """CUDA_VISIBLE_DEVICES of the attempt; None on a host without GPUs."""
        count = sum(one.kind == "gpu" for one in self._machines)
        if not count:
            return None
        return inventory.visible(self._numbers, count=count, own=os.environ.get("CUDA_VISIBLE_DEVICES"))

    def unfit(self, job: Job, base: Base) -> str:
        """Why this attempt cannot run here, in words for staff; empty when it can.

        What is asked for is never more than one run may take: a large job must not make every host look unfit.
        """
        weights = (base.folder / "model.safetensors").stat().st_size
        method = str(job.spec["config"].get("method", "full"))
        disk = COPIES.get(method, COPIES["full"]) * weights + _data_bytes(job)
        if (problem := disk_problem(min(disk, self._limits.disk) + SPARE_BYTES)) != "":
            return problem
        each = PROCESS_BYTES + IN_MEMORY.get(method, IN_MEMORY["full"]) * weights
        needed = min(job.width * each, self._limits.memory)
        if memory.free() < needed:
            return f"{memory.free() >> 20:,} MiB of memory are free; the run needs {needed >> 20:,}"
        shared = len(self._machines) < settings.TRAINING_SLOTS
        gpus = [one for one in self._machines if one.kind == "gpu"]
        for number in self._numbers if gpus else ():
            machine = gpus[number % len(gpus)]
            health, why = machine.verdict(busy=shared)
            if health == inventory.UNWELL:
                return f"{machine.name}: {why}"
        return ""

    def quarantine(self, reason: str) -> None:
        """Keep new jobs away from these places until staff have looked."""
        slots_quarantine(slot_ids=self._ids, reason=reason)

    def fault(self, reason: str) -> None:
        """These places could not make the attempt ready; repeatedly, and they are parked."""
        slots_failed(slot_ids=self._ids, job_id=self._lease.job_id, attempt=self._lease.attempt, reason=reason)

    def judge(self, end: End) -> None:
        """What an attempt's end says of its places: many crashes in a row of different jobs are the machine's. The end
        of a process that several shared says nothing: it may be any one's own."""
        if end.code == "companions":
            return
        if end.fault == "platform":
            slots_crashed(slot_ids=self._ids, job_id=self._lease.job_id, reason=end.message)
        elif end.kind in ("done", "failed"):
            slots_worked(slot_ids=self._ids)


def disk_problem(needed: int = SPARE_BYTES) -> str:
    """What is wrong with the scratch disk if so many bytes must be free on it; empty when nothing is."""
    folder = Path(settings.WORK_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    return "" if free >= needed else f"{free >> 20:,} MiB of scratch disk are free; the run needs {needed >> 20:,}"


def _data_bytes(job: Job) -> int:
    return storage.size(job.spec["dataset_key"])
