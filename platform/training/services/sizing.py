"""What a run on files would read, before a dataset version of them is written.

Files that are small are written as the version would be, for the time being, and counted to the token. Of larger ones
the profile knows the rows, their words and the default base's tokens; where those are not the tokens of the job's base,
rows spread over the file are counted with the base's own tokenizer, and the words of all rows are scaled by what came
out. `Workload.margin` says how far the truth may lie from that. Loads a tokenizer, never torch.
"""

from __future__ import annotations

import functools
import hashlib
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import InvalidColumns, InvalidFile
from data.limits import tokenizer_path
from data.models import File
from data.roles import task_wanted
from data.selectors import file_values
from data.services import version_draft
from inference.tasks import TEXT_GENERATION
from registry.bases import Base
from registry.selectors import base_by_name
from training import forecast
from training.errors import FileUnusable
from training.lab.data import auto_max_length
from training.lab.dialogues import LONGEST
from training.lab.errors import BadData
from training.lab.estimate import Workload, lengths_of
from training.lab.shape import read_shape
from training.models import Job
from training.services import intake

COUNTED_BYTES = 2_000_000
"""Files of no more together are counted whole."""
SAMPLED_ROWS = 2_000
LOOKED_AT_ROWS = 50_000
"""Rows that are read at most to find those of a sample: of a longer file only its beginning is."""
DEVIATIONS = 3.0
"""Standard deviations that a margin holds."""
PART = 0.1
"""Of the rows, for validation and as much for the test, where the data bring no split."""


def workload_of(draft: Job, seen: intake.Seen) -> Workload:
    """What a run of a draft on files would read. In the tenant's scope; FileUnusable where nothing can be trained."""
    files = intake.files_of(draft)
    if sum(file.bytes for file in files) <= COUNTED_BYTES:
        found = _drafted(_Key.of(draft, files))
    else:
        _check_profile(draft, seen.profile)
        found = _scaled(draft, seen.profile, files)
    return replace(found, method=draft.method)


@dataclass(frozen=True, slots=True)
class _Key:
    """What a count depends on; files by their ids, so that no tenant learns of another's."""

    ids: tuple[Any, ...]
    base: str
    fingerprint: str
    task: str
    columns: tuple[tuple[str, str], ...]
    files: tuple[File, ...] = field(compare=False)

    @classmethod
    def of(cls, draft: Job, files: list[File]) -> _Key:
        roles = tuple((file.pk, tuple(sorted(file.roles.items()))) for file in files)
        base = base_by_name(draft.base)
        columns = tuple(sorted(draft.columns.items()))
        return cls(roles, base.name, base.fingerprint, draft.task, columns, tuple(files))


@functools.lru_cache(maxsize=256)
def _drafted(key: _Key) -> Workload:
    """Counted on the rows as the version would hold them, split as it would be."""
    training, *others = key.files
    try:
        with version_draft(
            training_file=training,
            validation_file=others[0] if others else None,
            columns=dict(key.columns) or None,
            task=key.task,
        ) as path:
            return forecast.measured(path, base_by_name(key.base), key.task)
    except InvalidColumns as error:
        raise FileUnusable(error.message, code=error.code, param="x_columns") from error
    except InvalidFile as error:
        raise FileUnusable(error.message, param="training_file") from error


def _check_profile(draft: Job, profile: dict[str, Any]) -> None:
    wanted, words = (
        ("roles", "No messages, and no prompts with completions,")
        if draft.task == TEXT_GENERATION
        else ("label_count", "No text and label columns")
    )
    if not profile.get("usable_rows") or wanted not in profile:
        raise FileUnusable(
            f"{words} were found in this file, so nothing can be estimated. Name them in x_columns.",
            code="missing_columns",
            param="x_columns",
        )


def _scaled(draft: Job, profile: dict[str, Any], files: list[File]) -> Workload:
    base, writes, usable = base_by_name(draft.base), draft.task == TEXT_GENERATION, int(profile["usable_rows"])
    total, longest, off = _tokens(draft, base, profile, files[0])
    rows = _parts(profile, usable, validated=len(files) > 1)
    share = rows["train"] / usable
    tokens = {name: max(1, round(total * count / usable)) for name, count in rows.items()}
    if len(files) > 1:
        other = files[1].profile
        rows["validation"] = max(1, int(other.get("usable_rows") or 0))
        tokens["validation"] = max(1, round(total / usable * rows["validation"]))
    return Workload(
        method=draft.method,
        rows=rows,
        tokens=tokens,
        labels=0 if writes else max(2, int(profile["label_count"])),
        matrix_parameters=read_shape(base.folder).matrix_parameters,
        max_length=min(base.max_length, LONGEST) if writes else auto_max_length(np.array([longest]), base.max_length),
        task=draft.task,
        margin=off + _chance(profile["lengths"], usable, share),
    )


