"""The rows of a model's training data that are nearest to a text, for whoever asks why it answers as it does.

The engine names them by number (`inference.neighbours`); their texts are read from the dataset when they are shown.

Only those that are still there: of a dataset that was not deleted, and in the newest version made of the same files, so
that a row which a later version left out is not shown again, and one that it rewrote is shown as it is now.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from data import selectors as data
from data.models import DatasetVersion
from data.rows import RowFilter, text_of
from inference.wire import Neighbours
from tenants.scope import tenant_scope

log = logging.getLogger(__name__)

NEAREST = 5
LOOKED_AT = 25
"""Rows the engine names, so that five are left where some were deleted since."""
MAX_SHOWN = 300
"""Characters of a row's text."""
GONE = "The dataset was deleted, so its rows are not shown."
NOT_KEPT = "This model keeps no vectors of its training data: it was trained before models did. Train it again."
AWAY = "The dataset cannot be read at the moment; rows are named without their text."
UNKNOWN = "The dataset cannot be looked up at the moment, so its rows are not shown. Try again later."
NOT_SEARCHED = "The rows nearest to the text could not be searched at the moment. Try again later."
LEFT_OUT = "Rows that a later version of the dataset leaves out are not shown."


@dataclass(frozen=True, slots=True)
class Shown:
    """Texts by row number, of the rows that may be shown (None: cannot be read now), and why others may not."""

    texts: dict[int, str | None]
    missing: str | None = None


@dataclass(frozen=True, slots=True)
class NearRow:
    """A row and the cosine of its vector. `text` is None while it cannot be read."""

    row: int
    label: str
    similarity: float
    text: str | None


def nearest_shown(
    *, tenant_id: UUID, project_id: UUID, version_id: UUID | None, labels: Sequence[str], found: Neighbours
) -> tuple[list[NearRow], str | None]:
    """Of the rows that the engine found, the nearest that may be shown, and why others are not. Opens scopes itself."""
    version = version_shown(tenant_id=tenant_id, project_id=project_id, version_id=version_id)
    return near_rows(labels, found, texts_shown(version, found.rows))


def near_rows(labels: Sequence[str], found: Neighbours, shown: Shown) -> tuple[list[NearRow], str | None]:
    """Of the rows that the engine found, the nearest that are shown, and why others are not."""
    near = [
        NearRow(row, labels[label], round(similarity, 6), _cut(shown.texts[row]))
        for row, label, similarity in zip(found.rows, found.labels, found.similarities, strict=True)
        if row in shown.texts
    ]
    return near[:NEAREST], shown.missing


def _cut(text: str | None) -> str | None:
    if text is None or len(text) <= MAX_SHOWN:
        return text
    return text[: MAX_SHOWN - 1] + "…"


def version_shown(*, tenant_id: UUID, project_id: UUID, version_id: UUID | None) -> DatasetVersion | None:
    """Whose rows are shown; None where there is no such version any more. Opens the tenant's scope itself."""
    with tenant_scope(tenant_id):
        return _newest_of_same(data.version_by_id(version_id), project_id)


def texts_shown(version: DatasetVersion | None, rows: list[int]) -> Shown:
    """The texts of some rows. Reads from the store and asks no database.

    Whatever is wrong with the file, the answer that these rows explain was given and paid for: it goes out without.
    """
    if version is None:
        return Shown({}, GONE)
    try:
        found = data.version_rows(version, where=RowFilter(rows=frozenset(rows)), limit=len(rows)).rows
        texts: dict[int, str | None] = {row["row_id"]: text_of(row) for row in found}
    except Exception:
        log.warning("rows of dataset version %s cannot be read", version.pk, exc_info=True)
        return unread(rows)
    return Shown(texts, None if len(texts) == len(set(rows)) else LEFT_OUT)


def unread(rows: list[int]) -> Shown:
    """Rows that are there, but whose texts cannot be read now."""
    return Shown(dict.fromkeys(rows), AWAY)


def _newest_of_same(version: DatasetVersion | None, project_id: UUID) -> DatasetVersion | None:
    """The newest version of its dataset from the same files, whose rows have the same numbers; None if it is gone."""
    if version is None or version.project_id != project_id or version.dataset.deleted_at is not None:
        return None
    ready = data.versions(version.dataset).filter(state=DatasetVersion.State.READY).order_by("-number")
    return next((one for one in ready[:50] if _files(one) == _files(version)), version)


def _files(version: DatasetVersion) -> list[tuple[str, str]]:
    """Files and their columns, in order; a row's number counts through them."""
    return [(one["sha256"], str(sorted((one.get("columns") or {}).items()))) for one in version.spec["files"]]
