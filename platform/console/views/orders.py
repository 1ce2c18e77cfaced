"""Orders of custom models: the list, the brief with its data sample, one order with its timeline, and its steps."""

from typing import Any

from django import forms
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.selectors.features import CUSTOM_ORDERS, feature_granted, feature_needed
from console.fields import WholeField
from console.paging import page_number, page_of, page_with
from console.views.base import ConsoleView, Outside
from console.views.files import ACCEPTED, Upload
from data import limits
from data import selectors as data
from data import services as files
from data.models import File, Purpose
from kit import charts
from kit.errors import NotFound
from orders import selectors, services, states
from orders.models import Milestone, Order, Quote
from orders.services.orders import LONGEST_BRIEF, MOST_CALLS
from orders.services.purchase_orders import ACCEPTED as DOCUMENTS
from orders.services.purchase_orders import MOST_BYTES
from orders.services.timeline import LONGEST_TEXT
from orders.words import expectation, measured_words, words_of

READ = "jobs.read"
WRITE = "jobs.write"
MONEY = "billing.write"
"""Who may let a quote be accepted, and accept what is delivered."""
FILES_SHOWN = 50


class BriefForm(forms.Form):
    """What is wanted."""

    api_names = {"file_ids": "samples"}

    title = forms.CharField(label=gettext_lazy("Name of the model"), max_length=120)
    task = forms.ChoiceField(
        label=gettext_lazy("What it is to do"),
        choices=Order.Task.choices,
        widget=forms.RadioSelect,
        initial="classification",
    )
    brief = forms.CharField(
        label=gettext_lazy("What it is for"),
        help_text=gettext_lazy("What goes in, what should come out, where it is used, and in which languages."),
        max_length=LONGEST_BRIEF,
        widget=forms.Textarea(attrs={"rows": 7}),
    )
    success = forms.CharField(
        label=gettext_lazy("What counts as good"),
        help_text=gettext_lazy("A figure that it must reach, or how you will judge it."),
        max_length=LONGEST_TEXT,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
    )
    calls_per_month = WholeField(
        label=gettext_lazy("Calls a month, about"), min_value=0, max_value=MOST_CALLS, required=False
    )
    wanted_by = forms.DateField(
        label=gettext_lazy("Needed by"), required=False, widget=forms.DateInput(attrs={"type": "date"})
    )
    contact = forms.EmailField(
        label=gettext_lazy("E-mail"), help_text=gettext_lazy("Who hears of what happens."), max_length=254
    )
    samples = forms.MultipleChoiceField(
        label=gettext_lazy("Files of the project as samples"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"invalid_choice": gettext_lazy("Choose files of this project.")},
    )
    file = forms.FileField(
        label=gettext_lazy("Upload a data sample"),
        help_text=gettext_lazy("A few hundred rows say more than a long brief. CSV, TSV, JSONL or Parquet."),
        required=False,
        error_messages={"empty": gettext_lazy("The file is empty. Choose one with at least one row.")},
    )

    def __init__(self, shown: list[File], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["samples"].choices = [(file.public_id, file.filename) for file in shown]  # type: ignore[attr-defined]
        if not shown:
            del self.fields["samples"]
        self.fields["file"].widget.attrs["accept"] = ACCEPTED


class MessageForm(forms.Form):
    """Something to say."""

    text = forms.CharField(
        label=gettext_lazy("Message"), max_length=LONGEST_TEXT, widget=forms.Textarea(attrs={"rows": 3})
    )


class RetrainForm(forms.Form):
    """What the model does worse."""

    text = forms.CharField(
        label=gettext_lazy("What is wrong"),
        help_text=gettext_lazy("What it does worse than at its acceptance, and examples of it."),
        min_length=10,
        max_length=LONGEST_TEXT,
        widget=forms.Textarea(attrs={"rows": 3}),
    )


class LinkForm(forms.Form):
    """Who is to accept."""

    email = forms.EmailField(
        label=gettext_lazy("Who accepts"),
        help_text=gettext_lazy("We mail a link that works once and needs no account."),
        max_length=254,
    )


class Orders(ConsoleView):
    """All orders of the project."""

    section = "orders"
    required_scopes = {"GET": READ}
    template_name = "console/orders.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Show them."""
        page = page_of(selectors.orders(self.project.pk).order_by("-pk"), page_number(request.GET.get("page")))
        rows = [{"order": row, "href": self.project_path("order", row.public_id)} for row in page.rows]
        return self.page(
            {
                "page": page_with(page, rows),
                "granted": feature_granted(CUSTOM_ORDERS),
                "can_make": self.can(WRITE) and feature_granted(CUSTOM_ORDERS),
                "new_url": self.project_path("order_new"),
            }
        )


class OrderNew(Upload):
    """The brief. A data sample goes to storage as it arrives, as every upload does."""

    section = "orders"
    required_scopes = {"GET": WRITE, "POST": WRITE}
    template_name = "console/order_new.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """The form."""
        feature_needed(CUSTOM_ORDERS)
        return self._brief(BriefForm(self._files(), initial={"contact": self.auth.actor_label}))

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """Place it and go there."""
        feature_needed(CUSTOM_ORDERS)
        form = BriefForm(self._files(), request.POST, request.FILES)
        valid = form.is_valid()
        if self.intake is not None and self.intake.refused is not None:
            form.add_error("file", self.intake.refused.message)
            valid = False
        made = self.attempt(form, lambda: self._placed(form)) if valid else None
        if made is None:
            self.made = None  # what arrived belongs to no order
            return self._brief(form, status=422)
        return self.done(self.project_path("order", made.public_id))

    def _placed(self, form: BriefForm) -> Order:
        told = form.cleaned_data
        shown = list(told.get("samples") or [])
        stored = self.intake.stored if self.intake is not None else None
        if stored is not None:
            name = str(told["file"].name)
            self.made = files.file_create(
                project_id=self.project.pk, filename=name, purpose=Purpose.FINE_TUNE, stored=stored
            )
            shown.append(self.made.public_id)
        return services.order_create(
            project=self.project,
            title=told["title"],
            task=told["task"],
            brief=told["brief"],
            success=told["success"],
            calls_per_month=told["calls_per_month"],
            wanted_by=told["wanted_by"],
            contact=told["contact"],
            file_ids=shown,
            by=self.auth.actor_label,
        )

    def _files(self) -> list[File]:
        return list(data.files(self.project.pk, purpose=Purpose.FINE_TUNE).order_by("-pk")[:FILES_SHOWN])

    def _brief(self, form: BriefForm, *, status: int = 200) -> HttpResponseBase:
        room = limits.room_for(self.tenant.pk)
        crumbs = [{"label": _("Orders"), "href": self.project_path("orders")}]
        return self.page({"form": form, "room": room, "crumbs": crumbs}, status=status)


class OrderPage(ConsoleView):
    """One order: where it stands, its quote, milestones and invoices, and the timeline that both sides see."""

    section = "orders"
    required_scopes = {"GET": READ}
    template_name = "console/order.html"

    def get(self, request: HttpRequest, order: str) -> HttpResponseBase:
        """Show it."""
        return self.show(selectors.order_get(self.project.pk, order))

    def show(
        self,
        order: Order,
        *,
        message: MessageForm | None = None,
        link: LinkForm | None = None,
        document: forms.Form | None = None,
        retrain: RetrainForm | None = None,
        status: int = 200,
    ) -> HttpResponseBase:
        """The page, with forms that may carry errors."""
        facts = selectors.facts_of(order)
        revision, contract = facts["revision"], facts["contract"]
        may_retrain = self.can(MONEY) and services.retrain_left(order, contract)
        can_sign = self.can(MONEY) and revision is not None and revision.quote.state == Quote.State.SENT
        return self.page(
            {
                "order": order,
                **facts,
                "terms_paper": f"terms-{contract.terms_version}" if contract else "",
                "dpa_paper": f"dpa-{contract.dpa_version}" if contract else "",
                "milestones": [self._milestone(order, one) for one in facts["milestones"]],
                "events": [{"event": one, "words": words_of(one)} for one in selectors.timeline(order)],
                "feasibility": self._feasibility(order),
                "message_form": message or MessageForm(),
                "link_form": link or (LinkForm(initial={"email": order.contact}) if can_sign else None),
                "document_form": document,
                "document_accept": DOCUMENTS,
                "document_bytes": MOST_BYTES,
                "can_add": self.can(WRITE) and order.state in states.UNDER_CONTRACT,
                "document_url": self.project_path("order_purchase_order", order.public_id),
                "purchase_orders": [
                    (one, self.project_path("order_purchase_order_file", order.public_id, one.public_id))
                    for one in facts["purchase_orders"]
                ],
                "retrain_form": retrain or (RetrainForm(auto_id="retrain_%s") if may_retrain else None),
                "retrain_url": self.project_path("order_retrain", order.public_id),
                "can_write": self.can(WRITE) and not order.is_over,
                "can_cancel": self.can(WRITE) and order.state in states.BEFORE_CONTRACT,
                "message_url": self.project_path("order_message", order.public_id),
                "link_url": self.project_path("order_link", order.public_id),
                "cancel_url": self.project_path("order_cancel", order.public_id),
                "upload_url": self.project_path("order_samples", order.public_id),
                "pdf_url": self.project_path("order_quote", order.public_id),
                "room": limits.room_for(self.tenant.pk),
                "accept": ACCEPTED,
                "crumbs": [{"label": _("Orders"), "href": self.project_path("orders")}],
            },
            status=status,
        )

    def _feasibility(self, order: Order) -> dict[str, Any] | None:
        """The learning curve of the newest measurement."""
        found = selectors.feasibility(order)
        if found is None:
            return None
        points, told = found.detail["points"], found.detail["expected"]
        means = [(float(one["rows"]), sum(one["values"]) / len(one["values"])) for one in points]
        largest, at = means[-1], float(told["rows"])
        ends = [
            charts.Series(key, name, [largest, (at, told[key])], tone, sparse=True)
            for key, name, tone in (("high", _("Upper end"), 2), ("low", _("Lower end"), 3))
        ]
        chart = charts.line_chart(
            id="feasibility",
            title=_("Macro-F1 of the baseline on held-out rows"),
            finding=expectation(found.detail),
            series=[charts.Series("measured", _("Measured"), means, 1), *ends],
            xlabel=_("rows"),
            zero=True,
            top=1.0,
        )
        return {"chart": chart, "words": expectation(found.detail)}

    def _milestone(self, order: Order, one: Milestone) -> dict[str, Any]:
        waits = one.state == Milestone.State.DELIVERED and self.can(MONEY)
        return {
            "one": one,
            "measured": measured_words(one.measured),
            "accept_url": self.project_path("order_milestone", order.public_id, one.public_id) if waits else "",
        }


class OrderMessage(OrderPage):
    """Say something."""

    required_scopes = {"GET": READ, "POST": WRITE}

    def get(self, request: HttpRequest, order: str) -> HttpResponseBase:
        """Only the form's target."""
        raise NotFound.of(order)

    def post(self, request: HttpRequest, order: str) -> HttpResponseBase:
        """Send it."""
        found, form = selectors.order_get(self.project.pk, order), MessageForm(request.POST)
        if form.is_valid():
            sent = self.attempt(
                form,
                lambda: services.message_send(
                    order=found, text=form.cleaned_data["text"], side=states.CUSTOMER, by=self.auth.actor_label
                ),
            )
            if sent is not None:
                return self.done(self.project_path("order", found.public_id))
        return self.show(found, message=form, status=422)


class OrderLink(OrderPage):
    """Mail the way to the acceptance page to whoever signs."""

    required_scopes = {"GET": READ, "POST": MONEY}

    def get(self, request: HttpRequest, order: str) -> HttpResponseBase:
        """Only the form's target."""
        raise NotFound.of(order)

    def post(self, request: HttpRequest, order: str) -> HttpResponseBase | Outside:
        """Make it here, mail it after the commit."""
        found, form = selectors.order_get(self.project.pk, order), LinkForm(request.POST)
        quote = Quote.objects.filter(order=found).first()
        if quote is None:
            raise NotFound.of(order)
        if not form.is_valid():
            return self.show(found, link=form, status=422)
        email = form.cleaned_data["email"]
        made = self.attempt(
            form,
            lambda: services.link_create(quote=quote, email=email, by=self.auth.actor_label, side=states.CUSTOMER),
        )
        if made is None:
            return self.show(found, link=form, status=422)
        link, token = made
        here = self.project_path("order", found.public_id)

        def then(sent: bool) -> HttpResponseBase:
            said = _("The link is on its way to %(email)s.") if sent else _("The mail server refused %(email)s.")
            return self.done(here, said % {"email": email})

        return Outside(lambda: services.link_mail(tenant_id=self.tenant.pk, link_id=link.pk, token=token), then)


class OrderSamples(Upload):
    """Show one more file."""

    section = "orders"
    required_scopes = {"GET": READ, "POST": WRITE}
    order: Order

    def get(self, request: HttpRequest, order: str = "") -> HttpResponseBase:
        """Only the form's target."""
        raise NotFound.of(order)

    def post(self, request: HttpRequest, order: str = "") -> HttpResponseBase:
        """Take it in and show it."""
        self.order = selectors.order_get(self.project.pk, order)
        return super().post(request)

    def after(self, file: File) -> HttpResponseBase:
        """To the order."""
        services.file_show(order=self.order, file=file, by=self.auth.actor_label)
        return self.done(self.project_path("order", self.order.public_id))

    def crumbs(self) -> list[dict[str, str]]:
        """Above the form that shows what was wrong with the file."""
        return [
            {"label": _("Orders"), "href": self.project_path("orders")},
            {"label": self.order.title, "href": self.project_path("order", self.order.public_id)},
        ]


class OrderCancel(ConsoleView):
    """End it before anything was agreed."""

    section = "orders"
    required_scopes = {"POST": WRITE}

    def post(self, request: HttpRequest, order: str) -> HttpResponseBase:
        """Cancel."""
        found = selectors.order_get(self.project.pk, order)
        services.order_cancel(order=found, by=self.auth.actor_label)
        return self.done(self.project_path("order", found.public_id))
