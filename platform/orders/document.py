"""A revision of a quote as a document. The same revision gives the same bytes."""

from collections.abc import Sequence
from typing import Any

from kit.money import CENT, currency, written
from kit.paper import Sheet
from orders.papers import paper_named
from orders.pricing import Line

Json = dict[str, Any]


def cents(amount: int) -> str:
    """Whole cents as $1,200.00, in the currency of the organisation in scope."""
    return written(amount * CENT)


def percent(basis_points: int) -> str:
    """A share as 12.5%."""
    return f"{basis_points / 100:g}%"


def quote_document(revision: Any, lines: Sequence[Line], *, quote_number: str, title: str, order_id: str) -> bytes:
    """The PDF of a revision that is about to be kept, from its columns and its organisation's currency alone."""
    sheet = Sheet(
        title=f"Quote {quote_number}",
        made_at=revision.created_at,
        foot=f"Quote {quote_number}, revision {revision.number}",
    )
    sheet.title(f"Quote {quote_number}")
    sheet.pairs(
        [
            ("For", revision.customer),
            ("Order", f"{title} ({order_id})"),
            ("Revision", f"{revision.number} of {revision.created_at:%-d %B %Y}"),
            ("Valid until", f"{revision.valid_until:%-d %B %Y}, the end of the day in UTC"),
        ]
    )
    sheet.heading("What is made")
    sheet.text(revision.scope)
    sheet.heading("Price")
    sheet.table(
        ["Line", "Quantity", "Unit price", "Amount"],
        [[line.description, f"{line.quantity:,}", cents(line.unit_cents), cents(line.cents)] for line in lines],
        _totals(revision),
    )
    sheet.heading("Milestones and payment")
    sheet.table(
        ["Milestone", "Within", "Must reach", "Invoice"],
        [
            ["Acceptance of this quote (deposit)", "–", "–", cents(revision.deposit_cents)],
            *(
                [one["title"], f"{one['days']} days", _criterion(one), cents(one["cents"])]
                for one in revision.milestones
            ),
        ],
        [("Together", cents(revision.total_cents))],
    )
    sheet.gap(4)
    sheet.text(
        f"Days count from the acceptance of this quote. Invoices are payable within {revision.net_days} days. All "
        f"amounts are in {currency().upper()}; tax is added where the law asks for it. Figures that a milestone must "
        "reach are measured on rows that training never saw."
    )
    sheet.heading("Terms")
    terms, dpa = paper_named(f"terms-{revision.terms_version}"), paper_named(f"dpa-{revision.dpa_version}")
    sheet.text(
        f"Warranty: {revision.warranty_days} days after delivery. Part of this quote are these papers, in the versions "
        "that are named:"
    )
    for paper in (terms, dpa):
        sheet.text(f"{paper.heading}, version {paper.version}", bold=True)
        sheet.text(f"SHA-256 {paper.sha256}", size=7.5, grey=True)
    return sheet.done()


def _totals(revision: Any) -> list[tuple[str, str]]:
    totals = [("Subtotal", cents(revision.subtotal_cents))]
    if revision.discount_cents:
        totals.append((f"Discount {percent(revision.discount_bp)}", f"-{cents(revision.discount_cents)}"))
    return [*totals, (f"Total in {currency().upper()}", cents(revision.total_cents))]


def _criterion(milestone: Json) -> str:
    return f"{milestone['metric']} {milestone['least']:g}" if milestone.get("metric") else "–"
