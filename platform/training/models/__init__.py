"""Tables of training."""

from training.models.capacity import Slot, TenantShare
from training.models.jobs import Attempt, Checkpoint, Job, JobEvent

__all__ = ["Attempt", "Checkpoint", "Job", "JobEvent", "Slot", "TenantShare"]
