"""What stands in front of Django: who may send how large a body, decided before any of it is taken in.

A view learns of a body when it is in memory, or on its way into storage. Here every path has a limit, a small one
unless it is a door for files; there the sender has to be known, and may send what their plan has room for. A refusal
goes through Django all the same, without the body, so that it has the language, the look and the headers of every
other answer.

The gateway's hot paths do not pass here; they bound their own bodies. Slow clients are `kit.server`'s.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.sessions.backends.db import SessionStore
from django.core.handlers.asgi import ASGIRequest
from django.db import DatabaseError
from django.http import HttpRequest
from django.http.request import split_domain_port, validate_host

from customers.limits import ATTACHMENT_BYTES
from customers.selectors.threads import thread_for_staff
from data.limits import PART_BYTES, room_for
from data.receiving import FORM_OVERHEAD, too_large
from kit import threads
from kit.bodies import ARRIVING
from kit.errors import ApiError, BadRequest, NotFound, PayloadTooLarge, PermissionDenied, Unauthenticated, Unavailable
from kit.http import client_ip
from ops import door
from orders.services.accepting import link_find
from orders.services.purchase_orders import MOST_BYTES as PURCHASE_ORDER_BYTES
from tenants.access import PERMISSIONS, AuthContext, Membership, membership, resolve_key
from tenants.scope import ops_scope

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

SMALL_BYTES = 1 << 20
"""Of every body that brings no file: JSON, forms, webhooks."""
LARGEST_BYTES = 10_000_000_000
"""Of any body, whatever a plan says."""
LINGER_BYTES, LINGER_SECONDS = 64 << 20, 10.0
"""What is taken in and dropped after a refusal: most clients read an answer only when they could send everything."""
REFUSED = "tunesmith.refused"
"""Key in the scope under which a refusal reaches Django."""
PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked for by address, under whatever name."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Whose bytes come, the most of them, and the field of the form that holds them."""

    tenant_id: UUID
    room: int
    field: str = "file"


def room_of_key(request: HttpRequest, **_: str) -> Sender:
    """The largest file the key's organisation can store now."""
    tenant_id = _caller(request).tenant_id
    return Sender(tenant_id, room_for(tenant_id).next_bytes)


def room_of_part(request: HttpRequest, **_: str) -> Sender:
    """One part of an upload."""
    return Sender(_caller(request).tenant_id, PART_BYTES, "data")


def room_of_member(request: HttpRequest, org: str) -> Sender:
    """The largest file the organisation can store now, for a signed-in member who may upload."""
    seat = _seat(request, org, "files.write")
    return Sender(seat.tenant_id, room_for(seat.tenant_id).next_bytes)


def room_of_letter(request: HttpRequest, org: str) -> Sender:
    """A file that comes with a message to support."""
    return Sender(_seat(request, org, "support.write").tenant_id, ATTACHMENT_BYTES, "attachment")


def room_of_staff(request: HttpRequest, thread: str) -> Sender:
    """A file that comes with staff's answer to a customer, from an open staff session."""
    request.session = door.StaffSession(request.COOKIES.get(door.COOKIE))
    request.user = get_user(request)
    if not door.is_open(request):
        raise Unauthenticated("Sign in as staff to send a file.")
    try:
        thread_id = UUID(thread)
    except ValueError as error:
        raise NotFound.of(thread) from error
    with ops_scope("a file for a customer's thread"):
        return Sender(thread_for_staff(thread_id).tenant_id, ATTACHMENT_BYTES, "attachment")


def room_of_order(request: HttpRequest, org: str) -> Sender:
    """A purchase order, from a member who may change orders."""
    return Sender(_seat(request, org, "jobs.write").tenant_id, PURCHASE_ORDER_BYTES, "document")


def room_of_link(request: HttpRequest, token: str) -> Sender:
    """A purchase order that comes with the acceptance of a quote, by a link that can still accept."""
    return Sender(link_find(token)[0], PURCHASE_ORDER_BYTES, "document")


def _seat(request: HttpRequest, org: str, scope: str) -> Membership:
    """The signed-in member's seat, with a right to what they send."""
    request.session = SessionStore(request.COOKIES.get(settings.SESSION_COOKIE_NAME))
    user = get_user(request)
    if not user.is_authenticated:
        raise Unauthenticated("Sign in to upload a file.")
    seat = membership(user.pk, org)
    if scope not in PERMISSIONS[seat.role]:
        raise PermissionDenied(f"Your role, {seat.role}, does not include '{scope}'.")
    return seat


def _caller(request: HttpRequest) -> AuthContext:
    caller = resolve_key(request.headers.get("Authorization"), ip=client_ip(request))
    caller.require("files.write")
    return caller


DOORS: tuple[tuple[re.Pattern[str], Callable[..., Sender]], ...] = (
    (re.compile(r"/v1/files"), room_of_key),
    (re.compile(r"/v1/uploads/[^/]+/parts"), room_of_part),
    (re.compile(r"/o/(?P<org>[-\w]+)/p/[-\w]+/(?:datasets/new|batches/upload)"), room_of_member),
    (re.compile(r"/o/(?P<org>[-\w]+)/support/(?:new|[^/]+/reply)"), room_of_letter),
    (re.compile(r"/o/(?P<org>[-\w]+)/p/[-\w]+/orders/(?:new|[^/]+/samples)"), room_of_member),
    (re.compile(r"/o/(?P<org>[-\w]+)/p/[-\w]+/orders/[^/]+/purchase-orders"), room_of_order),
    (re.compile(re.escape(settings.STAFF_PATH) + r"support/(?P<thread>[^/]+)/"), room_of_staff),
    (re.compile(r"/quotes/(?P<token>[^/]+)"), room_of_link),
)
"""Paths whose POST brings a file, and how many bytes of one the sender may bring. Anything else is small."""


