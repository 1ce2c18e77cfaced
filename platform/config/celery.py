"""The Celery application. A message is a doorbell without authority; PostgreSQL says what is true."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django
from celery import Celery
from celery.signals import setup_logging
from django.conf import settings

django.setup()

app = Celery("tunesmith")
app.conf.update(settings.CELERY)
app.autodiscover_tasks(settings.ROOMS, force=True)


@setup_logging.connect
def _keep_our_logging(**_: object) -> None:
    """Django's LOGGING stands; Celery must not replace it."""
