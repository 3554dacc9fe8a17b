"""The language of programs: against all strings, against Python itself, against rewriting rules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import product

import pytest

from evenflow.tasks.programs.grammar import (
    OPERATORS,
    Expression,
    Language,
    count_leaves,
    evaluate,
    normal,
    parse,
    write,
)

SMALL = Language(leaves=3, largest=2, operators=OPERATORS)


def trees(language: Language, size: int) -> list[Expression]:
    """All expressions with exactly `size` leaves."""
    if size == 1:
        return [*language.variables, *language.constants]
    return [
        (operator, left, right)
        for first in range(1, size)
        for operator in language.operators
        for left in trees(language, first)
        for right in trees(language, size - first)
    ]


ALL = [tree for size in (1, 2, 3) for tree in trees(SMALL, size)]


def test_every_tree_has_one_spelling_of_its_own() -> None:
    spelled = {write(tree): tree for tree in ALL}
    assert len(spelled) == len(ALL) == 4 + 4 * 4 * 7 + 2 * 4**3 * 7**2
    assert all(parse(text, SMALL) == tree for text, tree in spelled.items())


def test_values_are_pythons() -> None:
    for tree in ALL:
        for x, y in ((0, 0), (2, 7), (9, 4)):
            try:
                truth = eval(write(tree), {"max": max, "min": min, "x": x, "y": y})
            except ZeroDivisionError:
                truth = None
            assert evaluate(tree, {"x": x, "y": y}) == truth


def test_parse_accepts_the_spellings_and_no_other_string() -> None:
    """All strings of up to five pieces ("max(" is one, so that calls are among them), then all that
    an expression can begin with, grown piece by piece."""
    language = Language(leaves=3, largest=0, variables="x", operators=("-", "*", "max"))
    pieces = ["x", "-", "*", "max(", "(", ")", ","]
    spellings = {write(tree) for size in (1, 2, 3) for tree in trees(language, size)}
    accepted = {
        text
        for length in range(6)
        for text in map("".join, product(pieces, repeat=length))
        if parse(text, language) is not None
    }
    short = {text for text in spellings if len(text.replace("max(", "m")) <= 5}
    assert accepted == short
    assert {"x-x*x", "max(x,x)", "x*x*x"} < accepted
    assert set(grown(language, pieces)) == spellings


def grown(language: Language, pieces: list[str]) -> Iterator[str]:
    """All accepted strings, from every prefix that some suffix could still make acceptable.

    A prefix is given up where no expression begins with it: three leaves at the most, an operand
    after an operator and the other way round, no bracket closed that was not opened.
    """
    stack = [("", True, 0, 0)]  # text, an operand comes next, brackets open, leaves
    while stack:
        text, operand_next, opened, leaves = stack.pop()
        if parse(text, language) is not None:
            yield text
        for piece in pieces:
            if piece == "x" and operand_next and leaves < 3:
                stack.append((text + piece, False, opened, leaves + 1))
            elif piece in ("(", "max(") and operand_next and opened < 3:
                stack.append((text + piece, True, opened + 1, leaves))
            elif piece == ")" and not operand_next and opened:
                stack.append((text + piece, False, opened - 1, leaves))
            elif piece in ("-", "*", ",") and not operand_next and leaves < 3:
                stack.append((text + piece, True, opened, leaves))


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "x +y",
        "x+y ",
        "x+y\n",
        "-x",
        "+x",
        "x+-y",
        "(x)",
        "(x+y)",
        "x+(y*2)",
        "(x+y)+2",
        "x*(y)",
        "max(x,y",
        "max(x)",
        "max(x,y,2)",
        "max(x,y,)",
        "max (x,y)",
        "max",
        "maxx",
        "x//",
        "x/y",
        "x**y",
        "x***y",
        "xy",
        "2x",
        "22",
        "0",
        "02",
        "3",  # beyond the largest constant
        "x+٢",
        "ｘ+y",
        "x+y+x+y",  # four leaves
        "x if y else 2",
        "__import__('os')",
        "().__class__",
        "x<eos>",
        "(" * 10_000,
        "x+" * 10_000 + "x",
        "max(" * 3 + "x",
    ],
)
def test_hostile_text_is_no_expression(text: str) -> None:
    assert parse(text, SMALL) is None


def test_the_language_limits_what_is_read() -> None:
    assert parse("x-y", Language(operators=("+",))) is None
    assert parse("x-y", Language(variables="x")) is None
    assert parse("x-9", Language(largest=8)) is None
    assert parse("x-y-9", Language(leaves=2)) is None
    assert parse("x-y-2", Language()) == ("-", ("-", "x", "y"), "2")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x+y+2", "2+(y+x)"),
        ("x-(y-2)", "2+x-y"),
        ("x-1-y", "x-(1+y)"),
        ("(x+1)*y", "y*(1+x)"),
        ("max(max(x,1),y)", "max(y,max(1,x))"),
        ("min(x*2,y)", "min(y,2*x)"),
    ],
)
def test_order_and_grouping_make_no_other_program(one: str, other: str) -> None:
    language = Language(operators=OPERATORS)
    first, second = parse(one, language), parse(other, language)
    assert first is not None
    assert second is not None
    assert normal(first) == normal(second)


def test_what_is_computed_in_another_way_is_another_program() -> None:
    texts = ("x+3", "x+1+2", "x+4-1", "x-y", "y-x", "x*2", "x+x", "x//2", "2//x", "x//2//2")
    parsed = [parse(text, Language(largest=4, operators=OPERATORS)) for text in texts]
    assert len({write(normal(tree)) for tree in parsed if tree is not None}) == len(texts)


def rewritings(tree: Expression) -> Iterator[Expression]:
    """The tree after one swap or regrouping, at its root or inside."""
    if isinstance(tree, str):
        return
    sign, left, right = tree
    yield from ((sign, other, right) for other in rewritings(left))
    yield from ((sign, left, other) for other in rewritings(right))
    if sign in ("+", "*", "max", "min"):
        yield sign, right, left
    if isinstance(left, str):
        return
    inner, a, b = left
    if sign == inner in ("+", "*", "max", "min"):
        yield sign, a, (sign, b, right)  # (a+b)+c = a+(b+c)
    if (inner, sign) == ("+", "-"):
        yield "+", a, ("-", b, right)  # (a+b)-c = a+(b-c)
    if (inner, sign) == ("-", "-"):
        yield "-", a, ("+", b, right)  # (a-b)-c = a-(b+c)
    if (inner, sign) == ("-", "+"):
        yield "-", a, ("-", b, right)  # (a-b)+c = a-(b-c)


def test_normal_forms_are_the_classes_of_swaps_and_regroupings() -> None:
    """Trees joined by a chain of the rules above have one normal form, others have others."""
    joined: dict[Expression, set[Expression]] = defaultdict(set)
    for tree in ALL:
        for other in rewritings(tree):
            joined[tree].add(other)
            joined[other].add(tree)
    seen: set[Expression] = set()
    classes = 0
    for tree in ALL:
        if tree in seen:
            continue
        classes += 1
        together, stack = {tree}, [tree]
        while stack:
            for other in joined[stack.pop()] - together:
                together.add(other)
                stack.append(other)
        seen |= together
        assert len({normal(each) for each in together}) == 1
    assert classes == len({normal(tree) for tree in ALL})


def test_the_normal_form_is_a_spelling_with_the_same_values() -> None:
    for tree in ALL[::7]:
        form = normal(tree)
        assert normal(form) == form
        assert count_leaves(form) == count_leaves(tree)
        assert parse(write(form), SMALL) == form
        for x, y in ((0, 3), (5, 2), (7, 7)):
            assert evaluate(form, {"x": x, "y": y}) == evaluate(tree, {"x": x, "y": y})
