"""Health, metrics and the OpenAPI document."""

import hmac
from collections.abc import Callable
from typing import Any

from celery import current_app
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe
from drf_spectacular.views import SpectacularJSONAPIView

from config.refusals import not_found
from config.watching import Product
from kit import metrics as kit_metrics
from kit import redis
from serving.selectors import engine_health


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """The process is alive."""
    return JsonResponse({"status": "ok"})


@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Each part the product needs, with `ok` or what is wrong; 503 while one is missing."""
    parts = {
        "database": _probe(_database),
        "redis": _probe(_redis),
        "workers": _probe(_workers),
        "engine": _probe(_engine),
    }
    ready = all(part["ok"] for part in parts.values())
    return JsonResponse({"status": "ok" if ready else "unready", "parts": parts}, status=200 if ready else 503)


def _probe(check: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return {"ok": True, **check()}
    except Exception as error:  # whatever is wrong with a part, the page must say so
        return {"ok": False, "error": f"{type(error).__name__}: {error}"[:200]}


def _database() -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return {}


def _redis() -> dict[str, Any]:
    redis.client().ping()
    return {}


def _workers() -> dict[str, Any]:
    """Workers refresh a heartbeat key per queue (see `kit.heartbeat`); asking them all would take a second."""
    missing = [queue for queue in settings.QUEUES if not redis.client().exists(f"worker:{queue}")]
    if missing:
        raise RuntimeError(f"no worker serves {', '.join(missing)}")
    return {"queues": list(settings.QUEUES), "tasks": len(current_app.tasks)}


def _engine() -> dict[str, Any]:
    engine_health()
    return {}


_product = Product()


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus text: open in development, behind a bearer token in production, absent without one."""
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    allowed = settings.METRICS_TOKEN and hmac.compare_digest(token.encode(), settings.METRICS_TOKEN.encode())
    if not (settings.DEBUG or allowed):
        return not_found(request)
    return HttpResponse(kit_metrics.scrape(_product), content_type=kit_metrics.CONTENT_TYPE)


openapi = cache_control(max_age=300)(SpectacularJSONAPIView.as_view())
