"""A job as its page shows it: state in words, progress, charts from its events, and what each live message carries."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from console.numbers import number
from console.templatetags.look import duration, eta
from kit import charts
from kit.money import written
from training.services import money

SHOWN_EVENTS = 100
PHASES = {
    "loading": gettext_lazy("Loading data and weights"),
    "tokenising": gettext_lazy("Reading texts"),
    "baseline": gettext_lazy("Measuring the baseline"),
    "training": gettext_lazy("Training"),
    "evaluating": gettext_lazy("Measuring on test rows"),
    "saving": gettext_lazy("Saving the model"),
}
CODE_WORDS = {
    "leased": "running",
    "starting": "running",
    "finishing": "running",
    "blocked": "paused",
}
SERIES = {
    "train_loss": ("loss", "train"),
    "valid_loss": ("loss", "validation"),
    "valid_macro_f1": ("scores", "macro_f1"),
    "valid_accuracy": ("scores", "accuracy"),
    "valid_mean_token_accuracy": ("scores", "token_accuracy"),
}
"""Name of a number in a metrics event → chart and series on the page."""


@dataclass(frozen=True, slots=True)
class Point:
    """One value for one series of one chart."""

    chart: str
    series: str
    x: float
    y: float

    def as_json(self) -> dict[str, Any]:
        """For the stream."""
        return {"chart": self.chart, "series": self.series, "x": self.x, "y": self.y}


def badge(state: str) -> str:
    """The state whose word and colour a reader sees."""
    return CODE_WORDS.get(state, state)


def points_of(data: dict[str, Any] | None) -> list[Point]:
    """The points of one metrics event, under the names the training room gives its numbers."""
    if not data or not isinstance(data.get("step"), int | float):
        return []
    found = []
    for name, (chart, series) in SERIES.items():
        value = data.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            found.append(Point(chart, series, float(data["step"]), float(value)))
    return found


def charts_of(
    points: dict[str, list[list[float | None]]], *, writes: bool = False
) -> tuple[charts.LineChart, charts.LineChart]:
    """The loss chart and the chart of validation scores, from `training.selectors.metric_points`; `writes`: of a model
    that writes text, which has no labels to be right about."""

    def line(name: str, label: str, tone: int, sparse: bool) -> charts.Series:
        values = [(float(step or 0), value) for step, value in points.get(name, [])]
        return charts.Series(SERIES[name][1], label, values, tone, sparse)

    loss = [line("train_loss", _("train"), 1, False), line("valid_loss", _("validation"), 2, True)]
    if writes:
        scores = [line("valid_mean_token_accuracy", _("token accuracy"), 1, True)]
    else:
        scores = [
            line("valid_macro_f1", _("macro-F1"), 1, True),
            line("valid_accuracy", _("accuracy"), 2, True),
        ]
    steps = [step for step, _value in loss[0].points]
    every = round((steps[-1] - steps[0]) / (len(steps) - 1)) if len(steps) > 1 else 1
    note = _("every %(n)s steps") % {"n": every} if every > 1 else ""
    return (
        charts.line_chart(id="loss", title=_("Loss"), finding=loss_finding(loss), series=loss, note=note),
        charts.line_chart(
            id="scores",
            title=_("Validation scores"),
            finding=scores_finding(scores),
            series=scores,
            zero=True,
            top=1.0,
        ),
    )


def loss_finding(lines: Sequence[charts.Series]) -> str:
    """The loss chart in one sentence."""
    train = [y for _x, y in lines[0].points if y is not None]
    if not train:
        return _("No loss yet.")
    text = _("Train loss went from %(a)s to %(b)s over %(n)s steps.") % {
        "a": _short(train[0]),
        "b": _short(train[-1]),
        "n": int(lines[0].points[-1][0]),
    }
    latest = lines[1].latest
    return text if latest is None else text + " " + _("Validation loss is %(v)s.") % {"v": _short(latest)}


def scores_finding(lines: Sequence[charts.Series]) -> str:
    """The score chart in one sentence."""
    latest = lines[0].latest
    if latest is None:
        return _("No evaluation yet.")
    return _("Validation %(score)s is %(v)s.") % {"score": lines[0].name, "v": _short(latest)}


def _short(value: float) -> str:
    return number(value, 3)


def live_state(job: Any) -> dict[str, Any]:
    """What changes while a job runs: keys are the `data-live` names on the page."""
    return {
        "state": job.state,
        "progress": round(job.progress, 4) if job.progress else None,
        "phase": phase_text(job),
        "steps": steps_text(job),
        "cost": written(spent_nano(job)),
        "tokens": formats.number_format(job.trained_tokens, force_grouping=True),
    }


def spent_nano(job: Any) -> int:
    """What the job costs so far: the price once it is settled, until then what its tokens cost, within the ceiling."""
    return int(job.price_nano) if job.is_final else money.used(job)


def phase_text(job: Any) -> str:
    """What it is doing now."""
    if job.state == "queued":
        return _("Waiting for a worker")
    if job.state == "validating_files":
        return _("Checking the data")
    if job.state == "blocked":
        return str(BLOCKED[job.blocked_by])
    if job.state == "cancelling" or job.pause_requested_at is not None:
        return _("Stopping")
    return str(PHASES.get(job.phase, _("Starting")))


def steps_text(job: Any) -> str:
    """Step, total and time left, once they are known."""
    if not job.total_steps:
        return _("estimating")
    text = _("step %(step)s of %(total)s") % {
        "step": formats.number_format(job.step, force_grouping=True),
        "total": formats.number_format(job.total_steps, force_grouping=True),
    }
    known = job.eta_seconds is not None and (job.progress >= 0.05 or job.step >= 20)
    return f"{text} · {eta(job.eta_seconds if known else None)}"


def log_line(event: Any) -> dict[str, str]:
    """One line of the log."""
    return {
        "at": event.created_at.isoformat(),
        "when": timezone.localtime(event.created_at).strftime("%H:%M:%S"),
        "level": event.level,
        "text": event.message,
    }


BLOCKED = {
    "paused": gettext_lazy("Paused"),
    "budget": gettext_lazy("Stopped at its price ceiling"),
    "quota": gettext_lazy("Stopped at your spend limit"),
    "suspended": gettext_lazy("Stopped: the organisation is suspended"),
    "hold": gettext_lazy("Held by our staff"),
}
WAITS = {
    "resources": gettext_lazy("Position %(n)s: starts when a place to train is free, in about %(time)s."),
    "priority": gettext_lazy("Position %(n)s: other jobs are before it; starts in about %(time)s."),
    "tenant_limit": gettext_lazy("Position %(n)s: your plan's number of parallel jobs is reached; about %(time)s."),
    "not_before": gettext_lazy("It tries again in a moment, after a fault of ours that costs you nothing."),
    "no_workers": gettext_lazy("Position %(n)s: no worker is up. We know; it starts as soon as one is."),
    "no_place": gettext_lazy("Position %(n)s: no worker for your plan's jobs is up. It starts as soon as one is."),
}
UNTIMED = ("not_before", "no_workers", "no_place")
"""Their words say no time."""
UNKNOWN = gettext_lazy("Position %(n)s: nobody can say yet when it starts.")


def waiting_text(place: Any) -> str:
    """Why a queued job waits, its position and for how long."""
    if place is None:
        return ""
    if place.seconds is None and place.reason not in UNTIMED:
        return str(UNKNOWN) % {"n": place.position}
    band = duration(place.seconds)
    if place.seconds is not None and place.seconds_p90 > place.seconds:
        band = _("%(p50)s (nine of ten times within %(p90)s)") % {"p50": band, "p90": duration(place.seconds_p90)}
    return str(WAITS.get(place.reason, WAITS["priority"])) % {"n": place.position, "time": band}


ADVICE = {
    "out_of_memory": gettext_lazy("Choose a smaller batch size, then run it again."),
    "diverged": gettext_lazy("The loss left all bounds. Choose a lower learning rate, then run it again."),
    "bad_data": gettext_lazy("Look at the dataset's findings, fix them, then run it again."),
    "invalid_training_file": gettext_lazy("Look at the dataset's findings, fix them, then run it again."),
}


def advice(code: str) -> str:
    """What to do about a failure."""
    return str(ADVICE.get(code, _("Run it again; if it fails the same way, write to us with the job's ID.")))


def took(job: Any) -> str:
    """How long it ran."""
    if job.started_at is None:
        return ""
    return duration(((job.finished_at or timezone.now()) - job.started_at).total_seconds())
