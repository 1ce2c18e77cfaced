"""Accepting a quote by its link, without an account, and the papers that a contract names.

Whoever guesses learns nothing: a forged, foreign, used, withdrawn or expired link gets the same page, and an address
that opens many of them is slowed down. Search engines and the next site's log are told to forget the address.
"""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django import forms
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_safe

from console.docs import render as marked
from data.receiving import Intake
from kit.errors import ApiError, NotFound, RateLimited
from kit.http import client_ip
from kit.money import in_currency
from kit.rates import within
from orders import papers, services
from orders.errors import LinkGone
from orders.services.accepting import LONGEST_PO
from orders.services.purchase_orders import ACCEPTED, MOST_BYTES, PARAM
from orders.services.quotes import hash_of

MISSES, LOOKS = 20, 120
"""Links that lead nowhere, and pages of links that lead somewhere, that one address may open in ten minutes."""
SPAN = 600
DONE = "accepted_quotes"
"""Session key: hash of a link → what this browser accepted with it."""


class AcceptForm(forms.Form):
    """Who accepts. `sha256` says which document was on the page."""

    name = forms.CharField(label=_("Your name"), max_length=120, widget=forms.TextInput(attrs={"autocomplete": "name"}))
    title = forms.CharField(
        label=_("Your position"),
        max_length=120,
        widget=forms.TextInput(attrs={"autocomplete": "organization-title"}),
    )
    purchase_order = forms.CharField(
        label=_("Purchase order number"),
        help_text=_("It stands on every invoice."),
        max_length=LONGEST_PO,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    document = forms.FileField(
        label=_("Purchase order as a document"),
        help_text=_("A PDF, PNG or JPEG of at most 10 MB. It can be added later as well."),
        required=False,
        widget=forms.FileInput(attrs={"accept": ACCEPTED}),
        error_messages={"empty": _("The document is empty. Choose another one.")},
    )
    agreed = forms.BooleanField(
        label=_("I accept this quote and its papers for my organisation, and I may do so."),
        error_messages={"required": _("Tick the box to accept, or close the page.")},
    )
    sha256 = forms.CharField(widget=forms.HiddenInput, max_length=64)


def quiet(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """The headers of pages whose address is a secret. With no referrer at all a form would be refused as forged."""

    def inside(*args: Any, **kwargs: Any) -> HttpResponseBase:
        response = view(*args, **kwargs)
        response.headers["X-Robots-Tag"] = "noindex, nofollow, noarchive"
        response.headers["Referrer-Policy"] = "same-origin"
        return response

    return inside


class LinkView(View):
    """What a link leads to, or the one page for links that lead nowhere."""

    @method_decorator(never_cache)
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Count, look, answer."""
        return self._answer(request, *args, **kwargs)

    @method_decorator(quiet)
    def _answer(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        address = client_ip(request) or "-"
        try:
            if not within(f"quotes:looks:{address}", LOOKS, SPAN) or not within(
                f"quotes:misses:{address}", MISSES, SPAN, add=0
            ):
                raise RateLimited("Too many links were opened from your address. Try again in ten minutes.")
            return super().dispatch(request, *args, **kwargs)
        except LinkGone as error:
            within(f"quotes:misses:{address}", MISSES, SPAN)
            return render(request, "public/quote_gone.html", {"problem": error}, status=404)
        except RateLimited as error:
            response = render(request, "public/quote_gone.html", {"problem": error}, status=429)
            response.headers["Retry-After"] = str(SPAN)
            return response


def _done(request: HttpRequest, token: str) -> tuple[UUID, UUID] | None:
    """The tenant, and what this browser accepted with the link, if it did."""
    kept = request.session.get(DONE, {}).get(hash_of(token)) if request.COOKIES else None
    return (UUID(kept[0]), UUID(kept[1])) if kept else None


@method_decorator(csrf_exempt, name="dispatch")
class QuotePage(LinkView):
    """`/quotes/<token>`. A purchase order goes to storage as it arrives, before the transaction opens.

    Exempt from the middleware's check against cross-site posts, which would read the form first; `post` has it.
    """

    intake: Intake | None = None
    accepted = False

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        """The quote and the form; what this browser accepted, after it did."""
        done = _done(request, token)
        if done:
            made, offer = services.acceptance_of(*done)
            with in_currency(offer.currency):
                return render(request, "public/quote_accepted.html", {"made": made, "offer": offer, "token": token})
        offer = services.offer_peek(token)
        return self._page(request, token, offer, AcceptForm(initial={"sha256": offer.revision.sha256}))

    def post(self, request: HttpRequest, token: str) -> HttpResponse:
        """Accept; a form that is sent again leads to what it did."""
        if _done(request, token):
            return redirect("console:quote", token)
        tenant_id, _link = services.link_find(token)
        self.intake = Intake(tenant_id=tenant_id, field=PARAM, limit=MOST_BYTES, swallow=True)
        request.upload_handlers = [self.intake]
        try:
            return csrf_protect(self._accept)(request, token)
        finally:
            if not self.accepted:
                self.intake.drop()

    def _accept(self, request: HttpRequest, token: str) -> HttpResponse:
        offer = services.offer_peek(token)
        form = AcceptForm(request.POST, request.FILES)
        valid = form.is_valid()
        if self.intake is not None and self.intake.refused is not None:
            form.add_error(PARAM, self.intake.refused.message)
            valid = False
        if valid:
            told = form.cleaned_data
            stored = self.intake.stored if self.intake is not None else None
            given = told[PARAM]
            try:
                made = services.offer_accept(
                    token=token,
                    name=told["name"],
                    title=told["title"],
                    purchase_order=told["purchase_order"],
                    sha256=told["sha256"],
                    ip=client_ip(request),
                    document=(stored, str(given.name)) if stored is not None and given else None,
                )
            except LinkGone:
                raise
            except ApiError as error:
                form.add_error(error.param if error.param in form.fields else None, error.message)
            else:
                self.accepted = True
                kept = request.session.get(DONE, {})
                request.session[DONE] = {**kept, hash_of(token): [str(made.tenant_id), str(made.pk)]}
                return redirect("console:quote", token)
        return self._page(request, token, offer, form, status=422)

    def _page(
        self, request: HttpRequest, token: str, offer: services.Offer, form: AcceptForm, *, status: int = 200
    ) -> HttpResponse:
        revision = offer.revision
        context = {
            "offer": offer,
            "form": form,
            "token": token,
            "papers": [
                papers.paper_named(f"terms-{revision.terms_version}"),
                papers.paper_named(f"dpa-{revision.dpa_version}"),
            ],
        }
        with in_currency(offer.currency):
            return render(request, "public/quote.html", context, status=status)


class QuoteDocument(LinkView):
    """`/quotes/<token>/document`: the PDF whose hash is accepted."""

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        """The document; also after this browser accepted it."""
        done = _done(request, token)
        offer = services.acceptance_of(*done)[1] if done else services.offer_peek(token)
        name = f"{offer.quote.number}-{offer.revision.number}.pdf"
        return HttpResponse(
            bytes(offer.revision.document),
            content_type="application/pdf",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )


@require_safe
def paper(request: HttpRequest, name: str) -> HttpResponse:
    """One version of the terms or of the data-processing agreement; everybody may read them."""
    try:
        found = papers.paper_named(name)
    except NotFound:
        return render(request, "404.html", status=404)
    html, _headings = marked(found.text)
    return render(request, "public/paper.html", {"paper": found, "html": html})
