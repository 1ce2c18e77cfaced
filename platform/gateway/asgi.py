"""The gateway as a process of its own: `uvicorn gateway.asgi:application`. Only the hot paths and /healthz answer."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup()

from gateway.app import Gateway  # noqa: E402 - needs the settings
from gateway.wire import Receive, Scope, Send, encode, error_body  # noqa: E402
from kit import metrics  # noqa: E402
from kit.errors import NotFound  # noqa: E402


async def beyond(scope: Scope, receive: Receive, send: Send) -> None:
    """Health, metrics, and a 404 for what the web process serves."""
    if scope["type"] != "http":
        return
    kind, status = b"application/json", 200
    if scope["path"] == "/healthz":
        body = encode({"status": "ok"})
    elif scope["path"] == "/metrics":
        body, kind = metrics.scrape(), metrics.CONTENT_TYPE.encode()
    else:
        status, body = 404, error_body(NotFound(f"Nothing is at {scope['path'][:200]}."))
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


application = Gateway(beyond)
