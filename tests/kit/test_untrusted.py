"""What may be taken of a folder that somebody else writes to, and that it stays what it was when it was opened."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

import pytest

from kit import storage, untrusted
from kit.untrusted import Opened, Refused, files_copy, files_open, folder_open

LIMIT = 1_000


@pytest.fixture
def top(tmp_path: Path) -> Iterator[int]:
    """A folder of theirs with one sound folder in it, beside one of ours."""
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "a.json").write_text("secret")
    (tmp_path / "top" / "made").mkdir(parents=True)
    (tmp_path / "top" / "made" / "a.json").write_text("theirs")
    handle = folder_open(tmp_path / "top")
    yield handle
    os.close(handle)


def take(top: int, path: str = "made") -> Opened:
    return files_open(top, PurePath(path), limit=LIMIT)


def read(opened: Opened) -> dict[str, bytes]:
    return {name: b"".join(untrusted.chunks(file, most=LIMIT)) for name, file in opened.files.items()}


def _socket(made: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(made / "s.json"))


def _whole_link(made: Path) -> None:
    made.rename(made.with_name("moved"))
    made.symlink_to(made.parent.parent / "ours")


WRONG: dict[str, Callable[[Path], object]] = {
    "a link to a file": lambda made: (made / "b.json").symlink_to(made.parent.parent / "ours" / "a.json"),
    "a link to nothing": lambda made: (made / "b.json").symlink_to("nowhere"),
    "a hard link": lambda made: (made / "b.json").hardlink_to(made.parent.parent / "ours" / "a.json"),
    "a pipe": lambda made: os.mkfifo(made / "b.json"),
    "a socket": _socket,
    "a folder": lambda made: (made / "b.json").mkdir(),
    "a link in its own place": _whole_link,
    "a file with a hole": lambda made: os.truncate(made / "a.json", 1 << 40),
    "a name of two lines": lambda made: (made / "b\nc").write_text(""),
    "a name that is no text": lambda made: (made / "b\udcff").write_text(""),
    "too many files": lambda made: [(made / f"{one}.json").write_text("") for one in range(99)],
    "nothing": lambda made: (made / "a.json").unlink(),
}


def test_regular_files_are_taken_and_copied(top: int, tmp_path: Path) -> None:
    opened = take(top)
    target = tmp_path / "copy"
    target.mkdir()
    files_copy(opened, target, limit=LIMIT)
    assert read(opened) == {"a.json": b"theirs"} and (target / "a.json").read_text() == "theirs"
    opened.close()


@pytest.mark.parametrize("wrong", WRONG)
def test_nothing_else_is_taken_and_nobody_waits(top: int, tmp_path: Path, wrong: str) -> None:
    WRONG[wrong](tmp_path / "top" / "made")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(Refused):
        take(top)
    assert len(os.listdir("/proc/self/fd")) == before, "nothing stays open"


@pytest.mark.parametrize("path", ["", ".", "..", "../ours", "made/../../ours", "/etc", "aside/ours", "made\0", ".made"])
def test_a_path_never_leaves_its_folder(top: int, tmp_path: Path, path: str) -> None:
    (tmp_path / "top" / "aside").symlink_to(tmp_path)
    with pytest.raises(Refused):
        take(top, path)


def test_what_is_exchanged_after_it_was_opened_changes_nothing(top: int, tmp_path: Path) -> None:
    opened = take(top)
    made = tmp_path / "top" / "made"
    (made / "a.json").unlink()
    (made / "a.json").symlink_to(tmp_path / "ours" / "a.json")
    made.rename(tmp_path / "top" / "moved")
    (tmp_path / "top").rename(tmp_path / "elsewhere")
    assert read(opened) == {"a.json": b"theirs"}
    opened.close()


def test_a_file_that_grows_under_a_reader_is_refused(top: int, tmp_path: Path) -> None:
    opened = take(top)
    (tmp_path / "top" / "made" / "a.json").write_bytes(bytes(LIMIT + 1))
    with pytest.raises(Refused):
        read(opened)
    opened.close()


def test_the_store_takes_no_link_and_no_pipe(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(Refused):
            storage.write_path("t/tests/kit/never", tmp_path / name)
    assert not storage.exists("t/tests/kit/never")
