"""The HTTP server: loopback only, one thread, so that calls never overlap."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web

from billing.stripe_emulator.api import Api, key_of
from billing.stripe_emulator.control import control
from billing.stripe_emulator.deliveries import Courier
from billing.stripe_emulator.errors import StripeError
from billing.stripe_emulator.forms import form_decode
from billing.stripe_emulator.nouns.endpoints import LOOPBACK, endpoint_make
from billing.stripe_emulator.nouns.test_clocks import clocks_run
from billing.stripe_emulator.pages.hosted import hosted
from billing.stripe_emulator.world import World

HOST = "127.0.0.1"
MAX_BODY = 1 << 20
LOCAL_ENDPOINT = "we_local"
_STYLE = (Path(__file__).parent / "pages" / "style.css").read_text("utf-8")
log = logging.getLogger("stripe_emulator")


class Server:
    """The door: API under /v1, switches under /_ctl, pages elsewhere."""

    def __init__(self, world: World, *, strict: bool = False) -> None:
        self.world = world
        self.api = Api(world, strict=strict)
        self.courier = Courier(world)

    def application(self) -> web.Application:
        """The aiohttp application, with the courier and the clock as its company."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{tail:.*}", self.handle)
        app.cleanup_ctx.append(self._company)
        return app

    async def _company(self, app: web.Application) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.courier.run()), asyncio.create_task(self._tick())]
        yield
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _tick(self) -> None:
        while True:
            try:
                clocks_run(self.world)
                if self.world.wake_due():
                    self.courier.ring()
            except Exception:
                log.exception("something due could not move")
            await asyncio.sleep(1)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request, by the first part of its path."""
        # A page in a browser must not reach this server under a name of its own (DNS rebinding).
        if request.host.rsplit(":", 1)[0].strip("[]") not in LOOPBACK:
            return web.json_response(StripeError("Unknown host.").body(), status=421)
        path = request.path
        body = await request.read()
        if path.startswith(("/v1/", "/v2/")):
            answer = self.api.call(
                request.method, request.rel_url.raw_path, request.query_string, body, request.headers
            )
            self.courier.ring()
            if answer.file is not None:
                return web.Response(
                    body=answer.file, content_type="application/pdf", status=answer.status, headers=answer.headers
                )
            return web.json_response(answer.body, status=answer.status, headers=answer.headers)
        if path == "/_ctl" or path.startswith("/_ctl/"):
            return self._control(request, body)
        if path == "/_static/style.css":
            return web.Response(text=_STYLE, content_type="text/css")
        if path == "/healthz":
            return web.json_response({"status": "ok"})
        return self._page(request, body)

    def _control(self, request: web.Request, body: bytes) -> web.Response:
        try:
            key_of(request.headers)
            given: Any = json.loads(body or b"{}")
            if not isinstance(given, dict):
                raise StripeError("Send a JSON object.")
            answer = control(self.world, request.method, request.path, given)
        except (ValueError, RecursionError):
            return web.json_response(StripeError("The body is not JSON.").body(), status=400)
        except StripeError as error:
            return web.json_response(error.body(), status=error.status)
        self.courier.ring()
        return web.json_response(answer)

    def _page(self, request: web.Request, body: bytes) -> web.Response:
        # The buttons ask for no key, so only this server's own pages may press them.
        if request.method == "POST" and request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            return web.json_response(StripeError("Press the button on this server's own page.").body(), status=403)
        try:
            text = request.query_string if request.method == "GET" else body.decode("utf-8")
            form = {k: v for k, v in form_decode(text).items() if isinstance(v, str)}
        except (StripeError, UnicodeDecodeError):
            form = {}
        page = hosted(self.world, request.method, request.path, form)
        if page is None:
            return web.json_response(
                StripeError(f"Unrecognized request URL ({request.method}: {request.path[:200]}).").body(), status=404
            )
        self.courier.ring()
        headers = {
            "Content-Security-Policy": page.policy,
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        if page.redirect is not None:
            return web.Response(status=303, headers={**headers, "Location": page.redirect})
        if page.file is not None:
            return web.Response(body=page.file, content_type="application/pdf", headers=headers)
        return web.Response(text=page.text, status=page.status, content_type="text/html", headers=headers)


def endpoint_ensure(world: World, url: str, secret: str) -> None:
    """The endpoint of the command line: made once, moved when its address or secret changes."""
    with world.transaction():
        made = endpoint_make(world, url, ["*"], secret)
        old = world.maybe(LOCAL_ENDPOINT)
        if old is not None:
            old.update(url=url, secret=secret, status="enabled")
            world.save(old)
        else:
            made["id"] = LOCAL_ENDPOINT
            world.save(made)
