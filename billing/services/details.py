"""Who invoices are made out to: name, address and tax ids. Run in the tenant's scope.

Stripe keeps them and prints them on its invoices from then on, so each change is a command."""

from billing.models import StripeCommand
from billing.selectors.subscriptions import customer_current
from billing.services.commands import command_write
from billing.services.subscriptions import customer_write
from kit.errors import BadRequest, Conflict, NotFound
from tenants import audit

MOST_TAX_IDS = 5
"""Stripe prints no more on one invoice."""
TAX_IDS: dict[str, tuple[str, str]] = {
    "eu_vat": ("EU VAT number", "DE123456789"),
    "gb_vat": ("UK VAT number", "GB123456789"),
    "ch_vat": ("Swiss VAT number", "CHE-123.456.789 MWST"),
    "no_vat": ("Norwegian VAT number", "123456789MVA"),
    "us_ein": ("US EIN", "12-3456789"),
    "ca_bn": ("Canadian BN", "123456789"),
    "ca_gst_hst": ("Canadian GST/HST number", "123456789RT0002"),
    "au_abn": ("Australian ABN", "12345678912"),
    "nz_gst": ("New Zealand GST number", "123456789"),
    "in_gst": ("Indian GST number", "12ABCDE3456FGZH"),
    "jp_trn": ("Japanese registration number", "T1234567891234"),
    "kr_brn": ("Korean BRN", "123-45-67890"),
    "sg_gst": ("Singaporean GST number", "M12345678X"),
    "br_cnpj": ("Brazilian CNPJ", "01.234.456/5432-10"),
    "mx_rfc": ("Mexican RFC", "ABC010203AB9"),
    "za_vat": ("South African VAT number", "4123456789"),
    "tr_tin": ("Turkish tax number", "0123456789"),
    "ae_trn": ("Emirati TRN", "123456789012345"),
    "il_vat": ("Israeli VAT number", "000012345"),
    "sa_vat": ("Saudi VAT number", "123456789012345"),
}
"""Stripe's types that are met most: a name and an example each."""


def details_write(*, name: str, address: dict[str, str]) -> StripeCommand:
    """The command that prints another name and address on invoices from now on."""
    customer_write(again=True)
    command = command_write("customer_describe", {"name": name, "address": address})
    audit.record(action="billing.details_changed", target=command)
    return command


def tax_id_add(*, kind: str, value: str) -> StripeCommand:
    """The command that adds a tax id. BadRequest for a kind that is not listed; Conflict for a sixth one, or one that
    is there; Stripe refuses what has not the form of its kind."""
    if kind not in TAX_IDS:
        raise BadRequest(f"Choose a kind of tax id: {', '.join(TAX_IDS)}.", param="type")
    customer = customer_current()
    there = customer.tax_ids if customer is not None else []
    if any((one["type"], one["value"]) == (kind, value) for one in there):
        raise Conflict("This tax id is there already.", param="value")
    if len(there) >= MOST_TAX_IDS:
        raise Conflict(f"An organisation has at most {MOST_TAX_IDS} tax ids. Remove one first.", param="value")
    customer_write(again=True)
    command = command_write("tax_id_add", {"type": kind, "value": value})
    audit.record(action="billing.tax_id_added", target=command, after={"type": kind})
    return command


def tax_id_remove(*, tax_id: str) -> StripeCommand:
    """The command that takes a tax id off invoices from now on. NotFound for one the organisation does not have."""
    customer = customer_current()
    if customer is None or tax_id not in {one["id"] for one in customer.tax_ids}:
        raise NotFound.of(tax_id)
    command = command_write("tax_id_remove", {"tax_id": tax_id})
    audit.record(action="billing.tax_id_removed", target=command)
    return command
