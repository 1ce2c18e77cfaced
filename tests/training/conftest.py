"""The Celery application, so that doorbells ring somewhere."""

import config.celery  # noqa: F401 - configures the application
