"""Fields in words: what is wrong with one, and what there is."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

OF_PAIRS = ("missing", "too_long", "tuple_type")
"""Mistakes in a list of fixed length that are the whole list's."""
PAIR = re.compile(r"(.+):([\d.+-][\w.+-]*)")
"""A name and a number that YAML took for a name."""
TEXT = ("text", "text | null")
"""Types of fields that hold a text and nothing else."""
LONGEST = 120
"""Characters of what was given that are shown."""


def explain(error: ValidationError, kind: type[BaseModel], prefix: str = "") -> str:
    """One line per mistake: the field, what is wrong, what is allowed."""
    lines = []
    for problem in error.errors():
        section, names = _place(kind, [str(part) for part in problem["loc"]])
        field = prefix + ".".join(names)
        if problem["type"] == "invalid_key":
            lines.append(f"{field or 'a recipe'}: fields have names, not {problem['input']!r}")
        elif problem["type"] == "extra_forbidden":
            path = "".join(f"{name}." for name in names)
            everywhere = [name for name, *_ in fields(kind)]
            unknown = str(problem["loc"][-1])
            lines.append(no_field(prefix + path, unknown, section.model_fields, everywhere))
        elif problem["type"] in OF_PAIRS and (pair := _pair_in(section, names)):
            lines.append(f"{field}: must be {pair}, not {_shown(problem['input'])}")
        elif problem["input"] is None and (pair := PAIR.fullmatch(str(problem["loc"][-1]))):
            lines.append(f"{field}: a space is missing: {pair[1]}: {pair[2]}")
        elif problem["type"] == "missing":
            # Of a section that is missing, what it must have.
            inner = () if names[-1] in section.model_fields else section.model_fields.items()
            needed = [f"{field}.{name}" for name, each in inner if each.is_required()] or [field]
            lines += [f"{name}=… is missing" for name in needed]
        elif problem["type"] == "value_error":
            message = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{field}: {message}" if names else prefix + message)
        elif problem["type"] == "model_type":
            known = ", ".join(section.model_fields)
            given = _cut(str(problem["input"]))
            lines.append(f"{field}: must be a section of fields ({known}), not {given}")
        else:
            message, given = problem["msg"].removeprefix("Input should be "), problem["input"]
            start, end = f"{field}: must be ", f", not {_shown(given)}"
            if isinstance(given, bool) and "string" in message:
                end += " (yes, no, on and off are read so, too: put text like that in quotes)"
            elif (
                isinstance(given, dict | list) and type_of(kind, field.removeprefix(prefix)) in TEXT
            ):
                end += " (put text like that in quotes)"
            if lines and lines[-1] == f"{start}{message}{end}":
                continue
            if lines and lines[-1].startswith(start) and lines[-1].endswith(end):
                lines[-1] = f"{lines[-1].removesuffix(end)} or {message}{end}"  # of a union
            else:
                lines.append(f"{start}{message}{end}")
    return "\n".join(dict.fromkeys(lines))


def no_field(
    prefix: str, unknown: str, known: Iterable[str], everywhere: Iterable[str] = ()
) -> str:
    """The sentence on a field that there is not, in a section with these; `everywhere` are the
    dotted names of all fields, of which one may have been meant."""
    if prefix + unknown in (everywhere := list(everywhere)):
        section, _, field = unknown.rpartition(".")
        return f"{prefix}{unknown}: in a file a section holds its fields, {section}: {{{field}: …}}"
    unknown, known = _cut(unknown), list(dict.fromkeys(known))  # a study has some of a recipe's
    close = [f"{prefix}{name}" for name in difflib.get_close_matches(unknown, known, n=1)]
    leaves = {name: name.rpartition(".")[2] for name in everywhere}
    alike = difflib.get_close_matches(unknown, leaves.values(), n=1, cutoff=0.8)
    close = close or [name for name, leaf in leaves.items() if leaf in alike]
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(known)}"
    return f"{prefix}{unknown}: there is no such field; {hint}"


def _shown(given: Any) -> str:
    """What was given, as it is written in YAML."""
    if isinstance(given, bool):
        return str(given).lower()
    return "empty (null)" if given is None else _cut(repr(given))


def _cut(text: str) -> str:
    """What was given, as far as a sentence has room for it."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 20]} … {text[-10:]}"


def _place(kind: type[BaseModel], path: list[str]) -> tuple[type[BaseModel], list[str]]:
    """The innermost section on a path, and the path's part that consists of fields: what follows a
    leaf (a dictionary's key, a branch of a union) is the validator's own affair."""
    names = []
    for part in path:
        if part not in kind.model_fields:
            break
        names.append(part)
        inner = _model_in(kind.model_fields[part].annotation)
        if inner is None:
            break
        kind = inner
    return kind, names


def _pair_in(section: type[BaseModel], names: list[str]) -> str | None:
    """The type of the field at the end of a path if it is of several numbers, each with its place:
    then what is wrong is said of the whole."""
    field = section.model_fields.get(names[-1]) if names else None
    annotation = None if field is None else field.annotation
    return type_name(annotation) if get_origin(annotation) is tuple else None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def section_of(kind: type[BaseModel], dotted: str) -> type[BaseModel] | None:
    """The section that a dotted name stands for; None where it is a field, or nothing."""
    section: type[BaseModel] | None = kind
    for name in dotted.split("."):
        field = section.model_fields.get(name) if section else None
        section = _model_in(field.annotation) if field else None
    return section


def fields(kind: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, Any, str]]:
    """(dotted name, type, default, documentation) of every field, sections flattened."""
    for name, field in kind.model_fields.items():
        inner = _model_in(field.annotation)
        if inner is not None:
            yield from fields(inner, f"{prefix}{name}.")
            continue
        default = field.get_default(call_default_factory=True)
        meaning = " ".join((field.description or "").split())
        yield prefix + name, type_name(field.annotation), default, meaning


def type_of(kind: type[BaseModel], dotted: str) -> str:
    """The type of a field as a reader of YAML knows it; empty for a section, or none of its."""
    return next((form for name, form, *_ in fields(kind) if name == dotted), "")


def type_name(annotation: Any) -> str:
    """A type as a reader of YAML knows it: ``number | null``, ``cpu | cuda``, ``list of text``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_name(arguments[0])
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " | ".join(map(type_name, arguments))
    if origin is list:
        return f"list of {type_name(arguments[0])}"
    if origin is tuple:
        return f"[{', '.join(map(type_name, arguments))}]"
    if origin is dict:
        return f"{{text: {type_name(arguments[1])}}}"
    names = {str: "text", float: "number", int: "integer", bool: "true | false", Any: "value"}
    return "null" if annotation is type(None) else names[annotation]
