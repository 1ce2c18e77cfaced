"""Bases that read, and models for embeddings: how alike two texts are, by the angle between their vectors."""

from typing import Any

from console.code import Sample, embedding_call
from console.playing.answers import Outcome, Values
from console.playing.subjects import Subject
from serving import trying

EXAMPLES = ("where is my refund", "I want my money back")


def ask(subject: Subject, values: Values) -> trying.Likeness:
    """The cosine between the two texts."""
    return trying.likeness_try(
        project=subject.project, base=subject.base, texts=_texts(values), deployment=subject.deployment,
        user_id=subject.user_id,
    )  # fmt: skip


def context(outcomes: list[Outcome], values: Values) -> dict[str, Any]:
    """Nothing beside the outcomes themselves."""
    return {}


def samples(server: str, subject: Subject, values: Values) -> list[Sample]:
    """POST /v1/embeddings, as it was called."""
    return embedding_call(server, model=subject.called, texts=_texts(values))


def _texts(values: Values) -> list[str]:
    return [values.get("text") or EXAMPLES[0], values.get("other") or EXAMPLES[1]]
