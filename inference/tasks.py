"""What models are for, in the words of their artefacts: how many labels each task has, and what it reads."""

from __future__ import annotations

CLASSIFICATION = "text-classification"
MULTI_LABEL = "multi-label-classification"
REGRESSION = "regression"
EMBEDDINGS = "embeddings"
TOKENS = "token-classification"
ANSWERS = "question-answering"
RERANK = "rerank"
TEXT_GENERATION = "text-generation"
"""The one task of bases that write."""

MAX_LABELS = 10_000
LABELS: dict[str, tuple[int, int]] = {
    CLASSIFICATION: (2, MAX_LABELS),
    MULTI_LABEL: (1, MAX_LABELS),
    REGRESSION: (1, MAX_LABELS),
    EMBEDDINGS: (0, 0),
    TOKENS: (2, 2_000),
    ANSWERS: (2, 2),
    RERANK: (1, 1),
}
"""Of each task of models that read: the fewest labels and the most."""
ENDS = ["start", "end"]
"""The labels of a model that answers questions."""
DENSE = (CLASSIFICATION, MULTI_LABEL, REGRESSION, RERANK)
"""Tasks whose head may have a layer before the labels."""
BY_TOKEN = frozenset({TOKENS, ANSWERS})
"""Tasks that judge every token of a text."""
PAIRED = frozenset({ANSWERS, RERANK})
"""Tasks that read two texts as one."""
