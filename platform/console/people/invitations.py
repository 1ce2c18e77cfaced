"""Accepting an invitation: sign in or up first, with the invited address."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views import View
from django.views.decorators.cache import never_cache

from billing.services.room import seat_take
from console.people.accounts import INVITED_EMAIL
from kit.errors import ApiError, NotFound
from tenants.access import memberships_of
from tenants.models import User
from tenants.services.invitations import invitation_peek


@method_decorator(never_cache, name="dispatch")
class InvitationPage(View):
    """`/invitations/<token>`."""

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        """What is offered, and the next step for who is looking."""
        try:
            organisation, invitation = invitation_peek(token)
        except NotFound as error:
            request.session.pop("invited_to", None)
            return render(request, "people/invitation_gone.html", {"problem": error}, status=404)
        if not request.user.is_authenticated:
            request.session[INVITED_EMAIL] = invitation.email
            request.session["invitation"] = token
            request.session["invited_to"] = organisation
        context = {
            "organisation": organisation,
            "invitation": invitation,
            "mine": request.user.is_authenticated and request.user.email.lower() == invitation.email.lower(),
            "known": User.objects.filter(email__iexact=invitation.email).exists(),
            "token": token,
        }
        return render(request, "people/invitation.html", context)

    def post(self, request: HttpRequest, token: str) -> HttpResponse:
        """Take the seat."""
        if not isinstance(request.user, User):
            return redirect("console:invitation", token)
        try:
            tenant_id = seat_take(token=token, user=request.user)
        except ApiError as error:
            return render(request, "people/invitation_gone.html", {"problem": error}, status=error.status)
        for name in ("invitation", "invited_to", INVITED_EMAIL):
            request.session.pop(name, None)
        seat = next(seat for seat in memberships_of(request.user.pk) if seat.tenant_id == tenant_id)
        messages.success(request, _("You joined %(name)s.") % {"name": seat.tenant_name})
        return redirect("console:organisation", seat.tenant_slug)
