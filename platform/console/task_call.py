"""The first call of a deployed model in code, whatever it was trained for."""

import json
import shlex
from typing import Any

from console.code import Sample, first_call, samples
from inference.tasks import ANSWERS, CLASSIFICATION, EMBEDDINGS, MULTI_LABEL, RERANK, TEXT_GENERATION, TOKENS

TEXT = "where is my refund"
INPUTS: dict[str, Any] = {
    TOKENS: "Angela Merkel met Emmanuel Macron in Paris.",
    ANSWERS: {"question": "Where did they meet?", "context": "Angela Merkel met Emmanuel Macron in Paris."},
    RERANK: {"query": TEXT, "document": "Refunds are paid within five days after the parcel has come back."},
    MULTI_LABEL: "I will find you",
}
"""Something to read, by task."""


def task_call(
    base_url: str, *, model: str, task: str, value: Any = None, more: dict[str, Any] | None = None
) -> list[Sample]:
    """A call of a model of this task in three languages; `value` is what it reads, an example without one, and `more`
    are further fields of the body."""
    if task in (CLASSIFICATION, TEXT_GENERATION):
        return first_call(base_url, model=model, text=value or TEXT, writes=task == TEXT_GENERATION)
    path = "/embeddings" if task == EMBEDDINGS else "/predict"
    body = {"model": model, "input": INPUTS.get(task, TEXT) if value is None else value} | (more or {})
    whole = json.dumps(body, ensure_ascii=False)
    return samples(
        f"""
curl {base_url}/v1{path} \\
  -H "Authorization: Bearer $TUNESMITH_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d {shlex.quote(whole)}
""",
        f"""
import os
from openai import OpenAI

client = OpenAI(base_url="{base_url}/v1", api_key=os.environ["TUNESMITH_API_KEY"])
answer = client.post("{path}", body={whole}, cast_to=object)
print(answer["data"][0])
""",
        f"""
const answer = await fetch("{base_url}/v1{path}", {{
  method: "POST",
  headers: {{
    Authorization: `Bearer ${{process.env.TUNESMITH_API_KEY}}`,
    "Content-Type": "application/json",
  }},
  body: JSON.stringify({whole}),
}});
console.log((await answer.json()).data[0]);
""",
    )
