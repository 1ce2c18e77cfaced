"""The whole way of written text: the official client, the gateway, the engine and a small Llama that writes stories."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
from django.conf import settings

from registry.bases import Base
from tests.conftest import Person
from tests.gateway.conftest import ROOT
from tests.gateway.real_engine import until_ready
from tests.gateway.writing_engine import Door, door, on_plan

pytestmark = [pytest.mark.slow, pytest.mark.realdata]

NAME = "stories260k"
TOOLLESS = "stories260k-plain"
"""The same weights with a chat template that writes no tools down."""
CONTEXT = 256
LOOK: Any = {
    "type": "function",
    "function": {
        "name": "look",
        "parameters": {
            "type": "object", "properties": {"deep": {"type": "boolean"}}, "required": ["deep"],
            "additionalProperties": False,
        },
    },
}  # fmt: skip


def weights() -> Path:
    """The base of a development checkout; the test is skipped without it."""
    roots = [Path(os.environ["TUNESMITH_DATA_DIR"])] if os.environ.get("TUNESMITH_DATA_DIR") else []
    for root in [*roots, *(parent / "shared" / "data" for parent in ROOT.parents)]:
        if (folder := root / "stories" / "hf_stories260K").is_dir():
            return folder
    pytest.skip("stories260K is not in this checkout (set TUNESMITH_DATA_DIR)")


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory, django_db_setup: None) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("stories")
    catalogue = folder / "bases.json"
    plain = folder / "plain"
    plain.mkdir()
    for file in weights().iterdir():
        (plain / file.name).symlink_to(file)
    (plain / "chat_template.jinja").write_text(
        "{% for one in messages %}{{ one.role + ': ' + one.content }}{% endfor %}"
    )
    folders = {NAME: str(weights()), TOOLLESS: str(plain)}
    entries = {name: {"folder": place, "max_length": CONTEXT} for name, place in folders.items()}
    catalogue.write_text(json.dumps({"bases": entries}))
    address = f"unix://{folder}/engine.sock"
    command = [sys.executable, "-m", "inference", "--listen", address, "--catalogue", str(catalogue)]
    environment = os.environ | {"TUNESMITH_ENGINE_TOKEN": settings.ENGINE_TOKEN, "PYTHONPATH": str(ROOT)}
    engine = subprocess.Popen([*command, "--precision", "fp32", "--threads", "1"], env=environment, cwd=ROOT)

    try:
        until_ready(engine, address, seconds=120)
        base = Base(NAME, weights(), CONTEXT, {"model.safetensors": "0" * 64}, tasks=("text-generation",))
        with door(address, replace(base, name=TOOLLESS)), door(address, base) as made:
            yield made
    finally:
        engine.send_signal(signal.SIGTERM)
        engine.wait(30)


@pytest.fixture(scope="module")
def ada(stories: Door) -> Person:
    return on_plan("ada")


def test_a_story_is_the_same_whole_and_streamed_and_metered_to_the_token(stories: Door, ada: Person) -> None:
    client = stories.client(ada)
    asked = {"model": NAME, "prompt": "Once upon a time", "max_tokens": 60, "temperature": 0}
    whole = client.completions.create(**asked, logprobs=2)
    assert whole.usage is not None and whole.usage.completion_tokens == 60
    assert (whole.choices[0].finish_reason, whole.choices[0].text[:1]) == ("length", ",")
    logprobs = whole.choices[0].logprobs
    assert logprobs is not None and logprobs.tokens is not None
    assert "".join(logprobs.tokens) == whole.choices[0].text
    stream = client.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text
    assert chunks[-1].usage is not None
    event = stories.events(ada)[-1]
    assert event.output_tokens == chunks[-1].usage.completion_tokens == 60
    assert event.input_tokens == whole.usage.prompt_tokens


def test_several_prompts_and_a_chat_are_written_side_by_side(stories: Door, ada: Person) -> None:
    client = stories.client(ada)
    several = client.completions.create(
        model=NAME, prompt=["Tom had a dog", "Lily saw a cat"], n=2, max_tokens=20, seed=1, stop=["."]
    )
    assert len(several.choices) == 4
    assert all("." not in choice.text for choice in several.choices)
    assert any(choice.text for choice in several.choices)
    chat = client.chat.completions.create(
        model=NAME, messages=[{"role": "user", "content": "Tell a story."}], max_tokens=30, n=2, temperature=0.5
    )
    assert [choice.message.role for choice in chat.choices] == ["assistant"] * 2
    assert chat.usage is not None and 0 < chat.usage.completion_tokens <= 60


def test_the_form_of_the_output_is_held(stories: Door, ada: Person) -> None:
    client = stories.client(ada)
    for _ in range(2):
        answer = client.completions.create(
            model=NAME, prompt="Yes or no?", max_tokens=20, extra_body={"x_regex": "(yes|no)"}
        )
        assert answer.choices[0].text in ("yes", "no")
    called = client.chat.completions.create(
        model=NAME, messages=[{"role": "user", "content": "Look."}], tools=[LOOK], tool_choice="required",
        max_tokens=60,
    )  # fmt: skip
    assert called.choices[0].finish_reason == "tool_calls"
    (call,) = called.choices[0].message.tool_calls or ()
    assert call.function.name == "look"
    assert json.loads(call.function.arguments) in ({"deep": True}, {"deep": False})
    with pytest.raises(openai.BadRequestError, match="regular expression cannot be used") as refused:
        client.completions.create(model=NAME, prompt="x", extra_body={"x_regex": "("}, stream=True)
    assert refused.value.param == "x_regex"
    with pytest.raises(openai.BadRequestError, match="Nothing can be written") as refused:
        client.chat.completions.create(
            model=NAME, messages=[{"role": "user", "content": "x"}],
            response_format={"type": "json_schema", "json_schema": {"name": "loop", "schema": {"$ref": "#"}}},
        )  # fmt: skip
    assert refused.value.param == "response_format"


def test_tools_are_refused_where_the_chat_template_would_drop_them(stories: Door, ada: Person) -> None:
    client, before = stories.client(ada), len(stories.events(ada))
    asked: Any = {"messages": [{"role": "user", "content": "Look."}], "max_tokens": 40}
    for choice in ("auto", "required", {"type": "function", "function": {"name": "look"}}):
        with pytest.raises(openai.BadRequestError, match="template has no tools") as refused:
            client.chat.completions.create(model=TOOLLESS, tools=[LOOK], tool_choice=choice, **asked)
        assert (refused.value.param, refused.value.code) == ("tools", "unsupported_parameter")
    assert len(stories.events(ada)) == before, "what is refused costs nothing"
    without = client.chat.completions.create(model=TOOLLESS, **asked)
    kept_back = client.chat.completions.create(model=TOOLLESS, tools=[LOOK], tool_choice="none", **asked)
    assert without.usage and kept_back.usage and without.usage.prompt_tokens == kept_back.usage.prompt_tokens
    written = [client.chat.completions.create(model=NAME, **asked, **more).usage for more in ({}, {"tools": [LOOK]})]
    assert written[0] and written[1] and written[0].prompt_tokens < written[1].prompt_tokens


def test_limits_of_the_model_are_told(stories: Door, ada: Person) -> None:
    client = stories.client(ada)
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model=NAME, prompt="a story " * 300)
    assert refused.value.code == "context_length_exceeded"
    assert re.search(r"your prompt has [\d,]+ tokens", refused.value.message)
    with pytest.raises(openai.BadRequestError, match="bias") as refused:
        client.completions.create(model=NAME, prompt="x", logit_bias={"5000": 1})
    assert refused.value.param == "logit_bias"
    full = client.completions.create(model=NAME, prompt="Once upon a time", max_tokens=100_000, temperature=0)
    assert full.usage is not None and full.usage.total_tokens <= CONTEXT
