"""The house keeps its shape."""

import importlib.util
import platform
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHELF = ROOT / "platform"
SHELVES = (SHELF, ROOT)
ROOMS = sorted(
    path.parent.name for shelf in SHELVES for path in shelf.glob("*/__init__.py") if path.parent.name != "tests"
)


def test_the_standard_library_owns_the_name_platform() -> None:
    assert Path(platform.__file__).parent == Path(sysconfig.get_paths()["stdlib"])


def test_no_module_lies_directly_on_the_shelf() -> None:
    assert not list(SHELF.glob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_is_imported_from_this_repository(room: str) -> None:
    spec = importlib.util.find_spec(room)
    assert spec is not None and spec.origin is not None
    assert Path(spec.origin).is_relative_to(ROOT)
