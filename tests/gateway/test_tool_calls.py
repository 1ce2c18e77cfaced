"""Calls of tools in what a model writes: read the same however the text is cut into pieces."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.writing.tools import Called, Reader

TOOLS = [{"type": "function", "function": {"name": name}} for name in ("look", "buy")]
LOOK = '{"name": "look", "arguments": {"city": "Rome"}}'
CALL = Called("look", '{"city": "Rome"}')
EXAMPLES = [
    ("Hello.", "Hello.", []),
    ("", "", []),
    ("  spaced", "  spaced", []),
    ("a < b <tool", "a < b <tool", []),
    (LOOK, "", [CALL]),
    ('\n{"name":"buy","parameters":{}}\n', "", [Called("buy", "{}")]),
    ('{"name": "look", "arguments": "{}"}', "", [Called("look", "{}")]),
    ('{"name": "sell", "arguments": {}}', '{"name": "sell", "arguments": {}}', []),
    ('{"name": "look", "arguments": 5}', '{"name": "look", "arguments": 5}', []),
    ('{"name": ["look"]}', '{"name": ["look"]}', []),
    (f"{LOOK} and more", f"{LOOK} and more", []),
    ('{"colour": "red"}', '{"colour": "red"}', []),
    (f"<tool_call>{LOOK}</tool_call>", "", [CALL]),
    (f"\n<tool_call>\n{LOOK}\n</tool_call>\n<tool_call>{LOOK}</tool_call>\n", "", [CALL, CALL]),
    (f"I look.\n<tool_call>{LOOK}</tool_call>", "I look.\n", [CALL]),
    (f"<tool_call>{LOOK}</tool_call> Done.", " Done.", [CALL]),
    (f"<tool_call>{LOOK}", "", [CALL]),
    ("<tool_call>{broken</tool_call>", "<tool_call>{broken</tool_call>", []),
    ('<tool_call>{"name": "sell"}</tool_call>x', '<tool_call>{"name": "sell"}</tool_call>x', []),
]


def read(pieces: list[str], reader: Reader) -> tuple[str, list[Called]]:
    text, calls = "", []
    for piece in pieces:
        more, called = reader.feed(piece)
        text, calls = text + more, calls + called
    more, called = reader.end()
    assert calls + called == reader.calls
    return text + more, calls + called


@pytest.mark.parametrize(("written", "text", "calls"), EXAMPLES)
def test_a_call_is_told_from_text(written: str, text: str, calls: list[Called]) -> None:
    assert read([written], Reader(TOOLS)) == (text, calls)
    assert read(list(written), Reader(TOOLS)) == (text, calls)


@given(example=st.sampled_from(EXAMPLES), cuts=st.lists(st.integers(0, 80), max_size=6))
def test_pieces_may_be_cut_anywhere(example: tuple[str, str, list[Called]], cuts: list[int]) -> None:
    written, text, calls = example
    edges = [0, *sorted(min(cut, len(written)) for cut in cuts), len(written)]
    pieces = [written[a:b] for a, b in itertools.pairwise(edges)]
    assert read(pieces, Reader(TOOLS)) == (text, calls)


def test_text_that_cannot_be_a_call_is_not_held_back() -> None:
    reader = Reader(TOOLS)
    assert reader.feed("Hel") == ("Hel", [])
    assert reader.feed("lo <") == ("lo ", [])
    assert reader.feed("b>") == ("<b>", [])
    plain = Reader(None)
    assert plain.feed(LOOK) == (LOOK, [])
    assert json.loads(plain.end()[0] or "null") is None


def test_only_the_first_call_is_kept_where_one_is_wanted() -> None:
    written = f"<tool_call>{LOOK}</tool_call>" * 3
    assert read([written], Reader(TOOLS, several=False)) == ("", [CALL])
