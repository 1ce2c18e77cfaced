"""Django's registration of the room."""

from django.apps import AppConfig


class BatchesConfig(AppConfig):
    """Batches."""

    name = "batches"
    label = "batches"

    def ready(self) -> None:
        """Tell the data room that the bytes of a file are needed while a batch reads it."""
        from batches.selectors import any_reads
        from data.services.deletion import hold_files

        hold_files(any_reads)
