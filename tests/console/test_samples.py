"""Words and code that pages make of values: a copied call sends exactly the text, a range says its unit once."""

import ast
import json
import shlex

import pytest

from console.code import first_call
from console.templatetags.look import durations, model_short

TEXTS = [
    "where is my refund",
    "I'm charged twice",
    'say "no" to $HOME `id` \\n',
    "Größe und 中文",
    "it's {braces}; rm -rf",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_copied_call_sends_the_very_text(text: str) -> None:
    curl, python, node = first_call("http://localhost:8000", model="ft:base:org:it's", text=text)
    sent = json.loads(shlex.split(curl.text.replace("\\\n", " "))[-1])
    assert sent == {"model": "ft:base:org:it's", "input": text}
    words = [n.value for n in ast.walk(ast.parse(python.text)) if isinstance(n, ast.Constant)]
    assert text in words and "ft:base:org:it's" in words
    assert f"input: {json.dumps(text, ensure_ascii=False)}" in node.text


@pytest.mark.parametrize("text", TEXTS)
def test_a_model_that_writes_is_called_with_messages(text: str) -> None:
    curl, python, node = first_call("http://localhost:8000", model="ft:base:org:it's", text=text, writes=True)
    messages = [{"role": "user", "content": text}]
    words = shlex.split(curl.text.replace("\\\n", " "))
    assert words[1] == "http://localhost:8000/v1/chat/completions"
    assert json.loads(words[-1]) == {"model": "ft:base:org:it's", "messages": messages}
    call = next(n for n in ast.walk(ast.parse(python.text)) if isinstance(n, ast.Call) and len(n.keywords) == 2
                and n.keywords[1].arg == "messages")  # fmt: skip
    assert ast.unparse(call.func) == "client.chat.completions.create"
    assert [ast.literal_eval(word.value) for word in call.keywords] == ["ft:base:org:it's", messages]
    assert "/v1/chat/completions" in node.text and f"messages: {json.dumps(messages, ensure_ascii=False)}" in node.text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(63, 212, "1–4 min"), (50, 130, "50 s–2 min"), (70, 75, "1 min"), (3600, 7800, "1 h–2 h 10 min")],
)
def test_a_range_of_time_says_its_unit_once(low: int, high: int, text: str) -> None:
    assert durations(low, high).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("ft:all-MiniLM-L6-v2:acme:support:01k9", "support:01k9"),
        ("ft:all-MiniLM-L6-v2:acme::01k9", "all-MiniLM-L6-v2:01k9"),
        ("support@prod", "support@prod"),
        ("x" * 90, "x" * 47 + "…"),
        ("", ""),
    ],
)
def test_narrow_cells_show_the_part_of_a_name_that_tells_models_apart(name: str, shown: str) -> None:
    assert model_short(name) == shown
