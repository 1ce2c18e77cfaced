"""Which face a task has. Each is a module with `ask`, which runs outside any transaction, and `context`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy

from console.code import Sample
from console.playing import labels, reading, vectors, writing
from console.playing.answers import Outcome, Values
from console.playing.subjects import Subject
from inference.tasks import ANSWERS, EMBEDDINGS, MULTI_LABEL, PAIRED, REGRESSION, RERANK, TEXT_GENERATION, TOKENS
from registry.bases import TEXT_CLASSIFICATION


@dataclass(frozen=True, slots=True)
class Face:
    """How one task is tried. Templates: `console/playground/<name>.html` and `<name>_fields.html`."""

    name: str
    context: Callable[[list[Outcome], Values], dict[str, Any]]
    """What the template shows of the outcomes."""
    samples: Callable[[str, Subject, Values], list[Sample]]
    """The call that was made, in code; the first argument is this server's address."""
    ask: Callable[[Subject, Values], Any] | None = None
    """The model's answer; None where the page itself calls the gateway and shows the answer as it comes."""
    requires: tuple[str, ...] = ("text",)
    """Fields that may not be empty."""
    fields: bool = True
    """Whether it has fields beside the texts."""
    threshold: Callable[[Subject], float | None] = reading.threshold
    """What the threshold is until somebody writes another one."""
    threshold_hint: str | Promise = ""


WORDS: dict[str, tuple[str | Promise, str | Promise]] = {
    ANSWERS: (gettext_lazy("Question"), gettext_lazy("Text that may hold the answer")),
    RERANK: (gettext_lazy("Query"), gettext_lazy("Document to score")),
    TEXT_GENERATION: (gettext_lazy("Message"), ""),
}
"""What the two texts are, where they are not a text and a second one."""
LABELS = Face(
    "labels",
    labels.context,
    labels.samples,
    labels.ask,
    threshold=labels.threshold,
    threshold_hint=gettext_lazy("Less sure than this, it gives no answer. Empty: it always answers."),
)
FACES: dict[str, Face] = {
    TEXT_CLASSIFICATION: LABELS,
    TEXT_GENERATION: Face("writing", writing.context, writing.samples),
    **{
        task: Face(
            "reading", reading.context, reading.samples, reading.ask, ("text", "other") if task in PAIRED else ("text",)
        )
        for task in (MULTI_LABEL, REGRESSION, TOKENS, ANSWERS, RERANK)
    },
    EMBEDDINGS: Face("vectors", vectors.context, vectors.samples, vectors.ask, ("text", "other"), fields=False),
}


def face_of(subject: Subject) -> Face:
    """The face of what can be tried."""
    return FACES[subject.task]


def words_of(subject: Subject | None) -> tuple[str | Promise, str | Promise]:
    """What the form calls the two texts."""
    usual = gettext_lazy("Text"), gettext_lazy("Second text")
    return usual if subject is None else WORDS.get(subject.task, usual)


def alike(subjects: list[Subject], chosen: Subject) -> list[Subject]:
    """What can be compared with one: whatever has the same face. A tuned model's own base comes first."""
    others = [one for one in subjects if one.value != chosen.value and FACES.get(one.task) is FACES[chosen.task]]
    return sorted(others, key=lambda one: one.value != chosen.base)
