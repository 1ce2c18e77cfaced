"""What can be wrong with the shape of a table or of JSON lines."""

from __future__ import annotations

from data.checks.codes.registry import BLOCKING, JSONL_SHAPE, NOTE, TABLE_SHAPE, entry

entry(
    "missing_header",
    BLOCKING,
    "No header line",
    "The first line looks like data: %(first)s.",
    "Add a header line such as text,label, or read the first line as data.",
    expected="text,label",
    fix="first_row_is_data",
)
entry(
    "duplicate_columns",
    BLOCKING,
    "Columns with the same name",
    "The column name “%(column)s” occurs %(times)s times.",
    "Rename one of them, or choose the column to use: the second is shown as “%(renamed)s”.",
)
entry(
    "unnamed_column",
    NOTE,
    "Column without a name",
    "Column %(position)s has no name; it is shown as “%(renamed)s”.",
    "Name the column, or ignore it.",
)
entry(
    "ragged_rows",
    BLOCKING,
    "Rows with the wrong number of columns",
    "%(count)s rows do not have the %(expected_columns)s columns of the header.",
    "Put quotes around values that contain the delimiter, or drop these rows.",
    expected=TABLE_SHAPE,
    fix="drop_bad_rows",
)
entry(
    "multiline_values",
    NOTE,
    "Values over several lines",
    "%(count)s rows hold a quoted value that goes over several lines.",
    "Nothing to do, if that is meant. A stray quote has the same effect: look at one of them.",
)
entry("blank_lines", NOTE, "Blank lines", "%(count)s blank lines were skipped.", "Nothing to do.")
entry(
    "invalid_json",
    BLOCKING,
    "Not valid JSON",
    "%(count)s lines are not valid JSON. The first: %(reason)s.",
    "Write one complete JSON object per line, or drop these lines.",
    expected=JSONL_SHAPE,
    fix="drop_bad_rows",
)
entry(
    "json_array",
    BLOCKING,
    "One JSON array, not lines",
    "The file is a JSON array.",
    "Write each object on a line of its own, without brackets around them and commas between.",
    expected=JSONL_SHAPE,
    fatal=True,
)
entry(
    "json_pretty",
    BLOCKING,
    "One JSON object over many lines",
    "The file is one JSON object written over several lines.",
    "Write each example as an object on a line of its own.",
    expected=JSONL_SHAPE,
    fatal=True,
)
entry(
    "not_an_object",
    BLOCKING,
    "Line is not an object",
    "%(count)s lines hold a value that is not a JSON object.",
    "Write one JSON object per line, or drop these lines.",
    expected=JSONL_SHAPE,
    fix="drop_bad_rows",
)
entry(
    "duplicate_keys",
    BLOCKING,
    "Key given twice",
    "%(count)s lines give a key twice, the first “%(name)s”.",
    "Keep one value per key, or drop these lines.",
    expected=JSONL_SHAPE,
    fix="drop_bad_rows",
)
entry(
    "not_finite",
    BLOCKING,
    "NaN or Infinity",
    "%(count)s lines hold NaN, Infinity or a number too large.",
    "Use null or leave the key out, or drop these lines.",
    fix="drop_bad_rows",
)
entry(
    "lone_surrogates",
    BLOCKING,
    "Half a character",
    "%(count)s rows hold half of a surrogate pair (\\ud800–\\udfff).",
    "Write the file with an exporter that knows emoji, or drop these rows.",
    fix="drop_bad_rows",
)
entry(
    "json_too_deep",
    BLOCKING,
    "Nested too deeply",
    "%(count)s lines are nested more than %(limit)s levels.",
    "Flatten the objects, or drop these lines.",
    fix="drop_bad_rows",
)
entry(
    "mixed_shapes",
    BLOCKING,
    "Rows of different shapes",
    "%(count)s rows lack the keys that the others have: %(names)s.",
    "Keep one shape per file, or drop these rows.",
    expected=JSONL_SHAPE,
    fix="drop_bad_rows",
)
entry(
    "last_line_cut",
    BLOCKING,
    "Last line is cut off",
    "Line %(line)s ends in the middle of an object.",
    "The upload or export was probably interrupted. Upload the file again, or drop the line.",
    expected=JSONL_SHAPE,
    fix="drop_bad_rows",
)
