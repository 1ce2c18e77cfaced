"""Mail the people pages send, and in development the page where all mail lands."""

import logging
from datetime import datetime

from allauth.account.adapter import get_adapter
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from kit import mail
from kit.errors import NotFound

logger = logging.getLogger(__name__)
BACKEND = "kit.mail.DevelopmentBackend"


def lands_here() -> bool:
    """Whether mail is kept for the page below: in development, with no mail server configured."""
    return bool(settings.DEBUG) and settings.EMAIL_BACKEND == BACKEND


def invitation_link(token: str) -> str:
    """Where an invited person goes."""
    return f"{settings.BASE_URL}{reverse('console:invitation', args=[token])}"


def send_invitation(*, to: str, organisation: str, role: str, inviter: str, link: str, until: datetime) -> bool:
    """Mail an invitation; False when the mail server refused, which the page then says."""
    context = {"organisation": organisation, "role": role, "inviter": inviter, "link": link, "until": until}
    try:
        get_adapter().send_mail("people/invitation", to, context)
    except OSError:  # smtplib's errors and time-outs are all OSErrors
        logger.exception("an invitation could not be mailed")
        return False
    return True


@never_cache
@require_safe
def mailbox(request: HttpRequest) -> HttpResponse:
    """All kept mail, newest first."""
    if not lands_here():
        raise Http404
    return render(request, "people/mailbox.html", {"letters": mail.letters()})


@never_cache
@require_safe
def message(request: HttpRequest, name: str) -> HttpResponse:
    """One message, its links clickable."""
    if not lands_here():
        raise Http404
    try:
        return render(request, "people/letter.html", {"letter": mail.letter(name)})
    except NotFound as error:
        raise Http404 from error
