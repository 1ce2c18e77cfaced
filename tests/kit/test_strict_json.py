"""The API's JSON reader refuses what cannot be meant."""

import pytest

from kit import strict_json
from kit.errors import BadRequest


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
        (b'{"a": 1, "a": 2}', "stands twice"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"\\ud800": 1, "\\ud800": 2}', "surrogate"),
        (b'{"a": "\\u0000"}', "NUL"),
        (b"[" * 100_000, "nested deeper"),
        (b"[" * 70 + b"]" * 70, "nested deeper"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8"),
        (b"{'a': 1}", "not JSON"),
    ],
)
def test_bad_documents_get_a_reason(raw: bytes, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        strict_json.loads(raw)


def test_a_good_document_comes_through_whole() -> None:
    assert strict_json.loads('{"a": [1, 2.5, "é", null, true]}'.encode()) == {"a": [1, 2.5, "é", None, True]}
