"""Quotes of orders, as staff work on them: approving a discount, sending, taking back."""

from django import forms
from django.contrib import admin
from django.db.models import Model
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from ops import ordering
from ops.deeds import Deed, DeedTable
from ops.forms import ReasonForm
from ops.tables import SECRET, ReadOnly, generic
from orders import pricing
from orders.document import cents, percent
from orders.models import Acceptance, Approval, Quote, QuoteLine, QuoteLink, QuoteRevision

HIDDEN = SECRET | {"document"}


class TextForm(ReasonForm):
    """Words for the customer, beside the reason."""

    text = forms.CharField(
        label=_("The customer reads"), max_length=4_000, widget=UnfoldAdminTextareaWidget(attrs={"rows": 5})
    )
    field_order = ["text", "reason"]


class EmailForm(ReasonForm):
    """Who gets the link."""

    email = forms.EmailField(
        label=_("Who accepts"),
        max_length=254,
        help_text=_("The link is mailed there. It works once, without an account."),
        widget=UnfoldAdminTextInputWidget(attrs={"type": "email"}),
    )
    field_order = ["email", "reason"]


class QuoteTable(DeedTable):
    """Quotes."""

    list_display = ("number", "tenant", "order", "state", "revision", "expires_at")
    list_filter = ("state",)
    search_fields = ("number", "order__title", "tenant__slug")
    ordering = ("-created_at",)
    list_select_related = ("tenant", "order")
    first = ("number", "tenant", "order", "state", "sums", "lines", "approvals", "links")
    deeds = (
        Deed(
            name="approve",
            title=_("Approve discount"),
            text=_("You agree to the newest revision's discount. Whoever wrote it cannot."),
            icon="verified",
            offered=lambda row: row.state == Quote.State.DRAFT,
            work=lambda by, row, form: ordering.quote_approve(tenant_id=row.tenant_id, quote_id=row.pk, by=by),
        ),
        Deed(
            name="send",
            title=_("Send"),
            text=_("The newest revision is offered, and a link to accept it is mailed. Send it to others as well."),
            icon="send",
            form=EmailForm,
            offered=lambda row: row.state in (Quote.State.DRAFT, Quote.State.SENT),
            work=lambda by, row, form: ordering.quote_send(
                tenant_id=row.tenant_id, quote_id=row.pk, email=form.cleaned_data["email"], by=by
            ),
            problem=lambda sent: "" if sent else str(_("The mail server refused it. Send it again later.")),
        ),
        Deed(
            name="withdraw",
            title=_("Withdraw"),
            text=_("Its links stop working at once. The customer reads why."),
            icon="undo",
            form=TextForm,
            offered=lambda row: row.state == Quote.State.SENT,
            work=lambda by, row, form: ordering.quote_withdraw(
                tenant_id=row.tenant_id, quote_id=row.pk, text=form.cleaned_data["text"], by=by
            ),
        ),
    )

    def _newest(self, row: Quote) -> QuoteRevision:
        found: QuoteRevision = QuoteRevision.ops.get(quote=row, number=row.revision)
        return found

    @admin.display(description=_("Newest revision"))
    def sums(self, row: Quote) -> str:
        """What it comes to, and by whom."""
        made = self._newest(row)
        taken = f"{cents(made.subtotal_cents)} − {percent(made.discount_bp)} = {cents(made.total_cents)}"
        return f"{made.number}: {taken}; {_('deposit')} {cents(made.deposit_cents)}; {made.author}; {made.sha256}"

    @admin.display(description=_("Lines"))
    def lines(self, row: Quote) -> str:
        """Of the newest revision."""
        rows = QuoteLine.ops.filter(revision=self._newest(row)).order_by("position")
        said = ((f"{one.description}: {one.quantity:,} × {cents(one.unit_cents)}",) for one in rows)
        return format_html_join(format_html("<br>"), "{}", said)

    @admin.display(description=_("Approved by"))
    def approvals(self, row: Quote) -> str:
        """Who agreed to its discount."""
        made = self._newest(row)
        people = [one.by for one in Approval.ops.filter(revision=made).order_by("at")]
        if people:
            return ", ".join(people)
        return str(_("Needed before it is sent")) if pricing.needs_approval(made.discount_bp) else str(_("Not needed"))

    @admin.display(description=_("Links"))
    def links(self, row: Quote) -> str:
        """To whom, and whether they still work."""
        said = []
        for one in QuoteLink.ops.filter(revision__quote=row).order_by("-created_at")[:50]:
            ended = _("used") if one.used_at else _("revoked") if one.revoked_at else _("open")
            said.append((f"{one.email} ({ended})",))
        return format_html_join(format_html("<br>"), "{}", said) or "–"


TABLES: dict[type[Model], type[ReadOnly]] = {
    Quote: QuoteTable,
    QuoteRevision: generic(
        QuoteRevision,
        hidden=HIDDEN,
        list_display=("quote", "number", "tenant", "total_cents", "discount_bp", "author", "created_at"),
        search_fields=("quote__number", "author", "tenant__slug"),
    ),
    QuoteLink: generic(
        QuoteLink,
        list_display=("email", "tenant", "revision", "created_at", "expires_at", "used_at", "revoked_at"),
        search_fields=("email", "tenant__slug"),
    ),
    Acceptance: generic(
        Acceptance,
        list_display=("name", "title", "email", "tenant", "purchase_order", "ip", "at"),
        search_fields=("name", "email", "purchase_order", "document_sha256", "tenant__slug"),
    ),
}
