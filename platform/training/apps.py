"""Django's registration of the room."""

from django.apps import AppConfig


class TrainingConfig(AppConfig):
    """Fine-tuning jobs."""

    name = "training"
    label = "training"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Tell the data room that rows of unfinished jobs are needed."""
        from data.services.deletion import hold_versions
        from training.selectors.jobs import any_trains_on

        hold_versions(any_trains_on)
