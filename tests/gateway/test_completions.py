"""Completions through the official client: prompts continued as they stand."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Person
from tests.gateway.writing_engine import WRITER, Wired, on_plan

pytestmark = pytest.mark.slow  # starts a server


@pytest.fixture(scope="module")
def ada(writing: Wired) -> Person:
    return on_plan("ada")


def test_prompts_are_continued_in_their_order(writing: Wired, ada: Person) -> None:
    first, second = writing.word(), writing.word()
    writing.engine.plan(first, "a", "b")
    writing.engine.plan(second, "c")
    answered = writing.client(ada).completions.with_raw_response.create(
        model=WRITER, prompt=[first, second], n=2, echo=True
    )
    answer = answered.parse()
    assert answer.object == "text_completion"
    assert [(one.index, one.text, one.finish_reason) for one in answer.choices] == [
        (0, f"{first}ab", "stop"), (1, f"{first}ab", "stop"), (2, f"{second}c", "stop"), (3, f"{second}c", "stop"),
    ]  # fmt: skip
    (event,) = [one for one in writing.events(ada) if one.request_id == answered.headers["x-request-id"]]
    assert (event.kind, event.output_tokens) == ("completions", 6)
    assert event.input_tokens == len(first) + len(second)


def test_logprobs_have_their_places(writing: Wired, ada: Person) -> None:
    word = writing.word()
    writing.engine.plan(word, "ab", "c")
    answer = writing.client(ada).completions.create(model=WRITER, prompt=word, logprobs=1)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert (logprobs.tokens, logprobs.text_offset) == (["ab", "c"], [0, 2])
    assert logprobs.token_logprobs == [-9999.0, -0.5]
    assert logprobs.top_logprobs == [{"ab": -9999.0}, {"c": -0.5}]


def test_a_stream_of_several_prompts_ends_each(writing: Wired, ada: Person) -> None:
    words = [writing.word() for _ in range(3)]
    for number, word in enumerate(words):
        writing.engine.plan(word, *(f"{number}" * 40))
    stream = writing.client(ada).completions.create(
        model=WRITER, prompt=words, stream=True, stream_options={"include_usage": True}
    )
    texts, finished, usage = dict.fromkeys(range(3), ""), [], None
    for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            finished += [choice.index] if choice.finish_reason else []
        usage = chunk.usage or usage
    assert texts == {number: f"{number}" * 40 for number in range(3)}
    assert sorted(finished) == [0, 1, 2]
    assert usage is not None and usage.completion_tokens == 120


UNSUPPORTED = ("token numbers", "suffix", "'n'")


@pytest.mark.parametrize(
    ("changes", "param", "words"),
    [
        ({"prompt": ""}, "prompt", "empty"),
        ({"prompt": []}, "prompt", "a list of texts"),
        ({"prompt": None}, "prompt", "a list of texts"),
        ({"prompt": ["a", ""]}, "prompt[1]", "empty"),
        ({"prompt": [1, 2]}, "prompt", "token numbers"),
        ({"prompt": [[1], [2]]}, "prompt", "token numbers"),
        ({"prompt": ["a", None]}, "prompt[1]", "a text"),
        ({"prompt": ["a"] * 100_000}, "prompt", "64 texts"),
        ({"prompt": ["a"] * 10, "n": 10}, "n", "64 texts"),
        ({"prompt": "x" * 5000}, "prompt", "5,000 tokens"),
        ({"suffix": "x"}, "suffix", "suffix"),
        ({"best_of": 3}, "best_of", "'n'"),
        ({"echo": True, "logprobs": 1}, "echo", "logprobs"),
        ({"logprobs": 21}, "logprobs", "20"),
        ({"logprobs": True}, "logprobs", "a whole number"),
        ({"messages": []}, "messages", "Unknown field"),
        ({"logit_bias": {"999": 1}}, None, "no token 999"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(
    writing: Wired, ada: Person, changes: dict[str, Any], param: str | None, words: str
) -> None:
    answer = writing.post("/v1/completions", {"model": WRITER, "prompt": "hi"} | changes, ada.key)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == param
    assert words in error["message"]
    codes = {"5,000 tokens": "context_length_exceeded", **dict.fromkeys(UNSUPPORTED, "unsupported_parameter")}
    assert error["code"] == codes.get(words)
