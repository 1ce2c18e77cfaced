"""Server-drawn charts: pure functions from numbers to SVG text. No Django, no script, no inline style.

The plotted shapes live in a nested, stretched `<svg>`; texts and points are placed in percent of the outer one. So a
chart fills any width and its labels keep their size, on paper and without script as well.
"""

from kit.charts.bars import Bars, Column, bar_chart
from kit.charts.curve import curve_chart
from kit.charts.lines import LineChart, Series, line_chart, thin
from kit.charts.matrix import MOST_CLASSES, Matrix, confusion_matrix
from kit.charts.scale import ticks
from kit.charts.scatter import Dot, scatter_chart
from kit.charts.spark import spark_line
from kit.charts.swing import swing_bar

__all__ = [
    "MOST_CLASSES",
    "Bars",
    "Column",
    "Dot",
    "LineChart",
    "Matrix",
    "Series",
    "bar_chart",
    "confusion_matrix",
    "curve_chart",
    "line_chart",
    "scatter_chart",
    "spark_line",
    "swing_bar",
    "thin",
    "ticks",
]
