"""Long texts on sheets: windows of as many tokens as a model reads, each overlapping the one before.

For models that judge every token (entities) or every place of a context (answers). Nothing is cut off; a token that
lies on two sheets is judged on the one where more of its surroundings are seen.
"""

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import Encoding

from inference.errors import BadRequest, TooLarge

OVERLAP = 4  # one part in so many of what fits on a sheet
MOST_SHEETS = 2048  # of one request
LEAST_ROOM = 2  # tokens of a context that must fit beside the question


@dataclass(frozen=True, slots=True)
class Sheet:
    """A row that is tokens already. Those of the text are `begin` to `begin + count`; the first of them is the text's
    token number `first`. Of them, `keep` is the part [low, high) that this sheet decides."""

    text: int
    ids: list[int]
    types: list[int]
    begin: int
    count: int
    first: int
    keep: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Laid:
    """A text's own tokens: where each stands in it, and to which word it belongs. `length` counts special ones, and of
    a pair the other text, once."""

    offsets: list[tuple[int, int]]
    words: list[int | None]
    length: int


def lay(encoding: Encoding, index: int, limit: int, *, second: bool = False) -> tuple[Laid, list[Sheet]]:
    """A text, or with `second` the second of a pair (the first is repeated on every sheet), as sheets of at most
    `limit` tokens. Raises `BadRequest` where the first leaves no room."""
    own = 1 if second else 0
    sequences, ids, types = encoding.sequence_ids, encoding.ids, encoding.type_ids
    places = [place for place, sequence in enumerate(sequences) if sequence == own]
    low, high = (places[0], places[-1] + 1) if places else (len(ids) - 1, len(ids) - 1)
    laid = Laid(encoding.offsets[low:high], encoding.word_ids[low:high], len(ids))
    count, room = high - low, limit - (len(ids) - (high - low))
    if room < max(LEAST_ROOM, (limit - 4) // 2 if second else 0) and count > room:
        raise BadRequest(
            f"The question has {len(ids) - count} tokens; this model reads {limit}, and a question may be half of them."
        )
    overlap = room // OVERLAP
    starts = list(range(0, max(count - overlap, 1), max(room - overlap, 1)))
    sheets = []
    for number, start in enumerate(starts):
        end = min(start + room, count)
        sheets.append(
            Sheet(
                text=index,
                ids=ids[:low] + ids[low + start : low + end] + ids[high:],
                types=types[:low] + types[low + start : low + end] + types[high:],
                begin=low,
                count=end - start,
                first=start,
                keep=(
                    start if not number else start + overlap // 2,
                    count if number == len(starts) - 1 else starts[number + 1] + overlap // 2,
                ),
            )
        )
    return laid, sheets


def check(sheets: list[Sheet]) -> None:
    """Raises `TooLarge`."""
    if len(sheets) > MOST_SHEETS:
        raise TooLarge(
            f"The texts take {len(sheets):,} windows of what the model reads; {MOST_SHEETS:,} go in one request. "
            "Send fewer or shorter texts."
        )
