"""One count, one duration and, in production, one log line for each request that Django answers.

Routes, never paths: a path may hold the key of a confirmation link.
"""

import logging
import time

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from kit.http import Around
from kit.metrics import SECONDS, Counter, Histogram

log = logging.getLogger(__name__)

REQUESTS = Counter("web_requests_total", "Answers of the web process.", ("method", "route", "status"))
SECONDS_TAKEN = Histogram("web_request_seconds", "Time from request to the answer's head.", ("route",), buckets=SECONDS)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
PROBES = frozenset({"healthz", "readyz", "metrics"})


class Access(Around):
    """Stands first behind the request id, so that it sees what every other middleware answers."""

    def before(self, request: HttpRequest) -> None:
        """Start the clock."""
        request.started = time.perf_counter()  # type: ignore[attr-defined]

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Count, and say so in the log."""
        seconds = time.perf_counter() - request.started  # type: ignore[attr-defined]
        route = route_of(request)
        method = request.method if request.method in METHODS else "other"
        REQUESTS.labels(method, route, str(response.status_code)).inc()
        SECONDS_TAKEN.labels(route).observe(seconds)
        if route not in PROBES and route != "static":
            facts = {"method": method, "route": route, "status": response.status_code, "ms": round(seconds * 1000, 1)}
            log.info("%s %s %d", method, route or "/", response.status_code, extra=facts)
        return response


def route_of(request: HttpRequest) -> str:
    """The pattern that matched; a stranger's random paths are one."""
    if request.resolver_match is not None:
        return request.resolver_match.route
    return "static" if request.path.startswith(settings.STATIC_URL) else "none"
