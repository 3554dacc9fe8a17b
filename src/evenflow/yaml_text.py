"""YAML as recipes use it: the scalars of JSON, no types that code would have to guard against.

Of YAML 1.1 this leaves out dates, numbers to base 60 (``190:20:30``) and binary data, which are
text here, and tags. ``1e-4`` is a number, and a key may not come twice. Anchors, aliases and merges
(``<<``) are allowed within reason: what refers to itself, or grows beyond `LARGEST` values when it
is written out, is refused before anything is made of it.
"""

from __future__ import annotations

import json
import re
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode

DEEPEST = 50
"""Levels of lists and mappings within each other."""
LARGEST = 20_000
"""Values of a text, aliases written out."""
LONGEST = 100_000
"""Characters of a text: what this reads in some seconds, and ten times a long recipe."""

PLAIN = re.compile(r"[\w.+/-]+\Z")
"""A text that needs no quotes."""
UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""Characters that YAML folds into a space or a line, or refuses, unless they are escaped."""
INTEGER = re.compile(r"[-+]?(?:[0-9](?:_?[0-9]){0,99}|0x[0-9a-fA-F]{1,64})\Z")
FLOAT = re.compile(
    r"""[-+]?(?:(?:[0-9](?:_?[0-9]){0,99})?\.[0-9]{1,400}(?:[eE][-+]?[0-9]{1,6})?
      |[0-9](?:_?[0-9]){0,99}(?:\.)?(?:[eE][-+]?[0-9]{1,6})?
      |\.(?:inf|Inf|INF))\Z|\.(?:nan|NaN|NAN)\Z""",
    re.VERBOSE,
)


def parse_yaml(text: str) -> Any:
    """The value of a text of YAML. Raises `yaml.YAMLError`, and nothing else, for what is none."""
    return _read(text)[1]


def _read(text: str) -> tuple[Node | None, Any]:
    """How a text of YAML is written, and its value."""
    if len(text) > LONGEST:
        raise ConstructorError(None, None, f"longer than {LONGEST:,} characters", None)
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, None
        _measure(node, {})
        return node, loader.construct_document(node)
    finally:
        loader.dispose()


def parse_value(text: str, *, wants_text: bool = False) -> Any:
    """What stands right of ``=``, read as YAML where it is that and as plain text where not.

    Of plain text nothing is lost: ``End with #### and the number.`` has no comment, and its line
    breaks stay. Where the field `wants_text`, ``{prompt}`` and ``2024`` are text as well.
    """
    if not (stripped := text.strip()):
        return None
    try:
        node, value = _read(text)
    except yaml.YAMLError:
        return text
    if node is None or text[node.start_mark.index : node.end_mark.index] != stripped:
        return text  # YAML passes over a part of it: a comment, the mark of a document
    if isinstance(node, ScalarNode) and node.style is None:  # neither quoted nor a block
        if value is None:
            return None if node.value == stripped else text
        if isinstance(value, str):
            return value if value == stripped and not wants_text else text
        return text if wants_text and not isinstance(value, bool) else value
    if wants_text and isinstance(value, dict):
        return text
    # "Note: be brief" is a sentence. Sections and lists are written in braces and brackets.
    return text if isinstance(value, dict | list) and stripped[0] not in "{[" else value


def write_value(value: Any) -> str:
    """A text in one line that `parse_value` reads back."""
    if isinstance(value, str) and PLAIN.match(value) and parse_value(value) == value:
        return value
    text = json.dumps(value, ensure_ascii=False)
    return UNSAFE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def dump_yaml(value: Any) -> str:
    """A text that `parse_yaml` reads back."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (the class's own, filled below)
    yaml_constructors: dict[Any, Any] = {}  # noqa: RUF012  # pyright: ignore[reportIncompatibleVariableOverride]
    depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        self.depth += 1
        if self.depth > DEEPEST:
            mark = self.peek_event().start_mark
            raise ConstructorError(None, None, f"nested deeper than {DEEPEST}", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        # Here, where a mapping is as it was written: merging (``<<``) may give a key twice.
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, ScalarNode):
                if (key.tag, key.value) in seen:
                    raise ConstructorError(
                        None, None, f"{key.value!r} stands there twice", key.start_mark
                    )
                seen.add((key.tag, key.value))
        return node


class _Dumper(yaml.SafeDumper):
    """Puts quotes around a text that either YAML 1.1 or `parse_yaml` would take for a number, and
    escapes `UNSAFE` characters."""

    def represent_str(self, data: str) -> ScalarNode:
        if not UNSAFE.search(data):
            return super().represent_str(data)
        return self.represent_scalar(TAG + "str", data, style='"')


def _measure(node: Node, known: dict[int, int | None]) -> int:
    """The number of values of a node, aliases written out; None is kept for nodes under way."""
    if not isinstance(node, CollectionNode):
        return 1
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            raise ConstructorError(None, None, "refers to itself", node.start_mark)
        return size
    known[id(node)] = None
    pairs = node.value if isinstance(node, MappingNode) else [(each,) for each in node.value]
    size = 1 + sum(_measure(each, known) for pair in pairs for each in pair)
    if size > LARGEST:
        raise ConstructorError(
            None, None, f"more than {LARGEST:,} values when aliases are written out", None
        )
    known[id(node)] = size
    return size


def _integer(loader: _Loader, node: ScalarNode) -> int:
    text = _scalar(loader, node, INTEGER, "whole number").replace("_", "")
    return int(text, 16) if "x" in text else int(text)


def _float(loader: _Loader, node: ScalarNode) -> float:
    text = _scalar(loader, node, FLOAT, "number").replace("_", "").lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


def _scalar(loader: _Loader, node: ScalarNode, form: re.Pattern[str], what: str) -> str:
    text = loader.construct_scalar(node)
    if not isinstance(text, str) or not form.match(text):
        raise ConstructorError(None, None, f"{text!r:.60} is no {what}", node.start_mark)
    return text


def _boolean(loader: _Loader, node: ScalarNode) -> bool:
    text = str(loader.construct_scalar(node)).lower()
    if text not in loader.bool_values:
        raise ConstructorError(None, None, f"{text!r:.60} is neither true nor false", None)
    return loader.bool_values[text]


TAG = "tag:yaml.org,2002:"
_KEPT = {TAG + name for name in ("bool", "null", "merge")}
for _first, _rules in yaml.SafeLoader.yaml_implicit_resolvers.items():
    _Loader.yaml_implicit_resolvers[_first] = [rule for rule in _rules if rule[0] in _KEPT]
for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(TAG + "int", INTEGER, list("-+0123456789"))
    _kind.add_implicit_resolver(TAG + "float", FLOAT, list("-+.0123456789"))
_Dumper.add_representer(str, _Dumper.represent_str)
_Loader.add_constructor(TAG + "int", _integer)
_Loader.add_constructor(TAG + "float", _float)
_Loader.add_constructor(TAG + "bool", _boolean)
_Loader.add_constructor(TAG + "null", yaml.SafeLoader.construct_yaml_null)
_Loader.add_constructor(TAG + "str", yaml.SafeLoader.construct_yaml_str)
_Loader.add_constructor(TAG + "seq", yaml.SafeLoader.construct_yaml_seq)
_Loader.add_constructor(TAG + "map", yaml.SafeLoader.construct_yaml_map)
_Loader.yaml_constructors[None] = yaml.SafeLoader.construct_undefined
