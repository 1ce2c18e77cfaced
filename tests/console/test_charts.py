"""Drawings are pure functions: their shapes and their honesty are checked here."""

import math
import random
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.calibration import calibration_chart
from evaluation.calibration import Bin
from kit import charts
from kit.charts.scale import label

finite = st.floats(min_value=-1e9, max_value=1e9, allow_nan=False, allow_subnormal=False)


@given(finite, finite)
def test_ticks_cover_the_range_with_at_most_six_values(one: float, other: float) -> None:
    low, high = sorted((one, other))
    found = charts.ticks(low, high)
    assert 2 <= len(found) <= 6
    slack = 1e-6 * (high - low)
    if slack > 1e-9 * max(1.0, abs(high), abs(low)):
        assert found[0] <= low + slack and found[-1] >= high - slack


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.25, "0.25"), (12_000, "12k"), (3_400_000, "3.4M"), (1500, "1500")]
)
def test_tick_labels_are_short(value: float, text: str) -> None:
    assert label(value) == text


@given(st.integers(min_value=0), st.integers(min_value=2001, max_value=9000))
def test_thinning_keeps_ends_and_extremes(seed: int, size: int) -> None:
    noise = random.Random(seed)
    points = [(float(x), noise.gauss(0, 1)) for x in range(size)]
    kept = charts.thin(points)
    assert len(kept) <= 2002
    assert min(y for _, y in kept) == min(y for _, y in points)
    assert max(y for _, y in kept) == max(y for _, y in points)


def test_a_missing_value_is_a_gap_and_never_zero() -> None:
    chart = charts.line_chart(
        id="c", title="Loss", finding="", series=[charts.Series("a", "a", [(0, 1.0), (1, None), (2, 0.5)])]
    )
    path = ET.fromstring(chart.svg).find(".//path").get("d")  # type: ignore[union-attr]
    assert path.count("M") == 2 and "L" not in path
    assert chart.data["series"][0]["y"] == [1.0, None, 0.5]


def test_a_value_between_two_gaps_is_a_point() -> None:
    points = [(0, 1.0), (1, None), (2, 0.5), (3, 0.6), (4, math.nan), (5, 0.7)]
    chart = charts.line_chart(id="c", title="p95", finding="", series=[charts.Series("a", "a", points)])
    dots = ET.fromstring(chart.svg).findall("circle")
    assert [dot.get("cx") for dot in dots] == ["0%", "100%"]


@pytest.mark.parametrize(
    ("unit", "tick", "said"),
    [
        ("$", "$0.00001", "$0.000022"),
        ("€", "€0.00001", "€0.000022"),
        ("CHF", "0.00001\u00a0CHF", "0.000022\u00a0CHF"),
    ],
)
def test_small_amounts_of_money_are_written_out(unit: str, tick: str, said: str) -> None:
    chart = charts.bar_chart(
        id="b", title="", finding="", keys=["m"], columns=[charts.Column("1 Nov", [2.2e-5])], unit=unit
    )
    drawn = ET.fromstring(chart.svg)
    texts = [text.text for text in drawn.findall("text")]
    assert tick in texts and not [text for text in texts if text and "e-" in text]
    assert [title.text for title in drawn.iter("title")] == [f"1 Nov: {said}"]


def test_a_series_without_points_still_draws() -> None:
    chart = charts.line_chart(id="c", title="Loss", finding="", series=[charts.Series("a", "a", [])])
    ET.fromstring(chart.svg)
    assert chart.series[0].latest is None


def test_not_a_number_is_left_out_of_the_drawing() -> None:
    chart = charts.line_chart(
        id="c", title="Loss", finding="", series=[charts.Series("a", "a", [(0, 1.0), (1, math.nan), (2, 2.0)])]
    )
    assert "nan" not in chart.svg


def test_labels_with_markup_are_escaped() -> None:
    drawn = charts.bar_chart(id="b", title="", finding="", keys=["<x>"], columns=[charts.Column("<script>", [1.0])]).svg
    assert "<script" not in drawn and ET.fromstring(drawn) is not None


def test_a_matrix_over_twenty_classes_shows_the_worst_twenty() -> None:
    names = [f"c{i}" for i in range(30)]
    counts = [[(i if i == j else 30 - i if j == 0 else 0) for j in range(30)] for i in range(30)]
    matrix = charts.confusion_matrix(names, counts)
    assert len(matrix.labels) == 20 and matrix.hidden == 10
    assert "c29" not in matrix.labels


def test_a_row_without_any_count_divides_by_nothing() -> None:
    matrix = charts.confusion_matrix(["a", "b"], [[0, 0], [1, 3]])
    assert [cell.css for cell in matrix.rows[0][1]] == ["hm-0", "hm-0"]
    assert matrix.rows[1][1][1].css == "hm-7"


def test_calibration_leaves_empty_bins_out() -> None:
    drawn = calibration_chart([Bin(0, 0.5, 0, 0.0, 0.0), Bin(0.5, 1, 10, 0.8, 0.7)])
    assert drawn.count("<circle") == 1


def test_a_swing_goes_from_where_the_figure_stands_to_both_sides() -> None:
    drawn = charts.swing_bar(base=50, lower=25, higher=100, least=0, most=100)
    root = ET.fromstring(drawn)
    bars = [(bar.get("class"), bar.get("x"), bar.get("width")) for bar in root.iter("rect")]
    assert bars == [("f1", "25%", "25%"), ("f2", "50%", "50%")]
    assert [line.get("x1") for line in root.iter("line")] == ["50%"]
    still = charts.swing_bar(base=5, lower=5, higher=5, least=5, most=5)
    assert "rect" not in still, "what does not move has no bar, and a scale without extent is no error"


def test_bars_below_zero_hang_from_it_and_those_above_stand_on_it() -> None:
    drawn = charts.bar_chart(
        id="moves",
        title="",
        finding="",
        keys=["came", "went"],
        columns=[charts.Column("Jan", [3.0, -1.0]), charts.Column("Feb", [0.0, -1.0])],
        unit="$",
    ).svg
    bars = [(bar.get("y"), bar.get("height")) for bar in ET.fromstring(drawn).findall("rect")]
    assert ">-$1<" in drawn and "Jan: -$1" in drawn
    assert bars == [("0%", "75%"), ("75%", "25%"), ("75%", "25%")]
    assert charts.Column("x", [3.0, -1.0, -2.0]).depth == -3.0
