"""What changes the room's tables. Other rooms call these; views and tasks too."""

from batches.services.batches import batch_cancel, batch_create

__all__ = ["batch_cancel", "batch_create"]
