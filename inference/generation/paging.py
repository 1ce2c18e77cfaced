"""Which blocks of the cache hold which tokens. Pure Python: knows no tensors.

The cache is cut into blocks of `BLOCK` tokens, so that nobody's memory is reserved before it is needed. What the
beginning of a prompt has in common with an earlier one of the same owner is shared, block by block, and not computed
again. A block that nobody uses keeps its content until the space is wanted, least recently used first.

Owners never share: how fast an answer comes would tell one tenant what another has asked.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict

BLOCK = 16  # tokens


class Blocks:
    """The book of all blocks, numbered from 0. Not thread-safe."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._users = [0] * count
        self._digests: list[bytes | None] = [None] * count
        self._known: dict[bytes, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict((number, None) for number in range(count))

    @property
    def free(self) -> int:
        """Blocks that nobody uses."""
        return len(self._idle)

    def take(self) -> int | None:
        """A block for one user; what it held is forgotten. None if all are in use."""
        if not self._idle:
            return None
        number, _ = self._idle.popitem(last=False)
        digest, self._digests[number] = self._digests[number], None
        if digest is not None:
            del self._known[digest]
        self._users[number] = 1
        return number

    def share(self, owner: str, tokens: list[int]) -> list[int]:
        """The blocks that hold the longest known beginning of `tokens`, each with one more user.

        The last token is never shared: it has to be computed for its answer.
        """
        found: list[int] = []
        digest = owner.encode()
        for begin in range(0, len(tokens) - BLOCK, BLOCK):
            digest = _digest(digest, tokens[begin : begin + BLOCK])
            number = self._known.get(digest)
            if number is None:
                break
            self._users[number] += 1
            self._idle.pop(number, None)
            found.append(number)
        return found

    def remember(self, owner: str, tokens: list[int], table: list[int], begin: int, end: int) -> None:
        """Say that the full blocks between the tokens `begin` and `end` of a sequence have been computed."""
        first = begin // BLOCK
        digest = self._digests[table[first - 1]] if first else owner.encode()
        for place in range(first, end // BLOCK):
            if digest is None:  # a block before it holds what another one holds too, and is not in the book
                return
            digest = _digest(digest, tokens[place * BLOCK : (place + 1) * BLOCK])
            number = table[place]
            if self._digests[number] is None and digest not in self._known:
                self._digests[number], self._known[digest] = digest, number
            elif self._digests[number] != digest:
                digest = None

    def release(self, table: list[int]) -> None:
        """One user fewer for each block of a table. What is at the end of it is forgotten first."""
        for number in reversed(table):
            self._users[number] -= 1
            if not self._users[number]:
                self._idle[number] = None
                if self._digests[number] is None:  # holds nothing that could be shared
                    self._idle.move_to_end(number, last=False)


def _digest(before: bytes, tokens: list[int]) -> bytes:
    """Of a block and everything before it."""
    return hashlib.blake2b(before + array("I", tokens).tobytes(), digest_size=16).digest()
