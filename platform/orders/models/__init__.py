"""The room's tables."""

from orders.models.contracts import Contract, Milestone, OrderInvoice, OrderTransfer
from orders.models.orders import Order, OrderEvent, OrderFile, PurchaseOrder
from orders.models.quotes import Acceptance, Approval, Quote, QuoteLine, QuoteLink, QuoteRevision

__all__ = [
    "Acceptance",
    "Approval",
    "Contract",
    "Milestone",
    "Order",
    "OrderEvent",
    "OrderFile",
    "OrderInvoice",
    "OrderTransfer",
    "PurchaseOrder",
    "Quote",
    "QuoteLine",
    "QuoteLink",
    "QuoteRevision",
]
