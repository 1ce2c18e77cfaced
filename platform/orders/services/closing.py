"""Links and quotes that nobody may use any more."""

from kit.clock import now
from orders.models import Order, Quote, QuoteLink


def links_revoke(*, quote: Quote) -> int:
    """Every open link to a quote stops working; how many."""
    mine = QuoteLink.objects.filter(revision__quote=quote, used_at=None, revoked_at=None)
    return int(mine.update(revoked_at=now()))


def quotes_close(*, order: Order, state: str = Quote.State.WITHDRAWN) -> None:
    """What was offered for an order stands no longer."""
    for quote in Quote.objects.filter(order=order, state__in=(Quote.State.DRAFT, Quote.State.SENT)):
        links_revoke(quote=quote)
        quote.state = state
        quote.save(update_fields=["state"])
