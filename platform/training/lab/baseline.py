"""The floor: TF-IDF of words and characters with a linear classifier.

It costs seconds, needs no base, and is hard to beat on easy data; a trained model that does not beat it should
not be paid for. Large sets are sampled, and the report says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NAME = "tf-idf + linear"
MAX_ROWS = 40_000


@dataclass(frozen=True, slots=True)
class Floor:
    """The floor's predictions on the test rows [N] and the training rows it saw."""

    predicted: NDArray[np.int64]
    rows: int


def fit_floor(texts: Sequence[str], targets: NDArray[np.int64], test_texts: Sequence[str], *, seed: int) -> Floor:
    """Train on the training rows (at most MAX_ROWS of them, drawn with the seed), predict the test rows."""
    # Imported only now: half a second that a bad config, and the others of a crew, need not wait.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import FeatureUnion, make_pipeline
    from sklearn.svm import LinearSVC

    rows = np.arange(len(texts))
    if len(rows) > MAX_ROWS:
        rows = np.sort(np.random.default_rng(seed).permutation(len(texts))[:MAX_ROWS])
    chosen, truth = [texts[int(i)] for i in rows], targets[rows]
    majority = int(np.bincount(targets).argmax())
    if len(np.unique(truth)) < 2:
        return Floor(np.full(len(test_texts), majority, dtype=np.int64), len(rows))
    features = FeatureUnion(
        [
            ("words", TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\S+")),
            ("letters", TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)),
        ]
    )
    model = make_pipeline(features, LinearSVC(C=1.0, dual=True, max_iter=300, random_state=seed % 2**32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a floor need not be polished
        try:
            model.fit(chosen, truth)
        except ValueError as error:
            if "empty vocabulary" not in str(error):
                raise
            return Floor(np.full(len(test_texts), majority, dtype=np.int64), len(rows))
    return Floor(model.predict(list(test_texts)).astype(np.int64), len(rows))
