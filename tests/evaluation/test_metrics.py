"""Metrics agree with scikit-learn wherever both define them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation import metrics
from tests.late import late

reference = late("sklearn.metrics")


@st.composite
def labelled(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """Truth, predictions and the number of classes; some classes may be missing."""
    classes = draw(st.integers(2, 7))
    n = draw(st.integers(1, 80))
    column = st.lists(st.integers(0, classes - 1), min_size=n, max_size=n)
    return np.array(draw(column)), np.array(draw(column)), classes


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(labelled())
def test_accuracy_f1_and_confusion_equal_the_reference(case: tuple[np.ndarray, np.ndarray, int]) -> None:
    truth, predicted, classes = case
    labels = list(range(classes))
    assert metrics.accuracy(truth, predicted) == pytest.approx(reference.accuracy_score(truth, predicted))
    assert (
        metrics.confusion(truth, predicted, classes) == reference.confusion_matrix(truth, predicted, labels=labels)
    ).all()
    table = metrics.per_class(truth, predicted, classes)
    p, r, f, n = reference.precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=0)
    for ours, theirs in ((table.precision, p), (table.recall, r), (table.f1, f), (table.n, n)):
        assert np.allclose(ours, theirs)
    present = sorted(set(truth.tolist()))
    expected = reference.f1_score(truth, predicted, labels=present, average="macro", zero_division=0)
    assert metrics.macro_f1(truth, predicted, classes) == pytest.approx(expected)
    micro = reference.f1_score(truth, predicted, labels=labels, average="micro", zero_division=0)
    assert metrics.micro_f1(truth, predicted) == pytest.approx(micro)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(labelled(), st.integers(0, 10_000))
def test_log_loss_and_brier_equal_the_reference(case: tuple[np.ndarray, np.ndarray, int], seed: int) -> None:
    truth, _, classes = case
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(classes), size=len(truth))
    labels = list(range(classes))
    theirs = reference.log_loss(truth, probabilities, labels=labels)
    assert metrics.row_log_loss(probabilities, truth).mean() == pytest.approx(theirs)
    one_hot = np.eye(classes)[truth]
    assert metrics.row_brier(probabilities, truth).mean() == pytest.approx(
        ((probabilities - one_hot) ** 2).sum(1).mean()
    )


def test_a_label_unseen_in_training_counts_as_a_mistake() -> None:
    truth, predicted = np.array([0, 1, -1]), np.array([0, 1, 1])
    assert metrics.accuracy(truth, predicted) == pytest.approx(2 / 3)
    assert metrics.per_class(truth, predicted, 2).precision.tolist() == [1.0, 0.5]
    assert metrics.confusion(truth, predicted, 2).sum() == 2
    assert len(metrics.row_log_loss(np.full((3, 2), 0.5), truth)) == 2


def test_no_rows_give_zeros_not_faults() -> None:
    none = np.array([], dtype=np.int64)
    assert metrics.accuracy(none, none) == 0.0
    assert metrics.macro_f1(none, none, 3) == 0.0
