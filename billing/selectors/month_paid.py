"""What a closed month cost its customer in money. In the tenant's scope."""

from __future__ import annotations

import datetime as dt

from django.db.models import Sum

from billing.models import CreditDraw, CreditGrant, InvoiceLinePush, PeriodClose
from billing.selectors.bill_parts import invoices_of_pushes
from billing.selectors.meters import invoices_metered
from billing.selectors.statements import not_kept
from kit.money import CENT


def month_paid_nano(month: dt.date) -> int:
    """What a closed month cost its customer in money, by its bill and out of prepaid credit, and was not given back.

    Of the invoices that its lines are on, what is unpaid or went back counts as the month's first: better too little
    credit than money nobody paid. Lines that are on no invoice yet count as paid.
    """
    close = PeriodClose.objects.get(period=month)
    pushed = invoices_of_pushes(list(InvoiceLinePush.objects.filter(period=month)), close).values()
    invoices = [*pushed, *invoices_metered(month)]
    unpaid = sum(not_kept(one) for one in {one.pk: one for one in invoices}.values()) * CENT
    billed = max(0, close.net_nano - unpaid)
    prepaid = CreditDraw.objects.filter(
        kind=CreditDraw.Kind.USED, grant__kind=CreditGrant.Kind.PREPAID, period=month
    ).aggregate(n=Sum("amount_nano"))["n"]
    given = CreditGrant.objects.filter(source__startswith=f"rerating:{month:%Y-%m}:").aggregate(n=Sum("amount_nano"))
    return max(0, billed + int(prepaid or 0) - int(given["n"] or 0))
