"""Middleware every page and API answer passes: request id and content security policy."""

import re
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.common import CommonMiddleware

from kit.ids import new_id, public_id
from kit.logs import request_id

_ACCEPTABLE = re.compile(r"[0-9A-Za-z_-]{8,64}")


class Around:
    """A middleware with something to do before and after the rest."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        self.before(request)
        return self.after(request, self.get_response(request))

    def before(self, request: HttpRequest) -> None:
        """Hook."""

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Hook."""
        return response


class RequestId(Around):
    """Give each request an id, keep a proxy's, and send it back as `x-request-id`."""

    def before(self, request: HttpRequest) -> None:
        """Set it for logs and error pages."""
        given = request.headers.get("x-request-id", "")
        identifier = given if given.startswith("req_") and _ACCEPTABLE.fullmatch(given) else public_id("req_", new_id())
        request.request_id = identifier  # type: ignore[attr-defined]
        request_id.set(identifier)

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Send it back."""
        response.headers["x-request-id"] = request.request_id  # type: ignore[attr-defined]
        return response


class ContentSecurityPolicy(Around):
    """The strict policy on every answer; the staff path has its own."""

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Set the header unless the view set one."""
        staff = request.path.startswith(settings.STAFF_PATH)
        policy = settings.STAFF_CONTENT_SECURITY_POLICY if staff else settings.CONTENT_SECURITY_POLICY
        response.headers.setdefault("Content-Security-Policy", policy)
        return response


class Slashes(CommonMiddleware):
    """Django's, which sends readers to the address with a slash; a post is left alone, for a redirect would lose it."""

    def should_redirect_with_slash(self, request: HttpRequest) -> bool:
        """Readers only."""
        return request.method in ("GET", "HEAD") and super().should_redirect_with_slash(request)


def client_ip(request: HttpRequest) -> str | None:
    """The peer's address; forwarded headers count only as far as trusted proxies set them."""
    forwarded = [part.strip() for part in request.headers.get("x-forwarded-for", "").split(",") if part.strip()]
    trusted = settings.ALLAUTH_TRUSTED_PROXY_COUNT
    if trusted and len(forwarded) >= trusted:
        return forwarded[-trusted]
    address = request.META.get("REMOTE_ADDR")
    return str(address) if address else None


def plain(message: str, status: int) -> HttpResponse:
    """A short text answer."""
    return HttpResponse(message + "\n", status=status, content_type="text/plain; charset=utf-8")
