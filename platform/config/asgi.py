"""The ASGI application: Django, with the gateway in front of it on the hot /v1 paths unless it runs by itself."""

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.conf import settings
from django.core.asgi import get_asgi_application

application: Any = get_asgi_application()

if settings.GATEWAY_IN_WEB and "gateway" in settings.ROOMS:
    from gateway.app import in_front_of

    application = in_front_of(application)
