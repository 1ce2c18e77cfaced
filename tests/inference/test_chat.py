"""A conversation becomes the same text for training, serving and counting."""

import json
from pathlib import Path
from typing import Any

import pytest

from inference.chat import PLAIN, read_voice, render
from inference.errors import BadArtefact, BadRequest

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": "<there>"}]},
    {"role": "assistant", "content": "Hi!", "weight": 0},
    {"role": "user", "content": "Weather?"},
]


def said(messages: list[dict[str, Any]], template: str | None = None, **more: Any) -> str:
    return render(messages, **{"template": template, "add_generation_prompt": False, "special": SPECIAL} | more)


def test_without_a_template_every_message_stands_under_its_role_and_answers_are_closed() -> None:
    text = said(TALK, add_generation_prompt=True)
    assert text == ("<s>System:\nBe kind.\nUser:\nHello\n<there>\nAssistant:\nHi!</s>\nUser:\nWeather?\nAssistant:\n")
    assert text.startswith(said(TALK[:2], add_generation_prompt=True)), "a longer talk begins as the shorter one"
    assert said(TALK, PLAIN) == said(TALK), "what is written down is what is used"


def test_tool_calls_are_given_to_templates_with_their_arguments_as_objects() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bern"}'}}
    answer = {"role": "assistant", "content": None, "tool_calls": [call]}
    template = (
        "{% for m in messages %}{% for c in m.tool_calls %}{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}"
    )
    assert said([answer], template) == '{"city": "Bern"}'
    assert call["function"]["arguments"] == '{"city": "Bern"}', "the caller's messages stay as they are"
    tools = [{"type": "function", "function": {"name": "weather"}}]
    assert '"name": "weather"' in said([answer], tools=tools).splitlines()[1]


def test_a_template_that_refuses_says_why_and_one_that_reaches_out_gets_nowhere() -> None:
    with pytest.raises(BadRequest, match="roles must alternate"):
        said(TALK, "{{ raise_exception('roles must alternate') }}")
    for evil in ("{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}", "{{ cycler.__init__.__globals__ }}"):
        with pytest.raises(BadRequest, match="chat template refuses"):
            said(TALK, evil)


@pytest.mark.parametrize(
    ("template", "reads"),
    [
        (None, True),
        ("{% if tools %}{{ tools | tojson }}{% endif %}", True),
        ("{% if not tools is defined %}{% set tools = none %}{% endif %}{{ messages[0].content }}", True),
        ("{% for one in messages %}{{ one.content }}{% endfor %}", False),
        ("{# tools #}{{ 'tools' }}", False),
        ("{% macro told(tools) %}{{ tools }}{% endmacro %}{{ told(messages) }}", False),
        ("{% generation %}{{ tools }}{% endgeneration %}", True),
        ("{% for", True),  # refused in its own words where it is rendered
    ],
)
def test_whether_a_template_writes_tools_down_is_known_from_its_folder(
    tmp_path: Path, template: str | None, reads: bool
) -> None:
    (tmp_path / "config.json").write_text('{"eos_token_id": 2}')
    if template is not None:
        (tmp_path / "chat_template.jinja").write_text(template)
    assert read_voice(tmp_path).tools is reads


def test_what_a_base_says_of_its_template_and_special_tokens_is_read_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"eos_token_id": 2}')
    assert (read_voice(tmp_path).template, read_voice(tmp_path).ends) == (None, (2,))
    words = {"eos_token": {"content": "</s>", "special": True}, "bos_token": "<s>", "pad_token": None}
    words["chat_template"] = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]  # type: ignore[assignment]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(words))
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [1, 2]}')
    voice = read_voice(tmp_path)
    assert (voice.template, voice.ends, voice.special) == ("D", (1, 2), SPECIAL)
    (tmp_path / "chat_template.jinja").write_text("own")
    assert read_voice(tmp_path).template == "own"
    (tmp_path / "chat_template.jinja").unlink()
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    (tmp_path / "tokenizer.json").write_text('{"added_tokens": [{"id": 1, "content": "<s>"}]}')
    assert read_voice(tmp_path).special == {"eos_token": "<s>"}, "answers are closed with the end that is named first"
    (tmp_path / "generation_config.json").write_text("[")
    with pytest.raises(BadArtefact, match=r"generation_config\.json cannot be read"):
        read_voice(tmp_path)
