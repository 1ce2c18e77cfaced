"""Documents: the same values give the same bytes, in any common script."""

import datetime as dt

from kit.paper import MISSING, Sheet

WHEN = dt.datetime(2026, 11, 30, 12, 0, tzinfo=dt.UTC)


def made(name: str, *, when: dt.datetime = WHEN, rows: int = 2) -> bytes:
    sheet = Sheet(title="Quote", made_at=when, foot="Q-1")
    sheet.title("Quote Q-1")
    sheet.pairs([("For", name)])
    sheet.table(["Line", "Amount"], [[f"Line {n} " * 12, "$1.00"] for n in range(rows)], [("Total", "$2.00")])
    return sheet.done()


def test_the_same_values_give_the_same_bytes_and_the_date_is_the_rows() -> None:
    assert made("Ada Ltd") == made("Ada Ltd")
    assert b"20261130120000" in made("Ada Ltd")
    assert made("Ada Ltd") != made("Ada Ltd", when=WHEN + dt.timedelta(seconds=1))
    assert made("Ada Ltd") != made("Eve Ltd")


def test_names_in_common_scripts_have_a_font_and_others_say_that_they_lack_one() -> None:
    for name, font in (
        ("Żółć Ελλάδα Київ", b"DejaVuSans"),
        ("李雷有限公司", b"STSong"),
        ("カタカナ", b"HeiseiKakuGo"),
        ("김민수", b"HYSMyeongJo"),
    ):
        assert font in made(name)
    size = len(made("Ada Ltd"))
    assert len(made("محمد")) > size + 100, f"the note is there: {MISSING}"


def test_a_long_table_goes_on_on_the_next_page() -> None:
    assert made("Ada", rows=2).count(b"/Type /Page\n") == 1
    assert made("Ada", rows=60).count(b"/Type /Page\n") >= 3
