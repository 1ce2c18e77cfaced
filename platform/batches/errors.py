"""What this room refuses, and how a worker learns that its turn is over."""

from kit.errors import BadRequest, Conflict, RateLimited


class FileNotForBatch(BadRequest):
    """The file was uploaded for something else."""

    default_code = "invalid_file_purpose"


class EndpointUnknown(BadRequest):
    """A path that batches cannot call."""

    default_code = "invalid_endpoint"


class TooManyOpen(RateLimited):
    """As many batches are open as an organisation may have."""

    default_code = "batch_limit_exceeded"
    should_retry = False


class BatchEnded(Conflict):
    """The batch has ended in another way."""

    default_code = "batch_ended"


class Fenced(Exception):
    """Another worker holds the batch, or nobody may any more: write nothing."""
