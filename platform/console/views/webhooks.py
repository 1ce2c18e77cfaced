"""Webhooks of a project: make an endpoint (its secret is shown once), test it, read its deliveries, replay them."""

import secrets
from typing import Any

from django import forms
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from console.code import receiver
from console.paging import page_number, page_of, page_with
from console.views.base import ConsoleView, Outside
from hooks import selectors, services
from hooks.addresses import LONGEST, url_look
from hooks.catalogue import EVENT_TYPES, KINDS
from hooks.errors import AddressRefused
from hooks.models import Endpoint
from hooks.trying import endpoint_try

MADE = "webhook_secrets_made"
"""Session key: form tokens of creates and rotations already done, so that a reload makes no second secret."""
DELIVERIES = 20
"""On a page."""
CHOICES = tuple((name, kind.words) for name, kind in KINDS.items())
KEEP = (("yes", gettext_lazy("After 24 hours")), ("no", gettext_lazy("At once")))


class EndpointForm(forms.Form):
    """A new endpoint, or other values for one."""

    name = forms.CharField(
        label=gettext_lazy("Name"), max_length=100, help_text=gettext_lazy("Where events go, for example job-bot.")
    )
    url = forms.CharField(
        label=gettext_lazy("URL"),
        max_length=LONGEST,
        widget=forms.URLInput(attrs={"autocomplete": "off", "placeholder": "https://hooks.example.com/tunesmith"}),
        help_text=gettext_lazy("https, on port 443 or 8443 of a public host. It must answer 2xx within 15 seconds."),
    )
    event_types = forms.MultipleChoiceField(
        label=gettext_lazy("Tell it when"), widget=forms.CheckboxSelectMultiple, choices=CHOICES
    )


class RotateForm(forms.Form):
    """What becomes of the old secret."""

    keep = forms.ChoiceField(
        label=gettext_lazy("The old secret stops signing"), initial="yes", widget=forms.RadioSelect, choices=KEEP
    )


def refused(url: str) -> str:
    """Why nothing could be sent to a URL; empty when it looks well. Asks the resolver, so it runs outside."""
    try:
        url_look(url)
    except AddressRefused as error:
        return error.message
    return ""


class WebhooksView(ConsoleView):
    """What these pages share."""

    section = "webhooks"

    def endpoint(self, text: str) -> Endpoint:
        """An endpoint of this project; NotFound otherwise."""
        return selectors.endpoint_by_id(self.project.pk, text)

    def crumbs(self, row: Endpoint | None = None) -> list[dict[str, str]]:
        """The way back."""
        way = [{"label": _("Webhooks"), "href": self.project_path("webhooks")}]
        return way + ([{"label": row.name, "href": self.place(row)}] if row else [])

    def place(self, row: Endpoint) -> str:
        """Its page."""
        return self.project_path("webhook", row.public_id)

    def once(self) -> str | None:
        """The form's token if it is fresh; None when this form was sent before."""
        token = self.request.POST.get("once", "")
        return None if token in self.request.session.get(MADE, []) else token

    def show(self, row: Endpoint, secret: str, token: str) -> HttpResponseBase:
        """The one page that holds the secret; never cached."""
        self.request.session[MADE] = [*self.request.session.get(MADE, []), token][-20:]
        context = {
            "endpoint": row,
            "secret": secret,
            "crumbs": self.crumbs(),
            "receiver": receiver(settings.BASE_URL),
            "endpoint_url": self.place(row),
        }
        response = self.page(context, template="console/webhook_made.html")
        response["Cache-Control"] = "no-store"
        return response


class Webhooks(WebhooksView):
    """The project's endpoints."""

    required_scopes = {"GET": "webhooks.read"}
    template_name = "console/webhooks.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Newest first; an empty page teaches."""
        rows = [
            {"endpoint": row, "href": self.place(row), "types": [KINDS[name].words for name in row.event_types]}
            for row in selectors.endpoints(self.project.pk)
        ]
        return self.page(
            {
                "rows": rows,
                "may": self.can("webhooks.write"),
                "new_url": self.project_path("webhook_new"),
                "receiver": receiver(settings.BASE_URL),
            }
        )


