"""What `/v1/orders` answers, field by field, for the API reference."""

from kit.schema import component, many, mapping, moment, number, one_of, page_of, string, thing, truth, whole
from orders.models import Milestone, Order, OrderInvoice, Quote
from orders.states import CUSTOMER, STAFF, SYSTEM

PAPER = thing("A paper of the contract.", {"version": whole("Its version."), "sha256": string("Its hash.")})
QUOTE = thing(
    "The newest quote that was sent; null where none stands. Amounts are whole cents of `currency`.",
    {
        "number": string("Its number."),
        "revision": whole("Which wording of it."),
        "status": one_of("Where it stands.", [Quote.State.SENT, Quote.State.ACCEPTED]),
        "scope": string("What is made, and what counts as done."),
        "lines": many(
            "What it costs.",
            thing(
                "A line.",
                {
                    "description": string("What for."),
                    "quantity": whole("How many."),
                    "unit_cents": whole("The price of one."),
                    "amount_cents": whole("Quantity times price."),
                },
            ),
        ),
        "subtotal_cents": whole("The sum of the lines."),
        "discount_cents": whole("Taken off it."),
        "total_cents": whole("What is to be paid, without tax."),
        "deposit_cents": whole("Of that, at the acceptance."),
        "net_days": whole("Days to pay an invoice."),
        "warranty_days": whole("Days of warranty after delivery."),
        "valid_until": string("The last day on which it can be accepted.", format="date"),
        "sha256": string("Hash of the document."),
    },
    null=True,
)
CONTRACT = thing(
    "What was agreed; null before.",
    {
        "number": string("Its number."),
        "signed_at": moment("When the quote was accepted."),
        "signed_by": string("By whom."),
        "purchase_order": string("Your purchase order; null where none was named.", null=True),
        "terms": PAPER,
        "dpa": PAPER,
        "warranty_until": string("Last day of the warranty; null before delivery.", null=True, format="date"),
    },
    null=True,
)
MILESTONE = thing(
    "A part of the work.",
    {
        "id": string("The milestone's id."),
        "title": string("What it is."),
        "status": one_of("Where it stands.", Milestone.State.values),
        "amount_cents": whole("What it costs."),
        "due_on": string("By when.", format="date"),
        "metric": string("The figure that decides; null where none was agreed.", null=True),
        "least": number("What it must reach; null where none was agreed.", null=True),
        "model": string("The delivered model; null before.", null=True),
        "measured": mapping("What was measured on rows that training never saw; null before.", null=True),
        "warranty": truth("Whether it is a retrain under the warranty, which costs nothing."),
    },
)
INVOICE = thing(
    "An invoice of the order.",
    {
        "kind": one_of("What for.", OrderInvoice.Kind.values),
        "description": string("Its line."),
        "amount_cents": whole("What it asks for."),
        "credited_cents": whole("What was credited of it, before tax."),
        "number": string("Its number; null before it is sent.", null=True),
        "status": string(
            "`pending` before it is sent, `refused` where the payment provider would not have it, then as under "
            "Billing: `open`, `paid`, `void` and so on."
        ),
        "paid_at": moment("When it was paid; null before.", null=True),
    },
)
ACCOUNT = thing(
    "What the order costs and what came in, before tax; null before a contract.",
    {
        "total_cents": whole("What was agreed."),
        "paid_cents": whole("What was paid, less what was credited of it."),
        "waived_cents": whole("What was credited and is no longer owed."),
        "owed_cents": whole("What is still to come."),
        "invoiced_cents": whole("Of that, what open invoices ask for."),
    },
    null=True,
)
PURCHASE_ORDER = thing(
    "A purchase order as a document.",
    {
        "id": string("Its id."),
        "filename": string("Its name."),
        "content_type": string("What its content is.", example="application/pdf"),
        "bytes": whole("Its size."),
        "sha256": string("Its hash."),
        "created_at": moment("When it was added."),
    },
)
ORDER = component(
    "Order",
    thing(
        "A custom model made to order.",
        {
            "id": string("The order's id.", example="order_01m8hyccpze3abtvcq1zv6743v"),
            "object": one_of("Always `order`.", ["order"]),
            "title": string("What you call it."),
            "task": one_of("What the model is to do.", Order.Task.values),
            "brief": string("What it is for."),
            "success": string("How you will know that it is good; null where nothing was said.", null=True),
            "calls_per_month": whole("How often it will be called; null where nothing was said.", null=True),
            "wanted_by": string("The day by which you need it; null for none.", null=True, format="date"),
            "contact": string("Who hears of what happens."),
            "currency": string("What the organisation pays in: three letters, such as `usd`."),
            "status": one_of("Where it stands.", Order.State.values),
            "file_ids": many("Files shown as samples.", string("A file's id.")),
            "created_at": moment("When the brief was sent."),
            "changed_at": moment("When its state changed last."),
            "quote": QUOTE,
            "contract": CONTRACT,
            "milestones": many("Parts of the work, in their order.", MILESTONE),
            "invoices": many("What was asked for.", INVOICE),
            "account": ACCOUNT,
            "purchase_orders": many("Your purchase orders; open them on the order's page.", PURCHASE_ORDER),
        },
    ),
)
ORDERS = page_of(ORDER, "Orders.")
EVENT = component(
    "OrderEvent",
    thing(
        "An entry of an order's timeline.",
        {
            "id": string("The entry's id."),
            "object": one_of("Always `order.event`.", ["order.event"]),
            "type": string("A stable code.", example="quote.sent"),
            "side": one_of("Whose doing it was.", [CUSTOMER, STAFF, SYSTEM]),
            "by": string("Who; null for the system.", null=True),
            "message": string("What happened, in words."),
            "created_at": moment("When."),
        },
    ),
)
EVENTS = page_of(EVENT, "Entries of the timeline.")
