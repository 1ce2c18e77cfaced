"""What an entry of the timeline says: the same words on the customer's page, on staff's and in mail."""

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from orders.document import cents
from orders.models import OrderEvent

HEADINGS = {
    "order.submitted": gettext_lazy("The brief was sent"),
    "order.file": gettext_lazy("A data sample was added"),
    "order.assessing": gettext_lazy("We look at whether it can be done"),
    "feasibility.measured": gettext_lazy("Feasibility was measured"),
    "feasibility.refused": gettext_lazy("Feasibility could not be measured"),
    "order.declined": gettext_lazy("We do not take this order"),
    "order.cancelled": gettext_lazy("The order was cancelled"),
    "message": gettext_lazy("Message"),
    "quote.started": gettext_lazy("A quote is being written"),
    "quote.sent": gettext_lazy("A quote was sent"),
    "quote.link": gettext_lazy("A link to the quote was mailed"),
    "quote.withdrawn": gettext_lazy("The quote was taken back"),
    "quote.expired": gettext_lazy("The quote expired"),
    "quote.accepted": gettext_lazy("The quote was accepted"),
    "contract.made": gettext_lazy("The contract was made"),
    "invoice.sent": gettext_lazy("An invoice was sent"),
    "invoice.paid": gettext_lazy("An invoice was paid"),
    "invoice.credited": gettext_lazy("A credited or void amount was settled"),
    "invoice.transfer": gettext_lazy("A bank transfer came in"),
    "paper.added": gettext_lazy("A purchase order was added"),
    "work.started": gettext_lazy("Work began"),
    "milestone.delivered": gettext_lazy("A milestone was delivered"),
    "milestone.accepted": gettext_lazy("A milestone was accepted"),
    "order.delivered": gettext_lazy("Everything is delivered"),
    "warranty.ends": gettext_lazy("The warranty ends soon"),
    "warranty.retrain": gettext_lazy("A retrain under the warranty began"),
    "order.closed": gettext_lazy("The order was closed"),
}
KINDS_OF_INVOICE = {
    "deposit": gettext_lazy("Deposit"),
    "milestone": gettext_lazy("Milestone"),
    "rest": gettext_lazy("Rest"),
}


STATES_OF_INVOICE = {
    "sending": gettext_lazy("being sent"),
    "refused": gettext_lazy("refused"),
    "given_up": gettext_lazy("given up"),
    "open": gettext_lazy("sent"),
    "paid": gettext_lazy("paid"),
    "void": gettext_lazy("void"),
    "uncollectible": gettext_lazy("written off"),
}


def invoice_state(state: str) -> str:
    """What became of an invoice, in a word."""
    return str(STATES_OF_INVOICE.get(state, state))


@dataclass(frozen=True, slots=True)
class Words:
    """An entry in words."""

    heading: str
    text: str


def words_of(event: OrderEvent) -> Words:
    """What an entry says."""
    heading = str(HEADINGS.get(event.kind, event.kind))
    facts = _facts(event.kind, event.detail)
    return Words(heading, "\n".join(part for part in (facts, event.text) if part))


def _facts(kind: str, detail: dict[str, Any]) -> str:
    if kind == "order.file":
        return str(detail["name"])
    if kind == "feasibility.measured":
        return expectation(detail)
    if kind == "feasibility.refused":
        return str(detail["why"])
    if kind == "quote.link":
        return _("To %(email)s") % detail
    if kind in ("quote.sent", "quote.expired"):
        return _("Quote %(quote)s, revision %(revision)s") % detail
    if kind == "quote.accepted":
        told = {**detail, "total": cents(detail["total_cents"]), "po": detail["purchase_order"] or "–"}
        return _("%(name)s, %(title)s, accepted quote %(quote)s over %(total)s. Purchase order: %(po)s.") % told
    if kind == "contract.made":
        return str(detail["contract"])
    if kind in ("invoice.sent", "invoice.paid"):
        what = str(KINDS_OF_INVOICE.get(detail["kind"], detail["kind"]))
        told = {"what": what, "amount": cents(detail["cents"]), "number": detail["number"] or "–"}
        return _("%(what)s, %(amount)s, invoice %(number)s") % told
    if kind == "invoice.credited":
        told = {"what": detail["what"], "amount": cents(detail["cents"])}
        if detail["way"] == "waive":
            return _("%(what)s: %(amount)s is no longer owed.") % told
        return _("%(what)s: %(amount)s is asked for by another invoice.") % told
    if kind == "invoice.transfer":
        told = {**detail, "amount": cents(detail["cents"])}
        return _("%(amount)s on %(received_on)s, reference %(reference)s.") % told
    if kind == "paper.added":
        return f"{detail['name']}, SHA-256 {detail['sha256']}"
    if kind == "warranty.retrain":
        return _("%(milestone)s, due on %(due_on)s.") % detail
    if kind == "milestone.delivered":
        return f"{detail['milestone']}: {detail['model']}. {measured_words(detail.get('measured'))}".strip()
    if kind == "milestone.accepted":
        return str(detail["milestone"])
    if kind in ("order.delivered", "warranty.ends"):
        return _("The warranty runs until %(warranty_until)s.") % detail
    return ""


def expectation(detail: dict[str, Any]) -> str:
    """What a sample promises, in a sentence."""
    told = detail["expected"]
    facts = {
        "rows": f"{told['rows']:,}",
        "low": f"{told['low']:.2f}",
        "high": f"{told['high']:.2f}",
        "sample": f"{detail['rows']:,}",
        "labels": detail["labels"],
    }
    return (
        _(
            "With %(rows)s rows like the %(sample)s of the sample (%(labels)s labels) a cheap baseline can be expected "
            "to reach a macro-F1 of %(low)s to %(high)s. A trained model has to beat that."
        )
        % facts
    )


def measured_words(measured: dict[str, Any] | None) -> str:
    """What was measured for a milestone, and whether it is enough."""
    if not measured:
        return ""
    told = {**measured, "value": f"{measured['value']:.3f}", "least": f"{measured['least']:g}"}
    interval = ""
    if measured.get("low") is not None and measured.get("high") is not None:
        interval = f" ({measured['low']:.3f}–{measured['high']:.3f})"
    verdict = _("agreed was %(least)s: reached") if measured["met"] else _("agreed was %(least)s: missed")
    return f"{told['metric']} {told['value']}{interval}, {verdict % told}."
