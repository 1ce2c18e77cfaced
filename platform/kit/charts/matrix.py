"""Confusion matrices as table cells: count and heat step; over 20 classes the worst 20."""

from collections.abc import Sequence
from dataclasses import dataclass

STEPS = 10
MOST_CLASSES = 20


@dataclass(frozen=True, slots=True)
class Cell:
    """One count with its share of the row (0..1) and heat class `hm-0`…`hm-9`."""

    count: int
    share: float
    css: str
    label: str


@dataclass(frozen=True, slots=True)
class Matrix:
    """Labels in order and rows of cells; `hidden` classes are not shown."""

    labels: list[str]
    rows: list[tuple[str, list[Cell]]]
    hidden: int

    @property
    def many(self) -> bool:
        """Whether the column heads must stand upright."""
        return len(self.labels) > 6


def heat(share: float) -> str:
    """Heat class of a share."""
    return f"hm-{min(STEPS - 1, max(0, int(share * STEPS)))}"


def confusion_matrix(labels: Sequence[str], counts: Sequence[Sequence[int]], *, most: int = MOST_CLASSES) -> Matrix:
    """Rows are the true class, columns the predicted one; classes with the lowest recall stay when there are many."""
    order = list(range(len(labels)))
    if len(order) > most:
        worst = sorted(order, key=lambda i: counts[i][i] / total if (total := sum(counts[i])) else 1.0)
        order = sorted(worst[:most])
    rows = []
    for i in order:
        total = sum(counts[i])
        cells = []
        for j in order:
            share = counts[i][j] / total if total else 0.0
            text = f"{labels[i]} → {labels[j]}: {counts[i][j]} of {total}"
            cells.append(Cell(counts[i][j], share, heat(share), text))
        rows.append((labels[i], cells))
    return Matrix([labels[i] for i in order], rows, len(labels) - len(order))
