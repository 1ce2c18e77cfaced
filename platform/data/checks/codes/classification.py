"""What can be wrong with labelled text."""

from __future__ import annotations

from data.checks.codes.registry import BLOCKING, JSONL_SHAPE, NOTE, TABLE_SHAPE, WARNING, entry

entry(
    "missing_text_column",
    BLOCKING,
    "No text column",
    "No column was recognised as text. Columns: %(columns)s.",
    "Choose the text column.",
    expected=TABLE_SHAPE,
)
entry(
    "missing_label_column",
    BLOCKING,
    "No label column",
    "No column was recognised as label. Columns: %(columns)s.",
    "Choose the label column, or add one.",
    expected=TABLE_SHAPE,
)
entry(
    "empty_text",
    BLOCKING,
    "Empty text",
    "%(count)s rows have no text.",
    "Fill the text in, or drop these rows.",
    expected=TABLE_SHAPE,
    fix="drop_bad_rows",
)
entry(
    "empty_label",
    BLOCKING,
    "Empty label",
    "%(count)s rows have no label.",
    "Fill the label in, or drop these rows.",
    expected=TABLE_SHAPE,
    fix="drop_bad_rows",
)
entry(
    "wrong_type",
    BLOCKING,
    "Value is not text",
    "%(count)s rows have a %(role)s that is neither text nor a number.",
    "Store text and labels as strings, or drop these rows.",
    expected=JSONL_SHAPE,
    fix="drop_bad_rows",
)
entry(
    "label_too_long",
    BLOCKING,
    "Label too long",
    "%(count)s labels are longer than %(limit)s characters.",
    "Is this the label column? Choose another, or shorten the labels.",
    fix="drop_bad_rows",
)
entry(
    "too_few_rows",
    BLOCKING,
    "Too few rows",
    "%(found)s usable rows; at least %(limit)s are needed.",
    "Add rows. Around 30 per label is where results start to be useful.",
)
entry(
    "single_class",
    BLOCKING,
    "Only one label",
    "Every row has the label “%(label)s”.",
    "A classifier needs at least two labels.",
)
entry(
    "one_row_classes",
    BLOCKING,
    "Nearly every row has its own label",
    "%(labels)s labels in %(rows)s rows.",
    "Is this the label column? Choose another, or group the labels.",
)
entry(
    "too_many_labels",
    BLOCKING,
    "Too many labels",
    "%(found)s labels; the limit is %(limit)s.",
    "Group rare labels, or choose another label column.",
)
entry(
    "small_classes",
    WARNING,
    "Labels with few rows",
    "%(labels)s labels have fewer than %(limit)s rows: %(names)s.",
    "Add rows for them, merge them with others, or drop them.",
    fix="drop_small_classes",
)
entry(
    "imbalance",
    NOTE,
    "Uneven labels",
    "“%(largest)s” has %(ratio)s times the rows of “%(smallest)s”.",
    "Look at macro-F1 and the rows per label in the report rather than at accuracy alone.",
)
entry(
    "label_spelling",
    WARNING,
    "One label, two spellings",
    "“%(variant)s” (%(count)s rows) looks like “%(label)s” (%(rows)s rows).",
    "Merge them if they mean the same.",
    fix="merge_labels",
)
entry(
    "outer_space",
    NOTE,
    "Spaces around values",
    "%(count)s values begin or end with white space.",
    "Trim them.",
    fix="trim",
)
entry(
    "exact_duplicates",
    WARNING,
    "Duplicates",
    "%(count)s rows repeat the text and label of an earlier row.",
    "Drop them. Until then copies stay on one side of the split, so results are not flattered.",
    fix="drop_duplicates",
)
entry(
    "near_duplicates",
    NOTE,
    "Near duplicates",
    "%(count)s rows are almost the same as an earlier row.",
    "They stay on one side of the split. Drop them if they add nothing.",
    fix="drop_near_duplicates",
)
entry(
    "conflicting_labels",
    WARNING,
    "Same text, different labels",
    "%(count)s rows share their text with a row of another label.",
    "Decide which label is right, or drop all of these rows.",
    fix="drop_conflicts",
)
entry(
    "text_too_long",
    WARNING,
    "Longer than the model reads",
    "%(count)s texts (%(share)s) are longer than %(limit)s %(unit)s. The longest has %(longest)s.",
    "The model reads the first %(limit)s %(unit)s of them. Shorten them, raise the length, or drop them.",
    fix="drop_long",
)
entry(
    "few_distinct_texts",
    WARNING,
    "Nearly constant text",
    "Only %(distinct)s different texts in %(rows)s rows.",
    "Is this the text column? Choose another, or drop duplicates.",
)
entry(
    "label_in_text",
    WARNING,
    "Text contains its label",
    "In %(share)s of rows the text contains its own label.",
    "If the label is copied into the text, remove it: at prediction time it will not be there.",
)
entry(
    "personal_data",
    NOTE,
    "Personal data",
    "%(count)s rows hold %(kinds)s.",
    "Check that you may use it. Mask it at the source if the model does not need it.",
)
entry(
    "split_leakage",
    WARNING,
    "Same text in training and test",
    "%(count)s texts occur in more than one split.",
    "Move copies to one side, or results will be flattered.",
)
entry(
    "unknown_split",
    BLOCKING,
    "Unknown split",
    "%(count)s rows have a split other than train, validation or test.",
    "Use train, validation or test, or ignore the column.",
    fix="drop_bad_rows",
)
