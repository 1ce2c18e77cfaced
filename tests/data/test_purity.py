"""The parts that read hostile files know no Django and no torch, so that they run in a bare process."""

import subprocess
import sys
from pathlib import Path

import pytest

SHELF = Path(__file__).parents[2] / "platform"


@pytest.mark.parametrize("module", ["data.examine", "data.writer", "data.formats", "data.checks.codes"])
def test_the_pure_parts_import_neither_django_nor_torch(module: str) -> None:
    program = f"import sys, {module}; print(sorted({{'django', 'torch', 'celery'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=SHELF, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_check_of_text_loads_no_arrow(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("text,label\nhello there,a\ngood bye,b\n")
    program = (
        "import sys, pathlib, data.examine\n"
        "found = data.examine.examine(pathlib.Path(sys.argv[1]))\n"
        "print(found.rows, 'pyarrow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, file], cwd=SHELF, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"]
