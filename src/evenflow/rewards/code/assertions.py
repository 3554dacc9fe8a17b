"""Assertions made into calls and expected values: they are read, never run."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from evenflow.errors import UserError
from evenflow.rewards.code.compare import ABSOLUTE
from evenflow.rewards.code.literals import value_of

IDLE = (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Pass)
RUNS = re.compile(r"(?:check|main|(?:pytest|unittest)\.main|print)\(.*\)|test\w*\(\)", re.DOTALL)
"""What is called beside assertions, and tests nothing by itself."""
UNREAD = (ValueError, TypeError, AttributeError, IndexError, RecursionError)
NOT_READ = "is not of the form f(…) == value, with both sides written out"


def from_assertions(code: str, entry_point: str | None = None) -> dict[str, Any]:
    """Calls and their values from ``assert f(…) == value`` and its like: ``is``, ``f(…)`` and
    ``not f(…)``, which ask for what is true or false; ``set(f(…)) == …`` and ``sorted``; within a
    tolerance ``abs(f(…) - value) < …``, ``math.isclose`` and ``pytest.approx``. UserError for any
    other assertion, and for what stands beside assertions and may be a test, or change one.

    What a check calls its parameter is what stands in ``check(…)``, or `entry_point`.
    """
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise UserError(f"tests: the assertions are not Python: {error}") from None
    found = [one for body in bodies(tree) for one in assertions(body)]
    if not found:
        raise UserError("tests: the code asserts nothing")
    names = {one.name for one in found}
    given = [node.args[0] for node in ast.walk(tree) if is_call_of(node, "check")]
    checks = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "check"]
    if names == {each.arg for check in checks for each in check.args.args}:
        names = {entry_point} if entry_point and not given else set()
        with suppress(ValueError):
            names |= {dotted(each) for each in given}
    if len(names) != 1:
        raise UserError(f"tests: the assertions call different functions or none {sorted(names)}")
    (name,) = names
    if name.partition(".")[0] in bound_in(tree):
        raise UserError(f"tests: the assertions call {name!r}, which is none of the answer's")
    found, near = near_ones(found)
    if len({(one.checker, one.rtol) for one in found}) > 1:
        raise UserError("tests: the assertions do not all compare in one way")
    relations = [one.relation for one in found]
    return {
        "entry_point": name,
        "inputs": [one.arguments for one in found],
        "outputs": [one.value for one in found],
        "checker": found[0].checker,
        **near,
        **({"relations": relations} if set(relations) != {"=="} else {}),
    }


def near_ones(found: list[Assertion]) -> tuple[list[Assertion], dict[str, Any]]:
    """The assertions, and the fields of their tolerances: of each its own. Those of no more than
    what floats are allowed anyway are no others where some assertions have none."""
    if any(one.rtol is None for one in found):
        small = (replace(one, rtol=None) if one.atol <= ABSOLUTE else one for one in found)
        return list(small), {"atol": 0.0}
    atols = [one.atol for one in found]
    return found, {
        "atol": atols[0] if len(set(atols)) == 1 else atols,
        "rtol": found[0].rtol,
    }


def bodies(tree: ast.Module) -> Iterator[list[ast.stmt]]:
    """The statements outside functions and those of each function and class."""
    yield tree.body
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            arguments = node.args.args if isinstance(node, ast.FunctionDef) else []
            if node.decorator_list or (arguments and node.name != "check"):
                raise UserError(f"tests: {node.name!r} has a decorator or arguments: not read")
            yield node.body


def bound_in(tree: ast.Module) -> set[str]:
    """The names that test code binds itself, but for what it imports under its own name."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.alias) and node.asname:
            names.add(node.asname)
    return names


@dataclass(frozen=True)
class Assertion:
    """What is called, with what, and what it returns."""

    name: str
    arguments: list[Any] | tuple[list[Any], dict[str, Any]]
    value: Any
    atol: float = 0.0
    rtol: float | None = None
    """Relative to the value; None: there is no tolerance but that of floats."""
    checker: str = "equal"
    relation: str = "=="


def assertions(body: Iterable[ast.stmt]) -> Iterator[Assertion]:
    """Those of a body without branches, in which names stand for what was last written for them."""
    known = Known()
    for statement in body:
        if isinstance(statement, ast.Assert) and not is_idle(statement):
            with suppress(*UNREAD):
                yield assertion(known.visit(statement.test))
                continue
            raise UserError(f"tests: the assertion {ast.unparse(statement)!r:.90} {NOT_READ}")
        if isinstance(statement, ast.Assign) and known.learn(statement):
            continue
        if not is_idle(statement):
            raise UserError(
                f"tests: {ast.unparse(statement)!r:.90} cannot be read: assertions stand in a row, "
                "not in a loop, a branch or a `with`, and nothing is done beside them"
            )


def is_idle(statement: ast.stmt) -> bool:
    """Whether it tests nothing and changes nothing: a definition, an import, a docstring, the call
    of what is defined here, a main part, ``assert True``."""
    if isinstance(statement, IDLE):
        return True
    if isinstance(statement, ast.Assert):  # HumanEval's checks have it
        return isinstance(statement.test, ast.Constant) and statement.test.value is True
    if isinstance(statement, ast.If):
        main = "__name__" in ast.unparse(statement.test)
        return main and not any(isinstance(node, ast.Assert) for node in ast.walk(statement))
    if not isinstance(statement, ast.Expr):
        return False
    done = statement.value
    return isinstance(done, ast.Constant) or bool(RUNS.fullmatch(ast.unparse(done)))


