"""Code to copy: whatever text is tried, the copied call sends exactly it."""

import ast
import json
import shlex

import pytest

from console.showcase import first_call

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
