"""Bytes: streamed in and out of the configured object storage, never whole in memory.

Keys are `t/{tenant}/{kind}/{uuid}` and hold nothing a user typed.
"""

import contextlib
import hashlib
import io
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, cast
from uuid import UUID

from django.core.files.base import File
from django.core.files.storage import default_storage

CHUNK = 1 << 20


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


def write_stream(key: str, chunks: Iterable[bytes], *, limit: int | None = None) -> tuple[int, str]:
    """Store the chunks under key; returns (bytes, sha256 hex). `TooLarge` past limit, with nothing left behind.

    The bytes go through a temporary file, so a reader sees the whole object or none.
    """
    digest, size = hashlib.sha256(), 0
    with tempfile.TemporaryFile() as spool:
        for chunk in chunks:
            size += len(chunk)
            if limit is not None and size > limit:
                raise TooLarge(limit)
            digest.update(chunk)
            spool.write(chunk)
        spool.seek(0)
        saved = default_storage.save(key, File(spool, name=key))
    if saved != key:
        default_storage.delete(saved)
        raise FileExistsError(f"the storage key is taken: {key}")
    return size, digest.hexdigest()


def write_path(key: str, path: Path) -> tuple[int, str]:
    """Store a local file under key; returns (bytes, sha256 hex)."""
    with path.open("rb") as source:
        return write_stream(key, iter(lambda: source.read(CHUNK), b""))


def open_read(key: str) -> IO[bytes]:
    """The object as a binary stream; FileNotFoundError when there is none."""
    return cast("IO[bytes]", default_storage.open(key, "rb"))


def read_chunks(key: str, size: int = CHUNK) -> Iterator[bytes]:
    """The object in chunks."""
    yield from chunks_of(open_read(key), size)


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


def folder_path(prefix: str) -> Path | None:
    """The local folder behind a prefix of keys; None with an object store, which has no folders."""
    try:
        return Path(default_storage.path(prefix))
    except NotImplementedError:
        return None


def signed_url(key: str) -> str:
    """An address that opens the object for a few minutes, for a process without credentials. Object stores only."""
    return str(default_storage.url(key))


class Ranges(io.RawIOBase):
    """An object of an S3 store as a file to seek in: each read asks for its bytes alone, in one ranged request."""

    def __init__(self, stored: Any, size: int) -> None:
        """`stored` is a boto3 `Object` of `size` bytes."""
        super().__init__()
        self._stored, self._size, self._at = stored, size, 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Where the next read starts."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; nothing is read."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer from here on; 0 at the end."""
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), self._size - self._at)
        if wanted <= 0:
            return 0
        answer = self._stored.get(Range=f"bytes={self._at}-{self._at + wanted - 1}")
        data = answer["Body"].read()
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


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
