"""Orders of custom models, as staff work on them: the list, and one order with its timeline."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from kit.errors import ApiError
from ops import ordering
from ops.contracts import LINK, asked_words, page_of
from ops.deeds import Deed, DeedTable
from ops.forms import ReasonForm
from ops.quotes import TextForm
from ops.tables import ReadOnly
from orders import pricing, selectors, states
from orders.document import cents
from orders.models import (
    Contract,
    Milestone,
    Order,
    OrderEvent,
    OrderFile,
    PurchaseOrder,
    Quote,
    QuoteRevision,
)
from orders.services import Part
from orders.words import words_of
from tenants.scope import tenant_scope

EXAMPLE_LINES = "Labelling and checks | 5000 | 0.40\nTraining and tuning | 1 | 9000"
EXAMPLE_PARTS = "Model that meets the figure | 30 | macro_f1 | 0.85\nHand-over and bundle | 45"


def _whole(label: Any, initial: int, least: int, most: int) -> forms.IntegerField:
    return forms.IntegerField(
        label=label, initial=initial, min_value=least, max_value=most, widget=UnfoldAdminTextInputWidget
    )


class RowsForm(ReasonForm):
    """How much data the model would have."""

    rows = _whole(_("Rows that the model would be trained on"), 5_000, 1, 10_000_000)
    field_order = ["rows", "reason"]


class QuoteForm(ReasonForm):
    """A revision of a quote. What cannot be is said in words, by the row it stands in."""

    scope = forms.CharField(
        label=_("What is made"),
        max_length=6_000,
        help_text=_("And what counts as done. It is part of the contract."),
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 6}),
    )
    lines = forms.CharField(
        label=_("Lines"),
        max_length=20_000,
        help_text=_("One a row: description | quantity | unit price."),
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 6, "placeholder": EXAMPLE_LINES}),
    )
    parts = forms.CharField(
        label=_("Milestones"),
        max_length=4_000,
        help_text=_("One a row: title | days | metric | least value. Metric and value may be left out."),
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4, "placeholder": EXAMPLE_PARTS}),
    )
    discount = forms.CharField(label=_("Discount, %"), initial="0", max_length=8, widget=UnfoldAdminTextInputWidget)
    deposit = forms.CharField(label=_("Deposit, %"), initial="30", max_length=8, widget=UnfoldAdminTextInputWidget)
    valid_days = _whole(_("Valid for, days"), 30, 1, 180)
    net_days = _whole(_("Days to pay"), 30, 1, 90)
    warranty_days = _whole(_("Warranty, days"), 90, 0, 1_095)
    field_order = [
        "scope",
        "lines",
        "parts",
        "discount",
        "deposit",
        "valid_days",
        "net_days",
        "warranty_days",
        "reason",
    ]

    def clean_lines(self) -> list[pricing.Line]:
        """Read."""
        return self._read(lambda: pricing.lines_of(self.cleaned_data["lines"]))

    def clean_parts(self) -> list[Part]:
        """Read."""
        return [
            _part(number, row) for number, row in enumerate(self.cleaned_data["parts"].splitlines(), 1) if row.strip()
        ]

    def clean_discount(self) -> int:
        """Basis points."""
        return int(self._read(lambda: pricing.share_of(self.cleaned_data["discount"])))

    def clean_deposit(self) -> int:
        """Basis points."""
        return int(self._read(lambda: pricing.share_of(self.cleaned_data["deposit"])))

    def _read(self, read: Any) -> Any:
        try:
            return read()
        except ApiError as error:
            raise forms.ValidationError(error.message) from error


def _part(number: int, row: str) -> Part:
    told = [piece.strip() for piece in row.split("|")]
    try:
        if len(told) not in (2, 4):
            raise ValueError("pieces")
        metric, least = (told[2], float(told[3])) if len(told) == 4 else ("", None)
        return Part(title=told[0], days=int(told[1]), metric=metric, least=least)
    except ValueError:
        raise forms.ValidationError(
            _("Row %(n)s: write title | days, or title | days | metric | least value.") % {"n": number}
        ) from None


def _state(*wanted: str) -> Any:
    return lambda row: row.state in wanted


class OrderTable(DeedTable):
    """Orders."""

    list_display = ("title", "tenant", "state", "task", "contact", "wanted_by", "changed_at")
    list_filter = ("state", "task")
    search_fields = ("title", "contact", "tenant__slug", "tenant__name")
    ordering = ("-changed_at",)
    list_select_related = ("tenant",)
    first = (
        "title",
        "public_id",
        "tenant",
        "state",
        "quote",
        "contract",
        "invoices",
        "purchase_orders",
        "samples",
        "timeline",
        "brief",
        "success",
    )
    deeds = (
        Deed(
            name="assess",
            title=_("Assess"),
            text=_("The customer sees that you look whether it can be done."),
            icon="science",
            offered=_state(states.SUBMITTED, states.QUOTING),
            work=lambda by, row, form: ordering.order_assess(tenant_id=row.tenant_id, order_id=row.pk, by=by),
        ),
        Deed(
            name="measure",
            title=_("Measure feasibility"),
            text=_(
                "A worker trains the cheap baseline on five sizes of the newest sample and says in the timeline what "
                "can be expected. It costs the customer nothing, and takes a minute."
            ),
            icon="query_stats",
            form=RowsForm,
            offered=_state(*states.BEFORE_CONTRACT),
            work=lambda by, row, form: ordering.order_measure(
                tenant_id=row.tenant_id, order_id=row.pk, rows=form.cleaned_data["rows"], by=by
            ),
        ),
        Deed(
            name="message",
            title=_("Send message"),
            text=_("It stands in the timeline that both sides see, and the customer is told by e-mail."),
            icon="chat",
            form=TextForm,
            work=lambda by, row, form: ordering.order_message(
                tenant_id=row.tenant_id, order_id=row.pk, text=form.cleaned_data["text"], by=by
            ),
        ),
        Deed(
            name="write_quote",
            title=_("Write quote"),
            text=_(
                "A new revision, with its document. It is not sent yet. What was sent before can no longer be "
                "accepted. A discount above 10% needs a second person."
            ),
            icon="request_quote",
            form=QuoteForm,
            offered=_state(*states.BEFORE_CONTRACT),
            work=lambda by, row, form: ordering.quote_write(
                tenant_id=row.tenant_id,
                order_id=row.pk,
                by=by,
                scope=form.cleaned_data["scope"],
                lines=form.cleaned_data["lines"],
                parts=form.cleaned_data["parts"],
                discount_bp=form.cleaned_data["discount"],
                deposit_bp=form.cleaned_data["deposit"],
                valid_days=form.cleaned_data["valid_days"],
                net_days=form.cleaned_data["net_days"],
                warranty_days=form.cleaned_data["warranty_days"],
            ),
            outcome=lambda made: str(
                _("Revision %(n)s, %(total)s.") % {"n": made.number, "total": cents(made.total_cents)}
            ),
        ),
        Deed(
            name="retrain",
            title=_("Retrain under warranty"),
            text=_(
                "The order is in work again: a milestone that costs nothing, with the figure that was agreed, to be "
                "delivered and accepted. The customer reads why. Look first whether the terms give one."
            ),
            icon="model_training",
            form=TextForm,
            offered=_state(states.DELIVERED),
            work=lambda by, row, form: ordering.retrain_start(
                tenant_id=row.tenant_id, order_id=row.pk, text=form.cleaned_data["text"], by=by
            ),
            outcome=lambda made: str(made),
        ),
        Deed(
            name="decline",
            title=_("Decline"),
            text=_("The order is over. The customer reads why."),
            icon="block",
            form=TextForm,
            offered=_state(*states.BEFORE_CONTRACT),
            work=lambda by, row, form: ordering.order_decline(
                tenant_id=row.tenant_id, order_id=row.pk, text=form.cleaned_data["text"], by=by
            ),
        ),
    )

    @admin.display(description=_("Quote"))
    def quote(self, row: Order) -> str:
        """Its newest revision, and the way there."""
        found = Quote.ops.filter(order=row).first()
        if found is None:
            return "–"
        revision = QuoteRevision.ops.get(quote=found, number=found.revision)
        said = f"{found.number}, {_('revision')} {revision.number}, {cents(revision.total_cents)}, "
        said += str(found.get_state_display())
        return format_html('<a href="{}" class="{}">{}</a>', page_of(found), LINK, said)

    @admin.display(description=_("Contract"))
    def contract(self, row: Order) -> str:
        """What was agreed, and its milestones."""
        found = Contract.ops.filter(order=row).first()
        if found is None:
            return "–"
        parts = [(found, f"{found.number}, {cents(found.total_cents)}")]
        parts += [
            (one, f"{one.title}: {one.get_state_display()}")
            for one in Milestone.ops.filter(contract=found).order_by("position")
        ]
        return format_html_join(
            format_html("<br>"), '<a href="{}" class="{}">{}</a>', ((page_of(one), LINK, said) for one, said in parts)
        )

    @admin.display(description=_("Invoices"))
    def invoices(self, row: Order) -> str:
        """What was asked for, what became of each, and what is still owed."""
        found = Contract.ops.filter(order=row).first()
        if found is None:
            return "–"
        with tenant_scope(row.tenant_id):
            asked = selectors.invoices(found)
            account = selectors.account_of(found, asked)
        links = [(page_of(one.row), LINK, asked_words(one)) for one in asked]
        listed = format_html_join(format_html("<br>"), '<a href="{}" class="{}">{}</a>', links)
        owed = _("still owed %(owed)s of %(total)s") % {"owed": cents(account.owed), "total": cents(account.total)}
        return format_html("{}<br>{}", listed, owed)

    @admin.display(description=_("Purchase orders"))
    def purchase_orders(self, row: Order) -> str:
        """Documents, each to open."""
        rows = PurchaseOrder.ops.filter(order=row).order_by("-pk")
        links = ((reverse("admin:purchase_order", args=[one.pk]), LINK, one.filename, one.bytes) for one in rows)
        return format_html_join(format_html("<br>"), '<a href="{}" class="{}">{} ({} B)</a>', links) or "–"

    @admin.display(description=_("Samples"))
    def samples(self, row: Order) -> str:
        """Files, each with the way there."""
        shown = [one.file for one in OrderFile.ops.filter(order=row).select_related("file").order_by("pk")]
        links = ((page_of(file), LINK, f"{file.filename} ({file.bytes:,} B)") for file in shown)
        return format_html_join(format_html("<br>"), '<a href="{}" class="{}">{}</a>', links) or "–"

    @admin.display(description=_("Timeline"))
    def timeline(self, row: Order) -> str:
        """What both sides see, the newest first."""
        events = OrderEvent.ops.filter(order=row).order_by("-at", "-pk")[:200]
        said = ((f"{one.at:%Y-%m-%d %H:%M}", one.who or one.side, words_of(one)) for one in events)
        return format_html_join(
            "",
            '<p class="mb-2"><span>{} · {}</span><br><strong>{}</strong> {}</p>',
            ((when, who, words.heading, words.text) for when, who, words in said),
        )


TABLES: dict[type[Model], type[ReadOnly]] = {
    Order: OrderTable,
}