class WebhookNew(WebhooksView):
    """Make an endpoint."""

    required_scopes = {"GET": "webhooks.write", "POST": "webhooks.write"}
    template_name = "console/webhook_form.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """The form, what happens to jobs ticked."""
        return self._form(EndpointForm(initial={"event_types": [name for name in EVENT_TYPES if "job" in name]}))

    def post(self, request: HttpRequest) -> HttpResponseBase | Outside:
        """Look the host up, then make it and show its secret once."""
        form, token = EndpointForm(request.POST), self.once()
        if token is None:
            return self.done(self.project_path("webhooks"), _("This endpoint was made already."))
        if not form.is_valid():
            return self._form(form, 422)
        return Outside(lambda: refused(form.cleaned_data["url"]), lambda why: self._make(form, token, why))

    def _make(self, form: EndpointForm, token: str, why: str) -> HttpResponseBase:
        if why:
            form.add_error("url", why)
        else:
            values, by = form.cleaned_data, self.auth.actor_label
            made = self.attempt(form, lambda: services.endpoint_create(project=self.project, created_by=by, **values))
            if made is not None:
                return self.show(*made, token)
        return self._form(form, 422)

    def _form(self, form: EndpointForm, status: int = 200) -> HttpResponseBase:
        context = {
            "form": form,
            "once": secrets.token_urlsafe(12),
            "name": _("New endpoint"),
            "verb": _("Create endpoint"),
            "crumbs": self.crumbs(),
            "back_url": self.project_path("webhooks"),
        }
        return self.page(context, status=status)


class WebhookPage(WebhooksView):
    """One endpoint: what it is told of, and what became of each event."""

    required_scopes = {"GET": "webhooks.read"}
    template_name = "console/webhook.html"

    def get(self, request: HttpRequest, endpoint: str) -> HttpResponseBase:
        """Show it."""
        return self.shown(self.endpoint(endpoint))

    def shown(self, row: Endpoint, **more: Any) -> HttpResponseBase:
        """The page of an endpoint, perhaps with what a test has just told."""
        page = page_of(selectors.deliveries(row), page_number(self.request.GET.get("page")), size=DELIVERIES)
        tries = selectors.tries(page.rows)
        rows = [
            {
                "delivery": one,
                "tries": tries.get(one.pk, []),
                "words": KINDS[one.event.type].words if one.event.type in KINDS else one.event.type,
                "replay_url": self.project_path("webhook_replay", row.public_id, one.public_id),
            }
            for one in page.rows
        ]
        parts = ("change", "rotate", "test", "state", "delete")
        return self.page(
            {
                "endpoint": row,
                "page": page_with(page, rows),
                "types": [(name, KINDS[name].words) for name in row.event_types],
                "enabled": row.state == Endpoint.State.ENABLED,
                "may": self.can("webhooks.write"),
                "crumbs": self.crumbs(),
                **{f"{part}_url": self.project_path(f"webhook_{part}", row.public_id) for part in parts},
                **more,
            },
            template="console/webhook.html",
        )


class WebhookChange(WebhooksView):
    """Another name, URL or choice of events."""

    required_scopes = {"GET": "webhooks.write", "POST": "webhooks.write"}
    template_name = "console/webhook_form.html"

    def get(self, request: HttpRequest, endpoint: str) -> HttpResponseBase:
        """The form as it stands."""
        row = self.endpoint(endpoint)
        initial = {"name": row.name, "url": row.url, "event_types": row.event_types}
        return self._form(row, EndpointForm(initial=initial))

    def post(self, request: HttpRequest, endpoint: str) -> HttpResponseBase | Outside:
        """Look the host up, then change it."""
        row, form = self.endpoint(endpoint), EndpointForm(request.POST)
        if not form.is_valid():
            return self._form(row, form, 422)
        return Outside(lambda: refused(form.cleaned_data["url"]), lambda why: self._change(endpoint, form, why))

    def _change(self, endpoint: str, form: EndpointForm, why: str) -> HttpResponseBase:
        row = self.endpoint(endpoint)
        if why:
            form.add_error("url", why)
        elif self.attempt(form, lambda: services.endpoint_change(endpoint=row, **form.cleaned_data)) is not None:
            return self.done(self.place(row), _("Endpoint saved."))
        return self._form(row, form, 422)

    def _form(self, row: Endpoint, form: EndpointForm, status: int = 200) -> HttpResponseBase:
        context = {
            "form": form,
            "name": _("Change %(name)s") % {"name": row.name},
            "verb": _("Save endpoint"),
            "crumbs": self.crumbs(row),
            "back_url": self.place(row),
        }
        return self.page(context, status=status)


class WebhookRotate(WebhooksView):
    """A new secret, and an end for the old one."""

    required_scopes = {"GET": "webhooks.write", "POST": "webhooks.write"}
    template_name = "console/webhook_rotate.html"

    def get(self, request: HttpRequest, endpoint: str) -> HttpResponseBase:
        """Ask what becomes of the old one."""
        return self._ask(self.endpoint(endpoint), RotateForm())

    def post(self, request: HttpRequest, endpoint: str) -> HttpResponseBase:
        """Make it and show it once."""
        row, form, token = self.endpoint(endpoint), RotateForm(request.POST), self.once()
        if token is None:
            return self.done(self.place(row), _("This secret was rotated already. It is not shown again."))
        if not form.is_valid():
            return self._ask(row, form, 422)
        return self.show(*services.endpoint_rotate(endpoint=row, keep_old=form.cleaned_data["keep"] == "yes"), token)

    def _ask(self, row: Endpoint, form: RotateForm, status: int = 200) -> HttpResponseBase:
        context = {"endpoint": row, "form": form, "once": secrets.token_urlsafe(12), "crumbs": self.crumbs(row)}
        return self.page(context | {"back_url": self.place(row)}, status=status)


class WebhookTest(WebhookPage):
    """Send a sample event now, and say on the endpoint's page what came back."""

    required_scopes = {"GET": "webhooks.read", "POST": "webhooks.write"}

    def post(self, request: HttpRequest, endpoint: str) -> HttpResponseBase | Outside:
        """Send it while no transaction waits."""
        row, kind = self.endpoint(endpoint), request.POST.get("event_type", "")
        kind = kind if kind in EVENT_TYPES else row.event_types[0]
        return Outside(
            lambda: endpoint_try(endpoint=row, type=kind),
            lambda answer: self.shown(self.endpoint(endpoint), tested=answer, tested_type=kind),
        )

    def get(self, request: HttpRequest, endpoint: str) -> HttpResponseBase:
        """Somebody came back to the address of a test."""
        return redirect(self.place(self.endpoint(endpoint)))


