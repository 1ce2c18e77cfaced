"""Which pieces of a text are left out, and when a search for the words that decide ends."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.occlusion import (
    FEWEST_READINGS,
    MATTERS,
    MAX_TOKENS,
    MOST_READINGS,
    ROUNDS,
    Search,
    Span,
    effects,
    most_readings,
    without,
)


def run(search: Search, weights: dict[str, float]) -> int:
    """Answer every question of a search as a model that adds up the words' weights; the rounds it took."""
    rounds = 0
    while spans := search.ask():
        rounds += 1
        search.tell([sum(weights.get(word, 0.0) for word in said(search, span).split()) for span in spans])
    return rounds


def said(search: Search, span: Span) -> str:
    return search.text[span.start : span.end]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I can't open it.", ["I", "can't", "open", "it"]),
        ("state-of-the-art, no?", ["state-of-the-art", "no"]),
        ("斑马abc 12", ["斑", "马", "abc", "12"]),
        ("  ", []),
        ("…!", []),
        ("naïve Straße", ["naïve", "Straße"]),
    ],
)
def test_a_short_text_is_read_without_each_of_what_people_take_for_words(text: str, words: list[str]) -> None:
    search = Search(text, MOST_READINGS)
    assert [said(search, span) for span in search.ask()] == words
    search.tell([0.5] * len(words))
    assert not search.ask() and search.readings == len(words)
    assert [(one.words, one.effect) for one in search.pieces] == [(1, 0.5)] * len(words) and not search.segments


def test_one_decisive_word_among_many_is_found() -> None:
    for place in (0, 77, 149):
        words = [f"w{i}" for i in range(150)]
        search = Search(" ".join(words), 15)
        assert run(search, {words[place]: 0.4}) == ROUNDS
        best = max(search.pieces, key=lambda one: one.effect)
        assert words[place] in said(search, best.span).split() and best.words <= 2
        assert search.readings <= 15
        assert [one.effect for one in search.segments] == [0.4, 0.4], "the larger one, and its part"


def test_what_speaks_against_the_label_is_looked_into_as_well() -> None:
    words = [f"w{i}" for i in range(60)]
    search = Search(" ".join(words), MOST_READINGS)
    run(search, {"w31": -0.3})
    worst = min(search.pieces, key=lambda one: one.effect)
    assert (said(search, worst.span), worst.effect) == ("w31", -0.3)


def test_where_nothing_changes_the_answer_the_search_ends_after_one_round() -> None:
    search = Search(" ".join(f"w{i}" for i in range(100)), MOST_READINGS)
    assert run(search, dict.fromkeys((f"w{i}" for i in range(100)), MATTERS / 1000)) == 1
    assert search.readings == MOST_READINGS // 2 and not search.segments


def test_words_that_cancel_each_other_stay_together_as_is_said() -> None:
    search = Search(" ".join(f"w{i}" for i in range(100)), MOST_READINGS)
    run(search, {"w0": 0.3, "w1": -0.3})
    assert search.pieces[0].words == 8 and search.pieces[0].effect == 0


@given(st.integers(0, 400), st.integers(FEWEST_READINGS, MOST_READINGS), st.integers(0, 1000))
def test_no_word_is_missed_none_is_doubled_and_the_readings_are_kept_to(words: int, most: int, seed: int) -> None:
    rng = random.Random(seed)
    weights = {f"w{i}": rng.choice([0, 0, 0, 0.2, -0.1]) for i in range(words)}
    search = Search(" ".join(weights), most)
    assert run(search, weights) <= ROUNDS
    assert search.readings <= most and 1 + search.readings <= search.most_texts(vector=False)
    assert " ".join(said(search, one.span) for one in search.pieces) == search.text
    assert sum(one.words for one in search.pieces) == words
    spans = [(one.span.start, one.span.end) for one in search.pieces]
    for one in search.segments:
        assert (one.span.start, one.span.end) not in spans and abs(one.effect) >= MATTERS


def test_a_long_text_is_read_fewer_times() -> None:
    assert most_readings("short", 512) == most_readings("", 512) == MOST_READINGS
    assert most_readings("word " * 1000, 512) == FEWEST_READINGS
    assert most_readings("word " * 1000, 128) == MAX_TOKENS // 128
    assert most_readings("x" * 20_000, 8192) == FEWEST_READINGS
    assert Search("a b c", MOST_READINGS).most_texts(vector=True) == 5
    assert Search("a " * 100, MOST_READINGS).most_texts(vector=False) == 1 + MOST_READINGS


def test_a_text_without_a_word_has_no_double_space() -> None:
    assert without("a b c", Span(2, 3)) == "a c"
    assert without("a b c", Span(0, 1)) == "b c"
    assert without("a b c", Span(4, 5)) == "a b "
    assert without("ab", Span(0, 2)) == ""
    assert without("(b) c", Span(1, 2)) == "() c"
    assert effects(0.75, [0.5, 1.0]) == [0.25, -0.25]
