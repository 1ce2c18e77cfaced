"""Django's registration of the room."""

from django.apps import AppConfig


class BatchesConfig(AppConfig):
    """Batches."""

    name = "batches"
    label = "batches"

    def ready(self) -> None:
        """Tell the rooms below what an open batch needs: its file's bytes, and the deployments that it will call."""
        from batches.selectors import any_calls, any_reads
        from data.services.deletion import hold_files
        from serving.idling import hold_deployments

        hold_files(any_reads)
        hold_deployments(any_calls)
