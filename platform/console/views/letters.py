"""What staff send to members, and what a member says to it: announcements, hints by mail, how satisfied they are."""

import contextlib
from typing import Any
from uuid import UUID

from django import forms
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from console.views.base import ConsoleView
from customers.limits import COMMENT
from customers.services.announcements import announcement_dismiss
from customers.services.contacts import news_set, unsubscriber
from customers.services.surveys import survey_answer, survey_dismiss
from kit.errors import Conflict, NotFound
from tenants.models import User


class AnswerForm(forms.Form):
    """How likely somebody is to recommend us, and why."""

    score = forms.TypedChoiceField(
        label=gettext_lazy("How likely are you to recommend Tunesmith to a colleague?"),
        help_text=gettext_lazy("0: not at all. 10: very."),
        choices=[(n, str(n)) for n in range(11)],
        coerce=int,
        widget=forms.RadioSelect,
        error_messages={"required": gettext_lazy("Choose a number from 0 to 10.")},
    )
    comment = forms.CharField(
        label=gettext_lazy("Why?"),
        required=False,
        max_length=COMMENT,
        widget=forms.Textarea(attrs={"rows": 3}),
    )


class _OfOnePerson(ConsoleView):
    """Something that a member says for themselves."""

    required_scopes = {"POST": "support.write"}

    def user(self) -> User:
        """Who says it."""
        user = self.request.user
        assert isinstance(user, User)  # noqa: S101 - the door of the console
        return user

    def back(self) -> str:
        """The page it was said on, if it is one of ours."""
        wanted = self.request.POST.get("next", "")
        ours = wanted.startswith("/") and url_has_allowed_host_and_scheme(wanted, allowed_hosts=None)
        return wanted if ours and wanted.isprintable() else self.project_path("overview")


class NewsDismiss(_OfOnePerson):
    """An announcement has been read."""

    def post(self, request: HttpRequest, news: UUID) -> HttpResponseBase:
        """Take it from this member's pages."""
        announcement_dismiss(announcement_id=news, user_id=self.user().pk)
        return self.done(self.back())


class Satisfaction(_OfOnePerson):
    """An answer, or that there will be none."""

    template_name = "console/survey_again.html"

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """Keep it."""
        if request.POST.get("do") == "dismiss":
            with contextlib.suppress(Conflict):  # twice is the same
                survey_dismiss(user=self.user())
            return self.done(self.project_path("overview"))
        form = AnswerForm(request.POST)
        if form.is_valid():
            made = self.attempt(form, lambda: survey_answer(user=self.user(), **form.cleaned_data))
            if made is not None:
                return self.done(self.project_path("overview"), _("Thank you. Our staff read every answer."))
        return self.page({"form": form}, status=422)


@csrf_exempt
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """No more hints, without signing in: by the button of a mail program (RFC 8058), which posts, or by the page's.
    To look changes nothing, since programs that check links look at every one."""
    try:
        user_id = unsubscriber(token)
    except NotFound as error:
        raise Http404 from error
    done = request.method == "POST"
    if done:
        news_set(user_id=user_id, wanted=False)
    context: dict[str, Any] = {"done": done}
    return render(request, "public/unsubscribe.html", context)
