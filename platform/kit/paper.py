"""Documents as PDF: quotes and invoices. The same values give the same bytes, so that a hash can stand for a document.

The date inside is the caller's and never the clock's. DejaVu Sans is embedded (Latin, Greek, Cyrillic and more);
Chinese, Japanese and Korean are named by the standard fonts that readers bring along. A character that neither has, or
that would need shaping or writing from the right, is printed as a box, and the document says so under its last line.
"""

import datetime as dt
import functools
import io
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

FONTS = Path(__file__).resolve().parent / "fonts"
PLAIN, BOLD = "DejaVuSans", "DejaVuSans-Bold"
CHINESE, JAPANESE, KOREAN = "STSong-Light", "HeiseiKakuGo-W5", "HYSMyeongJo-Medium"
BOX = "□"
BORROWED = (
    "Chinese, Japanese and Korean characters are printed with the fonts of the program that shows this document. Where "
    "it has none they are blank; the page of the document shows them."
)
MISSING = (
    "This document has no letters for some characters of its texts; they are printed as a box. The page of the "
    "document shows them."
)
WIDTH, HEIGHT = 595.28, 841.89
"""Points of an A4 page."""
LEFT, RIGHT, TOP, BOTTOM = 56.0, WIDTH - 56.0, HEIGHT - 62.0, 64.0
BODY, SMALL, LARGE, HEAD = 9.5, 8.0, 17.0, 11.0
LEADING = 1.45


