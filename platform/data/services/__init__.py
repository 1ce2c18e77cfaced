"""What changes the room's tables. Other rooms call these; views and tasks too."""

from data.services.datasets import dataset_create, version_check, version_create, version_for_job
from data.services.deletion import (
    dataset_delete,
    dataset_erase,
    dataset_restore,
    file_delete,
    file_erase,
    file_restore,
)
from data.services.files import (
    Stored,
    file_create,
    file_keep_result,
    file_map_columns,
    file_preview,
    file_process,
    file_store,
)
from data.services.uploads import (
    part_check,
    upload_assemble,
    upload_cancel,
    upload_complete,
    upload_create,
    upload_join,
    upload_part_create,
)
from data.services.versions import version_draft, version_write

__all__ = [
    "Stored",
    "dataset_create",
    "dataset_delete",
    "dataset_erase",
    "dataset_restore",
    "file_create",
    "file_delete",
    "file_erase",
    "file_keep_result",
    "file_map_columns",
    "file_preview",
    "file_process",
    "file_restore",
    "file_store",
    "part_check",
    "upload_assemble",
    "upload_cancel",
    "upload_complete",
    "upload_create",
    "upload_join",
    "upload_part_create",
    "version_check",
    "version_create",
    "version_draft",
    "version_for_job",
    "version_write",
]
