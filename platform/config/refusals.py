"""Every way of saying no outside the rooms: the four keys under /v1, a page elsewhere.

Rooms word their own errors; this is what is left: nothing here, wrong method, no cross-site posts, bad requests, too
large, our own faults.
"""

import logging
import re
from collections.abc import Callable
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied as Forbidden
from django.core.exceptions import SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt

from config.edge import REFUSED
from kit.api import AWAY, DatabaseAway, InternalError
from kit.errors import ApiError, BadRequest, MethodNotAllowed, NotFound, PermissionDenied

logger = logging.getLogger(__name__)


NOT_OFFERED = [
    (re.compile(pattern), words)
    for pattern, words in (
        (
            r"fine_tuning/checkpoints/.*",
            "Checkpoints are for resuming a job and are not shared. Deploy the job's model instead.",
        ),
        (r"fine_tuning/alpha/.*", "Graders are not offered. A job's report measures the model on its test rows."),
        (
            r"(responses|assistants|threads|conversations|realtime)(/.*)?",
            "This API is not offered. Models that write text are called with POST /v1/chat/completions, classifiers "
            "with POST /v1/decisions or POST /v1/classify.",
        ),
        (
            r"chat/completions/.+",
            "Completions are not stored here, so none can be read, changed or deleted. Keep the answer to POST "
            "/v1/chat/completions; a project that keeps texts shows them under Requests.",
        ),
        (r"systemone(/.*)?", "This API is not offered. Ask the same questions with POST /v1/decisions."),
        (
            r"(audio|images|videos)(/.*)?",
            "No model here makes speech or pictures. Models that write text are called with POST /v1/chat/completions.",
        ),
        (r"(vector_stores|evals|containers)(/.*)?", "This is not offered here. See /docs/api for what is."),
        (
            r"organization/(admin_api_keys|invites|users|projects|audit_logs|roles|groups|spend_limit|spend_alerts)(/.*)?",
            "Members, projects, keys, limits and the audit log are kept in the console, not over the API.",
        ),
    )
]
"""What the official client can ask for and this product does not have: path under /v1, and what to do instead."""


def speaks_json(request: HttpRequest) -> bool:
    """Whether the path belongs to machines."""
    return request.path == "/v1" or request.path.startswith(("/v1/", "/webhooks/"))


def refuse(request: HttpRequest, error: ApiError) -> HttpResponse:
    """An error in the shape of its path."""
    if speaks_json(request):
        return JsonResponse(error.body(), status=error.status, headers=error.headers)
    context = {"message": error.message, "title": _title(error.status)}
    response = render(request, "refused.html", context, status=error.status)
    for name, value in error.headers.items():
        response.headers[name] = value
    return response


def _title(status: int) -> str:
    return {
        403: _("You cannot do this"),
        405: _("This page does not take that"),
        413: _("This is too large"),
    }.get(status, _("This request could not be read"))


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Django's 400: a host that is not ours, a form that is none."""
    return refuse(request, BadRequest(_("The request is malformed. Nothing was changed.")))


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Django's 403."""
    return refuse(request, PermissionDenied(_("You may not do this. Nothing was changed.")))


def cross_site(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form without the token of a page of ours."""
    message = _(
        "This form did not come from a page you opened here, or the page was open for too long. Nothing was changed. "
        "Open the page again and send it once more; your browser has to accept cookies."
    )
    return refuse(request, PermissionDenied(message, code="csrf"))


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """The same whether a thing never was or belongs to somebody else."""
    if speaks_json(request):
        return refuse(request, NotFound(f"Nothing is at {request.path[:200]}."))
    return render(request, "404.html", status=404)


@csrf_exempt
def unknown_path(request: HttpRequest, rest: str = "") -> HttpResponse:
    """What no route of the API answers, by any method; what other services have at such a path is refused by name."""
    for path, words in NOT_OFFERED:
        if path.fullmatch(rest):
            return refuse(request, NotFound(words, code="not_offered"))
    return not_found(request)


def server_error(request: HttpRequest) -> HttpResponse:
    """Our fault; the request id is on the page."""
    if speaks_json(request):
        return refuse(request, InternalError())
    return render(request, "500.html", status=500)


class Refusals:
    """The innermost middleware: says what `config.edge` refused, and gives a bare 405 its words."""

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        return _said(request) if _refusal(request) else _worded(request, self.get_response(request))

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """What views raise gets our answers in development too, where Django would show pages of its own."""
        for kind, view in ((Http404, not_found), (Forbidden, forbidden), (SuspiciousOperation, bad_request)):
            if isinstance(error, kind):
                return view(request)
        if not speaks_json(request):
            return None
        if isinstance(error, AWAY):
            logger.warning("the database is away on %s: %s", request.path, error)
            return refuse(request, DatabaseAway())
        logger.exception("unhandled error on %s", request.path, exc_info=error)
        return server_error(request)


def _refusal(request: HttpRequest) -> ApiError | None:
    """What the edge left in the scope."""
    refusal: ApiError | None = getattr(request, "scope", {}).get(REFUSED)
    return refusal


def _said(request: HttpRequest) -> HttpResponseBase:
    refusal = _refusal(request) or BadRequest("")
    if refusal.status == 401 and not speaks_json(request):
        return redirect_to_login(request.get_full_path())
    if refusal.status == 404 and not speaks_json(request):
        return not_found(request)
    return refuse(request, refusal)


def _worded(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """The answer itself, unless it is a 405 without a body, as Django makes them."""
    if response.status_code != 405 or not isinstance(response, HttpResponse) or response.content:
        return response
    return refuse(request, MethodNotAllowed(str(request.method), response.headers.get("Allow", "").split(", ")))
