"""One doorbell: claim the next job and run it to its end, with those that train in its process; nothing when there is
nothing to claim.
"""

import logging
import socket
import threading
from functools import partial
from typing import Any

from django.conf import settings
from django.db import connections

from training import forecast
from training.models import Slot
from training.services.claiming import claim_group, slots_drain, slots_keep, slots_report, worker_name
from training.services.sweeping import leases_of_the_dead
from training.worker import running
from training.worker.inventory import Inventory
from training.worker.keeping import beside
from training.worker.workfolder import folder_name, folders_sweep

logger = logging.getLogger(__name__)

REPORT_SECONDS = 30.0
seen = Inventory()
draining = threading.Event()
"""Set when this process is asked to leave; see `training.tasks`."""


def host_name() -> str:
    """This host, as slots know it."""
    return (settings.TRAINING_HOST or socket.gethostname())[:60]


def gpu_class() -> str:
    """The class of this host's places: as set, else by whether it has a GPU."""
    if settings.TRAINING_GPU_CLASS != "auto":
        return str(settings.TRAINING_GPU_CLASS)
    return "shared" if forecast.device().startswith("cuda") else "cpu"


def work_once() -> bool:
    """Claim and run one job, and those that train with it; whether there was one. Once at a time in a process
    (`idle.work_in_turn`): what the process holds beside is given back."""
    host = host_name()
    if draining.is_set():
        slots_drain(host=host)
        return False
    count, kind = settings.TRAINING_SLOTS, forecast.device()
    slots_keep(host=host, count=count, kind=kind, gpu_class=gpu_class(), inventory=_inventory(host, count, kind))
    leases_of_the_dead(host=host, worker=worker_name(host))
    held = Slot.objects.filter(host=host).exclude(job_id=None).values_list("job_id", "attempt")
    folders_sweep({folder_name(job_id, attempt) for job_id, attempt in held if job_id is not None}, host=host)
    on_gpus = kind.startswith("cuda")
    leases = claim_group(host=host, worker=worker_name(host), devices=seen.devices, cuda=on_gpus)
    if leases:
        # A run may take days, and its supervisor is not to wait for nvidia-smi.
        with beside(partial(_report, host, count, kind), every=REPORT_SECONDS, name="inventory"):
            running.run(leases, draining)
    return bool(leases)


def _report(host: str, count: int, kind: str) -> None:
    """Say what this host's places run on. Whatever fails here, the next one is as good."""
    try:
        slots_report(host=host, inventory=_inventory(host, count, kind) or {})
    except Exception:
        logger.warning("could not report what the places run on", exc_info=True)
        connections["default"].close()


def _inventory(host: str, count: int, kind: str) -> dict[int, dict[str, Any]] | None:
    """What this host's places run on; None when that was said a moment ago."""
    machines = seen.due(cuda=kind.startswith("cuda"))
    if machines is None:
        return None
    busy = set(Slot.objects.filter(host=host).exclude(job_id=None).values_list("number", flat=True))
    # One GPU may carry several places.
    used = {number % len(machines) for number in busy}
    return {number: machines[at].as_dict(busy=at in used) for number in range(count) for at in [number % len(machines)]}
