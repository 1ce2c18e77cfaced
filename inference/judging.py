"""Calls that judge every token, and the comparison with training: each lays texts on sheets, has them computed like any
other rows, and reads the result. Texts are turned into tokens in a thread beforehand, because how many rows they take
depends on that."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer

from inference import parity, sheets, spans, wire
from inference.errors import BadArtefact, BadRequest
from inference.recorded import RecordedAnswers, RecordedPairs, RecordedTokens
from inference.residents import Resident
from inference.sheets import Laid, Sheet
from inference.tasks import ANSWERS, TOKENS

if TYPE_CHECKING:
    from inference.engine import Engine
    from inference.runner import Job

MOST_ANSWERS = spans.CANDIDATES
Texts = Sequence[str | tuple[str, str]]


async def tag(engine: Engine, message: wire.Tag) -> wire.Tagged:
    """Entities of each text. Raises `NotResident`, `Overloaded`, `TooLarge` or `BadRequest`."""
    resident = engine.resident_for(message.tenant, message.model, TOKENS)
    engine.check_texts(message.texts)
    laid, rows = await lay(engine, resident, message.texts)
    job = await engine.judged(message.tenant, message.weight, resident, rows, message.trace)
    marks = job.marks

    def read() -> list[list[wire.Entity]]:
        whole = [np.zeros((len(one.offsets), 2), np.float32) for one in laid]
        for sheet, found in zip(rows, marks, strict=True):
            low, high = sheet.keep
            whole[sheet.text][low:high] = found[low - sheet.first : high - sheet.first]
        return [
            spans.entities(text, one, mark, resident.labels)
            for text, one, mark in zip(message.texts, laid, whole, strict=True)
        ]

    found = await asyncio.to_thread(read)
    return wire.Tagged(message.id, found, [one.length for one in laid], *_took(job))


async def ask(engine: Engine, message: wire.Ask) -> wire.Asked:
    """Answers to each question. Raises as `tag`."""
    if not 1 <= message.answers <= MOST_ANSWERS:
        raise BadRequest(f"A question has 1 to {MOST_ANSWERS} answers, not {message.answers}.")
    resident = engine.resident_for(message.tenant, message.model, ANSWERS)
    engine.check_texts(message.pairs)
    laid, rows = await lay(engine, resident, message.pairs)
    job = await engine.judged(message.tenant, message.weight, resident, rows, message.trace)
    marks = job.marks

    def read() -> list[tuple[list[wire.Span], float]]:
        mine: list[list[int]] = [[] for _ in laid]
        for place, sheet in enumerate(rows):
            mine[sheet.text].append(place)
        return [
            spans.answers(one, [rows[i] for i in places], [marks[i] for i in places], message.answers)
            for one, places in zip(laid, mine, strict=True)
        ]

    found = await asyncio.to_thread(read)
    return wire.Asked(
        message.id, [one for one, _ in found], [nothing for _, nothing in found], [one.length for one in laid],
        *_took(job),
    )  # fmt: skip


def _took(job: Job) -> tuple[int, int, int]:
    """Microseconds of computing and of waiting, and rows of the largest batch."""
    return round(job.compute_s * 1e6), round((job.begun - job.started) * 1e6), job.batch_rows


async def lay(engine: Engine, resident: Resident, texts: Texts) -> tuple[list[Laid], list[Sheet]]:
    """Texts, or the second texts of pairs, as sheets. Raises `TooLarge`, or `BadRequest` for a long question."""
    tokenizer = engine.bases[resident.base].tokenizer
    return await asyncio.to_thread(_lay, tokenizer, texts, resident.max_length)


def _lay(tokenizer: Tokenizer, texts: Texts, limit: int) -> tuple[list[Laid], list[Sheet]]:
    laid: list[Laid] = []
    rows: list[Sheet] = []
    paired = isinstance(texts[0], tuple)
    for index, encoding in enumerate(tokenizer.encode_batch(list(texts))):
        one, own = sheets.lay(encoding, index, limit, second=paired)
        laid.append(one)
        rows += own
    sheets.check(rows)
    return laid, rows


async def compare(engine: Engine, message: wire.Parity, resident: Resident) -> wire.ParityReport:
    """Send what was recorded the way every request goes, and compare the answers. Raises `BadArtefact` where nothing
    was recorded."""
    recorded, tolerance = resident.recorded, parity.TOLERANCE[resident.encoder.precision]
    if recorded is None:
        raise BadArtefact("The artefact holds no parity.json, so serving cannot be compared with training.")
    if isinstance(recorded, (RecordedTokens, RecordedAnswers)):
        worst, mean, flips, n = await _compare_tokens(engine, resident, recorded, tolerance)
    else:
        texts: Texts = recorded.pairs if isinstance(recorded, RecordedPairs) else recorded.texts
        found = await engine.computed(message.tenant, resident, texts)
        expected = np.array(recorded.probabilities, np.float32)
        worst, mean, flips = parity.compare(resident.task, found, expected, tolerance)
        n = len(texts)
    passed = worst <= tolerance and not flips
    return wire.ParityReport(message.id, passed, n, worst, mean, flips, tolerance)


async def _compare_tokens(
    engine: Engine, resident: Resident, recorded: RecordedTokens | RecordedAnswers, tolerance: float
) -> tuple[float, float, int, int]:
    asked = isinstance(recorded, RecordedAnswers)
    texts: Texts = recorded.pairs if isinstance(recorded, RecordedAnswers) else recorded.texts
    matrices = recorded.logits if isinstance(recorded, RecordedAnswers) else recorded.tokens
    _, rows = await lay(engine, resident, texts)
    if len(rows) != len(texts):
        raise BadArtefact("parity.json holds a text that is longer than the model reads.")
    marks = (await engine.judged(resident.tenant, 1, resident, rows)).marks
    expected = [np.array(matrix, np.float32).reshape(-1, len(resident.labels)) for matrix in matrices]
    if any(len(mark) != len(one) for mark, one in zip(marks, expected, strict=True)):
        raise BadArtefact("parity.json has another number of tokens for a text than this base makes of it.")
    judge = parity.compare_ends if asked else parity.compare_tokens
    judged = [judge(mark, one, tolerance) for mark, one in zip(marks, expected, strict=True) if len(one)]
    worst = max((one[0] for one in judged), default=0.0)
    mean = float(np.mean([one[1] for one in judged])) if judged else 0.0
    return worst, mean, sum(one[2] for one in judged), len(texts)
