"""Whether arguments fit a schema: as the reference validator says, and never for long."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.writing.strict import MAX_SCHEMA, Strict
from kit.errors import BadRequest

scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "bb", 1.0, 2.5])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
)
kinds = st.sampled_from(["string", "number", "integer", "boolean", "null", "object", "array"])
plain = st.fixed_dictionaries(
    {},
    optional={
        "type": kinds | st.lists(kinds, min_size=1, max_size=2, unique=True),
        "enum": st.lists(scalars, min_size=1, max_size=3),
        "const": scalars,
        "minimum": st.integers(-3, 3),
        "exclusiveMaximum": st.integers(-3, 3),
        "minLength": st.integers(0, 2),
        "maxItems": st.integers(0, 2),
        "required": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
        "title": st.just("words"),
    },
)


def larger(inner: Any) -> Any:
    several = st.lists(inner, min_size=1, max_size=2)
    return st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
            "additionalProperties": st.booleans() | inner,
            "items": inner,
            "anyOf": several,
            "oneOf": several,
            "allOf": several,
            "type": kinds,
        },
    )


@given(schema=st.recursive(plain, larger, max_leaves=5), value=values)
def test_it_is_what_the_reference_says(schema: dict[str, Any], value: Any) -> None:
    expected = jsonschema.Draft202012Validator(schema).is_valid(value)
    assert Strict(schema, "parameters").fits(value) == expected


def test_references_lead_into_the_schema() -> None:
    tree = {"$defs": {"node": {"type": "object", "properties": {"next": {"anyOf": [
        {"$ref": "#/$defs/node"}, {"type": "null"}]}}, "required": ["next"]}}, "$ref": "#/$defs/node"}  # fmt: skip
    assert Strict(tree, "p").fits({"next": {"next": None}})
    assert not Strict(tree, "p").fits({"next": {"next": 5}})


def test_a_schema_that_never_ends_fits_nothing() -> None:
    loop = {"$ref": "#"}
    doubled: dict[str, Any] = {"$defs": {"d0": {"type": "string"}}, "$ref": "#/$defs/d40"}
    for level in range(1, 41):
        doubled["$defs"][f"d{level}"] = {"anyOf": [{"$ref": f"#/$defs/d{level - 1}"}] * 2}
    for schema in (loop, doubled):
        assert not Strict(schema, "p").fits(5)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"enum": [*[1] * 8000, 0]}, 0),
        ({"enum": [*["x" * 1000] * 60, "y"]}, "y"),
        ({"const": [1] * 8000}, [1] * 8000),
        ({"required": ["a"] * 8000}, {"a": 1}),
    ],
)
def test_what_is_compared_counts_as_steps(schema: dict[str, Any], value: Any) -> None:
    checked = Strict({"items": schema}, "p")
    assert checked.fits([value] * 10)
    assert not checked.fits([value] * 700), "that would take too long to find out"


@pytest.mark.parametrize(
    ("schema", "param"),
    [
        ({"pattern": "a"}, "p.pattern"),
        ({"properties": {"a": {"patternProperties": {}}}}, "p.properties.a.patternProperties"),
        ({"type": "strnig"}, "p.type"),
        ({"type": [["string"]]}, "p.type"),
        ({"$ref": "https://example.com/schema"}, "p.$ref"),
        ({"$ref": "#/nowhere"}, "p.$ref"),
        ({"anyOf": []}, "p.anyOf"),
        ({"anyOf": [5]}, "p.anyOf[0]"),
        ({"required": "a"}, "p.required"),
        ({"properties": []}, "p.properties"),
        ({"minimum": "1"}, "p.minimum"),
        ({"items": [1]}, "p.items"),
        ({"default": {"properties": 5}, "$ref": "#/default"}, "p.$ref"),
        ({"enum": ["x" * MAX_SCHEMA]}, "p"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_place(schema: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        Strict(schema, "p")
    assert refused.value.param == param