def _parts(profile: dict[str, Any], usable: int, *, validated: bool) -> dict[str, int]:
    """Rows of each split. Copies stay on one side together, so what is held out is counted in rows that are alone."""
    given = {name: int(count) for name, count in (profile.get("splits") or {}).items()}
    copies = profile.get("duplicates") or {}
    alone = 1 - min(1.0, (int(copies.get("exact", 0)) + int(copies.get("near", 0))) / usable)
    free = usable - given.get("validation", 0) - given.get("test", 0)
    of_labels = [int(one["count"]) for one in profile.get("labels") or []] or [usable]
    cut = sum(math.floor(count / sum(of_labels) * free * alone * PART) for count in of_labels)
    held = {
        "validation": given.get("validation", 0) or (0 if validated else cut),
        "test": given.get("test", 0) or cut,
    }
    return {"train": max(1, usable - sum(held.values()))} | {name: max(1, count) for name, count in held.items()}


def _tokens(draft: Job, base: Base, profile: dict[str, Any], file: File) -> tuple[float, int, float]:
    """(tokens of all rows, the 99th percentile of a row's, how far the first may be off as a share)."""
    known = profile["lengths"].get("tokens") or {}
    if draft.task != TEXT_GENERATION and known.get("n") and _same_tokenizer(base):
        return float(known["total"]), int(known["percentiles"]["p99"]), 0.0
    columns = tuple(sorted(draft.columns.items()))
    ratio, longest, off = _ratio(
        _Key((file.pk, str(file.roles)), base.name, base.fingerprint, draft.task, columns, (file,)),
        int(profile["usable_rows"]),
    )
    return ratio * int(profile["lengths"]["words"]["total"]), longest, off


@functools.lru_cache(maxsize=256)
def _ratio(key: _Key, usable: int) -> tuple[float, int, float]:
    """Tokens a word in a sample, by the base's tokenizer; its longest rows; three standard errors as a share. `usable`:
    the rows that these columns make usable, over which the sample is spread."""
    (file,), base = key.files, base_by_name(key.base)
    step = max(1, min(usable, LOOKED_AT_ROWS) // SAMPLED_ROWS)
    kind = task_wanted(file, dict(key.columns))
    found = file_values(file, kind, columns=dict(key.columns), step=step, most=SAMPLED_ROWS)
    if not found:
        raise FileUnusable("No usable row was found in this file, so nothing can be estimated.", param="training_file")
    limit = min(base.max_length, LONGEST)
    try:
        tokens = lengths_of([values for values, _ in found], base.folder, kind=kind, limit=limit)
    except BadData as error:
        raise FileUnusable(str(error), param="training_file") from error
    words = np.array([count for _, count in found], dtype=np.float64)
    ratio = float(tokens.sum() / max(1.0, words.sum()))
    deviation = float(np.std(tokens - ratio * words) * math.sqrt(len(words)) / max(1.0, tokens.sum()))
    return ratio, int(np.percentile(tokens, 99)), DEVIATIONS * deviation


def _chance(lengths: dict[str, Any], usable: int, share: float) -> float:
    """How far the tokens of the training rows may be from their share, because chance picks the rows. Their deviation
    is at most what lengths between these ends with this mean can have (Bhatia and Davis, 2000)."""
    known = lengths.get("tokens") or lengths["words"]
    mean = float(known["mean"]) if known.get("n") else 0.0
    if mean <= 0:
        return 0.0
    deviation = math.sqrt(max(0.0, (known["max"] - mean) * (mean - known["min"]))) / mean
    return DEVIATIONS * deviation * math.sqrt((1 - share) / (share * usable))


@functools.cache
def _same_tokenizer(base: Base) -> bool:
    """Whether the tokens that the data room counts are this base's."""
    counted = tokenizer_path()
    if counted is None:
        return False
    digests = {hashlib.sha256(Path(path).read_bytes()).digest() for path in (counted, base.folder / "tokenizer.json")}
    return len(digests) == 1
