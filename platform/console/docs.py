"""The documentation: Markdown files under `templates/docs/content/`, rendered to the look's own markup.

Neighbouring code fences in different languages become one block with tabs. `%BASE_URL%` stands for this server.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.template.loader import render_to_string
from django.utils.functional import Promise
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import slugify
from django.utils.translation import gettext_lazy as _
from markdown_it import MarkdownIt
from markdown_it.token import Token

from console.code import Sample

CONTENT = Path(settings.ROOT) / "templates" / "docs" / "content"
LABELS = {
    "bash": "curl",
    "sh": "Shell",
    "python": "Python",
    "javascript": "Node",
    "js": "Node",
    "json": "JSON",
    "text": "Text",
}


@dataclass(frozen=True, slots=True)
class Chapter:
    """One page in the tree."""

    slug: str
    title: str | Promise


@dataclass(frozen=True, slots=True)
class Heading:
    """A line of "On this page"."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """A rendered chapter."""

    chapter: Chapter
    html: SafeString
    headings: list[Heading]
    text: str


TREE: list[tuple[str | Promise, list[Chapter]]] = [
    (_("Start"), [Chapter("quickstart", _("Quick start")), Chapter("concepts", _("Words and ideas"))]),
    (
        _("Guides"),
        [
            Chapter("data", _("Prepare data")),
            Chapter("training", _("Train a model")),
            Chapter("sweeps", _("Try several settings")),
            Chapter("reports", _("Read a report")),
            Chapter("deploying", _("Deploy a model")),
            Chapter("rollouts", _("Change a model safely")),
            Chapter("calling", _("Call a model")),
            Chapter("honest", _("Honest answers")),
            Chapter("batches", _("Calls that may wait")),
            Chapter("webhooks", _("Webhooks")),
            Chapter("money", _("Prices, limits and caps")),
            Chapter("billing", _("Plan and bills by API")),
            Chapter("errors", _("Errors and retries")),
            Chapter("security", _("Keys, roles and isolation")),
            Chapter("organisation", _("People, plan and invoices")),
            Chapter("support", _("Support and mail")),
            Chapter("orders", _("Order a custom model")),
        ],
    ),
    (
        _("Operators"),
        [
            Chapter("operating", _("Run it yourself")),
            Chapter("metrics", _("Read the economics pages")),
            Chapter("economics", _("Plan unit economics")),
        ],
    ),
]
CHAPTERS = {chapter.slug: chapter for _name, chapters in TREE for chapter in chapters}
_markdown = MarkdownIt("commonmark", {"html": False, "typographer": False}).enable("table")


def document(slug: str) -> Document | None:
    """A chapter by its slug; None when there is none."""
    chapter = CHAPTERS.get(slug)
    if chapter is None:
        return None
    source = (CONTENT / f"{slug}.md").read_text(encoding="utf-8").replace("%BASE_URL%", settings.BASE_URL)
    html, headings = render(source)
    return Document(chapter, html, headings, source)


@lru_cache(maxsize=64)
def render(source: str) -> tuple[SafeString, list[Heading]]:
    """Our own Markdown to markup and its second-level headings. Raw HTML in the source is shown as text."""
    tokens = _markdown.parse(source)
    headings: list[Heading] = []
    parts: list[str] = []
    index = block = 0
    while index < len(tokens):
        token = tokens[index]
        if token.type == "fence":
            fences = _neighbours(tokens, index)
            block += 1
            parts.append(_code(fences, f"sample-{block}"))
            index += len(fences)
            continue
        end = _end(tokens, index)
        if token.type == "heading_open":
            text = tokens[index + 1].content
            token.attrSet("id", slugify(text))
            if token.tag == "h2":
                headings.append(Heading(slugify(text), re.sub(r"[`*]", "", text)))
        piece = _markdown.renderer.render(tokens[index : end + 1], _markdown.options, {})
        if token.type == "table_open":
            piece = f'<div class="scroll" tabindex="0" role="group" aria-label="{_table_name(headings)}">{piece}</div>'
        parts.append(piece)
        index = end + 1
    return mark_safe("".join(parts)), headings


def _table_name(headings: list[Heading]) -> str:
    return slugify(headings[-1].text).replace("-", " ") if headings else "table"


def _end(tokens: list[Token], start: int) -> int:
    """Index of the token that closes the block opened at `start`."""
    level = 0
    for i in range(start, len(tokens)):
        level += tokens[i].nesting
        if level == 0:
            return i
    return len(tokens) - 1


def _neighbours(tokens: list[Token], start: int) -> list[Token]:
    """The fence at `start` and those that follow at once, in languages not seen yet."""
    found: list[Token] = []
    for token in tokens[start:]:
        if token.type != "fence" or token.info in {f.info for f in found}:
            break
        found.append(token)
    return found


def _code(fences: list[Token], name: str) -> str:
    samples = [Sample(f.info or "text", LABELS.get(f.info, f.info or "Text"), f.content.rstrip("\n")) for f in fences]
    context: dict[str, Any] = {"samples": samples, "id": name, "one": samples[0]}
    return render_to_string("docs/code.html", context)
