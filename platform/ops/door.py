"""The staff's door: a session of its own, entered with a second factor, short, and never a customer's.

Under `/staff/` the session comes from the cookie `staff` (that path only, same-site strict, gone after half an hour of
silence). It is signed with a salt of its own, so neither kind of session can be passed off as the other. The account's
own session proves who knocks: it must have shown a second factor within the last ten minutes. Dangerous actions ask
for such a proof again.
"""

import datetime as dt
import time
from collections.abc import Mapping
from typing import Any, cast

from allauth.account.authentication import get_authentication_records
from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib.auth import get_user, login
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.exceptions import SessionInterrupted
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from django.utils.deprecation import MiddlewareMixin

from tenants.models import User

COOKIE = "staff"
IDLE = dt.timedelta(minutes=30)
LONGEST = dt.timedelta(hours=8)
PROOF = dt.timedelta(minutes=10)
"""How long a shown second factor opens the door and stands behind dangerous actions."""
GRACE = dt.timedelta(minutes=5)
"""What filling in a form may take on top."""
FACTORS = [Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN]
"""Recovery codes are for getting back into an account, not for entering here."""
ENTERED, PROVED = "staff_entered_at", "staff_proved_at"


class StaffSession(SessionStore):
    """Django's sessions under another salt, which is made of the class's name."""


class StaffSessions(MiddlewareMixin):
    """Swaps the session for the staff's own while a request is under the staff path; stands after SessionMiddleware."""

    def process_request(self, request: HttpRequest) -> None:
        """The account's session stays within reach of the door."""
        if request.path.startswith(settings.STAFF_PATH):
            request.account_session = request.session  # type: ignore[attr-defined]
            request.session = StaffSession(request.COOKIES.get(COOKIE))

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Keep the staff session and give the other one back to its own middleware."""
        session = request.session
        if isinstance(session, StaffSession):
            _keep(request, session, response)
            request.session = request.account_session  # type: ignore[attr-defined]
        return response


def _keep(request: HttpRequest, session: StaffSession, response: HttpResponseBase) -> None:
    """Every request of staff moves the end of the session; what is none (any more) loses its cookie and is not saved:
    its key may be that of a customer's session."""
    patch_vary_headers(response, ("Cookie",))
    if ENTERED not in session:
        if COOKIE in request.COOKIES:
            response.delete_cookie(COOKIE, path=settings.STAFF_PATH, samesite="Strict")
        return
    if response.status_code >= 500 or request.headers.get("HX-Request"):
        return  # a page left open that refreshes itself is nobody at work
    session.set_expiry(int(IDLE.total_seconds()))
    try:
        session.save()
    except UpdateError as error:
        raise SessionInterrupted("The staff session ended while this request ran.") from error
    response.set_cookie(
        COOKIE,
        session.session_key or "",
        max_age=int(IDLE.total_seconds()),
        path=settings.STAFF_PATH,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Strict",
    )


def account_of(request: HttpRequest) -> User | None:
    """Who is signed in to the product in this browser; that alone opens nothing here."""
    user = get_user(_account_request(request))
    return user if isinstance(user, User) else None


def _account_request(request: HttpRequest) -> HttpRequest:
    asked = HttpRequest()
    asked.session = request.account_session  # type: ignore[attr-defined]
    return asked


def has_second_factor(user: User) -> bool:
    """An authenticator app or a passkey stands behind the account; allauth then asks for it at every sign-in."""
    return bool(is_mfa_enabled(user, FACTORS))


def proof_address(user: User) -> str:
    """Where the account shows its second factor again."""
    by_code = is_mfa_enabled(user, [Authenticator.Type.TOTP])
    return reverse("mfa_reauthenticate" if by_code else "mfa_reauthenticate_webauthn")


def proved_at(request: HttpRequest, user: User) -> float:
    """When the account's session last showed a second factor that counts here; 0 for never."""
    records: list[Mapping[str, Any]] = get_authentication_records(_account_request(request), user)
    moments = [float(one["at"]) for one in records if one.get("method") == "mfa" and one.get("type") in FACTORS]
    return max(moments, default=0.0)


def is_fresh(moment: float, *, grace: dt.timedelta = dt.timedelta()) -> bool:
    """Whether a proof still counts."""
    return 0 <= time.time() - moment < (PROOF + grace).total_seconds()


def enter(request: HttpRequest, user: User, proved: float) -> None:
    """Open the staff session: a new key, whatever was there before."""
    if ENTERED in request.session:
        request.session.flush()
    request.session = StaffSession()
    login(request, user, backend=settings.AUTHENTICATION_BACKENDS[0])
    request.session[ENTERED] = time.time()
    request.session[PROVED] = proved


def is_open(request: HttpRequest) -> bool:
    """A staff session of an active member of staff with a second factor, not older than a shift."""
    session, user = request.session, request.user
    if not isinstance(session, StaffSession) or not isinstance(user, User) or not user.is_active or not user.is_staff:
        return False
    age = time.time() - float(session.get(ENTERED, 0))
    return 0 <= age < LONGEST.total_seconds() and has_second_factor(user)


def is_confirmed(request: HttpRequest) -> bool:
    """Whether the second factor was shown recently enough for a dangerous action; a form may be filled in meanwhile."""
    grace = GRACE if request.method == "POST" else dt.timedelta()
    return is_fresh(float(cast("float", request.session.get(PROVED, 0))), grace=grace)
