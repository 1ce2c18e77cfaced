"""Every URL of the product. Rooms bring their own; this file only says where they stand."""

import importlib.util
from typing import Any

from django.conf import settings
from django.urls import include, path, register_converter
from django.urls.converters import PathConverter

from config import refusals, views
from ops import admin as _registrations  # noqa: F401 - registers every table
from ops.site import staff


class Anything(PathConverter):
    """A rest of a path, line breaks and all."""

    regex = r"[\s\S]+"


register_converter(Anything, "anything")
urlpatterns: list[Any] = [
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("metrics", views.metrics, name="metrics"),
    path("openapi.json", views.openapi, name="openapi"),
]
for room in settings.ROOMS:
    for module, prefix in (("api_urls", "v1/"), ("urls", "")):
        name = f"{room}.{module}"
        if room != "config" and importlib.util.find_spec(name) is not None:
            urlpatterns.append(path(prefix, include(name)))
urlpatterns += [
    path("account/", include("allauth.urls")),
    path(settings.STAFF_PATH.strip("/") + "/", staff.urls),
]
for unknown in ("v1", "v1/", "v1/<anything:rest>"):  # after every room: what is left speaks JSON in development too
    urlpatterns.append(path(unknown, refusals.unknown_path))
handler400 = "config.refusals.bad_request"
handler403 = "config.refusals.forbidden"
handler404 = "config.refusals.not_found"
handler500 = "config.refusals.server_error"
