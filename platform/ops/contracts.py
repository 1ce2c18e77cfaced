"""An order under contract, as staff work on it: milestones, invoices, transfers, credited amounts, purchase orders."""

import datetime as dt
from decimal import Decimal
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.db.models import Model
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from billing.models import Invoice, StripeCommand
from kit.clock import now
from kit.errors import NotFound
from kit.streams import attachment
from ops import ordering
from ops.deeds import Deed, DeedTable
from ops.forms import ReasonForm, with_code
from ops.stripe_tables import still_on_its_way
from ops.tables import ReadOnly, generic
from orders import selectors
from orders.document import cents
from orders.models import Milestone, OrderInvoice, OrderTransfer, PurchaseOrder
from orders.services import purchase_order_chunks
from orders.services.invoicing import AGAIN, WAIVE
from orders.words import invoice_state, measured_words
from tenants.scope import tenant_scope

LINK = "text-primary-600 dark:text-primary-400"


def today() -> dt.date:
    """In UTC."""
    return now().date()


class TransferForm(ReasonForm):
    """A payment that the bank's statement shows."""

    reference = forms.CharField(
        label=_("Reference"),
        max_length=140,
        help_text=_("As on the bank's statement. The customer reads it."),
        widget=UnfoldAdminTextInputWidget,
    )
    amount = forms.DecimalField(
        label=with_code(_("Amount")),
        min_value=Decimal("0.01"),
        max_digits=12,
        decimal_places=2,
        help_text=_("All that is open of the invoice, with tax."),
        widget=UnfoldAdminTextInputWidget,
    )
    received_on = forms.DateField(
        label=_("Came in on"), widget=UnfoldAdminTextInputWidget(attrs={"type": "date"}), initial=today
    )
    field_order = ["reference", "amount", "received_on", "reason"]


class SettleForm(ReasonForm):
    """What becomes of a credited amount."""

    way = forms.ChoiceField(
        label=_("What becomes of it"),
        choices=[
            (WAIVE, _("nobody owes it any more")),
            (AGAIN, _("it is still owed: another invoice asks for it")),
        ],
        widget=UnfoldAdminSelectWidget,
    )
    field_order = ["way", "reason"]


class ModelForm(ReasonForm):
    """What is handed over."""

    model = forms.CharField(
        label=_("Model"),
        max_length=300,
        help_text=_("Its full name, or an alias, in the order's project."),
        widget=UnfoldAdminTextInputWidget,
    )
    field_order = ["model", "reason"]


class MilestoneTable(DeedTable):
    """Milestones."""

    list_display = ("title", "tenant", "contract", "state", "due_on", "model")
    list_filter = ("state",)
    search_fields = ("title", "model", "tenant__slug", "contract__number")
    ordering = ("due_on",)
    list_select_related = ("tenant", "contract")
    first = ("title", "tenant", "contract", "state", "due_on", "metric", "least", "model", "reached")
    deeds = (
        Deed(
            name="deliver",
            title=_("Deliver model"),
            text=_("Its report's figures on held-out rows are shown to the customer, who accepts the milestone."),
            icon="package_2",
            form=ModelForm,
            offered=lambda row: row.state != Milestone.State.ACCEPTED,
            work=lambda by, row, form: ordering.milestone_deliver(
                tenant_id=row.tenant_id, milestone_id=row.pk, model=form.cleaned_data["model"], by=by
            ),
            outcome=lambda made: measured_words(made.measured),
        ),
    )

    @admin.display(description=_("Reached"))
    def reached(self, row: Milestone) -> str:
        """What was measured."""
        return measured_words(row.measured) or "–"


