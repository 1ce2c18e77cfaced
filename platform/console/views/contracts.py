"""What an order's quote and contract bring: the quote as a document, milestones to accept, the customer's purchase
order, and a retrain under the warranty."""

from typing import Any

from django import forms
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from console.views.base import ConsoleView, Download
from console.views.orders import MONEY, READ, WRITE, OrderPage, RetrainForm
from data.receiving import Intake
from kit.errors import NotFound
from kit.streams import attachment
from orders import selectors, services, states
from orders.services.purchase_orders import MOST_BYTES, PARAM
from tenants.access import memberships_of


class DocumentForm(forms.Form):
    """A purchase order."""

    document = forms.FileField(
        label=gettext_lazy("Purchase order"),
        error_messages={
            "required": gettext_lazy("Choose a PDF, a PNG or a JPEG."),
            "empty": gettext_lazy("The document is empty. Choose another one."),
        },
    )


@method_decorator(csrf_exempt, name="dispatch")
class OrderPurchaseOrder(OrderPage):
    """Add a purchase order. Its bytes go to storage as they arrive, before the tenant's transaction opens.

    Exempt from the middleware's check against cross-site posts, which would read the form first; `dispatch` has it.
    """

    required_scopes = {"GET": READ, "POST": WRITE}
    intake: Intake | None = None
    made: bool = False

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Receive the document before anything reads the form; keep it only if a row points at it in the end."""
        if request.method == "POST" and request.user.is_authenticated:
            seats = memberships_of(request.user.pk)
            seat = next((one for one in seats if one.tenant_slug == kwargs["org"]), None)
            if seat is not None and WRITE in seat.scopes and seat.tenant_status == "active":
                self.intake = Intake(tenant_id=seat.tenant_id, field=PARAM, limit=MOST_BYTES, swallow=True)
                request.upload_handlers = [self.intake]
        kept = False
        try:
            answer: HttpResponseBase = csrf_protect(super().dispatch)(request, *args, **kwargs)
            kept = self.made and answer.status_code < 400
            return answer
        finally:
            if self.intake is not None and not kept:
                self.intake.drop()

    def get(self, request: HttpRequest, order: str) -> HttpResponseBase:
        """Only the form's target."""
        raise NotFound.of(order)

    def post(self, request: HttpRequest, order: str) -> HttpResponseBase:
        """Take it in."""
        found = selectors.order_get(self.project.pk, order)
        form = DocumentForm(request.POST, request.FILES)
        stored = self.intake.stored if self.intake is not None else None
        valid = form.is_valid()
        if self.intake is not None and self.intake.refused is not None:
            form.add_error(PARAM, self.intake.refused.message)
            valid = False
        if valid and stored is not None:
            name = str(form.cleaned_data[PARAM].name)
            added = self.attempt(
                form,
                lambda: services.purchase_order_add(
                    order=found, stored=stored, filename=name, by=self.auth.actor_label
                ),
            )
            self.made = added is not None
        if self.made:
            return self.done(self.project_path("order", found.public_id), _("The purchase order was added."))
        return self.show(found, document=form, status=422)


class OrderPurchaseOrderFile(Download):
    """A purchase order as it was sent."""

    section = "orders"
    required_scopes = {"GET": READ}

    def get(self, request: HttpRequest, order: str, document: str) -> HttpResponseBase:
        """Send it as a download, whatever it is: nothing that somebody sent is shown by our own address."""
        row = selectors.purchase_order_get(selectors.order_get(self.project.pk, order), document)
        return attachment(
            request,
            services.purchase_order_chunks(row),
            filename=row.filename,
            content_type=row.content_type,
            size=row.bytes,
        )


class OrderRetrain(OrderPage):
    """Have the model trained again under the warranty."""

    required_scopes = {"GET": READ, "POST": MONEY}

    def get(self, request: HttpRequest, order: str) -> HttpResponseBase:
        """Only the form's target."""
        raise NotFound.of(order)

    def post(self, request: HttpRequest, order: str) -> HttpResponseBase:
        """Start it."""
        found, form = selectors.order_get(self.project.pk, order), RetrainForm(request.POST)
        if form.is_valid():
            made = self.attempt(
                form,
                lambda: services.retrain_start(
                    order=found, text=form.cleaned_data["text"], side=states.CUSTOMER, by=self.auth.actor_label
                ),
            )
            if made is not None:
                return self.done(self.project_path("order", found.public_id), _("The retrain has begun."))
        return self.show(found, retrain=form, status=422)


class OrderMilestone(ConsoleView):
    """Accept what was delivered."""

    section = "orders"
    required_scopes = {"POST": MONEY}

    def post(self, request: HttpRequest, order: str, milestone: str) -> HttpResponseBase:
        """Its invoice follows."""
        found = selectors.order_get(self.project.pk, order)
        one = selectors.milestone_get(found, milestone)
        services.milestone_accept(milestone=one, by=self.auth.actor_label)
        return self.done(self.project_path("order", found.public_id))


class OrderQuote(Download):
    """The quote as a document."""

    section = "orders"
    required_scopes = {"GET": READ}

    def get(self, request: HttpRequest, order: str) -> HttpResponseBase:
        """What was sent; a draft is nobody's yet."""
        revision = selectors.offered(selectors.order_get(self.project.pk, order))
        if revision is None:
            raise NotFound.of(order)
        document = bytes(revision.document)
        return attachment(
            request,
            iter([document]),
            filename=f"{revision.quote.number}-{revision.number}.pdf",
            content_type="application/pdf",
            size=len(document),
        )
