"""Blocks of the cache: nobody's is lost, nobody's is given twice, and only one owner's beginnings are shared."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from inference.generation.paging import BLOCK, Blocks


def filled(blocks: Blocks, owner: str, tokens: list[int]) -> list[int]:
    """A table as a sequence gets it that has been read whole."""
    table = blocks.share(owner, tokens)
    shared = len(table) * BLOCK
    while len(table) * BLOCK < len(tokens):
        number = blocks.take()
        assert number is not None
        table.append(number)
    blocks.remember(owner, tokens, table, shared, len(tokens))
    return table


def test_a_known_beginning_is_shared_by_its_owner_alone() -> None:
    blocks = Blocks(16)
    tokens = list(range(3 * BLOCK + 5))
    first = filled(blocks, "a", tokens)
    assert blocks.share("b", tokens) == []
    again = blocks.share("a", tokens[: 2 * BLOCK] + [9] * BLOCK)
    assert again == first[:2]
    blocks.release(first)
    assert blocks.free == 16 - 2, "two of its blocks are still used by the other"


def test_the_last_token_is_always_computed() -> None:
    blocks = Blocks(8)
    tokens = list(range(2 * BLOCK))
    blocks.release(filled(blocks, "a", tokens))
    assert len(blocks.share("a", tokens)) == 1


def test_a_prompt_that_was_read_in_parts_is_known_whole() -> None:
    blocks = Blocks(8)
    tokens = list(range(3 * BLOCK))
    table = [number for _ in range(3) if (number := blocks.take()) is not None]
    for begin, end in ((0, 7), (7, 20), (20, 3 * BLOCK)):
        blocks.remember("a", tokens, table, begin, end)
    assert blocks.share("a", [*tokens, 1]) == table


def test_what_nobody_uses_is_kept_until_the_space_is_wanted() -> None:
    blocks = Blocks(4)
    old, new = list(range(BLOCK)), list(range(100, 100 + BLOCK))
    blocks.release(filled(blocks, "a", old))
    blocks.release(filled(blocks, "a", new))
    taken = [blocks.take() for _ in range(3)]
    assert None not in taken
    assert blocks.share("a", [*old, 1]) == [], "the one used longest ago goes first"
    assert len(blocks.share("a", [*new, 1])) == 1
    assert blocks.take() is None


class Book(RuleBasedStateMachine):
    """Tables come and go; the book's counts are those of the tables."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = Blocks(12)
        self.tables: list[list[int]] = []

    @rule(owner=st.sampled_from("ab"), start=st.integers(0, 2), length=st.integers(1, 3 * BLOCK))
    def begin(self, owner: str, start: int, length: int) -> None:
        tokens = list(range(start, start + length))
        if -(-length // BLOCK) <= self.blocks.free:
            self.tables.append(filled(self.blocks, owner, tokens))

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        if self.tables:
            self.blocks.release(self.tables.pop(data.draw(st.integers(0, len(self.tables) - 1))))

    @invariant()
    def nothing_is_lost_or_given_twice(self) -> None:
        used = {number for table in self.tables for number in table}
        assert self.blocks.free == self.blocks.count - len(used)
        for table in self.tables:
            assert len(set(table)) == len(table)


Book.TestCase.settings = settings(max_examples=30, stateful_step_count=15, deadline=None)
TestBook = Book.TestCase
