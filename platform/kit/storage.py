"""Bytes: streamed in and out of the configured object storage, never whole in memory.

Keys are `t/{tenant}/{kind}/{uuid}` and hold nothing a user typed.
"""

import contextlib
import functools
import hashlib
import logging
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, cast
from uuid import UUID

from django.core.files.storage import default_storage

from kit import untrusted
from kit.errors import Unavailable
from kit.incoming import FileComing, PartsComing
from kit.ranges import Ranges

logger = logging.getLogger(__name__)

CHUNK = 1 << 20
INCOMING = "incoming"
STALE_SECONDS = 86_400
"""After which a file that a killed process left behind is nobody's."""


class TooLarge(Exception):
    """The stream went past its limit; nothing was stored."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} bytes")
        self.limit = limit


def tenant_key(tenant_id: UUID, kind: str, name: UUID) -> str:
    """The storage key of one tenant's object of a kind (`files`, `datasets`, `models`, …)."""
    if not kind.isidentifier():
        raise ValueError(f"not a kind: {kind!r}")
    return f"t/{tenant_id}/{kind}/{name}"


class StorageAway(Unavailable):
    """The bytes could not be kept, and it is not the sender's fault."""

    status = 507
    default_code = "storage_unavailable"

    words = (
        "The bytes could not be stored: our storage is full or does not answer. Nothing was kept. Send them again "
        "later."
    )

    def __init__(self) -> None:
        super().__init__(self.words)


class Unreadable(StorageAway):
    """The bytes cannot be read now; nothing says that they are gone or wrong."""

    status = 503
    words = "The bytes could not be read: our storage does not answer. Try again later."


class Incoming:
    """An object on its way in. Nothing is under its key before `keep`, and nothing is left after `drop`.

    Each byte is written once: to a file beside the others that is renamed at the end, or to the object store as the
    parts of a multipart upload, eight mebibytes in memory at a time.
    """

    def __init__(self, key: str, *, limit: int | None = None) -> None:
        self.key, self.size, self._limit = key, 0, limit
        self._digest = hashlib.sha256()
        folder = folder_path(INCOMING)
        with _answering():
            self._place = PartsComing(key) if folder is None else FileComing(folder, Path(default_storage.path(key)))

    @property
    def sha256(self) -> str:
        """Hex, of what has come so far."""
        return self._digest.hexdigest()

    def write(self, chunk: bytes) -> None:
        """One more piece. `TooLarge` past the limit and `StorageAway` where there is no room, with nothing left."""
        self.size += len(chunk)
        try:
            if self._limit is not None and self.size > self._limit:
                raise TooLarge(self._limit)
            self._digest.update(chunk)
            with _answering():
                self._place.write(chunk)
        except BaseException:
            self.drop()
            raise

    def keep(self) -> None:
        """Put it under its key; FileExistsError when that is taken."""
        try:
            with _answering():
                self._place.keep()
        except BaseException:
            self.drop()
            raise

    def drop(self) -> None:
        """Forget it, unless it was kept."""
        with contextlib.suppress(*_failures()):
            self._place.drop()


@functools.cache
def _failures() -> tuple[type[Exception], ...]:
    """What a storage that cannot do its work raises. boto3 takes long to import, and a local folder needs none."""
    if folder_path(INCOMING) is not None:
        return (OSError,)
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

    return (OSError, BotoCoreError, ClientError)


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    """Turn the storage's own failures into ours. A taken key stays what it is."""
    try:
        yield
    except FileExistsError:
        raise
    except _failures() as error:
        logger.exception("the storage failed")
        raise StorageAway from error


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """The same for reading. What is not there is not there, unless nothing is: then a folder is not mounted."""
    try:
        yield
    except FileNotFoundError as error:
        tenants = folder_path("t")
        if tenants is None or tenants.is_dir():
            raise
        logger.exception("the storage's folder is not there")
        raise Unreadable from error
    except _failures() as error:
        logger.exception("the storage could not be read")
        raise Unreadable from error


def write_stream(key: str, chunks: Iterable[bytes], *, limit: int | None = None) -> tuple[int, str]:
    """Store the chunks under key; returns (bytes, sha256 hex). A reader sees the whole object or none.

    `TooLarge` past limit, `StorageAway` where it cannot be kept, with nothing left behind; so for what `chunks` raises.
    """
    incoming = Incoming(key, limit=limit)
    try:
        for chunk in chunks:
            incoming.write(chunk)
        incoming.keep()
    finally:
        incoming.drop()
    return incoming.size, incoming.sha256


