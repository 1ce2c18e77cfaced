"""The look's promises that a machine can check: contrast of every token, no inline style or script, no outside host."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOKENS = (ROOT / "frontend/src/css/tokens.css").read_text()
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
OWN = [p for p in TEMPLATES if not {"unfold", "admin", "ops"} & set(p.relative_to(ROOT / "templates").parts)]


def tokens(theme: int) -> dict[str, str]:
    """Name → hex colour in the light (0) or dark (1) theme."""
    found = re.findall(r"--([\w-]+):\s*light-dark\((#[0-9a-f]{6}),\s*(#[0-9a-f]{6})\)", TOKENS)
    return {name: (light, dark)[theme] for name, light, dark in found}


def luminance(colour: str) -> float:
    """WCAG 2 relative luminance."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """WCAG 2 contrast ratio."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


TEXT = ("ink", "muted", "faint", "accent", "ember", "ok", "warn", "danger")
GROUNDS = ("surface", "canvas", "sunken")
PAIRS = [
    *((name, ground, 4.5) for name in TEXT for ground in GROUNDS),
    *((tone, f"{tone}-soft", 4.5) for tone in ("accent", "ok", "warn", "danger")),
    *(("ink", f"{tone}-soft", 4.5) for tone in ("accent", "ok", "warn", "danger")),
    *(("line-strong", ground, 3.0) for ground in GROUNDS),
    *((f"series-{i}", "surface", 3.0) for i in range(1, 7)),
    *((f"code-{name}", "sunken", 4.5) for name in ("comment", "keyword", "string", "number", "name")),
    *(("heat-low-ink", f"heat-{i}", 4.5) for i in range(6)),
    ("heat-six-ink", "heat-6", 4.5),
    *(("heat-high-ink", f"heat-{i}", 4.5) for i in range(7, 10)),
    ("surface", "danger", 4.5),
    ("canvas", "ink", 4.5),
    ("canvas", "ember", 4.5),
]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("name", "ground", "least"), PAIRS, ids=[f"{a} on {b}" for a, b, _ in PAIRS])
def test_a_token_keeps_its_contrast(name: str, ground: str, least: float, theme: int) -> None:
    colours = tokens(theme)
    assert contrast(colours[name], colours[ground]) >= least


def test_the_built_stylesheet_holds_the_same_tokens() -> None:
    built = (ROOT / "static/dist/app.css").read_text()
    for name, light in tokens(0).items():
        dark = tokens(1)[name]
        short = {c: re.sub(r"^#(\w)\1(\w)\2(\w)\3$", r"#\1\2\3", c) for c in (light, dark)}
        assert f"--{name}:light-dark({short[light]},{short[dark]})" in built.replace(", ", ","), name


@pytest.mark.parametrize("path", OWN, ids=lambda p: str(p.relative_to(ROOT / "templates")))
def test_a_template_keeps_the_policy(path: Path) -> None:
    text = re.sub(r"\{#.*?#\}|\{% comment %\}.*?\{% endcomment %\}", "", path.read_text(), flags=re.S)
    assert not re.search(r"\sstyle\s*=", text), "style attributes are refused by the policy; use a class"
    assert not re.search(r"\son[a-z]+\s*=\s*[\"']", text), "no inline handlers; listen from frontend/src/js"
    assert not re.search(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)", text), "no inline script"
    assert "<style" not in text
    assert not re.search(r"(?:src|href)=[\"']https?://[^\"']*\.(?:js|css|woff2?|png|svg|jpg)", text), "assets are ours"


@pytest.mark.parametrize("path", OWN, ids=lambda p: str(p.relative_to(ROOT / "templates")))
def test_a_page_loads_htmx_when_it_uses_it_and_only_then(path: Path) -> None:
    text = path.read_text()
    if not text.startswith("{% extends") or path.name == "job_new.html":  # its fields bring theirs from the form
        return
    uses = bool(re.search(r"\shx-[a-z]+=|<c-poll", text))
    assert uses == ("{% htmx_script %}" in text)


def test_every_icon_named_in_a_template_is_in_the_sprite() -> None:
    sprite = set(re.findall(r'<symbol id="([\w-]+)"', (ROOT / "static/dist/icons.svg").read_text()))
    wanted = set()
    for path in TEMPLATES:
        text = path.read_text()
        wanted |= set(re.findall(r'<c-icon name="([\w-]+)"', text)) | set(re.findall(r'\sicon="([\w-]+)"', text))
    for path in (ROOT / "platform/console").rglob("*.py"):
        wanted |= set(re.findall(r'State\([^,]+\), "([\w-]+)"', path.read_text()))
    assert wanted - {"live", "dot"} <= sprite, sorted(wanted - sprite)


def test_fonts_and_icons_stay_within_their_weight() -> None:
    fonts = sum(p.stat().st_size for p in (ROOT / "static/dist/fonts").glob("*.woff2"))
    assert fonts < 60_000
