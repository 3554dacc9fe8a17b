"""YAML of recipes: the scalars of JSON, and nothing that grows, nests or refers without end."""

from __future__ import annotations

import pytest
import yaml

from evenflow.yaml_text import DEEPEST, dump_yaml, parse_value, parse_yaml, write_value

LAUGHS = "a0: &a0 [x, y]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("1e-4", 1e-4), ("1_000", 1000), ("010", 10), ("0x1F", 31), ("5.", 5.0), ("+.5", 0.5)),
        *((".inf", float("inf")), ("~", None), ("yes", True), ("", None), ("!!str 1", "1")),
        # What YAML 1.1 takes for dates, numbers to base 60, and half reads, is text.
        *((text, text) for text in ("2001-99-99", "2001-01-01", "190:20:30", "0x_", "0b_", "1__0")),
        *((text, text) for text in ("=", "9" * 5000, "0x" + "f" * 5000, "1e9999999")),
        ("a: &x {b: 1}\nc: {<<: *x, d: 2}", {"a": {"b": 1}, "c": {"b": 1, "d": 2}}),
    ],
)
def test_values(text: str, value: object) -> None:
    assert parse_yaml(text) == value
    assert parse_yaml(dump_yaml(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        *("!!timestamp x", "!!int x", "!!float x", "!!binary x", "!!bool x", "!!set {a}", "!x y"),
        *("&a [*a]", "&a {a: *a}", "*a", "<<", "{<<: 3}", "{[a]: 1}", "{a: 1, a: 2}", "a: ["),
        *("\x00", "\ud800", "a: 1\n---\nb: 2", "[" * 10_000, "{" * 10_000, "- " * 10_000),
        *(
            "? " * 10_000,
            "[\n" * 10_000,
            LAUGHS,
            MERGES,
            "x" * 2_000_000,
            "[" + "a," * 20_100 + "]",
        ),
    ],
)
def test_what_is_refused_raises_one_kind_of_error(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        parse_yaml(text)


def test_depth() -> None:
    levels = DEEPEST - 1
    assert parse_yaml("[" * levels + "]" * levels) is not None


@pytest.mark.parametrize("text", ["1e-4", "1E5", "0x1F", "1_000", "2001-01-01", "5.", "yes", "~"])
def test_a_text_that_looks_like_a_number_comes_back_as_text(text: str) -> None:
    assert parse_yaml(dump_yaml({"a": text})) == {"a": text}


def test_a_merge_that_is_read_first_from_elsewhere_gives_no_key_twice() -> None:
    text = "p: {q: &b {<<: {x: 1}, x: 2}}\nc: {<<: *b}"
    assert parse_yaml(text)["p"] == {"q": {"x": 2}}


@pytest.mark.parametrize(
    "sign", "\x01\x1b\x7f\x80\x85\x9f\xa0\xad\u2028\u2029\ud7ff\ue000\ufeff\ufffe\uffff😀"
)
def test_every_character_comes_back(sign: str) -> None:
    for text in (
        sign,
        f"a{sign}b",
        f"a {sign} b",
        f"{sign}\n c",
        f"- {sign}",
        f"{'a ' * 60}{sign} b",
    ):
        assert parse_yaml(dump_yaml({"a": [text], text: 1})) == {"a": [text], text: 1}
        assert parse_value(write_value(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        *("### Question {prompt}", "End with #### and the number.", "{prompt} # a", "[a] # b"),
        *("'a' # b", "one\ntwo", "one\n\ntwo\n", "---", "--- x", "...", "&a x", "! x", "null # x"),
        *("a\x85b", "a\u2028b", "yes # x", "3 # three", "# x\n3", "%x", "?", "-", "*a", "a: b"),
    ],
)
def test_plain_text_of_the_command_line_loses_nothing(text: str) -> None:
    assert parse_value(text) == parse_value(text, wants_text=True) == text


@pytest.mark.parametrize("text", ["{prompt}", "{prompt} ", " 2024", "1e-4", ".inf", "{a: b}", "x "])
def test_a_field_of_text_takes_more_as_text(text: str) -> None:
    assert parse_value(text, wants_text=True) == text
    assert parse_value(text) != text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("", None), (" ", None), ("~", None), ("null", None), ("'null'", "null"), ("''", "")),
        *(("'a # b'", "a # b"), ('"a\\nb"', "a\nb"), ("'2024' ", "2024"), ("yes", True)),
        ("|\n a\n b", "a\nb"),
    ],
)
def test_quotes_null_and_blocks_are_read_as_yaml(text: str, value: object) -> None:
    assert parse_value(text) == parse_value(text, wants_text=True) == value


@pytest.mark.parametrize(
    "value", [None, True, 3, 1e-4, "null", "3", "a #b", " a", "{a}", "[b]", ""]
)
def test_what_is_written_comes_back(value: object) -> None:
    assert parse_value(write_value(value)) == value
    if isinstance(value, str):
        assert parse_value(write_value(value), wants_text=True) == value
