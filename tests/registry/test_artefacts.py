"""An artefact folder is taken exactly as promised, or not at all."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.artefacts import Refused, check
from registry.bases import catalogue, verify
from tests.registry.folders import artefact, safetensors, seal


def test_a_sound_folder_is_taken_with_every_hash(tmp_path: Path) -> None:
    sound = check(artefact(tmp_path / "a"))
    assert sorted(sound.files) == ["artefact.json", "head.safetensors", "report.json"]
    assert sound.size == sum(path.stat().st_size for path in (tmp_path / "a").iterdir())


def _change(name: str, data: bytes, *, resealed: bool = True) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(data)
        if resealed:
            seal(folder)

    return change


def _link(folder: Path) -> None:
    (folder / "head.safetensors").unlink()
    (folder / "head.safetensors").symlink_to("/etc/hostname")


def _header(value: object, tail: bytes = b"") -> bytes:
    raw = json.dumps(value).encode()
    return struct.pack("<Q", len(raw)) + raw + tail


SPAN = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
WRONG: dict[str, Callable[[Path], None]] = {
    "a flipped byte": _change("report.json", b'{"format": 2}', resealed=False),
    "an unlisted file": lambda folder: (folder / "extra.json").write_text("{}") and None,
    "a missing file": lambda folder: (folder / "report.json").unlink(),
    "a pickle": _change("weights.pt", b"\x80\x04N."),
    "python": _change("modeling.py", b"print()"),
    "a link": _link,
    "JSON that is not": _change("report.json", b"{"),
    "a header of 2^63 bytes": _change("head.safetensors", struct.pack("<Q", 2**63) + b"{}"),
    "overlapping tensors": _change("head.safetensors", _header({"a": SPAN, "b": SPAN}, bytes(4))),
    "a gap": _change("head.safetensors", _header({"a": SPAN | {"data_offsets": [4, 8]}}, bytes(8))),
    "a tail nobody describes": _change("head.safetensors", safetensors({"a": [1]}) + b"more"),
    "a type that needs code": _change("head.safetensors", _header({"a": SPAN | {"dtype": "OBJ"}}, bytes(4))),
    "a method that is markup": lambda folder: seal(folder, method="<b>x</b>") and None,
    "a shape of endless numbers": _change("head.safetensors", _header({"a": SPAN | {"shape": [10**40] * 8}}, bytes(4))),
    "a shape of many sides": _change("head.safetensors", _header({"a": SPAN | {"shape": [1] * 9}}, bytes(4))),
    "a shape that is a text": _change("head.safetensors", _header({"a": SPAN | {"shape": "1"}}, bytes(4))),
    "a header of millions of lists": _change("head.safetensors", _header({"a": [[]] * 700_000}, bytes(4))),
    "a report of millions of lists": _change("report.json", b'{"a": [' + b"[]," * 2_100_000 + b"[]]}"),
    "a negative shape": _change("head.safetensors", _header({"a": SPAN | {"shape": [-1]}}, bytes(4))),
    "one label": lambda folder: seal(folder, labels=["a"]) and None,
    "labels twice": lambda folder: seal(folder, labels=["a", "a"]) and None,
    "another format": lambda folder: seal(folder, format=2) and None,
    "a path for a name": lambda folder: seal(folder, files={"../x.json": {"sha256": "0", "bytes": 1}}) and None,
    "no manifest": lambda folder: (folder / "artefact.json").unlink(),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG.keys())
def test_a_folder_that_is_not_as_promised_is_refused(tmp_path: Path, change: Callable[[Path], None]) -> None:
    folder = artefact(tmp_path / "a")
    change(folder)
    with pytest.raises(Refused):
        check(folder)


def test_the_bundled_base_is_the_one_that_was_pinned() -> None:
    verify(catalogue()["all-MiniLM-L6-v2"])
