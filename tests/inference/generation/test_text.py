"""Tokens to text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inference.generation.text import TextStream


@given(st.text(max_size=40), st.lists(st.integers(1, 4), min_size=1, max_size=8))
def test_any_cut_of_a_text_into_tokens_gives_the_text_and_only_whole_characters(text: str, sizes: list[int]) -> None:
    raw, stream, shown, at = text.encode(errors="replace"), TextStream([]), [], 0
    while at < len(raw):
        size = sizes[at % len(sizes)]
        shown.append(stream.add(raw[at : at + size]))
        at += size
    assert "�" not in "".join(shown) or "�" in text
    assert "".join(shown) + stream.end() == raw.decode()


@given(st.text("ab", max_size=30), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3), st.integers(1, 3))
def test_a_stop_cuts_the_text_before_it_and_nothing_of_it_is_ever_shown(text: str, stops: list[str], size: int) -> None:
    stream, shown = TextStream(stops), ""
    for at in range(0, len(text), size):
        shown += stream.add(text[at : at + size].encode())
        if stream.stopped:
            break
    shown += stream.end()
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    assert stream.stopped == bool(places)
    if not places:
        assert shown == text
    else:
        assert text.startswith(shown) and not any(stop in shown for stop in stops)
        assert len(shown) <= max(places)


def test_an_unfinished_character_at_the_end_is_said_to_be_one() -> None:
    stream = TextStream([])
    assert stream.add("€".encode()[:2]) == ""
    assert stream.end() == "�"
