"""A sweep as its page shows it: its end in words, trials the best first, and a chart for each setting that varies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from console import job_page
from console.numbers import number
from kit import charts
from training import states
from training.methods import DEFAULT_METHOD, LORA, RANK
from training.models import Job, Sweep
from training.searching.rules import BUDGET, COMPLETE, REFUSED, SPEND_LIMIT
from training.searching.space import BATCH, EPOCHS, HALVING, METHOD, RATE, has_rank
from training.selectors import Standing, standing

AXES: dict[str, str | Promise] = {
    METHOD: gettext_lazy("Method"),
    RANK: gettext_lazy("LoRA rank"),
    EPOCHS: gettext_lazy("Epochs"),
    BATCH: gettext_lazy("Batch size"),
    RATE: gettext_lazy("Learning rate multiplier"),
}
LOG = (RANK, BATCH, RATE)
NONE = "–"
STRATEGIES = {
    "grid": gettext_lazy("Grid"),
    "random": gettext_lazy("Random"),
    "halving": gettext_lazy("Successive halving"),
}


@dataclass(frozen=True, slots=True)
class View:
    """A chart ready for `<c-scatter>`."""

    title: str
    finding: str
    drawing: str
    xlabel: str
    ylabel: str
    dots: list[charts.Dot]


def badge(state: str) -> str:
    """The state whose word and colour a reader sees."""
    return "searching" if state == Sweep.State.RUNNING else state


def axes_of(sweep: Sweep) -> list[str]:
    """The settings in which its trials differ."""
    found = []
    for axis in AXES:
        values = {str(setting.get(axis, "auto")) for setting in sweep.settings if axis != RANK or has_rank(setting)}
        if len(values) > 1 or (axis == EPOCHS and sweep.strategy == HALVING):
            found.append(axis)
    return found


def value_of(job: Job, axis: str) -> Any:
    """What a trial has for a setting; None for one that its method does not have."""
    if axis == RANK and job.method != LORA:
        return None
    return job.method if axis == METHOD else job.hyperparameters.get(axis, "auto")


def shown(value: Any) -> str:
    """A setting's value in a cell."""
    if value is None:
        return NONE
    return number(value, 4).rstrip("0").rstrip(".,") if isinstance(value, float) else str(value)


def ranked(jobs: Sequence[Job]) -> list[Job]:
    """The best score first; then what is open, then what ended without a score."""
    return sorted(
        jobs,
        key=lambda job: (
            job.sweep_score is None,
            -(job.sweep_score or 0.0),
            job.is_final and job.state != states.SUCCEEDED,
            job.sweep_rung or 0,
            job.sweep_number or 0,
        ),
    )


def trial_label(sweep: Sweep, job: Job) -> str:
    """What a trial is called on the page of its sweep."""
    return job.suffix.removeprefix(f"{sweep.name}-")


def pairs_of(sweep: Sweep, job: Job) -> list[tuple[str, str]]:
    """A trial's settings, name and value."""
    return [(str(words), shown(value_of(job, axis))) for axis, words in AXES.items()]


def fixed_of(sweep: Sweep) -> list[tuple[str, str]]:
    """What is the same for every trial."""
    varying = axes_of(sweep)
    default = {METHOD: DEFAULT_METHOD}
    unused = [] if any(has_rank(setting) for setting in sweep.settings) else [RANK]
    return [
        (str(words), shown(_first(sweep, axis, default.get(axis, "auto"))))
        for axis, words in AXES.items()
        if axis not in (*varying, *unused)
    ]


def _first(sweep: Sweep, axis: str, default: str) -> Any:
    return next((setting[axis] for setting in sweep.settings if axis in setting), default)


def chart_views(sweep: Sweep, jobs: Sequence[Job], best: Job | None) -> list[View]:
    """A chart for each setting that varies, once two trials have a score."""
    scored = [job for job in jobs if job.sweep_score is not None]
    if len(scored) < 2 or best is None:
        return []
    views = []
    for axis in axes_of(sweep):
        having = [job for job in scored if value_of(job, axis) is not None]
        if len({str(value_of(job, axis)) for job in having}) > 1:
            views.append(_view(sweep, axis, having, best))
    return views


def _inside(name: str) -> str:
    """A name within a sentence: LoRA stays LoRA."""
    return name if name[1:] != name[1:].lower() else name.lower()


def _view(sweep: Sweep, axis: str, scored: list[Job], best: Job) -> View:
    values = [value_of(job, axis) for job in scored]
    words = any(isinstance(value, str) for value in values)
    dots = [
        charts.Dot(
            x=str(value) if words else value,
            y=job.sweep_score or 0.0,
            name=trial_label(sweep, job),
            chosen=job.pk == best.pk,
        )
        for job, value in zip(scored, values, strict=True)
    ]
    name, top = str(AXES[axis]), ranked(scored)[0]
    finding = _("The best of %(n)s scores, %(score)s, has %(axis)s %(value)s.") % {
        "score": number(top.sweep_score or 0.0, 3),
        "axis": _inside(name),
        "value": shown(value_of(top, axis)),
        "n": len(scored),
    }
    title = _("Validation macro-F1 by %(axis)s") % {"axis": _inside(name)}
    if axis in LOG and not words:
        title = _("Validation macro-F1 by %(axis)s, log scale") % {"axis": _inside(name)}
    drawing = charts.scatter_chart(dots, log=axis in LOG)
    return View(title, finding, drawing, name, _("Macro-F1"), dots)


def ending_text(sweep: Sweep, now: Standing) -> str:
    """Why it ended, in a sentence; empty while it runs."""
    started = len(now.jobs)
    if sweep.state == Sweep.State.CANCELLED and not started:
        return _("Cancelled before the first trial. Nothing was charged.")
    if sweep.state == Sweep.State.CANCELLED:
        return _("Cancelled after %(n)s of %(all)s trials. What the finished ones made stays.") % {
            "n": started,
            "all": now.planned,
        }
    words = {
        COMPLETE: _("All trials are through."),
        BUDGET: _(
            "The budget is used up: %(n)s of %(all)s trials were run, and the next one could have cost more "
            "than was left."
        )
        % {"n": started, "all": now.planned},
        SPEND_LIMIT: _("A spend limit of the project or organisation stopped it after %(n)s of %(all)s trials.")
        % {"n": started, "all": now.planned},
        REFUSED: _("It could not go on after %(n)s of %(all)s trials.") % {"n": started, "all": now.planned},
    }
    return words.get(sweep.ending, "")


def rows_of(sweep: Sweep, now: Standing) -> list[dict[str, Any]]:
    """The table's rows, the best first."""
    axes = axes_of(sweep)
    return [
        {
            "job": job,
            "name": trial_label(sweep, job),
            "badge": job_page.badge(job.state),
            "score": job.sweep_score,
            "best": now.best is not None and job.pk == now.best.pk,
            "values": [shown(value_of(job, axis)) for axis in axes],
            "spent": job_page.spent_nano(job),
            "progress": job.progress if not job.is_final else None,
            "why": job.error_message[:80] if job.state == states.FAILED else "",
        }
        for job in ranked(now.jobs)
    ]


def sweep_row(sweep: Sweep, href: str) -> dict[str, Any]:
    """A sweep as lists show it."""
    now = standing(sweep)
    return {
        "sweep": sweep,
        "badge": badge(sweep.state),
        "strategy": STRATEGIES[sweep.strategy],
        "ended": len(now.jobs) - now.open,
        "planned": now.planned,
        "best": now.best.sweep_score if now.best else None,
        "spent": now.spent,
        "href": href,
    }
