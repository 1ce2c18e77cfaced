"""What can be wrong with the bytes of a file."""

from __future__ import annotations

from data.checks.codes.registry import BLOCKING, NOTE, TABLE_SHAPE, entry

entry(
    "empty_file",
    BLOCKING,
    "Empty file",
    "The file has no content.",
    "Upload a file with at least one row.",
    expected=TABLE_SHAPE,
    fatal=True,
)
entry(
    "no_rows",
    BLOCKING,
    "No rows",
    "The file has a header but no rows under it.",
    "Upload a file with at least one row.",
    expected=TABLE_SHAPE,
    fatal=True,
)
entry(
    "binary_file",
    BLOCKING,
    "Not a data file",
    "The content is %(found)s, not text or Parquet.",
    "Export the data as CSV, TSV, JSONL or Parquet and upload that.",
    expected="CSV, TSV, JSONL or Parquet; the name of the file does not matter",
    fatal=True,
)
entry(
    "encoding",
    BLOCKING,
    "Not UTF-8",
    "%(count)s rows hold bytes that are not %(encoding)s. The file looks like %(guess)s.",
    "Save the file as UTF-8 and upload it again.",
    expected="UTF-8, with or without a byte order mark, or UTF-16",
    fatal=True,
)
entry(
    "invalid_characters",
    BLOCKING,
    "Broken characters",
    "%(count)s rows hold bytes that are not valid %(encoding)s.",
    "Save the file as UTF-8 again, or drop these rows.",
    fix="drop_bad_rows",
)
entry(
    "encoding_converted",
    NOTE,
    "Read as UTF-16",
    "The file is %(encoding)s. It was converted while reading.",
    "Nothing to do.",
)
entry(
    "nul_bytes",
    BLOCKING,
    "NUL characters",
    "%(count)s rows hold NUL characters.",
    "Remove them at the source, or drop these rows.",
    fix="drop_bad_rows",
)
entry(
    "mixed_line_ends",
    NOTE,
    "Mixed line ends",
    "Lines end in several ways: %(kinds)s.",
    "Nothing to do, unless rows look split: then export the file again.",
)
entry(
    "line_too_long",
    BLOCKING,
    "Line too long",
    "Line %(line)s is longer than %(limit)s characters. Reading stopped there.",
    "Check that rows are separated by line ends and that quotes are closed.",
    expected=TABLE_SHAPE,
    fatal=True,
)
entry(
    "unclosed_quote",
    BLOCKING,
    "Quote never closed",
    "A quote opened in or after line %(line)s is not closed within %(limit)s characters.",
    'Close the quote. Inside a quoted value write a quote twice: "".',
    expected='"She said ""hello""",greeting',
    fatal=True,
)
entry(
    "unreadable",
    BLOCKING,
    "Cannot be read",
    "The file cannot be read as %(kind)s: %(reason)s.",
    "Export the file again and check that the upload is complete.",
    fatal=True,
)
entry(
    "too_many_rows",
    BLOCKING,
    "Too many rows",
    "The file has more than %(limit)s rows.",
    "Split the file or take a sample.",
    fatal=True,
)
entry(
    "too_many_columns",
    BLOCKING,
    "Too many columns",
    "The file has %(found)s columns; the limit is %(limit)s.",
    "Keep the text and label columns and remove the rest.",
    fatal=True,
)
entry(
    "too_large_inside",
    BLOCKING,
    "Too large when unpacked",
    "A part of the file takes %(found)s bytes unpacked; the limit is %(limit)s.",
    "Write the Parquet file with smaller row groups.",
    fatal=True,
)
entry(
    "column_type",
    BLOCKING,
    "Column type not supported",
    "Column “%(column)s” has the type %(type)s.",
    "Store text and labels as strings.",
    fatal=True,
)
