"""Calls of the API reference as code in three languages."""

import json
import shlex
from dataclasses import dataclass
from typing import Any

from console.code import Sample, samples

FILE = "support_intents.csv"


@dataclass(frozen=True, slots=True)
class Call:
    """One call: `body` is JSON, or the fields of a form whose binary one is a file; `json` says what comes back, and
    `streams` that it comes bit by bit."""

    url: str
    method: str
    body: Any
    form: bool
    json: bool
    streams: bool = False

    @property
    def sends(self) -> bool:
        """Whether there is a body to send."""
        return self.body is not None and self.method != "get"

    @property
    def fields(self) -> dict[str, str]:
        """The plain fields of the form."""
        return {name: str(value) for name, value in self.body.items() if name not in ("file", "data")}

    @property
    def file(self) -> str:
        """The form's field that holds the bytes."""
        return next(name for name in self.body if name in ("file", "data"))


def call_samples(call: Call) -> list[Sample]:
    """With curl, Python and Node."""
    return samples(_curl(call), _python(call), _node(call))


def _curl(call: Call) -> str:
    implied = "post" if call.sends else "get"
    verb = "" if call.method == implied else f" -X {call.method.upper()}"
    verb = f" -N{verb}" if call.streams else verb
    lines = [f"curl{verb} {call.url}", '-H "Authorization: Bearer $TUNESMITH_API_KEY"']
    if call.sends and call.form:
        lines += [f"-F {name}={value}" for name, value in call.fields.items()] + [f"-F {call.file}=@{FILE}"]
    elif call.sends:
        lines += ['-H "Content-Type: application/json"', f"-d {shlex.quote(_json(call.body))}"]
    if not call.json and not call.streams:
        lines.append("-o answer")
    return " \\\n  ".join(lines)


def _python(call: Call) -> str:
    lines = [f'    "{call.url}",', '    headers={"Authorization": f"Bearer {os.environ[\'TUNESMITH_API_KEY\']}"},']
    if call.sends and call.form:
        if call.fields:
            lines.append(f"    data={_literal(call.fields)},")
        lines.append(f'    files={{"{call.file}": open("{FILE}", "rb")}},')
    elif call.sends:
        lines.append(f"    json={_literal(call.body)},")
    show = "print(answer.json())" if call.json else "print(answer.text)"
    if call.streams:
        lines.append("    stream=True,")
        show = "for line in answer.iter_lines(decode_unicode=True):\n    print(line)"
    return "\n".join(["import os", "import requests", "", f"answer = requests.{call.method}(", *lines, ")", show])


def _node(call: Call) -> str:
    head, options = [], []
    if call.sends and call.form:
        head = ['import { openAsBlob } from "node:fs";', "", "const form = new FormData();"]
        head += [f'form.append("{name}", "{value}");' for name, value in call.fields.items()]
        head += [f'form.append("{call.file}", await openAsBlob("{FILE}"), "{FILE}");']
        options = ["  body: form,"]
    elif call.sends:
        options = [f"  body: JSON.stringify({_json(call.body)}),"]
    kind = ['    "Content-Type": "application/json",'] if call.sends and not call.form else []
    show = "console.log(await answer.json());" if call.json else "console.log(await answer.text());"
    if call.streams:
        show = "for await (const bytes of answer.body) process.stdout.write(bytes);"
    return "\n".join(
        [
            *head,
            f'const answer = await fetch("{call.url}", {{',
            f'  method: "{call.method.upper()}",',
            "  headers: {",
            "    Authorization: `Bearer ${process.env.TUNESMITH_API_KEY}`,",
            *kind,
            "  },",
            *options,
            "});",
            show,
        ]
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _literal(value: Any) -> str:
    """A Python literal, in double quotes where no string holds a quote."""
    text = repr(value)
    return text if '"' in text else text.replace("'", '"')
