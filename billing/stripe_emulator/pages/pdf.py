"""A PDF of plain text: one font, A4, as many pages as it takes. Enough for an invoice or a quote of a test."""

from __future__ import annotations

LINES = 52
_ESCAPES = str.maketrans({"\\": "\\\\", "(": "\\(", ")": "\\)"})
# Figures stand below one another in a fixed-width font.
_FONT = b"<< /Type /Font /Subtype /Type1 /BaseFont /Courier /Encoding /WinAnsiEncoding >>"


def row(left: str, right: str = "", width: int = 78) -> str:
    """A line of text with an amount at its right edge."""
    room = width - len(right) - 1
    return f"{left[:room]:{room}} {right}" if right else left[:width]


def pdf(title: str, lines: list[str]) -> bytes:
    """The document. A character outside Western Europe's is shown as a question mark."""
    pages = [lines[at : at + LINES] for at in range(0, len(lines), LINES)] or [[]]
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        _FONT,
    ]
    for number, some in enumerate(pages):
        head = [f"BT /F1 14 Tf 50 790 Td ({_text(title)}) Tj ET"] if number == 0 else []
        body = ["BT /F1 9 Tf 14 TL 50 760 Td", *(f"({_text(line)}) Tj T*" for line in some), "ET"]
        stream = "\n".join([*head, *body]).encode("cp1252", "replace")
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> >> "
            + f"/Contents {5 + 2 * number} 0 R >>".encode()
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n".encode() + stream + b"\nendstream")
    return _assemble(objects)


def _text(line: str) -> str:
    return "".join(char for char in line if char.isprintable()).translate(_ESCAPES)


def _assemble(objects: list[bytes]) -> bytes:
    out, places = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    tail = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(out)}\n%%EOF\n"
    return out + f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{tail}".encode()
