"""What is in a file, told by its bytes: Parquet, JSON lines or delimited text, and the encoding of the text.

Programs, archives, pictures, documents and pickles are refused by name, so that the message says what was uploaded.
"""

from __future__ import annotations

import codecs
import contextlib
from dataclasses import dataclass
from pathlib import Path

from data.findings import Collector

PARQUET, JSONL, DELIMITED = "parquet", "jsonl", "delimited"
HEAD_BYTES = 1 << 16

MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x7fELF", "a Linux program (ELF)"),
    (b"MZ", "a Windows program"),
    (b"\xcf\xfa\xed\xfe", "a macOS program"),
    (b"\xca\xfe\xba\xbe", "a Java class or macOS program"),
    (b"\x00asm", "a WebAssembly module"),
    (b"%PDF", "a PDF document"),
    (b"{\\rtf", "an RTF document"),
    (b"PK\x03\x04", "a ZIP archive or Office document (xlsx, docx)"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document (xls, doc)"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"RIFF", "a WebP, WAV or AVI file"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"OggS", "an Ogg audio or video file"),
    (b"ID3", "an MP3 audio file"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"ARROW1\x00\x00", "an Arrow file"),
    (b"ORC", "an ORC file"),
    (b"Obj\x01", "an Avro file"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
)
MARKUP: tuple[tuple[bytes, str], ...] = (
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<head", "an HTML page"),
    (b"<script", "an HTML page"),
    (b"<svg", "an SVG image"),
    (b"<?xml", "an XML document"),
    (b"<!doctype", "an XML or HTML document"),
    (b"#!/", "a script"),
)
BOMS: tuple[tuple[bytes, str], ...] = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
TEXT_CONTROLS = frozenset(b"\t\n\r\x0b\x0c\x1a\x1b")

# Euro sign, curly quotes, dashes and ellipsis in Windows-1252.
CP1252_MARKS = frozenset((0x80, 0x85, 0x91, 0x92, 0x93, 0x94, 0x96, 0x97))


@dataclass(frozen=True, slots=True)
class Detected:
    """The format and, for text, the Python codec to read it with."""

    kind: str
    encoding: str = "utf-8"


def detect(path: Path, collector: Collector) -> Detected | None:
    """Return the format of `path`, or None after reporting why it is none of ours."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head.strip(b"\xef\xbb\xbf\xff\xfe \t\r\n\x00"):
        collector.add("empty_file" if not head.strip(b"\x00") or not head.count(0) else "binary_file",
                      params={"found": "binary data"})  # fmt: skip
        return None
    if head.startswith(b"PAR1"):
        return Detected(PARQUET)
    found = _foreign(head)
    if found:
        collector.add("binary_file", params={"found": found})
        return None
    encoding = _encoding(head, collector)
    if encoding is None:
        return None
    opening = head.decode(encoding, errors="replace").lstrip("\ufeff \t\r\n")
    first = opening[:1]
    if first == "{" and not opening.split("\n", 1)[0].strip("{ \t\r"):
        collector.add("json_pretty")
        return None
    if first == "[":
        collector.add("json_array")
        return None
    return Detected(JSONL if first == "{" else DELIMITED, encoding)


def _foreign(head: bytes) -> str | None:
    """Name a format that is not ours, or None."""
    for magic, name in MAGIC:
        # Two- and three-letter magics could open an honest text file, so they count only beside binary bytes.
        if head.startswith(magic) and (len(magic) > 3 or _looks_binary(head)):
            return name
    if head[257:262] == b"ustar":
        return "a tar archive"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a Python pickle"
    opening = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    for magic, name in MARKUP:
        if opening.startswith(magic):
            return name
    return None


def _looks_binary(head: bytes) -> bool:
    controls = sum(byte < 32 and byte not in TEXT_CONTROLS for byte in head)
    return controls > max(3, len(head) * 0.02)


def _encoding(head: bytes, collector: Collector) -> str | None:
    """Return the codec, or None after reporting that the bytes are not text we read."""
    for bom, codec in BOMS:
        if head.startswith(bom):
            if codec == "utf-32":
                collector.add("encoding", params={"encoding": "UTF-8 or UTF-16", "guess": "UTF-32"})
                return None
            return _converted(codec, collector)
    wide = _wide(head)
    if wide:
        return _converted(wide, collector)
    if _looks_binary(head):
        collector.add("binary_file", params={"found": "binary data"})
        return None
    return _utf8_or_report(head, collector)


def _converted(codec: str, collector: Collector) -> str:
    if codec.startswith("utf-16"):
        collector.add("encoding_converted", params={"encoding": "UTF-16"})
    return codec


def _wide(head: bytes) -> str | None:
    """Recognise UTF-16 without a byte order mark: every second byte of Western text is zero."""
    sample = head[: len(head) // 2 * 2][:4096]
    if len(sample) < 8:
        return None
    half = len(sample) // 2
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if odd > half * 0.6 and even < half * 0.05:
        return "utf-16-le"
    if even > half * 0.6 and odd < half * 0.05:
        return "utf-16-be"
    return None


def _utf8_or_report(head: bytes, collector: Collector) -> str | None:
    """UTF-8 if the head mostly is; a few broken rows are found later, a foreign encoding is refused here."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with contextlib.suppress(UnicodeDecodeError):
        decoder.decode(head, final=False)
        return "utf-8"
    high = [line for line in head.split(b"\n")[:-1] or [head] if any(byte >= 128 for byte in line)]
    broken = sum(not _is_utf8(line) for line in high)
    if broken < max(1, len(high)) * 0.5:
        return "utf-8"
    guess = "Windows-1252 or ISO-8859-1" if _mostly_latin(head) else "another encoding"
    collector.add("encoding", count=max(broken, 1), params={"encoding": "UTF-8", "guess": guess})
    return None


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _mostly_latin(head: bytes) -> bool:
    high = [byte for byte in head if byte >= 128]
    return sum(byte >= 0xA0 or byte in CP1252_MARKS for byte in high) > len(high) * 0.9
