"""The ASGI application: Django behind its edge, with the gateway before both unless it runs by itself."""

import gc
import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django
from django.apps import apps
from django.conf import settings

if not apps.ready:  # until all is loaded (`config.apps`) there is nothing to collect, and it would all be read often
    gc.disable()
django.setup(set_prefix=False)

from config.edge import Edge  # noqa: E402 - after the set-up
from config.handler import Handler  # noqa: E402
from inference import tracing  # noqa: E402

tracing.start("tunesmith-web", settings.OTEL_EXPORTER_OTLP_ENDPOINT)

application: Any = Edge(Handler())

if settings.GATEWAY_IN_WEB and "gateway" in settings.ROOMS:
    from gateway.app import in_front_of

    application = in_front_of(application)