@functools.cache
def _letters() -> frozenset[int]:
    """Register the fonts once in a process; which characters the embedded one has."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont
    from reportlab.pdfbase.ttfonts import TTFont

    plain = TTFont(PLAIN, str(FONTS / f"{PLAIN}.ttf"))
    pdfmetrics.registerFont(plain)
    pdfmetrics.registerFont(TTFont(BOLD, str(FONTS / f"{BOLD}.ttf")))
    for name in (CHINESE, JAPANESE, KOREAN):
        pdfmetrics.registerFont(UnicodeCIDFont(name))
    return frozenset(plain.face.charToGlyph)


def _is_kana(character: str) -> bool:
    return "\u3040" <= character <= "\u30ff"


def _is_hangul(character: str) -> bool:
    return "\uac00" <= character <= "\ud7a3" or "\u3131" <= character <= "\u318e"


def _is_wide(character: str) -> bool:
    return "\u4e00" <= character <= "\u9fff" or "\u3000" <= character <= "\u303f" or "\uff01" <= character <= "\uffee"


def _font(character: str, *, bold: bool, japanese: bool) -> str:
    """The font that prints a character; empty where none does."""
    if _is_hangul(character):
        return KOREAN
    if _is_kana(character) or (japanese and _is_wide(character)):
        return JAPANESE
    if _is_wide(character):
        return CHINESE
    if unicodedata.bidirectional(character) in ("R", "AL", "AN") or unicodedata.category(character) in ("Mn", "Mc"):
        return ""
    return (BOLD if bold else PLAIN) if ord(character) in _letters() else ""


def clean(text: object) -> str:
    """Text for one line: composed, and without what cannot be printed."""
    plain = unicodedata.normalize("NFC", str(text))
    return " ".join("".join(c if c.isprintable() or c.isspace() else "" for c in plain).split())


class Sheet:
    """A document that is written from top to bottom, page after page. Points everywhere."""

    def __init__(self, *, title: str, made_at: dt.datetime, foot: str) -> None:
        from reportlab.pdfgen.canvas import Canvas

        _letters()
        self._bytes = io.BytesIO()
        self._canvas: Any = Canvas(self._bytes, pagesize=(WIDTH, HEIGHT), invariant=1, pageCompression=1)
        moment = made_at.astimezone(dt.UTC)
        self._canvas.setDateFormatter(lambda *_: moment.strftime("D:%Y%m%d%H%M%S+00'00'"))
        self._canvas.setTitle(clean(title))
        self._canvas.setAuthor("Tunesmith")
        self._canvas.setCreator("Tunesmith")
        self._foot, self._page, self._at = clean(foot), 1, TOP
        self._short = self._borrowed = False

    def done(self) -> bytes:
        """The document."""
        for wanted, note in ((self._borrowed, BORROWED), (self._short, MISSING)):
            if wanted:
                self.gap(8)
                self.text(note, size=SMALL, grey=True)
        self._end_page()
        self._canvas.save()
        return self._bytes.getvalue()

    def gap(self, points: float) -> None:
        """Some room."""
        self._at -= points

    def rule(self) -> None:
        """A hairline across the page."""
        self._canvas.setLineWidth(0.5)
        self._canvas.setStrokeGray(0.75)
        self._canvas.line(LEFT, self._at, RIGHT, self._at)
        self._at -= 4

    def title(self, text: str) -> None:
        """The large line on top."""
        self.text(text, size=LARGE, bold=True)
        self.gap(4)

    def heading(self, text: str) -> None:
        """A heading; it stays with what follows."""
        self._need(HEAD * LEADING + 40)
        self.gap(10)
        self.text(text, size=HEAD, bold=True)
        self.gap(2)

    def text(self, text: str, *, size: float = BODY, bold: bool = False, grey: bool = False) -> None:
        """A paragraph."""
        for line in self._lines(text, RIGHT - LEFT, size, bold):
            self._need(size * LEADING)
            self._at -= size * LEADING
            self._put(LEFT, line, size, bold, grey)

    def pairs(self, rows: Sequence[tuple[str, str]], *, label: float = 130) -> None:
        """Names and values beside each other."""
        for name, value in rows:
            lines = self._lines(value, RIGHT - LEFT - label, BODY, False) or [""]
            self._need(BODY * LEADING)
            for place, line in enumerate(lines):
                self._need(BODY * LEADING)
                self._at -= BODY * LEADING
                if place == 0:
                    self._put(LEFT, clean(name), BODY, False, True)
                self._put(LEFT + label, line, BODY, False, False)

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]], totals: Sequence[tuple[str, str]]) -> None:
        """The first column takes what is left and wraps; the others are figures, right-aligned. Sums stand below, the
        last one in bold."""
        widths = [max(self._width(clean(text), BODY, True) for text in column) + 14 for column in _columns(heads, rows)]
        ends = [RIGHT - sum(widths[place + 1 :]) for place in range(len(widths))]
        first = ends[0] - LEFT - 10
        self._row(heads, [heads[0]], ends, bold=True)
        self.rule()
        self._at += 2
        for row in rows:
            self._row(row, self._lines(row[0], first, BODY, False) or [""], ends)
        self._at -= 2
        self.rule()
        self._at += 2
        for place, (name, amount) in enumerate(totals):
            last = place == len(totals) - 1
            self._need(BODY * LEADING)
            self._at -= BODY * LEADING
            self._right(ends[-1] - widths[-1], clean(name), last)
            self._right(RIGHT, clean(amount), last)

    def _row(self, row: Sequence[str], lines: Sequence[str], ends: Sequence[float], *, bold: bool = False) -> None:
        for place, line in enumerate(lines):
            self._need(BODY * LEADING)
            self._at -= BODY * LEADING
            self._put(LEFT, line, BODY, bold, False)
            if place == 0:
                for end, text in zip(ends[1:], row[1:], strict=True):
                    self._right(end, clean(text), bold)
        self._at -= 3

    def _right(self, end: float, text: str, bold: bool) -> None:
        self._put(end - self._width(text, BODY, bold), text, BODY, bold, False)

    def _need(self, points: float) -> None:
        if self._at - points < BOTTOM:
            self._end_page()
            self._page += 1
            self._at = TOP

    def _end_page(self) -> None:
        number = str(self._page)
        self._put(LEFT, self._foot, SMALL, False, True, at=BOTTOM - 24)
        self._put(RIGHT - self._width(number, SMALL, False), number, SMALL, False, True, at=BOTTOM - 24)
        self._canvas.showPage()

    def _put(self, x: float, text: str, size: float, bold: bool, grey: bool, *, at: float | None = None) -> None:
        from reportlab.pdfbase.pdfmetrics import stringWidth

        self._canvas.setFillGray(0.4 if grey else 0.1)
        for font, piece in self._runs(text, bold):
            self._canvas.setFont(font, size)
            self._canvas.drawString(x, self._at if at is None else at, piece)
            x += stringWidth(piece, font, size)

    def _runs(self, text: str, bold: bool) -> Iterator[tuple[str, str]]:
        """Pieces of one font each."""
        japanese, font, piece = any(map(_is_kana, text)), "", ""
        for character in text:
            wanted = _font(character, bold=bold, japanese=japanese)
            if not wanted:
                self._short, wanted, character = True, BOLD if bold else PLAIN, BOX
            self._borrowed = self._borrowed or wanted in (CHINESE, JAPANESE, KOREAN)
            if wanted != font and piece:
                yield font, piece
                piece = ""
            font, piece = wanted, piece + character
        if piece:
            yield font, piece

    def _width(self, text: str, size: float, bold: bool) -> float:
        from reportlab.pdfbase.pdfmetrics import stringWidth

        return sum(float(stringWidth(piece, font, size)) for font, piece in self._runs(text, bold))

    def _lines(self, text: str, room: float, size: float, bold: bool) -> list[str]:
        """Lines that fit; a word that is too long is broken where it must be."""
        lines: list[str] = []
        for paragraph in str(text).splitlines():
            line = ""
            for word in _words(clean(paragraph)):
                if line and self._width(line + word, size, bold) > room:
                    lines.append(line.rstrip())
                    line = word.lstrip()
                else:
                    line += word
                while self._width(line, size, bold) > room and len(line) > 1:
                    fits = next(
                        n for n in range(len(line) - 1, 0, -1) if n == 1 or self._fits(line[:n], room, size, bold)
                    )
                    lines.append(line[:fits])
                    line = line[fits:]
            lines.append(line.rstrip())
        return lines

    def _fits(self, text: str, room: float, size: float, bold: bool) -> bool:
        return self._width(text, size, bold) <= room


def _columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[heads[place], *(row[place] for row in rows)] for place in range(len(heads))]


def _words(text: str) -> Iterator[str]:
    """Pieces between which a line may end: after a space, and after every Chinese, Japanese or Korean character."""
    word = ""
    for character in text:
        word += character
        if character == " " or _is_wide(character) or _is_kana(character) or _is_hangul(character):
            yield word
            word = ""
    if word:
        yield word
