"""What changes the room's tables. Doors call these."""

from orders.services.accepting import Offer, acceptance_of, link_find, offer_accept, offer_peek
from orders.services.assessing import feasibility_ask, feasibility_measure
from orders.services.contracts import milestone_accept, milestone_deliver, retrain_left, retrain_start
from orders.services.invoicing import invoice_settle, invoices_make, invoices_settle, transfer_record
from orders.services.letters import acceptance_mail, event_mail, link_mail
from orders.services.orders import (
    file_show,
    message_send,
    order_assess,
    order_cancel,
    order_create,
    order_decline,
)
from orders.services.purchase_orders import purchase_order_add, purchase_order_chunks
from orders.services.quotes import (
    Author,
    Part,
    link_create,
    quote_expire,
    quote_send,
    quote_withdraw,
    quotes_due,
    revision_approve,
    revision_create,
)

__all__ = [
    "Author",
    "Offer",
    "Part",
    "acceptance_mail",
    "acceptance_of",
    "event_mail",
    "feasibility_ask",
    "feasibility_measure",
    "file_show",
    "invoice_settle",
    "invoices_make",
    "invoices_settle",
    "link_create",
    "link_find",
    "link_mail",
    "message_send",
    "milestone_accept",
    "milestone_deliver",
    "offer_accept",
    "offer_peek",
    "order_assess",
    "order_cancel",
    "order_create",
    "order_decline",
    "purchase_order_add",
    "purchase_order_chunks",
    "quote_expire",
    "quote_send",
    "quote_withdraw",
    "quotes_due",
    "retrain_left",
    "retrain_start",
    "revision_approve",
    "revision_create",
    "transfer_record",
]
