"""What can go wrong with files and datasets, in words for the caller."""

from kit.errors import BadRequest, Conflict, PayloadTooLarge, RateLimited, Unprocessable


class FileTooLarge(PayloadTooLarge):
    """A file over the plan's size."""

    default_code = "file_too_large"


class StorageFull(PayloadTooLarge):
    """The tenant's storage would go over its plan."""

    default_code = "storage_limit_exceeded"


class FileNotReady(Conflict):
    """The file is still being checked."""

    default_code = "file_not_ready"


class FileInUse(Conflict):
    """Something being made still reads the file."""

    default_code = "file_in_use"


class DatasetInUse(Conflict):
    """Something being made still needs a version of the dataset."""

    default_code = "dataset_in_use"


class NotDeleted(Conflict):
    """There is nothing deleted to bring back or to erase."""

    default_code = "not_deleted"


class TooManyDownloads(RateLimited):
    """As many downloads of rows as one organisation may run are running."""

    default_code = "too_many_downloads"


class InvalidFile(Unprocessable):
    """The file cannot be trained on; the message lists the blocking findings."""

    default_code = "invalid_file"


class WrongTask(Unprocessable):
    """The rows are of another kind than the task trains on; the message says what it needs."""

    default_code = "wrong_task"


class InvalidColumns(BadRequest):
    """A column mapping that does not fit the file."""

    default_code = "invalid_columns"


class InvalidFix(BadRequest):
    """A fix that is unknown or wrongly filled in."""

    default_code = "invalid_fix"


class UploadClosed(Conflict):
    """The upload is completed, cancelled or expired."""

    default_code = "upload_closed"


class UploadMismatch(BadRequest):
    """Parts do not add up to what was announced."""

    default_code = "upload_mismatch"


class VersionNotReady(Conflict):
    """The dataset version is still being written, or failed."""

    default_code = "dataset_version_not_ready"
