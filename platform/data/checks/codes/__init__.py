"""Everything the checks can say, by code. Importing this package fills the registry."""

from __future__ import annotations

from data.checks.codes import classification as _classification
from data.checks.codes import conversation as _conversation
from data.checks.codes import table as _table
from data.checks.codes import upload as _upload
from data.checks.codes.registry import BLOCKING, CODES, LEVELS, NOTE, WARNING, Code, words

__all__ = ["BLOCKING", "CODES", "LEVELS", "NOTE", "WARNING", "Code", "words"]

FAMILIES = (_upload, _table, _classification, _conversation)
