"""The precision–recall curve that a report's page shows: of all answers, or of the class the address asks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from console.numbers import interval, number
from kit import charts
from kit.charts.scale import number_between


@dataclass(frozen=True, slots=True)
class CurveView:
    """One curve with its words and its table. `label` is empty for the answers."""

    label: str
    labels: Sequence[str]
    drawing: str
    finding: str
    rows: Sequence[tuple[float, float, float]]
    thinned: bool


def curve_of(data: dict[str, Any], label: str) -> CurveView | None:
    """The view of a report's curve; None where the report has none, which was made before there were any."""
    found = data.get("pr")
    if not found:
        return None
    curves = {str(one["label"]): one for one in found["classes"]}
    label = label if label in curves else ""
    curve = curves.get(label, found["answers"])
    points = [(point[0], point[1], point[2]) for point in curve["points"]]
    chosen, tested = curve["chosen"], int(data.get("n", {}).get("test") or 0)
    acts = chosen is not None and chosen["precision"] is not None
    mark = (chosen["threshold"], chosen["precision"], chosen["recall"]) if acts else None
    return CurveView(
        label=label,
        labels=list(curves),
        drawing=charts.curve_chart(points, chosen=mark, share=curve["n"] / tested if label and tested else None),
        finding=_finding(curve, label),
        rows=points,
        thinned=len(points) < curve.get("steps", 0),
    )


def _finding(curve: dict[str, Any], label: str) -> str:
    """What the curve shows, in one or two sentences."""
    if not curve["points"]:
        return _("No test row has the label %(label)s, so there is no curve.") % {"label": label}
    average = curve["average_precision"]
    rows = ngettext("%(n)s test row", "%(n)s test rows", curve["n"]) % {"n": f"{curve['n']:,}"}
    area = _("Average precision %(value)s (%(interval)s, %(rows)s).") % {
        "value": number(average["value"]),
        "interval": interval(average["low"], average["high"]),
        "rows": rows,
    }
    chosen = curve["chosen"]
    if chosen is None:
        return f"{area} " + _("No validation row has this label, so no threshold was chosen.")
    at = number_between(chosen["threshold"])
    if chosen["precision"] is None:
        words = _("No test row reaches %(at)s, the threshold with the best F1 on the validation rows.")
        return f"{words % {'at': at}} {area}" if label else area
    facts = {
        "at": at,
        "label": label,
        "precision": f"{chosen['precision']:.0%}",
        "recall": f"{chosen['recall']:.0%}",
    }
    if label:
        words = _(
            "At %(at)s, the threshold with the best F1 on the validation rows, %(precision)s of what is taken for "
            "%(label)s is right and %(recall)s of its rows are found."
        )
    else:
        words = _(
            "Acting on answers of at least %(at)s, %(precision)s of them are right, and %(recall)s of all rows are "
            "acted on and right."
        )
    return f"{words % facts} {area}"
