"""Errors of jobs."""

from kit.errors import BadRequest, Conflict, RateLimited


class JobFinished(Conflict):
    """The job has ended; nothing about it changes any more."""

    default_code = "job_finished"


class FileNotReady(Conflict):
    """The file is still being read; asking again in a moment helps."""

    default_code = "file_not_processed"
    should_retry = True


class FileUnusable(BadRequest):
    """The file cannot be trained on; the message names every blocking finding."""

    default_code = "invalid_training_file"


class CeilingTooLow(BadRequest):
    """The price ceiling does not cover the least the run can cost."""

    default_code = "price_ceiling_too_low"


class QueueFull(RateLimited):
    """The plan's number of waiting jobs is reached."""

    default_code = "queue_limit"


class Fenced(Exception):
    """This attempt no longer owns its job: whatever it holds must be thrown away. Never shown to a client."""


class NoReport(Conflict):
    """The job has no report (yet)."""

    default_code = "report_not_ready"


class SweepOpen(Conflict):
    """The sweep has not ended yet."""

    default_code = "sweep_open"


class SweepFinished(Conflict):
    """The sweep has ended; nothing about it changes any more."""

    default_code = "sweep_finished"
