"""What the page of margins shows: machines, and what tenants, models and jobs leave of what they pay."""

import datetime as dt
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from kit import charts
from kit.money import NANO, usd
from ops.economics_page import dollars, rates_words, share
from ops.margins import CALLS, OWN, TRAINED, Line, Margins, margins

MOST = 50
"""Lines of a table on the page; the CSV has all."""
CLASS_WORDS = {
    "trainer_cpu": gettext_lazy("Places to train, without GPU"),
    "trainer_gpu": gettext_lazy("Places to train, with GPU"),
    "engine": gettext_lazy("Engines for everybody"),
    "engine_own": gettext_lazy("Engines of single deployments"),
}
SHORT = {
    "trainer_cpu": gettext_lazy("CPU places"),
    "trainer_gpu": gettext_lazy("GPU places"),
    "engine": gettext_lazy("Engines"),
    "engine_own": gettext_lazy("Own engines"),
}
"""The same below the bars of a phone."""
PURPOSE_WORDS = {
    CALLS: gettext_lazy("calls"),
    OWN: gettext_lazy("engines of its own"),
    TRAINED: gettext_lazy("training"),
}


def context(month: dt.date, given: Mapping[str, str]) -> dict[str, Any]:
    """Everything the page shows."""
    found = margins(month)
    if not found.pots and not found.tenants and not found.models and not found.jobs:
        return {}
    revenue = sum(line.revenue for line in found.tenants)
    contracts = sum(line.contracts for line in found.tenants)
    used = found.cost - found.idle
    return {
        "rates": rates_words(month, month),
        "sums": {
            "revenue": usd(revenue),
            "contracts": usd(contracts),
            "cost": usd(found.cost),
            "margin": usd(revenue - found.cost),
            "share": share(Fraction(revenue - found.cost, revenue) if revenue > 0 else None),
            "used": usd(used),
            "idle": usd(found.idle),
            "idle_share": share(Fraction(found.idle, found.cost) if found.cost else None),
            "house": usd(found.house),
        },
        "classes": [_class(found, name) for name in CLASS_WORDS if name in found.pots],
        "bars": _bars(found) if found.pots else None,
        "tables": [
            _table(
                _("By organisation"),
                _("Booked revenue, contracts included, least margin first"),
                found.tenants,
            ),
            _table(_("By model"), _("Usage at the price book's prices, before allowances"), found.models, model=True),
            _table(
                _("By job"), _("What each is charged, all of it, against its time in this month"), found.jobs, job=True
            ),
        ],
    }


def _class(found: Margins, name: str) -> tuple[Any, ...]:
    pot, laid = found.pots[name], found.laid[name]
    used = sum(one.ms for one in laid.shares.values())
    return (
        CLASS_WORDS[name],
        pot.machines,
        _hours(pot.capacity_ms),
        share(Fraction(used, pot.capacity_ms) if pot.capacity_ms else None),
        share(Fraction(pot.busy_ms, pot.capacity_ms) if pot.capacity_ms else None),
        usd(pot.cost_nano),
        usd(pot.cost_nano - laid.idle),
        usd(laid.idle),
    )


def _hours(ms: int) -> str:
    return f"{ms / 3_600_000:,.1f}"


def _bars(found: Margins) -> charts.Bars:
    facts = {"cost": usd(found.cost), "idle": usd(found.idle)}
    return charts.bar_chart(
        id="machines",
        title=_("Cost of machines, $"),
        finding=_("Machines cost %(cost)s, of which %(idle)s stood idle.") % facts,
        keys=[_("Used"), _("Idle")],
        columns=[
            charts.Column(
                str(SHORT[name]),
                [(pot.cost_nano - found.laid[name].idle) / NANO, found.laid[name].idle / NANO],
            )
            for name, pot in sorted(found.pots.items())
        ],
        unit="$",
        xlabel=_("Machines"),
    )


def _table(title: str, hint: str, lines: Sequence[Line], *, model: bool = False, job: bool = False) -> dict[str, Any]:
    return {
        "title": title,
        "hint": hint,
        "model": model,
        "job": job,
        "rows": [
            {
                "tenant_id": line.tenant_id,
                "tenant": line.tenant or str(line.tenant_id),
                "job_id": line.job_id,
                "name": line.name,
                "purpose": PURPOSE_WORDS.get(line.purpose, line.purpose),
                "hours": _hours(line.share.ms),
                "revenue": usd(line.revenue),
                "contracts": usd(line.contracts) if line.contracts else "",
                "own": usd(line.share.own),
                "idle": usd(line.share.idle),
                "margin_own": usd(line.margin_own),
                "margin": usd(line.margin),
                "loses": line.margin < 0,
            }
            for line in lines[:MOST]
        ],
        "more": max(0, len(lines) - MOST),
    }


def rows(month: dt.date, given: Mapping[str, str]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Head and rows of the CSV: machines, then every line. Own and idle of a part's lines, and the house's, add up to
    the cost of the machines."""
    found = margins(month)
    head = (
        "part", "organisation", "name", "purpose", "machine_hours", "revenue", "cost_own", "cost_idle",
        "margin_idle_with_house", "margin_idle_pro_rata", "revenue_contracts",
    )  # fmt: skip
    out: list[tuple[Any, ...]] = []
    for name, pot in sorted(found.pots.items()):
        laid = found.laid[name]
        used, idle = dollars(pot.cost_nano - laid.idle), dollars(laid.idle)
        out.append(("machines", "", name, "", pot.capacity_ms / 3_600_000, None, used, idle, None, None, None))
    out.append(("house", "", "", "", None, None, None, dollars(found.house), None, None, None))
    for part, lines in (("organisation", found.tenants), ("model", found.models), ("job", found.jobs)):
        for line in lines:
            money = (line.revenue, line.share.own, line.share.idle, line.margin_own, line.margin, line.contracts)
            out.append(
                (
                    part,
                    line.tenant,
                    line.name,
                    line.purpose,
                    line.share.ms / 3_600_000,
                    *(dollars(one) for one in money),
                )
            )
    return head, out
