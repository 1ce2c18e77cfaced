"""What of a row is learnt, and that a prompt is read in training as it is in serving."""

import json
from pathlib import Path
from typing import Any

import pytest

from inference.chat import Voice, read_voice, render
from tests.training.lab.causal_bases import CHATML, gifts, real_llama, talk, tiny_llama, write_dialogues
from training.lab.data import read_tokenizer
from training.lab.dialogues import Marked, encode_dialogues, read_dialogues
from training.lab.errors import BadData

pytestmark = pytest.mark.slow  # makes its bases with torch

LONG_TALK: list[dict[str, Any]] = [
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "ignored", "weight": 0},
    {"role": "user", "content": "two"},
    {"role": "assistant", "content": "first"},
    {"role": "user", "content": "three"},
    {"role": "assistant", "content": "second", "weight": 1},
    {"role": "user", "content": "never read"},
]


@pytest.fixture(scope="module")
def plain_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def spoken_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("spoken"), template=CHATML)


def encoded(base: Path, rows: list[Any], *, limit: int = 256, voice: Voice | None = None) -> Marked:
    chat = not isinstance(rows[0], tuple)
    given = [(json.dumps(row), None) if chat else row for row in rows]
    found = voice or read_voice(base)
    ids = range(1, len(rows) + 1)
    return encode_dialogues(read_tokenizer(base), found, given, row_ids=ids, chat=chat, limit=limit, check=lambda: None)


def learnt(base: Path, marked: Marked, index: int = 0) -> list[str]:
    """The runs of learnt tokens of a row, as text."""
    ids, marks = marked.row(index)
    runs: list[list[int]] = []
    for place, (token, mark) in enumerate(zip(ids.tolist(), marks.tolist(), strict=True)):
        if mark and (place == 0 or not marks[place - 1]):
            runs.append([])
        if mark:
            runs[-1].append(token)
    return [read_tokenizer(base).decode(run, skip_special_tokens=False) for run in runs]


def test_answers_with_weight_are_learnt_with_their_ends_and_nothing_else_is(
    plain_base: Path, spoken_base: Path
) -> None:
    assert learnt(plain_base, encoded(plain_base, [LONG_TALK])) == ["first</s>", "second</s>"]
    marked = encoded(spoken_base, [LONG_TALK])
    assert learnt(spoken_base, marked) == ["first<|im_end|>", "second<|im_end|>"]
    text = read_tokenizer(spoken_base).decode(marked.row(0)[0].tolist(), skip_special_tokens=False)
    assert text.endswith("second<|im_end|>") and "ignored" in text


@pytest.mark.parametrize("real", [False, pytest.param(True, marks=pytest.mark.realdata)])
def test_what_stands_before_a_reply_is_what_serving_reads_as_its_prompt(
    real: bool, plain_base: Path, spoken_base: Path
) -> None:
    for base in [real_llama()] if real else [plain_base, spoken_base]:
        voice, tokenizer = read_voice(base), read_tokenizer(base)
        for row in gifts(20):
            ids, marks = encoded(base, [talk(*row)]).row(0)
            prompt = render(talk(*row)[:1], template=voice.template, add_generation_prompt=True, special=voice.special)
            assert ids[~marks].tolist() == tokenizer.encode(prompt, add_special_tokens=False).ids
            ids, marks = encoded(base, [row]).row(0)
            assert ids[~marks].tolist() == tokenizer.encode(row[0]).ids
            assert tokenizer.decode(ids.tolist()) == row[0] + row[1]


def test_a_prompt_that_ends_within_a_token_is_tokenised_by_itself(plain_base: Path) -> None:
    tokenizer = read_tokenizer(plain_base)
    marked = encoded(plain_base, [("caf", "\u00e9 au lait")])
    assert learnt(plain_base, marked) == ["é au lait</s>"]
    ids, marks = marked.row(0)
    assert ids[~marks].tolist() == tokenizer.encode("caf").ids


def test_rows_over_the_context_are_cut_and_those_without_a_reply_in_it_are_left_out(plain_base: Path) -> None:
    rows = [("short", " one"), ("a prompt", " and a long reply" * 20), ("a long prompt " * 20, " reply")]
    marked = encoded(plain_base, rows, limit=64)
    assert (marked.cut, marked.silent, marked.kept.tolist()) == (2, 1, [0, 1])
    assert marked.lengths.tolist() == [11, 64]
    assert "</s>" not in learnt(plain_base, marked, 1)[0], "no end is learnt where the text was cut"


def test_an_answer_that_the_template_writes_otherwise_once_more_follows_is_left_out_and_counted(
    plain_base: Path,
) -> None:
    loud = "{{ message.content | upper if %s else message.content }}"
    thinking = CHATML.replace("{{ message.content }}", loud % "message.role == 'assistant' and not loop.last")
    changing = CHATML.replace("{{ message.content }}", loud % "loop.last")
    special = read_voice(plain_base).special
    marked = encoded(plain_base, [LONG_TALK], voice=Voice(thinking, special, (1,)))
    assert marked.unlearnt == 1
    assert learnt(plain_base, marked) == ["second<|im_end|>\n</s>"], "a template's end that is no end gets one"
    marked = encoded(plain_base, [LONG_TALK], voice=Voice(changing, special, (1,)))
    assert (marked.unlearnt, marked.silent) == (2, 1), "a prompt that changes with its answer teaches nothing"


def test_a_data_file_of_another_shape_or_with_an_empty_split_is_refused(tmp_path: Path) -> None:
    path = write_dialogues(tmp_path / "d.parquet", gifts(10), splits=["train"] * 9 + ["test"])
    with pytest.raises(BadData, match="validation split has no rows"):
        read_dialogues(path)
    path = write_dialogues(tmp_path / "d.parquet", gifts(3), splits=["train", "dev", "test"])
    with pytest.raises(BadData, match=r"only .* are known"):
        read_dialogues(path)
    path.write_bytes(b"no parquet")
    with pytest.raises(BadData, match="not readable"):
        read_dialogues(path)


def test_a_row_that_the_template_refuses_is_named_with_its_reason(plain_base: Path) -> None:
    strict = "{% if messages[0].role != 'user' %}{{ raise_exception('a user speaks first') }}{% endif %}" + CHATML
    odd = [{"role": "system", "content": "Be kind."}, *talk("a", "b")]
    with pytest.raises(BadData, match=r"Row 2: .* a user speaks first"):
        encoded(plain_base, [talk("a", "b"), odd], voice=Voice(strict, {}, (1,)))


def test_a_base_without_an_end_token_is_refused(plain_base: Path) -> None:
    with pytest.raises(BadData, match="eos_token"):
        encoded(plain_base, gifts(1), voice=Voice(None, {}, ()))