class WebhookState(WebhooksView):
    """Enable or disable."""

    required_scopes = {"POST": "webhooks.write"}

    def post(self, request: HttpRequest, endpoint: str) -> HttpResponseBase:
        """As the button says; twice is the same."""
        row = self.endpoint(endpoint)
        if request.POST.get("state") == Endpoint.State.DISABLED:
            services.endpoint_disable(endpoint=row)
        else:
            services.endpoint_enable(endpoint=row)
        return self.done(self.place(row))


class WebhookDelete(WebhooksView):
    """Forget an endpoint; the page without script, the dialog's target with it."""

    required_scopes = {"GET": "webhooks.write", "POST": "webhooks.write"}
    template_name = "console/webhook_delete.html"

    def get(self, request: HttpRequest, endpoint: str) -> HttpResponseBase:
        """Ask."""
        row = self.endpoint(endpoint)
        return self.page({"endpoint": row, "crumbs": self.crumbs(row), "back_url": self.place(row)})

    def post(self, request: HttpRequest, endpoint: str) -> HttpResponseBase:
        """Do it."""
        row = self.endpoint(endpoint)
        services.endpoint_delete(endpoint=row)
        return self.done(self.project_path("webhooks"), _("%(name)s is deleted.") % {"name": row.name})


class WebhookReplay(WebhooksView):
    """Send an event again."""

    required_scopes = {"POST": "webhooks.write"}

    def post(self, request: HttpRequest, endpoint: str, delivery: str) -> HttpResponseBase:
        """Do it."""
        row = self.endpoint(endpoint)
        services.delivery_replay(delivery=selectors.delivery_by_id(row, delivery))
        return self.done(self.place(row), _("The event is sent again."))
