"""A rollout as its page shows it: how alike a shadow's answers are, how near proof is, what a step still waits for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from console.numbers import number
from console.templatetags.look import count
from inference.tasks import (
    ANSWERS,
    CLASSIFICATION,
    EMBEDDINGS,
    MULTI_LABEL,
    REGRESSION,
    RERANK,
    TEXT_GENERATION,
    TOKENS,
)
from kit.clock import now
from serving import outcomes, rollouts
from serving.models import Rollout
from serving.rounds import Round, compared
from serving.splits import CANDIDATE, WHOLE
from serving.verdict import Finding, judge

QUESTIONS = {"errors": _("failed calls"), "latency": _("slow calls"), "quality": _("wrong answers")}


@dataclass(frozen=True, slots=True)
class Measure:
    """How answers of one task are compared, in words."""

    compared: str | Promise = ""
    agreed: str | Promise = ""
    overlap: str | Promise = ""
    mean: str | Promise = ""
    hint: str | Promise = ""


MEASURES = {
    CLASSIFICATION: Measure(agreed=_("Same label")),
    MULTI_LABEL: Measure(
        agreed=_("Same set of labels"),
        overlap=_("Labels in common (F1)"),
        hint=_("A label is given from the call's threshold on, 0.5 where it names none."),
    ),
    TOKENS: Measure(
        agreed=_("Same entities"),
        overlap=_("Entities in common (F1)"),
        hint=_("Two entities are the same where label, start and end are."),
    ),
    ANSWERS: Measure(
        compared=_("Questions compared"),
        agreed=_("Same answer"),
        hint=_("The likeliest answer's words, or that there is none."),
    ),
    REGRESSION: Measure(mean=_("Apart, on average"), hint=_("In the unit of your numbers, whichever is larger.")),
    EMBEDDINGS: Measure(mean=_("Mean cosine"), hint=_("1 is the same direction, 0 none in common.")),
    RERANK: Measure(
        compared=_("Queries compared"),
        agreed=_("Same document first"),
        overlap=_("Pairs in the same order"),
        hint=_("Queries with two documents or more, of each the first 32 documents."),
    ),
    TEXT_GENERATION: Measure(
        compared=_("Calls compared"),
        agreed=_("Same answer"),
        overlap=_("Words in common (F1)"),
        hint=_(
            "The same text or JSON, and the same calls of tools. Two good answers may well differ: look at the words "
            "in common, the endings and the lengths as well. Of each call the first answer."
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class Likeness:
    """What became of a shadow's calls: rows of a label and a value."""

    rows: list[tuple[Any, str]]
    hint: Any
    dropped: int


def likeness(row: Rollout) -> Likeness:
    """How alike both versions' answers are so far; no rows while nothing was compared."""
    measure, said = MEASURES[row.stable.model.task], outcomes.shadow_wire(row)
    rows: list[tuple[Any, str]] = []
    if said["compared"]:
        rows.append((measure.compared or _t("Texts compared"), count(said["compared"])))
        if said["agreed"] is not None:
            rows.append((measure.agreed, _share(said["agreed"] / said["compared"])))
        if measure.overlap:
            rows.append((measure.overlap, "–" if said["overlap"] is None else _share(said["overlap"])))
        mean = said["difference"] if said["difference"] is not None else said["cosine"]
        if measure.mean and mean is not None:
            rows.append((measure.mean, number(mean, 4)))
        if said["endings_agreed"] is not None:
            rows.append((_t("Ended for the same reason"), _share(said["endings_agreed"] / said["compared"])))
            rows.append((_t("Tokens of an answer, stable version"), number(said["stable_tokens"], 1)))
            rows.append((_t("Tokens of an answer, candidate"), number(said["candidate_tokens"], 1)))
    return Likeness(rows, measure.hint, said["dropped"])


def evidence(row: Rollout, counted: Sequence[Round]) -> str:
    """How near the candidate is to being rolled back, in a sentence; empty where nothing does that."""
    if row.mode == Rollout.Mode.SHADOW or not row.guards["auto_rollback"]:
        return ""
    findings = judge(compared(counted), outcomes.guards_of(row)).findings
    most: Finding = max(findings, key=lambda finding: finding.evidence)
    if most.evidence < 1:
        return _t("Evidence against the candidate: none yet; it is rolled back at %(enough)s.") % {
            "enough": count(int(most.enough))
        }
    return _t("Evidence against the candidate: %(now)s of the %(enough)s that roll it back (%(why)s).") % {
        "now": number(most.evidence, 1) if most.evidence < most.enough else count(int(most.enough)),
        "enough": count(int(most.enough)),
        "why": QUESTIONS[most.why],
    }


def waits_for(row: Rollout, counted: Sequence[Round]) -> str:
    """What the step it stands on still waits for, in a sentence; empty off the steps."""
    here = next((step for step in row.steps if step["share"] == row.share), None)
    if here is None:
        return ""
    following = next((step["share"] for step in row.steps if step["share"] > row.share), None)
    if following is None and row.share < WHOLE:
        return _t("This is the last step. It stays here until you decide.")
    arm = counted[-1].arms[CANDIDATE]
    minutes = -(-(here["seconds"] - (now() - row.round_at).total_seconds()) // 60)
    lacks = (
        (here["calls"] - arm.calls, ngettext("%(n)s more call", "%(n)s more calls", max(here["calls"] - arm.calls, 0))),
        (
            here["feedback"] - arm.judged,
            ngettext("%(n)s more judged answer", "%(n)s more judged answers", max(here["feedback"] - arm.judged, 0)),
        ),
        (int(minutes), ngettext("%(n)s more minute", "%(n)s more minutes", max(int(minutes), 0))),
    )
    waits = [words % {"n": count(n)} for n, words in lacks if n > 0]
    then = _t("its promotion") if following is None else rollouts.percent(following)
    if not waits:
        return _t("Next, within seconds: %(then)s.") % {"then": then}
    return _t("Before %(then)s: %(waits)s.") % {"then": then, "waits": ", ".join(waits)}


def _share(value: float) -> str:
    return f"{number(100 * value, 1)}%"
