"""The ASGI application: Django behind its edge, with the gateway before both unless it runs by itself."""

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.conf import settings
from django.core.asgi import get_asgi_application

application: Any = get_asgi_application()

from config.edge import Edge  # noqa: E402 - after the set-up

application = Edge(application)

if settings.GATEWAY_IN_WEB and "gateway" in settings.ROOMS:
    from gateway.app import in_front_of

    application = in_front_of(application)
