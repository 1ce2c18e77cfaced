"""Every line is checked, whatever stands in it, and memory holds one of them."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from batches import lines
from batches.credential import Caller
from batches.lines import Checker, Line, Problem, parse, split
from batches.services.results import answered
from batches.services.turns import Turn
from kit.ids import new_id

URL = "/v1/classify"
GOOD = {"custom_id": "a", "method": "POST", "url": URL, "body": {"model": "m", "input": "hello"}}


def checked(*raw: bytes) -> Checker:
    checker = Checker(URL)
    for number, line in split(raw):
        checker.take(number, line)
        if checker.full:
            break
    checker.finish()
    return checker


def file_of(*values: Any) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


BREAKS: list[tuple[dict[str, Any], str]] = [
    ({"custom_id": 7}, "invalid_custom_id"),
    ({"custom_id": " "}, "invalid_custom_id"),
    ({"custom_id": "x" * 257}, "invalid_custom_id"),
    ({"method": "GET"}, "invalid_method"),
    ({"method": None}, "invalid_method"),
    ({"url": "/v1/embeddings"}, "invalid_url"),
    ({"body": "text"}, "invalid_request"),
    ({"body": {"input": "hello"}}, "missing_required_parameter"),
    ({"body": {"model": "m", "stream": True}}, "unsupported_parameter"),
    ({"body": {"model": "another"}}, "mismatched_model"),
    ({"extra": 1}, "unknown_parameter"),
]


@given(st.lists(st.one_of(st.none(), st.sampled_from(BREAKS)), min_size=1, max_size=40))
def test_each_broken_line_is_named_with_its_number_and_no_other_is(
    plan: list[tuple[dict[str, Any], str] | None],
) -> None:
    values = [GOOD | {"custom_id": "first"}]
    expected = []
    for number, broken in enumerate(plan, 2):
        change, code = broken or ({}, "")
        values.append(GOOD | {"custom_id": f"id-{number}"} | change)
        if code:
            expected.append((number, code))
    found = checked(file_of(*values))
    assert [(one.line, one.code) for one in found.problems] == expected
    assert found.total == len(values) and found.model == "m"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(st.one_of(st.binary(max_size=80), JSON.map(lambda value: json.dumps(value).encode())), max_size=20))
def test_nothing_that_can_stand_in_a_file_breaks_the_check(raw: list[bytes]) -> None:
    found = checked(b"\n".join(raw))
    assert all(one.code and one.message for one in found.problems)
    named = {one.line for one in found.problems}
    for number, line in split([b"\n".join(raw)]):
        if number not in named and line is not None and found.total:
            assert parse(number, line).custom_id, "what is not named can be asked"


@given(st.binary(max_size=400), st.lists(st.integers(1, 50), min_size=1, max_size=30))
def test_lines_are_the_same_however_the_bytes_arrive(content: bytes, sizes: list[int]) -> None:
    def pieces() -> Iterator[bytes]:
        at, turn = 0, 0
        while at < len(content):
            size = sizes[turn % len(sizes)]
            yield content[at : at + size]
            at, turn = at + size, turn + 1

    wanted = [(number, line.strip()) for number, line in enumerate(content.split(b"\n"), 1) if line.strip()]
    assert list(split(pieces())) == wanted


def test_line_numbers_count_blank_lines_and_an_empty_file_is_named() -> None:
    found = checked(b"\n\n" + file_of(GOOD) + b"\r\n" + file_of(GOOD))
    assert [(one.line, one.code) for one in found.problems] == [(5, "duplicate_custom_id")]
    assert checked(b" \n\n").problems == [Problem("empty_file", "The file has no lines. Send at least one call.")]


def test_a_line_over_the_size_of_a_call_is_named_and_not_held() -> None:
    huge = json.dumps(GOOD | {"custom_id": "b", "body": {"model": "m", "input": "x" * lines.LINE_BYTES}}).encode()
    found = checked(file_of(GOOD), huge, b"\n", file_of(GOOD | {"custom_id": "c"}))
    assert [(one.line, one.code) for one in found.problems] == [(2, "line_too_long")]
    assert found.total == 3


def test_fifty_thousand_lines_and_no_more_within_little_memory() -> None:
    def content(count: int) -> Iterator[bytes]:
        body = {"model": "m", "input": "x" * 3_900}
        for start in range(0, count, 100):
            yield file_of(
                *(GOOD | {"custom_id": f"id-{i}", "body": body} for i in range(start, min(start + 100, count)))
            )

    tracemalloc.start()
    found = Checker(URL)
    for number, line in split(content(lines.MAX_LINES)):
        found.take(number, line)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not found.problems and found.total == 50_000
    assert peak < 32 << 20, f"{peak >> 20} MiB for a file of 200 MB"
    found.take(lines.MAX_LINES + 1, file_of(GOOD | {"custom_id": "one more"}).strip())
    assert found.full and found.problems[0].code == "too_many_tasks"


def test_problems_without_end_are_bounded() -> None:
    wide = json.dumps(GOOD | {f"field-{i}": i for i in range(10_000)}).encode()
    assert len(checked(wide).problems) == lines.UNKNOWN_SHOWN
    found = Checker(URL)
    for number in range(1, lines.MAX_LINES + 1):
        found.take(number, b'{"a": 1, "b": 1, "c": 1}')
        if found.full:
            break
    assert found.full and len(found.problems) < lines.MOST_PROBLEMS + 20


def test_what_the_engine_had_in_its_cache_is_read_from_an_answer() -> None:
    turn = Turn(new_id(), new_id(), new_id(), 1, Caller(new_id(), new_id(), None, None), "/v1/chat/completions", "")
    usage = {"prompt_tokens": 50, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 32}}
    found = answered(turn, Line(1, "a", {}), 200, json.dumps({"usage": usage}).encode(), "0.000000010")
    assert (found.input_tokens, found.cached_tokens, found.output_tokens, found.cost_nano) == (50, 32, 2, 10)
    plain = answered(turn, Line(1, "a", {}), 200, b'{"usage": {"input_tokens": 7}}', "")
    assert (plain.input_tokens, plain.cached_tokens) == (7, 0)
