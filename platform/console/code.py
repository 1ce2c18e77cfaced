"""Code samples: highlighting in classes (never inline styles), and the three languages every sample comes in."""

import json
import shlex
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.utils.safestring import SafeString, mark_safe
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

_FORMATTER = HtmlFormatter(nowrap=True)


@dataclass(frozen=True, slots=True)
class Sample:
    """One language's version of a call."""

    lang: str
    label: str
    text: str

    @property
    def html(self) -> SafeString:
        """Highlighted text."""
        return highlighted(self.text, self.lang)


@lru_cache(maxsize=512)
def highlighted(text: str, lang: str) -> SafeString:
    """HTML spans for a piece of code; an unknown language stays plain. Pygments escapes the text itself."""
    try:
        lexer = get_lexer_by_name(lang, stripnl=False)
    except ClassNotFound:
        lexer = get_lexer_by_name("text", stripnl=False)
    return mark_safe(highlight(text, lexer, _FORMATTER).rstrip("\n"))


def samples(curl: str, python: str, node: str) -> list[Sample]:
    """The three, in the order of the look."""
    return [
        Sample("bash", "curl", curl.strip()),
        Sample("python", "Python", python.strip()),
        Sample("javascript", "Node", node.strip()),
    ]


def first_call(
    base_url: str,
    *,
    model: str = "refunds-v3",
    text: str = "where is my refund",
    writes: bool = False,
    more: dict[str, Any] | None = None,
) -> list[Sample]:
    """One classification in three languages, against this server, or one answer of a model that writes; any text stays
    one literal of its language. `more` are our own fields of a classification's body."""
    if writes:
        return _first_answer(base_url, model, text)
    body = {"model": model, "input": text} | (more or {})
    extra = f"\n    extra_body={_json(more)}," if more else ""
    return samples(
        _curl(f"{base_url}/v1/classify", body),
        f"""
import os
from openai import OpenAI

client = OpenAI(base_url="{base_url}/v1", api_key=os.environ["TUNESMITH_API_KEY"])
decision = client.decisions.create(
    model={_json(model)},
    input={_json(text)},
    questions=[{{"type": "choice", "instructions": "Which label?"}}],{extra}
)
print(decision.answers[0].choice, decision.answers[0].confidence)
""",
        _fetch(f"{base_url}/v1/classify", body, "await answer.json()"),
    )


def _first_answer(base_url: str, model: str, text: str) -> list[Sample]:
    return chat_call(base_url, {"model": model, "messages": [{"role": "user", "content": text}]})


def chat_call(base_url: str, body: dict[str, Any]) -> list[Sample]:
    """One answer of a model that writes; `body` holds texts, numbers and lists of them."""
    arguments = "".join(f"    {name}={_json(value)},\n" for name, value in body.items())
    return samples(
        _curl(f"{base_url}/v1/chat/completions", body),
        f"""
import os
from openai import OpenAI

client = OpenAI(base_url="{base_url}/v1", api_key=os.environ["TUNESMITH_API_KEY"])
answer = client.chat.completions.create(
{arguments})
print(answer.choices[0].message.content)
""",
        _fetch(f"{base_url}/v1/chat/completions", body, "(await answer.json()).choices[0].message.content"),
    )


def embedding_call(base_url: str, *, model: str, texts: list[str]) -> list[Sample]:
    """Vectors of two texts, and the cosine between them."""
    body = {"model": model, "input": texts}
    return samples(
        _curl(f"{base_url}/v1/embeddings", body),
        f"""
import os
from openai import OpenAI

client = OpenAI(base_url="{base_url}/v1", api_key=os.environ["TUNESMITH_API_KEY"])
answer = client.embeddings.create(
    model={_json(model)},
    input={_json(texts)},
)
first, second = (row.embedding for row in answer.data)
print(sum(a * b for a, b in zip(first, second)))
""",
        _fetch(f"{base_url}/v1/embeddings", body | {"encoding_format": "float"}, "await answer.json()"),
    )


def _curl(url: str, body: dict[str, Any]) -> str:
    return f"""
curl {url} \\
  -H "Authorization: Bearer $TUNESMITH_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d {shlex.quote(_json(body))}
"""


def _fetch(url: str, body: dict[str, Any], shown: str) -> str:
    fields = ", ".join(f"{name}: {_json(value)}" for name, value in body.items())
    return f"""
const answer = await fetch("{url}", {{
  method: "POST",
  headers: {{
    Authorization: `Bearer ${{process.env.TUNESMITH_API_KEY}}`,
    "Content-Type": "application/json",
  }},
  body: JSON.stringify({{ {fields} }}),
}});
console.log({shown});
"""


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def receiver(base_url: str) -> str:
    """What takes webhooks, in Python: check the signature, then ask for the object the event is about."""
    return f'''
import os
from openai import InvalidWebhookSignatureError, OpenAI

client = OpenAI(
    base_url="{base_url}/v1",
    api_key=os.environ["TUNESMITH_API_KEY"],
    webhook_secret=os.environ["TUNESMITH_WEBHOOK_SECRET"],
)


def receive(body, headers):
    """Call this with the raw body and the headers of each POST, and answer with the status it returns."""
    try:
        event = client.webhooks.unwrap(body, headers)
    except InvalidWebhookSignatureError:
        return 400
    if event.type == "fine_tuning.job.succeeded":
        job = client.fine_tuning.jobs.retrieve(event.data.id)
        print(job.fine_tuned_model, "is ready")
    return 204
'''.strip()