class Edge:
    """Limits before another application."""

    def __init__(self, beyond: Application) -> None:
        self._beyond = beyond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._beyond(scope, receive, send)
            return
        body = _Body(scope, receive)
        refusal = _check_host(scope)
        if refusal is None:
            refusal = await body.check_declared()
        if refusal is None:
            await self._beyond(scope, body.receive, send)
            refusal = body.refusal
        if refusal is not None:
            await self._refuse(refusal, scope, receive, send)

    async def _refuse(self, refusal: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
        """Let Django word the refusal, then close the connection without cutting the sender off in mid-sentence."""

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            elif not message.get("more_body", False):
                await send({**message, "more_body": True})
                await _linger(receive)
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        whole = {name: value for name, value in scope.items() if name != ARRIVING}
        await self._beyond({**whole, REFUSED: refusal}, _nothing(), closing)


class _Body:
    """A request's body on its way to the application, counted."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._scope, self._receive = scope, receive
        self._limit, self._known, self._seen = SMALL_BYTES, False, 0
        self._tenant_id: UUID | None = None
        self._too_large: ApiError = PayloadTooLarge(
            f"The body is larger than {SMALL_BYTES >> 20} MiB, the most this path takes. Upload large data as a file."
        )
        self.refusal: ApiError | None = None

    async def check_declared(self) -> ApiError | None:
        """Why a body of the announced length is refused, before any of it is read. One that a door for files takes in
        is marked with its sender, unless it is small: the view reads it as it arrives."""
        declared = _header(self._scope, b"content-length")
        length = int(declared[:20]) if declared.isdigit() else 0
        chunked = not declared and _header(self._scope, b"transfer-encoding") != b""
        await self._allow(length)
        if _door(self._scope) is not None and (chunked or length > SMALL_BYTES):
            await self._know()
            self._scope[ARRIVING] = self._tenant_id
            if chunked:
                self._announce(self._limit)
        return self.refusal

    async def receive(self) -> Message:
        """The next piece. To the application a sender who sends too much has gone away."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            await self._allow(self._seen)
            if self.refusal is not None:
                return {"type": "http.disconnect"}
            if not message.get("more_body", False):
                self._announce(self._seen)
        return message

    def _announce(self, size: int) -> None:
        """The length of a body that came in chunks, or the most it can be: without one, Django and DRF take it for
        empty."""
        headers = self._scope["headers"]
        if size and not any(name == b"content-length" for name, _ in headers):
            kept = [(name, value) for name, value in headers if name != b"transfer-encoding"]
            self._scope["headers"] = [*kept, (b"content-length", b"%d" % size)]

    async def _know(self) -> None:
        if not self._known:
            self._known = True
            await self._look_up()

    async def _allow(self, size: int) -> None:
        if size > self._limit:
            await self._know()
        if size > self._limit and self.refusal is None:
            self.refusal = self._too_large

    async def _look_up(self) -> None:
        """Ask the path's door how much this sender may bring."""
        found = _door(self._scope)
        if found is None:
            return
        try:
            sender = await threads.look_up(_room, self._scope, *found)
        except ApiError as error:
            self.refusal = error
            return
        except DatabaseError:
            logger.exception("who may send how much could not be read")
            self.refusal = Unavailable(
                "Who sends this could not be looked up. Nothing was stored. Try again in a moment."
            )
            return
        self._tenant_id = sender.tenant_id
        self._limit = max(SMALL_BYTES, min(sender.room, LARGEST_BYTES) + FORM_OVERHEAD)
        self._too_large = too_large(max(sender.room, 1), sender.field)


def _door(scope: Scope) -> tuple[Callable[..., Sender], dict[str, str]] | None:
    """The door for files at this path, with what its address names."""
    for pattern, room in DOORS:
        match = pattern.fullmatch(scope["path"])
        if match is not None and scope["method"] == "POST":
            return room, match.groupdict()
    return None


def _room(scope: Scope, room: Callable[..., Sender], names: dict[str, str]) -> Sender:
    return room(ASGIRequest(scope, BytesIO()), **names)


def _check_host(scope: Scope) -> ApiError | None:
    """A name that is none of ours never reaches Django, which would answer in its own words. Probes may use any."""
    allowed = settings.ALLOWED_HOSTS
    given = [bytes(value).decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    if len(given) == 1 and validate_host(split_domain_port(given[0])[0], allowed):
        return None
    ours = urlsplit(settings.BASE_URL).netloc.encode()
    scope["headers"] = [*((name, value) for name, value in scope["headers"] if name != b"host"), (b"host", ours)]
    if scope["path"] in PROBES:
        return None
    return BadRequest("The Host header names no site that is served here.", code="unknown_host")


def _header(scope: Scope, name: bytes) -> bytes:
    return next((bytes(value) for key, value in scope["headers"] if key == name), b"")


def _nothing() -> Receive:
    """An empty body, then a client who stays."""
    given = False

    async def receive() -> Message:
        nonlocal given
        if given:
            await asyncio.Event().wait()
        given = True
        return {"type": "http.request", "body": b"", "more_body": False}

    return receive


async def _linger(receive: Receive) -> None:
    left = LINGER_BYTES
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while left > 0:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
                left -= len(message.get("body", b""))
