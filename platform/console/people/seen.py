"""When and from where a session was last used, noted every few minutes and not with every page.

allauth's own middleware reads two rows and writes one in a transaction of its own for each request.
"""

import hashlib
import logging
from collections.abc import Callable

from allauth.usersessions.models import UserSession
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from redis.exceptions import RedisError

from kit import redis
from kit.http import client_ip

logger = logging.getLogger(__name__)

QUIET_SECONDS = 300
"""How long a session's row stays as it is while the same browser goes on from the same address."""


class SessionsSeen:
    """Stands where allauth's `UserSessionsMiddleware` would."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.session.session_key and request.user.is_authenticated and _is_news(request):
            UserSession.objects.create_from_request(request)
        return self.get_response(request)


def _is_news(request: HttpRequest) -> bool:
    """Whether this session, browser and address have not been noted for a while. Without Redis nothing is."""
    parts = (request.session.session_key, client_ip(request), request.headers.get("user-agent", ""))
    mark = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()
    try:
        return bool(redis.client().set(f"session:{mark}", b"", nx=True, ex=QUIET_SECONDS))
    except RedisError:
        logger.warning("could not note the use of a session: Redis is away")
        return False
