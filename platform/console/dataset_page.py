"""Findings, fixes and columns of a file in the words and shapes its pages show."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from data import selectors
from data.checks.codes import BLOCKING
from data.findings_text import title_of, words_of
from data.models import DatasetVersion, File
from kit import charts

FIX_VERBS = {
    "trim": gettext_lazy("Trim spaces"),
    "merge_labels": gettext_lazy("Merge labels"),
    "first_row_is_data": gettext_lazy("Read the first row as data"),
    "drop_bad_rows": gettext_lazy("Drop rows that cannot be used"),
    "drop_duplicates": gettext_lazy("Drop duplicates"),
    "drop_near_duplicates": gettext_lazy("Drop near duplicates"),
    "drop_conflicts": gettext_lazy("Drop rows with conflicting labels"),
    "drop_small_classes": gettext_lazy("Drop labels with too few rows"),
    "drop_long": gettext_lazy("Drop rows that are too long"),
}
NEEDS_MORE = frozenset(("merge_labels",))
"""Fixes that need a choice, so one click is not enough unless the finding brings the choice."""
HARMLESS = frozenset(("trim", "drop_duplicates"))
"""Fixes that lose nothing a model could learn from: offered as ticked."""
MANY_LABELS = 60


@dataclass(frozen=True, slots=True)
class Found:
    """One finding as a line: what, how many, where, and the fix."""

    id: str
    code: str
    level: str
    title: str
    message: str
    hint: str
    expected: str
    count: int
    rows: str
    samples: list[dict[str, Any]]
    fix: str
    verb: str
    fixed: bool
    merges: dict[str, str]


def findings_of(file: File, applied: Iterable[str] = ()) -> list[Found]:
    """A file's findings, worst first; `applied` are the fixes a version already has."""
    done = set(applied)
    found = []
    for finding in selectors.findings(file):
        words = words_of(finding)
        fix = words["fix"] or ""
        merges = {}
        if fix == "merge_labels" and {"variant", "label"} <= set(finding.params):
            merges = {str(finding.params["variant"]): str(finding.params["label"])}
        usable = fix not in NEEDS_MORE or bool(merges)
        found.append(
            Found(
                id=f"f{finding.position}",
                code=finding.code,
                level=finding.level,
                title=words["title"],
                message=words["message"],
                hint=words["hint"],
                expected=words["expected"],
                count=finding.count,
                rows=row_list(finding.rows, finding.count),
                samples=finding.samples,
                fix=fix if usable else "",
                verb=str(FIX_VERBS.get(fix, _("Fix"))) if fix and usable else "",
                fixed=bool(fix) and fix in done,
                merges=merges,
            )
        )
    return found


def row_list(rows: Sequence[int], count: int, most: int = 12) -> str:
    """`12, 48, 113 and 38 more`."""
    if not rows:
        return ""
    shown = ", ".join(f"{row:,}" for row in rows[:most])
    more = count - min(len(rows), most)
    return f"{shown} " + ngettext("and %(n)s more", "and %(n)s more", more) % {"n": f"{more:,}"} if more > 0 else shown


def steps_of(fixes: Iterable[str], findings: Sequence[Found]) -> list[dict[str, Any]]:
    """The fixes as the data room takes them; merges bring the pairs their findings propose."""
    steps: list[dict[str, Any]] = []
    for fix in fixes:
        if fix == "merge_labels":
            pairs = {old: new for f in findings if f.fix == fix for old, new in f.merges.items()}
            if pairs:
                steps.append({"fix": fix, "labels": pairs})
        else:
            steps.append({"fix": fix})
    return steps


def applied_fixes(version: DatasetVersion) -> list[str]:
    """Names of the fixes a version was made with."""
    return [str(step.get("fix")) for step in version.spec.get("fixes", [])]


def fixes_of(findings: Iterable[Found]) -> list[tuple[str, str, bool, bool]]:
    """The fixes to choose from: code, verb, whether training needs it, whether it is ticked at first."""
    needed: dict[str, bool] = {}
    verbs: dict[str, str] = {}
    for found in findings:
        if found.fix:
            verbs[found.fix] = found.verb
            needed[found.fix] = needed.get(found.fix, False) or found.level == BLOCKING
    return [(fix, verb, needed[fix], needed[fix] or fix in HARMLESS) for fix, verb in verbs.items()]


def left_out(version: DatasetVersion) -> list[tuple[str, int]]:
    """Why rows are missing from a version, in words, and how many for each reason."""
    return [
        (title_of(reason.removeprefix("unusable:")) if ":" in reason else str(FIX_VERBS.get(reason, reason)), rows)
        for reason, rows in version.dropped.items()
    ]


def label_counts(profile: dict[str, Any]) -> list[dict[str, Any]]:
    """Labels with their share of the most frequent one, for bars."""
    labels = profile.get("labels") or []
    most = max((entry["count"] for entry in labels), default=1) or 1
    return [{**entry, "share": entry["count"] / most} for entry in labels[:MANY_LABELS]]


UNITS = {
    "tokens": gettext_lazy("Tokens"),
    "words": gettext_lazy("Words"),
    "characters": gettext_lazy("Characters"),
    "messages": gettext_lazy("Messages"),
}
POINTS = ("p5", "p50", "p95", "p99")


@dataclass(frozen=True, slots=True)
class Lengths:
    """Percentiles of one measure of length."""

    unit: str
    points: Sequence[int]
    longest: int


def length_rows(profile: dict[str, Any]) -> list[Lengths]:
    """Length percentiles for a table, one line a measure."""
    measured = profile.get("lengths", {})
    return [
        Lengths(str(words), [measured[unit]["percentiles"][point] for point in POINTS], measured[unit]["max"])
        for unit, words in UNITS.items()
        if measured.get(unit, {}).get("percentiles")
    ]


def length_chart(profile: dict[str, Any]) -> charts.Bars | None:
    """Histogram of text lengths: tokens where they were counted, else characters."""
    lengths = profile.get("lengths", {})
    unit = "tokens" if lengths.get("tokens", {}).get("histogram") else "characters"
    histogram = lengths.get(unit, {}).get("histogram")
    if not histogram:
        return None
    edges, counts = histogram["edges"], histogram["counts"]
    title = _("Text length, tokens") if unit == "tokens" else _("Text length, characters")
    columns = [
        charts.Column(f"{low}–{high - 1}" if high - low > 1 else str(low), [count])
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
    ]
    median = lengths[unit].get("percentiles", {}).get("p50", "–")
    longest = lengths[unit].get("max", "–")
    finding = _("Half of the texts are at most %(median)s long; the longest is %(longest)s.") % {
        "median": median,
        "longest": longest,
    }
    return charts.bar_chart(
        id="lengths", title=title, finding=finding, keys=[_("rows")], columns=columns, xlabel=str(UNITS[unit])
    )
