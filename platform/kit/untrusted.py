"""Files that a process we do not trust has left in a folder, opened so that nothing else can be meant.

Such a process may put a link, a pipe or a device where a file is expected, and exchange one for the other while we
look. So nothing is looked at by its name and opened afterwards: every part of a path is opened inside the folder that
was opened before it, without following a link and without waiting, and what is then open is looked at. An open file
stays what it is, whatever becomes of its name: a file that is removed meanwhile can still be read.
"""

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path, PurePath

MOST_FILES = 64
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOT_PLAIN = (errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.ENODEV, errno.ENAMETOOLONG)
"""What opening says of a link, of a file where a folder should be, of a socket, of a device that nobody drives."""
CHUNK = 1 << 20


class Refused(ValueError):
    """What lies there may not be taken; the message says what and why."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The files of one folder, by name, open for reading. They hold their room on the disk until `close`."""

    files: Mapping[str, BufferedReader]

    def close(self) -> None:
        """Let go of them; safe to repeat."""
        for file in self.files.values():
            file.close()


def folder_open(path: Path) -> int:
    """A descriptor of a folder of ours, for `files_open`. To be taken before anybody else can write to it."""
    return os.open(path, _FOLDER)


def files_open(top: int, inside: PurePath, *, limit: int) -> Opened:
    """All that lies in a folder below `top`: regular files with plain names and one name each, together no more than
    `limit` bytes. Raises Refused, and OSError where the machine fails; nothing stays open then."""
    if not inside.parts or not all(map(_NAME.fullmatch, inside.parts)):
        raise Refused("The folder is not below the one it must be in.")
    with contextlib.ExitStack() as folders, contextlib.ExitStack() as opened:
        at = top
        for part in inside.parts:
            at = _open(part, _FOLDER, at)
            folders.callback(os.close, at)
        names = os.listdir(at)
        if not names or len(names) > MOST_FILES:
            raise Refused(f"The folder holds {len(names)} files; 1 to {MOST_FILES} may be taken.")
        files = {name: opened.enter_context(_regular(name, at)) for name in sorted(names)}
        if sum(os.fstat(file.fileno()).st_size for file in files.values()) > limit:
            raise Refused(f"The files have more than {limit:,} bytes together.")
        opened.pop_all()
        return Opened(files)


def file_open(path: Path) -> BufferedReader:
    """One regular file, its last part not followed if it is a link. Raises Refused; FileNotFoundError as usual."""
    return _file(str(path), None)


def chunks(file: BufferedReader, *, most: int) -> Iterator[bytes]:
    """An open file from its start; Refused where it has more bytes than that: somebody may be writing to it still."""
    file.seek(0)
    while piece := file.read(CHUNK):
        most -= len(piece)
        if most < 0:
            raise Refused("A file grew while it was being read.")
        yield piece


def files_copy(opened: Opened, target: Path, *, limit: int) -> None:
    """Copies of opened files under the same names in a folder of ours, together no more than `limit` bytes."""
    for name, file in opened.files.items():
        with (target / name).open("xb") as copy:
            for piece in chunks(file, most=limit):
                limit -= len(piece)
                copy.write(piece)


def _regular(name: str, folder: int) -> BufferedReader:
    if not _NAME.fullmatch(name):
        raise Refused(f"{ascii(name)[:80]} is not a name that may be taken.")
    file = _file(name, folder)
    if os.fstat(file.fileno()).st_nlink > 1:
        file.close()
        raise Refused(f"{name} has another name, and may be somebody else's.")
    return file


def _file(path: str, folder: int | None) -> BufferedReader:
    handle = _open(path, _FILE, folder)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Refused(f"{ascii(path)[-80:]} is not a regular file.")
    return os.fdopen(handle, "rb")


def _open(name: str, flags: int, folder: int | None) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    except OSError as error:
        if error.errno in _NOT_PLAIN:
            raise Refused(f"{ascii(name)[-80:]} is no plain file or folder.") from error
        raise
