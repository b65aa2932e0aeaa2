import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.errors import LabError
from stages.core.records.canonical import dumps, from_hex, hex_float, pretty, read_json, write_json


def _nested(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)


def test_key_order_and_spacing_do_not_reach_the_bytes() -> None:
    assert dumps({"b": 1, "a": [True, None, "é"]}) == '{"a":[true,null,"é"],"b":1}'.encode()


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_survives_its_hex_text_exactly(value: float) -> None:
    assert from_hex(hex_float(value)) == value


def test_negative_zero_and_zero_are_one_recipe() -> None:
    assert hex_float(-0.0) == hex_float(0.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, {"deep": [-math.inf]}, 1 << 60])
def test_numbers_that_json_cannot_carry_exactly_are_refused(value: object) -> None:
    with pytest.raises(LabError, match="canonical JSON"):
        dumps(value)


@pytest.mark.parametrize("text", ["zero", "", None, "0x1.8p"])
def test_text_that_is_no_float_is_refused(text: str) -> None:
    with pytest.raises(LabError, match="hex float"):
        from_hex(text)


def test_written_json_reads_back_and_leaves_no_draft(tmp_path: Path) -> None:
    write_json(tmp_path / "deep" / "a.json", {"x": [1, 2]})
    assert read_json(tmp_path / "deep" / "a.json") == {"x": [1, 2]}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.json"]


def test_pretty_json_has_a_line_per_key_and_keeps_plain_lists_on_one() -> None:
    assert pretty({"b": [1, 2.5], "a": [{"c": "é"}], "d": {}}) == (
        '{\n "a": [\n  {\n   "c": "é"\n  }\n ],\n "b": [1, 2.5],\n "d": {}\n}\n'
    )


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=3), _nested, max_leaves=20
    )
)
def test_pretty_json_says_the_same_as_canonical_json(value: object) -> None:
    assert dumps(json.loads(pretty(value))) == dumps(value)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"absent\.json"):
        read_json(tmp_path / "absent.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(LabError, match=r"broken\.json is not JSON"):
        read_json(tmp_path / "broken.json")
