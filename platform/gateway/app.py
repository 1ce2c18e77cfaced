"""The ASGI application: which path goes to which handler, and what every answer carries.

`in_front_of(application)` serves the hot paths and hands everything else on. The process's parts start with the
server's lifespan, or with the first call where a server has none.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from gateway import metrics
from gateway.calls import Call
from gateway.handlers import chat, classify, completions, decisions, embeddings, moderations, predict, rerank
from gateway.lines import is_line
from gateway.process import Process
from gateway.wire import (
    Disconnected,
    Headers,
    Receive,
    Scope,
    Send,
    answer,
    error_body,
    error_headers,
    header,
    read_body,
)
from inference import tracing
from inference.tracing import UNTRACED, Untraced
from kit.api import InternalError
from kit.errors import ApiError, MethodNotAllowed
from kit.ids import new_id, public_id
from kit.logs import request_id as logged_request_id
from serving.requests import RequestNote, wall_ms
from serving.texts import TextNote, clean, without_training_rows
from tenants.idempotency import check_form

log = logging.getLogger(__name__)

Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Handler = Callable[[Call], Awaitable[bytes | None]]
"""The body of an answer; None where the handler has sent a stream itself."""

HANDLERS: dict[str, Handler] = {
    "/v1/decisions": decisions.handle,
    "/v1/classify": classify.handle,
    "/v1/predict": predict.handle,
    "/v1/moderations": moderations.handle,
    "/v1/embeddings": embeddings.handle,
    "/v1/rerank": rerank.handle,
    "/v1/chat/completions": chat.handle,
    "/v1/completions": completions.handle,
}

KINDS = {path: path.removeprefix("/v1/").partition("/")[0] for path in HANDLERS}
"""What the request log calls each path: its first word."""


MOST_RETRIES, MOST_DIGITS = 32_767, 9
TRACEPARENT = re.compile(rb"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.{0,100}")


class Gateway:
    """The hot paths before another application."""

    def __init__(self, beyond: Application) -> None:
        self._beyond = beyond
        self._process: Process | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            handler = HANDLERS.get(scope["path"])
            if handler is not None:
                await self._serve(handler, scope, receive, send)
                return
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        await self._beyond(scope, receive, send)

    def _started(self) -> Process:
        if self._process is None:
            self._process = Process()
            self._process.start()
        return self._process

    async def _live(self, receive: Receive, send: Send) -> None:
        """The server's start and stop."""
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._started()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                if self._process is not None:
                    await self._process.stop()
                    self._process = None
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _serve(self, handler: Handler, scope: Scope, receive: Receive, send: Send) -> None:
        started, identity = time.perf_counter(), new_id()
        request_id = public_id("req_", identity)
        logged_request_id.set(request_id)
        headers: Headers = []
        status, code = 200, ""
        call: Call | None = None
        body: bytes | None
        trace = _traced(scope)
        try:
            call = await self._open(scope, receive, send, identity, request_id, started, headers, trace)
            if call.request_id != request_id:  # a batch's line has one of its own
                request_id = call.request_id
                logged_request_id.set(request_id)
            body = await self._answer(handler, scope, call)
        except Disconnected:
            self._note(scope, call, 499, "client_left", started)
            if call is not None and call.said is not None:
                _keep_texts(call, None)
            trace.end(status=499, request_id=request_id)
            return
        except ApiError as error:
            status, code, body = error.status, error.code or error.type, error_body(error)
            names = {name for name, _ in headers}
            headers += [pair for pair in error_headers(error) if pair[0] not in names]
        except Exception:
            log.exception("unhandled error on %s", scope["path"])
            status, code, body = 500, InternalError.type, error_body(InternalError())
        if body is not None:
            await answer(send, status, body, request_id=request_id, started=started, headers=headers)
        self._note(scope, call, status, code, started)
        if call is not None and call.said is not None:
            _keep_texts(call, body)
        trace.end(status=status, request_id=request_id)

    def _note(self, scope: Scope, call: Call | None, status: int, code: str, started: float) -> None:
        """Count the answer, and log it where a key opened."""
        seconds = time.perf_counter() - started
        metrics.note(scope["path"], status, seconds)
        if call is not None:
            if not call.note.code:  # a stream that broke off has said so itself
                call.note.status, call.note.code = status, code[:64]
            call.note.duration_ms = round(seconds * 1000)
            call.process.log.note(call.note)

    async def _open(
        self, scope: Scope, receive: Receive, send: Send, identity: UUID, request_id: str, started: float,
        headers: Headers, trace: Untraced,
    ) -> Call:  # fmt: skip
        """Authenticate. `headers` is filled as far as things get."""
        if scope["method"] != "POST":
            raise MethodNotAllowed(scope["method"], ["POST"])
        process = self._started()
        authorization = header(scope, b"authorization")
        with trace.span("key"):
            if authorization is not None and is_line(authorization):
                key, identity = await process.lines.open(authorization)
                request_id = public_id("req_", identity)
            else:
                key = await process.keys.open(authorization)
        headers.append((b"openai-organization", key.record.tenant_slug.encode()))
        key.may_call()
        record = key.record
        note = RequestNote(
            id=identity, tenant_id=record.tenant_id, project_id=record.project_id, key_id=key.key_id, at_ms=wall_ms(),
            kind=key.kind(KINDS[scope["path"]]), trace_id=trace.trace_id or _named(scope),
            retries=_retries(scope),
        )  # fmt: skip
        return Call(process, key, request_id, receive, b"", headers, send, started, note, scope, trace)

    async def _answer(self, handler: Handler, scope: Scope, call: Call) -> bytes | None:
        """Read and handle."""
        try:
            if call.key.passed:
                call.key.admit()
            named = header(scope, b"idempotency-key")
            if named is not None:
                check_form(named.decode("latin-1"))
            call.body = await read_body(scope, call.receive)
            return await handler(call)
        except ApiError:
            limits = {name for name, _ in call.key.headers}
            if limits.isdisjoint(name for name, _ in call.headers):
                call.headers += call.key.headers  # refused before the quota was asked: show where it stood last
            raise


def _keep_texts(call: Call, body: bytes | None) -> None:
    """For a project that wants it: what was sent, and the answer or what of a stream was said."""
    note = call.note
    output = "".join(call.said or ()) if body is None else without_training_rows(body)
    call.process.texts.note(
        TextNote(
            id=note.id, tenant_id=note.tenant_id, project_id=note.project_id, at_ms=note.at_ms, status=note.status,
            input=clean(call.body), output=clean(output),
        )
    )  # fmt: skip


def _traced(scope: Scope) -> Untraced:
    """The trace of a request, which goes on from its caller's where there is one."""
    if not tracing.on():
        return UNTRACED
    parent = header(scope, b"traceparent") or b""
    return tracing.begin(f"{scope['method']} {scope['path']}", parent.decode("latin-1"))


def _named(scope: Scope) -> str:
    """The trace that the caller names; where none are collected here, it is of use to the caller all the same."""
    found = header(scope, b"traceparent")
    named = TRACEPARENT.fullmatch(found) if found else None
    return named[1].decode() if named else ""


def _retries(scope: Scope) -> int:
    """How often the client says that it has sent this before; 0 from one that says nothing that can be read."""
    found = header(scope, b"x-stainless-retry-count") or b""
    return min(int(found), MOST_RETRIES) if found.isdigit() and len(found) <= MOST_DIGITS else 0


def in_front_of(application: Any) -> Gateway:
    """The gateway, with `application` behind it."""
    return Gateway(application)
