"""Events of the lab turned into where a run stands and what its log says. No database, no clock of its own."""

from dataclasses import dataclass, field
from typing import Any

from training.services.events import News, metrics, warn
from training.services.leases import Standing
from training.worker.contract import REFUSED

SHARE = {"loading": 0.01, "tokenising": 0.03, "baseline": 0.05, "training": 0.08, "evaluating": 0.92, "saving": 0.97}
"""How far a run is when a phase begins; training fills what lies between its own and evaluating's."""
WORDS = {
    "loading": "Loading the data",
    "tokenising": "Counting and cutting tokens",
    "baseline": "Measuring the baseline beside it",
    "training": "Training",
    "evaluating": "Measuring on the test rows",
    "saving": "Writing the model",
}
SCORE_WORDS = {"accuracy": "accuracy", "macro_f1": "macro-F1", "token_accuracy": "token accuracy"}
LAB_CODES = ("checkpoint_damaged", "restarted")
"""Of the lab's own warnings."""
FOREIGN, LONGEST_CODE = "trainer_", 40
"""What stands before any other code of a warning: a trainer that hostile data has turned says nothing in our name."""
MEASURED_STEPS, MEASURED_SHARE = 20, 0.05
"""Steps, or share of all steps, that must have been measured before a time left is worth saying."""
MOST_NEWS = 250_000
"""Lines that one attempt may add to its job's log."""
MOST_SECONDS = 10**9
TAIL_SECONDS = 8.0
"""Measuring and writing, until a run has shown its own."""


@dataclass(slots=True)
class Reading:
    """What the events said so far. `pending` is what the log does not hold yet."""

    standing: Standing = field(default_factory=Standing)
    pending: list[News] = field(default_factory=list)
    checkpoint: dict[str, Any] | None = None
    done: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    last_metrics: dict[str, Any] = field(default_factory=dict)
    steps_per_second: float = 0.0
    _first: tuple[int, float] | None = None
    _told: int = 0
    _refused: bool = False

    def take(self, event: dict[str, Any], moment: float) -> None:
        """One event of the contract that arrived at a monotonic moment."""
        reader = {
            "phase": self._phase,
            "step": self._step,
            "evaluation": self._evaluation,
            "checkpoint": self._checkpoint,
            "warning": self._warning,
            REFUSED: self._refuse,
        }.get(str(event.get("event")))
        if reader is not None:
            reader(event, moment)
        elif event.get("event") == "done":
            self.done = event
            self.standing.trained_tokens = _whole(event.get("trained_tokens"))
            self.standing.progress = max(self.standing.progress, 0.98)
        elif event.get("event") == "error":
            self.error = event

    def _phase(self, event: dict[str, Any], moment: float) -> None:
        phase = str(event.get("phase"))
        if phase not in SHARE:
            return
        self.standing.phase = phase
        self.standing.progress = max(self.standing.progress, SHARE[phase])
        if phase == "training":
            self.standing.step = _whole(event.get("step"))
            self.standing.total_steps = _whole(event.get("total_steps"))
            self._first = None
        if phase in ("evaluating", "saving"):
            self.standing.eta_seconds = int(TAIL_SECONDS / 2)
        self._tell(News(WORDS[phase], code=f"phase_{phase}"))

    def _step(self, event: dict[str, Any], moment: float) -> None:
        standing, step = self.standing, _whole(event.get("step"))
        standing.step, standing.total_steps = step, _whole(event.get("total_steps"))
        standing.trained_tokens = _whole(event.get("tokens"))
        share = step / standing.total_steps if standing.total_steps else 0.0
        span = SHARE["evaluating"] - SHARE["training"]
        standing.progress = max(standing.progress, SHARE["training"] + span * min(1.0, share))
        self._measure(step, moment)
        data = {
            "step": step,
            "total_steps": standing.total_steps,
            "epoch": event.get("epoch"),
            "train_loss": event.get("loss"),
            "learning_rate": event.get("learning_rate"),
            "grad_norm": event.get("grad_norm"),
            "samples_per_second": event.get("samples_per_second"),
            "trained_tokens": standing.trained_tokens,
        }
        self.last_metrics["train_loss"] = event.get("loss")
        words = f"Step {step}/{standing.total_steps}: training loss={_short(event.get('loss'))}"
        self._tell(metrics(words, data))

    def _tell(self, news: News) -> None:
        """Onto the log, as long as there is room: nobody may fill the database with it."""
        self._told += 1
        if self._told < MOST_NEWS:
            self.pending.append(news)
        elif self._told == MOST_NEWS:
            self.pending.append(warn("The log of this run is full. The run goes on without it.", code="log_full"))

    def _measure(self, step: int, moment: float) -> None:
        if self._first is None:
            self._first = (step, moment)
            return
        steps, seconds = step - self._first[0], moment - self._first[1]
        if steps > 0 and seconds > 0:
            self.steps_per_second = steps / seconds
            if steps < MEASURED_STEPS and steps < MEASURED_SHARE * self.standing.total_steps:
                return
            left = max(0, self.standing.total_steps - step)
            self.standing.eta_seconds = min(round(left / self.steps_per_second + TAIL_SECONDS), MOST_SECONDS)

    def _evaluation(self, event: dict[str, Any], moment: float) -> None:
        step = _whole(event.get("step")) or self.standing.step
        data = {
            "step": step,
            "epoch": event.get("epoch"),
            "valid_loss": event.get("loss"),
            **{name: event.get(key) for name, key in _scores(event)},
        }
        self.last_metrics |= {key: value for key, value in data.items() if key.startswith("valid_")}
        words = f"Pass {event.get('epoch')}: validation loss={_short(event.get('loss'))}, "
        words += ", ".join(f"{SCORE_WORDS[key]}={_short(event.get(key))}" for _, key in _scores(event))
        self._tell(metrics(words, data))

    def _checkpoint(self, event: dict[str, Any], moment: float) -> None:
        self.checkpoint = event

    def _warning(self, event: dict[str, Any], moment: float) -> None:
        code = event["code"] if event["code"] in LAB_CODES else f"{FOREIGN}{event['code']}"[:LONGEST_CODE]
        self._tell(warn(event.get("message") or "The trainer gave a warning.", code=code))

    def _refuse(self, event: dict[str, Any], moment: float) -> None:
        if not self._refused:
            self._refused = True
            self._tell(warn("The trainer said something impossible; it is left out.", code="report_refused"))


def _scores(event: dict[str, Any]) -> list[tuple[str, str]]:
    """Which scores an evaluation has: those of a classifier, or of a model that writes. (In the log, in the event.)"""
    if event.get("token_accuracy") is not None:
        return [("valid_mean_token_accuracy", "token_accuracy")]
    return [("valid_accuracy", "accuracy"), ("valid_macro_f1", "macro_f1")]


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _short(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, (int, float)) and not isinstance(value, bool) else "not a number"
