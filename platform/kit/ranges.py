"""An object of an S3 store, read in pieces."""

import io
from typing import Any


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
