"""The gateway as a process of its own: `uvicorn gateway.asgi:application`. Only the hot paths and /healthz answer."""

import gc
import hmac
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django
from django.apps import apps

if not apps.ready:  # until all is loaded (`config.apps`) there is nothing to collect, and it would all be read often
    gc.disable()
django.setup()

from django.conf import settings  # noqa: E402 - after the set-up

from gateway.app import Gateway  # noqa: E402
from gateway.wire import Receive, Scope, Send, encode, error_body, header  # noqa: E402
from kit import metrics  # noqa: E402
from kit.errors import NotFound  # noqa: E402


async def beyond(scope: Scope, receive: Receive, send: Send) -> None:
    """Health, metrics, and a 404 for what the web process serves."""
    if scope["type"] != "http":
        return
    kind, status = b"application/json", 200
    if scope["path"] == "/healthz":
        body = encode({"status": "ok"})
    elif scope["path"] == "/metrics" and _may_scrape(scope):
        body, kind = metrics.scrape(), metrics.CONTENT_TYPE.encode()
    else:
        status, body = 404, error_body(NotFound(f"Nothing is at {scope['path'][:200]}."))
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _may_scrape(scope: Scope) -> bool:
    """As in the web process: open in development, behind a bearer token in production."""
    token = (header(scope, b"authorization") or b"").removeprefix(b"Bearer ")
    return settings.DEBUG or bool(
        settings.METRICS_TOKEN and hmac.compare_digest(token, settings.METRICS_TOKEN.encode())
    )


application = Gateway(beyond)
