"""Reading automatic top-up: what was agreed, what it bought, why it is off. In the tenant's scope."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid

from django.db.models import F, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Coalesce

from billing.models import AutoTopUp, CreditDraw, CreditGrant, Invoice, TopUp
from billing.periods import month_of
from billing.selectors.subscriptions import card_id, card_method, customer_current
from kit.clock import now

State = TopUp.State
STALE = Q(state=State.FAILED) | Q(state=State.WAITING) & ~Q(invoice_id="")
"""Purchases that may have an open invoice."""


@dataclasses.dataclass(frozen=True, slots=True)
class TopUpView:
    """Automatic top-up as pages and the API show it."""

    auto: AutoTopUp | None
    """None where nobody ever turned it on."""
    last: TopUp | None
    """The newest purchase that was not given up."""
    month_nano: int
    """What purchases of the running month (UTC) come to."""
    card: str
    """The saved card in words; empty where there is none."""
    pdf_url: str = ""
    """The last purchase's invoice."""

    @property
    def on(self) -> bool:
        """Whether it buys."""
        return self.auto is not None and self.auto.on

    @property
    def failed(self) -> TopUp | None:
        """The purchase that turned it off, if one did."""
        return self.auto.failed if self.auto is not None and not self.auto.on else None

    @property
    def at_ceiling(self) -> bool:
        """Whether the month carries no further purchase."""
        agreed = self.auto.consent if self.auto is not None else None
        return agreed is not None and self.month_nano + agreed.amount_nano > agreed.month_most_nano


def topup_view() -> TopUpView:
    """Everything there is to say of it."""
    last = TopUp.objects.exclude(state=State.VOID).order_by("-created_at", "-pk").first()
    pdf = Invoice.objects.filter(stripe_id=last.invoice_id).first() if last is not None and last.invoice_id else None
    return TopUpView(
        auto=AutoTopUp.objects.select_related("consent", "failed").first(),
        last=last,
        month_nano=month_nano(month_of(now())),
        card=card_words(),
        pdf_url=pdf.pdf_url if pdf is not None else "",
    )


def month_nano(month: dt.date) -> int:
    """What purchases of a month come to: paid, on their way, or refused and still to be paid by hand."""
    rows = TopUp.objects.filter(month=month).exclude(state=State.VOID)
    return int(rows.aggregate(n=Sum("amount_nano"))["n"] or 0)


def card_words() -> str:
    """The card that a top-up would be charged to, as `Visa 4242`; empty where none is saved."""
    customer = customer_current()
    if customer is None or (customer.card is None and not card_id()):
        return ""
    card = customer.card or {}
    return f"{str(card.get('brand', 'card')).capitalize()} {card.get('last4', '')}".strip()


def card_shown_id() -> str:
    """Stripe's id of the subscription's card where that is the one `card_words` names; empty where it is the customer's
    own, which Stripe charges unless told otherwise."""
    customer, method = customer_current(), card_method()
    if customer is None or customer.card is None or not isinstance(method, dict):
        return card_id()
    card = method.get("card") or {}
    return card_id() if all(card.get(name) == value for name, value in customer.card.items()) else ""


def topup_failed() -> TopUp | None:
    """For the banner of every page: the purchase that turned automatic top-up off; None when none did."""
    row = AutoTopUp.objects.filter(on=False, failed__isnull=False).select_related("failed").first()
    return row.failed if row is not None else None


def tenants_low() -> list[uuid.UUID]:
    """Tenants whose balance is below what they agreed to buy at, with nothing on its way. In an ops scope."""
    grants = CreditGrant.ops.filter(Q(expires_at=None) | Q(expires_at__gt=now()), tenant_id=OuterRef("tenant_id"))
    given = grants.order_by().values("tenant_id").annotate(n=Sum("amount_nano")).values("n")
    draws = CreditDraw.ops.filter(
        Q(grant__expires_at=None) | Q(grant__expires_at__gt=now()), tenant_id=OuterRef("tenant_id")
    )
    lost = draws.order_by().values("tenant_id").annotate(n=Sum("amount_nano")).values("n")
    rows = AutoTopUp.ops.filter(on=True).annotate(balance=Coalesce(Subquery(given), 0) - Coalesce(Subquery(lost), 0))
    waiting = TopUp.ops.filter(state=State.WAITING).values("tenant_id")
    low = rows.filter(balance__lt=F("consent__below_nano")).exclude(tenant_id__in=waiting)
    return sorted(low.values_list("tenant_id", flat=True))


def topups_stale(before: dt.datetime) -> list[uuid.UUID]:
    """Tenants with purchases from before a moment that can still be paid and were not. In an ops scope."""
    rows = TopUp.ops.filter(STALE, changed_at__lt=before)
    return sorted(set(rows.values_list("tenant_id", flat=True)))


def topups_unsettled() -> list[uuid.UUID]:
    """Tenants with purchases whose end we have not heard of. In an ops scope."""
    rows = TopUp.ops.filter(state__in=(State.WAITING, State.FAILED)).exclude(invoice_id="")
    return sorted(set(rows.values_list("tenant_id", flat=True)))