class Known(ast.NodeTransformer):
    """Puts values in place of the names that they were given."""

    def __init__(self) -> None:
        self.values: dict[str, ast.expr] = {}

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """The value of a name that has one."""
        return self.values.get(node.id, node)

    def learn(self, statement: ast.Assign) -> bool:
        """Take over ``name = …``; False for a value that is neither written out nor a call's."""
        (target, *others), value = statement.targets, self.visit(statement.value)
        if others or not isinstance(target, ast.Name):
            return False
        for read in (value_of, call):
            with suppress(*UNREAD):
                read(value)
                self.values[target.id] = value
                return True
        return False


def assertion(test: ast.expr) -> Assertion:
    """One assertion; ValueError and its like for what has another form."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return Assertion(*call(test.operand), False, relation="bool")
    if isinstance(test, ast.Call) and ast.unparse(test.func) in ("math.isclose", "isclose"):
        called, right = sides(*test.args)
        near = {word.arg: number(word.value) for word in test.keywords}
        value = number(right)
        atol = max(near.pop("rel_tol", 1e-9) * abs(value), near.pop("abs_tol", 0.0))
        if near:
            raise ValueError("another tolerance")
        return Assertion(*called, value, atol, 0.0)
    if not isinstance(test, ast.Compare):
        return Assertion(*call(test), True, relation="bool")
    (operator,), (right,), left = test.ops, test.comparators, test.left
    if is_call_of(left, "abs") and isinstance(operator, ast.Lt | ast.LtE):
        (between,) = left.args
        if not isinstance(between, ast.BinOp) or not isinstance(between.op, ast.Sub):
            raise ValueError("no difference")
        called, value = sides(between.left, between.right)
        atol = number(right)
        atol = math.nextafter(atol, -math.inf) if isinstance(operator, ast.Lt) else atol
        if atol < 0:
            raise ValueError("never so")
        return Assertion(*called, number(value), atol, 0.0)
    if not isinstance(operator, ast.Eq | ast.Is):
        raise ValueError("another comparison")
    for name, kind in (("set", set), ("sorted", sorted)):
        if is_call_of(left, name):
            bare = right.args[0] if is_call_of(right, name) else right
            value = value_of(bare)
            if (bare is right and kind(value) != value) or len(left.args) > 1 or left.keywords:
                raise ValueError("never so")
            return Assertion(*call(left.args[0]), value, checker=f"as_{name}")
    called, right = sides(left, right)
    if is_call_of(right, "approx"):
        return approximately(called, right)
    value = value_of(right)
    identical = isinstance(operator, ast.Is) and isinstance(value, bool)
    return Assertion(*called, value, relation="is" if identical else "==")


def sides(left: ast.expr, right: ast.expr) -> tuple[tuple[str, Any], ast.expr]:
    """The call of the function, on whichever side it stands, and the other side."""
    with suppress(*UNREAD):
        return call(left), right
    return call(right), left


def approximately(called: tuple[str, Any], node: ast.Call) -> Assertion:
    """``f(…) == pytest.approx(value)``: 1e-6 of the value or 1e-12, or as it says."""
    (expected,) = node.args
    near = {word.arg: number(word.value) for word in node.keywords}
    value = value_of(expected)
    atol = near.pop("abs", None)
    rtol = near.pop("rel", 1e-6 if atol is None else 0.0)
    atol = 1e-12 if atol is None else atol
    if near:
        raise ValueError("another tolerance")
    if isinstance(value, int | float):
        return Assertion(*called, value, max(atol, rtol * abs(value)), 0.0)
    return Assertion(*called, value, atol, rtol)


def number(node: ast.expr) -> float:
    """A real number that is written out."""
    value = value_of(node)
    if not isinstance(value, int | float):
        raise ValueError("no number")
    return value


def call(node: ast.expr) -> tuple[str, Any]:
    """A call's function and its arguments, with those by name as a pair of list and dict."""
    if not isinstance(node, ast.Call):
        raise ValueError("no call")
    named = {word.arg: value_of(word.value) for word in node.keywords if word.arg}
    if len(named) < len(node.keywords):
        raise ValueError("arguments that are not written out")
    arguments = list(map(value_of, node.args))
    return dotted(node.func), (arguments, named) if named else arguments


def dotted(node: ast.expr) -> str:
    """``f``, and ``Solution.f`` of ``Solution().f``: other classes may keep what is done to one."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "Solution()":
        return f"Solution.{node.attr}"
    raise ValueError("neither a function nor a method of Solution")


def is_call_of(node: ast.AST, name: str) -> TypeGuard[ast.Call]:
    """Whether it calls ``name`` or ``module.name``, with arguments."""
    return (
        isinstance(node, ast.Call)
        and bool(node.args)
        and getattr(node.func, "id", getattr(node.func, "attr", "")) == name
    )
