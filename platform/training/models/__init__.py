"""Tables of training."""

from training.models.capacity import Slot, TenantShare
from training.models.jobs import Attempt, Checkpoint, Job, JobEvent
from training.models.sweeps import Sweep

__all__ = ["Attempt", "Checkpoint", "Job", "JobEvent", "Slot", "Sweep", "TenantShare"]