class InvoiceTable(DeedTable):
    """Invoices of orders."""

    list_display = ("description", "tenant", "kind", "cents", "stripe_id", "sent_at", "paid_at", "problem")
    list_filter = ("kind",)
    search_fields = ("description", "stripe_id", "tenant__slug")
    ordering = ("-created_at",)
    list_select_related = ("tenant",)
    first = ("description", "tenant", "contract", "kind", "cents", "standing", "at_stripe", "transfers")
    deeds = (
        Deed(
            name="transfer",
            title=_("Record bank transfer"),
            text=_("The invoice is marked as paid past Stripe, and the books note it as the bank's. Once."),
            icon="account_balance",
            form=TransferForm,
            offered=lambda row: bool(row.stripe_id) and row.paid_at is None,
            work=lambda by, row, form: ordering.transfer_record(
                tenant_id=row.tenant_id,
                invoice_id=row.pk,
                reference=form.cleaned_data["reference"],
                cents=int(form.cleaned_data["amount"] * 100),
                received_on=form.cleaned_data["received_on"],
                by=by,
            ),
            problem=still_on_its_way,
        ),
        Deed(
            name="settle",
            title=_("Settle credited or void amount"),
            text=_(
                "A part of this invoice was credited, or it is void. Say whether that is still owed. The order goes on "
                "once the rest is paid. To credit a part, open the invoice at Stripe's mirror and use Refund or credit."
            ),
            icon="rule",
            form=SettleForm,
            offered=lambda row: _asked(row).undecided > 0,
            work=lambda by, row, form: ordering.credit_settle(
                tenant_id=row.tenant_id, invoice_id=row.pk, way=form.cleaned_data["way"], by=by
            ),
        ),
    )

    @admin.display(description=_("Stands"))
    def standing(self, row: OrderInvoice) -> str:
        """What became of it."""
        return asked_words(_asked(row))

    @admin.display(description=_("At Stripe"))
    def at_stripe(self, row: OrderInvoice) -> str:
        """The way to its mirror, where a part of it can be credited, or to the command that sends it."""
        mirror = Invoice.ops.filter(stripe_id=row.stripe_id).first() if row.stripe_id else None
        found = mirror or StripeCommand.ops.filter(operation=selectors.INVOICE, once=str(row.pk)).first()
        return format_html('<a href="{}" class="{}">{}</a>', page_of(found), LINK, found) if found else "–"

    @admin.display(description=_("Bank transfer"))
    def transfers(self, row: OrderInvoice) -> str:
        """What staff recorded."""
        made = OrderTransfer.ops.filter(invoice=row).first()
        return f"{made.reference}, {cents(made.cents)}, {made.received_on:%Y-%m-%d}" if made else "–"


def _asked(row: OrderInvoice) -> selectors.Asked:
    with tenant_scope(row.tenant_id):
        return next(one for one in selectors.invoices(row.contract) if one.row.pk == row.pk)


def asked_words(one: selectors.Asked) -> str:
    """An invoice in a line."""
    said = [one.row.description, cents(one.row.cents), invoice_state(one.state)]
    if one.credited:
        said.append(str(_("%(amount)s credited") % {"amount": cents(one.credited)}))
    if one.undecided > 0:
        said.append(str(_("%(amount)s to be decided") % {"amount": cents(one.undecided)}))
    return ", ".join(said) + (f": {one.why}" if one.why else "")


def purchase_order(request: HttpRequest, document: UUID) -> HttpResponseBase:
    """A document that a customer sent: a download, never shown."""
    row = PurchaseOrder.ops.filter(pk=document).first()
    if row is None:
        raise Http404
    try:
        chunks = purchase_order_chunks(row)
    except NotFound as error:
        raise Http404 from error
    return attachment(request, chunks, filename=row.filename, content_type=row.content_type, size=row.bytes)


def page_of(row: Any) -> str:
    """The staff's page of a row."""
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


TABLES: dict[type[Model], type[ReadOnly]] = {
    Milestone: MilestoneTable,
    OrderInvoice: InvoiceTable,
    OrderTransfer: generic(
        OrderTransfer,
        list_display=("reference", "tenant", "invoice", "cents", "received_on", "created_at"),
        search_fields=("reference", "tenant__slug"),
    ),
}
