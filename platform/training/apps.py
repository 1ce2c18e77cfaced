"""Django's registration of the room."""

from django.apps import AppConfig


class TrainingConfig(AppConfig):
    """Fine-tuning jobs."""

    name = "training"
    label = "training"
    default_auto_field = "django.db.models.BigAutoField"