def incoming_sweep() -> int:
    """Remove what killed processes left half-written in a local folder; returns how many. An object store needs a
    lifecycle rule for incomplete uploads instead."""
    folder, oldest, removed = folder_path(INCOMING), time.time() - STALE_SECONDS, 0
    for path in folder.glob("*") if folder is not None else ():
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < oldest:
                path.unlink()
                removed += 1
    return removed


def write_path(key: str, path: Path) -> tuple[int, str]:
    """Store a local file under key; returns (bytes, sha256 hex). `untrusted.Refused` for a link, a pipe or a device."""
    with untrusted.file_open(path) as source:
        return write_stream(key, iter(lambda: source.read(CHUNK), b""))


def open_read(key: str) -> IO[bytes]:
    """The object as a binary stream; FileNotFoundError when there is none."""
    return cast("IO[bytes]", default_storage.open(key, "rb"))


def read_chunks(key: str, size: int = CHUNK) -> Iterator[bytes]:
    """The object in chunks. FileNotFoundError when there is none, Unreadable when the storage does not say."""
    with _reading():
        stream = open_read(key)
    with stream:
        while True:
            with _reading():
                chunk = stream.read(size)
            if not chunk:
                return
            yield chunk


def size(key: str) -> int:
    """Bytes of an object; FileNotFoundError when there is none, Unreadable when the storage does not say."""
    with _reading():
        return int(default_storage.size(key))


def chunks_of(stream: IO[bytes], size: int = CHUNK) -> Iterator[bytes]:
    """What is left of a stream, in chunks; closed at the end."""
    with stream:
        while chunk := stream.read(size):
            yield chunk


def exists(key: str) -> bool:
    """Whether the object is there."""
    return bool(default_storage.exists(key))


def delete(key: str) -> None:
    """Remove the object; no error when it is gone already."""
    default_storage.delete(key)


def delete_all(keys: Iterable[str]) -> None:
    """Remove several objects; no error for those that are gone already."""
    for key in keys:
        delete(key)


def is_there(key: str) -> bool:
    """Whether the object is there, for one who acts on it: Unreadable when the storage does not say."""
    try:
        size(key)
    except FileNotFoundError:
        return False
    return True


def drop_all(keys: Iterable[str]) -> None:
    """Remove what nobody points at, as far as the storage answers: what stays behind is only waste."""
    with contextlib.suppress(*_failures()):
        delete_all(keys)


def drop_folder(prefix: str) -> int:
    """`delete_folder` of what nobody points at: 0 where the storage does not answer, and another look removes it."""
    with contextlib.suppress(*_failures()):
        return delete_folder(prefix)
    return 0


def delete_folder(prefix: str) -> int:
    """Remove every object under a prefix that ends where a folder would; how many. None there is no error."""
    try:
        folders, names = default_storage.listdir(prefix)
    except FileNotFoundError:
        return 0
    delete_all(f"{prefix}/{name}" for name in names)
    inner = sum(delete_folder(f"{prefix}/{folder}") for folder in folders)
    delete(prefix)  # the empty folder, where there are folders
    return len(names) + inner


def folders(prefix: str) -> list[str]:
    """The names of the folders right below a prefix; none where the storage does not answer."""
    with contextlib.suppress(*_failures()):
        return list(default_storage.listdir(prefix)[0])
    return []


def folder_path(prefix: str) -> Path | None:
    """The local folder behind a prefix of keys; None with an object store, which has no folders."""
    try:
        return Path(default_storage.path(prefix))
    except NotImplementedError:
        return None


def signed_url(key: str) -> str:
    """An address that opens the object for a few minutes, for a process without credentials. Object stores only."""
    return str(default_storage.url(key))


@contextlib.contextmanager
def seekable(key: str) -> Iterator[Path | IO[bytes]]:
    """The object to read pieces of: its local file, or ranged reads where the store has none. FileNotFoundError."""
    local = folder_path(key)
    if local is not None:
        yield local
        return
    store = cast("Any", default_storage)
    with Ranges(store.bucket.Object(f"{store.location}{key}"), store.size(key)) as stored:
        yield cast("IO[bytes]", stored)


@contextlib.contextmanager
def local_path(key: str) -> Iterator[Path]:
    """A local file with the object's bytes, for a subprocess: the stored file itself, or a temporary copy."""
    stored = folder_path(key)
    if stored is not None:
        yield stored
        return
    with tempfile.NamedTemporaryFile() as copy:
        for chunk in read_chunks(key):
            copy.write(chunk)
        copy.flush()
        yield Path(copy.name)
