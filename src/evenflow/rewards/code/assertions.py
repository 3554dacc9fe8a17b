"""Assertions made into calls and expected values: they are read, never run."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeGuard

from evenflow.errors import UserError

CALLED = "candidate"
"""What a check calls the function that it is given."""
NOT_READ = "is not of the form f(…) == value, with both sides written out"


def from_assertions(code: str) -> dict[str, Any]:
    """Calls and their values from ``assert f(…) == value`` and its like: ``is``, ``f(…)``, which is
    True, and ``not f(…)``; ``set(f(…)) == …`` and ``sorted``; within a tolerance
    ``abs(f(…) - value) < …`` and ``math.isclose``. UserError for any other assertion.

    What a check calls `candidate` is what stands in ``check(…)``. Arguments that have names count
    in their order.
    """
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise UserError(f"tests: the assertions are not Python: {error}") from None
    found = [one for body in bodies(tree) for one in assertions(body)]
    if not found:
        raise UserError("tests: the code asserts nothing")
    names = {one.name for one in found}
    if names == {CALLED}:
        with suppress(ValueError):
            names = {dotted(n.args[0]) for n in ast.walk(tree) if is_call_of(n, "check")} or names
    if len(names) > 1:
        raise UserError(f"tests: the assertions call different functions ({sorted(names)})")
    checkers = {one.checker for one in found}
    if len(checkers) > 1 or len({one.words for one in found}) > 1:
        raise UserError("tests: the assertions do not all call and compare in one way")
    return {
        "entry_point": names.pop(),
        "inputs": [one.arguments for one in found],
        "outputs": [one.value for one in found],
        "checker": checkers.pop(),
        "atol": max(one.atol for one in found),
    }


def bodies(tree: ast.Module) -> Iterator[list[ast.stmt]]:
    """The statements outside functions and those of each function."""
    yield tree.body
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield node.body


@dataclass(frozen=True)
class Assertion:
    """What is called, with what, and what it returns."""

    name: str
    words: tuple[str, ...]
    """The names of arguments that have one, the last ones."""
    arguments: list[Any]
    value: Any
    atol: float = 0.0
    checker: str = "equal"


def assertions(body: Iterable[ast.stmt]) -> Iterator[Assertion]:
    """Those of a body without branches, in which names stand for what was last written for them."""
    known = Known()
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            continue  # its body is one of its own
        if isinstance(statement, ast.Assert):
            with suppress(ValueError, TypeError, AttributeError, IndexError, RecursionError):
                yield assertion(known.visit(statement.test))
                continue
            raise UserError(f"tests: the assertion {ast.unparse(statement)!r:.90} {NOT_READ}")
        inner = list(ast.walk(statement))
        if any(isinstance(node, ast.Assert | ast.With) for node in inner):
            raise UserError(
                f"tests: {ast.unparse(statement)!r:.90} cannot be read: assertions stand in a row, "
                "not in a loop, a branch or a `with`"
            )
        if isinstance(statement, ast.Assign):
            statement.value = known.visit(statement.value)
            inner = list(ast.walk(statement.targets[0]))
        for node in inner:  # what is done to a value may change it
            known.values.pop(getattr(node, "id", ""), None)
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            known.values[statement.targets[0].id] = statement.value


class Known(ast.NodeTransformer):
    """Puts values in place of the names that they were given."""

    def __init__(self) -> None:
        self.values: dict[str, ast.expr] = {}

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """The value of a name that has one."""
        return self.values.get(node.id, node)


def assertion(test: ast.expr) -> Assertion:
    """One assertion; ValueError and its like for what has another form."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return Assertion(*call(test.operand), False)
    if is_call_of(test, "isclose"):
        near = {word.arg: value_of(word.value) for word in test.keywords}
        value = value_of(test.args[1])
        atol = max(near.get("rel_tol", 1e-9) * abs(value), near.get("abs_tol", 0.0))
        return Assertion(*call(test.args[0]), value, atol)
    if not isinstance(test, ast.Compare):
        return Assertion(*call(test), True)
    (operator,), (right,), left = test.ops, test.comparators, test.left
    if is_call_of(left, "abs") and isinstance(operator, ast.Lt | ast.LtE):
        (between,) = left.args
        if not isinstance(between, ast.BinOp) or not isinstance(between.op, ast.Sub):
            raise ValueError("no difference")
        return Assertion(*call(between.left), value_of(between.right), value_of(right))
    if not isinstance(operator, ast.Eq | ast.Is):
        raise ValueError("another comparison")
    for name in ("set", "sorted"):
        if is_call_of(left, name):
            bare = right.args[0] if is_call_of(right, name) else right
            return Assertion(*call(left.args[0]), value_of(bare), checker=f"as_{name}")
    with suppress(ValueError, TypeError, AttributeError):
        return Assertion(*call(left), value_of(right))
    return Assertion(*call(right), value_of(left))


def call(node: ast.expr) -> tuple[str, tuple[str, ...], list[Any]]:
    """A call's function, the names that arguments have, and the arguments in their order."""
    if not isinstance(node, ast.Call):
        raise ValueError("no call")
    words = {word.arg: word.value for word in node.keywords if word.arg}
    if len(words) < len(node.keywords):
        raise ValueError("arguments that are not written out")
    return dotted(node.func), tuple(words), list(map(value_of, (*node.args, *words.values())))


def dotted(node: ast.expr) -> str:
    """``f``, and ``Solution.f`` of ``Solution().f``."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(made := node.value, ast.Call):
        if made.args or made.keywords:
            raise ValueError("a class that is made with arguments")
        return f"{dotted(made.func)}.{node.attr}"
    raise ValueError("neither a function nor a method of what is made there")


def value_of(node: ast.expr) -> Any:
    """A value that is written out."""
    if is_call_of(node, "float") and isinstance(text := ast.literal_eval(node.args[0]), str):
        return float(text)
    return ast.literal_eval(node)


def is_call_of(node: ast.AST, name: str) -> TypeGuard[ast.Call]:
    """Whether it calls ``name`` or ``module.name``, with arguments."""
    return (
        isinstance(node, ast.Call)
        and bool(node.args)
        and getattr(node.func, "id", getattr(node.func, "attr", "")) == name
    )
