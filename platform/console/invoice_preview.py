"""What the running month's invoice would say today: usage less the allowance, then the plan's price."""

import datetime as dt
from dataclasses import dataclass

from django.db.models import Sum

from billing.models import UsageHour
from billing.periods import bounds, month_of
from billing.plans import Plan
from kit.money import CENT


@dataclass(frozen=True, slots=True)
class PreviewLine:
    """One line; `kind` is a metered kind, or empty for the plan itself."""

    kind: str
    model: str
    quantity: int
    nano: int


@dataclass(frozen=True, slots=True)
class Preview:
    """Lines and total of a month so far, nano-USD."""

    lines: list[PreviewLine]
    usage_nano: int
    allowance_nano: int
    plan_nano: int

    @property
    def covered_nano(self) -> int:
        """What of the usage the allowance pays."""
        return min(self.usage_nano, self.allowance_nano)

    @property
    def total_nano(self) -> int:
        """What the invoice would ask for, before tax."""
        return self.usage_nano - self.covered_nano + self.plan_nano


def preview(plan: Plan, day: dt.date, *, allowance_nano: int) -> Preview:
    """The month of `day`, in the caller's tenant scope."""
    start, end = bounds(month_of(day))
    rows = (
        UsageHour.objects.filter(hour__gte=start, hour__lt=end)
        .values("kind", "model")
        .annotate(nano=Sum("cost_nano"), tokens=Sum("input_tokens"))
        .order_by("-nano", "kind", "model")
    )
    lines = [PreviewLine(r["kind"], r["model"], int(r["tokens"]), int(r["nano"])) for r in rows]
    return Preview(
        lines=lines,
        usage_nano=sum(line.nano for line in lines),
        allowance_nano=allowance_nano,
        plan_nano=(plan.price_cents or 0) * CENT,
    )
