"""Models that know labels: probabilities as bars, or those of two models drawn against each other."""

from dataclasses import dataclass
from typing import Any

from console.answering import threshold_of
from console.code import Sample, first_call
from console.playing.answers import Outcome, Values
from console.playing.subjects import Subject
from serving import trying
from serving.explaining import texts_at_most

SHOWN = 10
MARKED = 0.1
"""Two models that differ by so much about a label are marked."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What two models say of one label."""

    label: str
    first: float
    second: float

    @property
    def by(self) -> float:
        """How much likelier the second model finds it."""
        return self.second - self.first

    @property
    def marked(self) -> bool:
        """Whether they are far apart."""
        return abs(self.by) >= MARKED


def ask(subject: Subject, values: Values) -> trying.Prediction:
    """The probabilities of the text's labels."""
    assert subject.deployment is not None  # noqa: S101 - bases know no labels
    return trying.prediction_try(deployment=subject.deployment, texts=[values["text"]], user_id=subject.user_id)


def threshold(subject: Subject) -> float | None:
    """What calls of the model go by; None where they are always answered."""
    found = threshold_of(subject.deployment)
    return None if found is None else round(found, 6)


def context(outcomes: list[Outcome], values: Values) -> dict[str, Any]:
    """The labels of one model, or of two."""
    answered = [one for one in outcomes if one.answer is not None]
    if len(answered) == 2:
        return {"against": _against(*(dict(one.answer.rows[0]) for one in answered))}
    if len(answered) == 1:
        (one,) = answered
        times = texts_at_most(one.answer.limit, values["text"])
        asked = {
            "deployment": one.subject.value,
            "text": values["text"],
            "at_most_tokens": one.answer.tokens * times,
            "at_most_nano": one.answer.cost_nano * times,
        }
        return {"one": _alone(one.answer.rows[0], values.get("threshold")), "asked": asked}
    return {}


def samples(server: str, subject: Subject, values: Values) -> list[Sample]:
    """POST /v1/classify, as it was called."""
    text, wish = values.get("text") or "where is my refund", values.get("threshold")
    more = {} if wish == threshold(subject) else {"x_abstain": {"threshold": wish or 0.0}}
    return first_call(server, model=subject.called, text=text, more=more)


def _alone(pairs: list[tuple[str, float]], threshold: float | None) -> dict[str, Any]:
    return {
        "pairs": [{"label": label, "probability": p} for label, p in pairs[:SHOWN]],
        "more": max(0, len(pairs) - SHOWN),
        "best": pairs[0],
        "abstains": threshold is not None and pairs[0][1] < threshold,
        "threshold": threshold,
    }


def _against(first: dict[str, float], second: dict[str, float]) -> dict[str, Any]:
    labels = sorted({*first, *second}, key=lambda label: -max(first.get(label, 0.0), second.get(label, 0.0)))
    rows = [Difference(label, first.get(label, 0.0), second.get(label, 0.0)) for label in labels]
    best = [max(chances, key=chances.__getitem__) for chances in (first, second)]
    return {
        "rows": rows[:SHOWN],
        "more": max(0, len(rows) - SHOWN),
        "best": best,
        "agree": best[0] == best[1],
        "missing": [sorted({*second} - {*first}), sorted({*first} - {*second})],
    }
