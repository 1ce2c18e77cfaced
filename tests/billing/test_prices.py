"""Price books cannot change, and rating is exact."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.prices import PriceError, Usage, batch_kind, price_books, rate
from billing.prices.books_file import FOLDER

NOW_MS = 1_790_000_000_000


def test_a_million_tokens_cost_what_the_book_says() -> None:
    book = price_books().current(NOW_MS, "usd")
    usage = Usage("classify", "ft:all-MiniLM-L6-v2:acme:intents:x", input_tokens=10**6)
    assert rate(usage, book) == 20_000_000


def test_training_is_priced_by_trained_tokens() -> None:
    book = price_books().current(NOW_MS, "usd")
    assert rate(Usage("training", "all-MiniLM-L6-v2", input_tokens=1000, machine_ms=10**9), book) == 400_000


@given(st.lists(st.integers(0, 10**12), max_size=20))
def test_the_sum_of_ratings_is_the_rating_of_the_sum(tokens: list[int]) -> None:
    book = price_books().current(NOW_MS, "usd")
    one_by_one = sum(rate(Usage("decisions", "m", input_tokens=n), book) for n in tokens)
    assert one_by_one == rate(Usage("decisions", "m", input_tokens=sum(tokens)), book)


@given(
    st.sampled_from(["classify", "decisions", "embeddings", "rerank", "chat", "completions"]),
    st.integers(0, 10**12),
    st.integers(0, 10**12),
)
def test_a_line_of_a_batch_costs_half_of_the_call_to_the_nano(kind: str, read: int, written: int) -> None:
    book = price_books().get("2026-11-30.2")
    live = rate(Usage(kind, "m", read, written), book)
    assert 2 * rate(Usage(batch_kind(kind), "m", read, written), book) == live


def test_training_and_storage_have_no_batch_price() -> None:
    book = price_books().get("2026-11-30.2")
    assert not [kind for kind in book.kinds if kind.startswith(("batch_training", "batch_storage"))]


def test_a_batch_price_that_would_need_rounding_is_refused(tmp_path: Path) -> None:
    text = (FOLDER / "2026-11-30.2.toml").read_text().replace("= 20_000_000 ", "= 21_000_000 ")
    with pytest.raises(PriceError, match=r"50 % of classify\.default's input_token"):
        price_books(copy_of_books(tmp_path, "2026-11-30.2.toml", text))


def test_an_unknown_kind_has_no_price() -> None:
    with pytest.raises(KeyError):
        rate(Usage("telepathy", "m"), price_books().current(NOW_MS, "usd"))


def copy_of_books(folder: Path, name: str, text: str, digest: str | None = None) -> Path:
    (folder / name).write_text(text)
    (folder / "SHA256SUMS").write_text(f"{digest or hashlib.sha256(text.encode()).hexdigest()}  {name}\n")
    return folder


def test_a_book_changed_after_publication_is_refused(tmp_path: Path) -> None:
    text = (FOLDER / "2026-11-01.toml").read_text()
    digest = hashlib.sha256(text.encode()).hexdigest()
    folder = copy_of_books(tmp_path, "2026-11-01.toml", text.replace("20_000_000", "21_000_000"), digest)
    with pytest.raises(PriceError, match="differs from what was published"):
        price_books(folder)


def test_a_withdrawn_book_is_refused(tmp_path: Path) -> None:
    copy_of_books(tmp_path, "2026-11-01.toml", "x")
    (tmp_path / "2026-11-01.toml").unlink()
    with pytest.raises(PriceError, match="gone"):
        price_books(tmp_path)


def test_a_price_that_would_need_rounding_is_refused(tmp_path: Path) -> None:
    text = (FOLDER / "2026-11-01.toml").read_text().replace("20_000_000", "20_000_001")
    with pytest.raises(PriceError, match="whole number"):
        price_books(copy_of_books(tmp_path, "2026-11-01.toml", text))


def test_before_the_first_book_there_is_no_price() -> None:
    with pytest.raises(PriceError):
        price_books().current(0, "usd")


def test_the_book_with_engines_of_ones_own_changes_no_other_price() -> None:
    before, book = price_books().get("2026-11-30.2"), price_books().get("2026-11-30.3")
    assert {kind: book.kinds[kind] for kind in before.kinds} == before.kinds
    assert set(book.kinds) - set(before.kinds) == {"dedicated"}, "and there is none of it in a batch"
    hour = Usage("dedicated", "ft:all-MiniLM-L6-v2:acme:x:y", requests=0, machine_ms=3_600_000)
    assert rate(hour, book) == 360_000_000
