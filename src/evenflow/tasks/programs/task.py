"""Programs: write a Python expression in ``x`` and ``y`` that maps the examples shown.

A question is ``1,2>0;1,1>1;3,0>6:`` (inputs and output of a few examples); answers are
``x+x-y``, ``2*x-y`` and ``(2-y)*x``. A program is right if it is an expression of the task's
`Language` (operators, constants, at most so many leaves), spelled as `grammar.write` spells it,
and maps *every example shown* to its output; what it does elsewhere is not asked.

Every right program can be listed, so accuracy and diversity on this task are exact numbers, not
estimates. Programs that differ only in the order or grouping of operands are one solution
(`grammar.normal`): ``x+y+1`` and ``1+(y+x)`` are, ``x+3`` and ``x+1+2`` are not.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Any, ClassVar, Self

from evenflow.errors import UserError
from evenflow.rewards import text_of
from evenflow.tasks.listed import Listed, refuse_twice
from evenflow.tasks.programs.grammar import (
    FUNCTIONS,
    OPERATORS,
    Expression,
    Language,
    evaluate,
    normal,
    parse,
    write,
)
from evenflow.tasks.programs.search import Example, fits, right_programs
from evenflow.tasks.programs.writer import draw_program, slip

WIDEST = 10_000
MOST_EXAMPLES = 5
PATIENCE = 5000  # draws without a new question after which there are taken to be no more


def show(example: Example) -> str:
    """An example as prompts have it: ``1,2>0``."""
    inputs, output = example
    return f"{','.join(map(str, inputs))}>{output}"


@dataclass(frozen=True)
class Question:
    """Examples in the order in which they are shown."""

    examples: tuple[Example, ...]

    @property
    def prompt(self) -> str:
        """The text the policy is conditioned on: ``1,2>0;1,1>1;3,0>6:``."""
        return f"{';'.join(map(show, self.examples))}:"

    @classmethod
    def read(cls, prompt: str) -> Self:
        """The question of a prompt; ValueError where it is none."""
        shown = [example.split(">") for example in prompt.removesuffix(":").split(";")]
        pairs = ((inputs.split(","), output) for inputs, output in shown)
        return cls(tuple((tuple(map(int, inputs)), int(output)) for inputs, output in pairs))

    @property
    def identity(self) -> tuple[Example, ...]:
        """What makes two questions the same: the set of their examples."""
        return tuple(sorted(self.examples))


@lru_cache(maxsize=8192)
def _graph(
    program: Expression, variables: str, largest: int, outputs: tuple[int, int]
) -> tuple[Example, ...]:
    """A program's examples at all inputs up to `largest` where its output is defined and in
    range."""
    examples = []
    for inputs in product(range(largest + 1), repeat=len(variables)):
        output = evaluate(program, dict(zip(variables, inputs, strict=True)))
        if output is not None and outputs[0] <= output <= outputs[1]:
            examples.append((inputs, output))
    return tuple(examples)


def reward(
    completions: Sequence[Any],
    examples: Sequence[Sequence[Sequence[int]]],
    leaves: Sequence[int],
    variables: Sequence[str],
    largest: Sequence[int],
    operators: Sequence[Sequence[str]],
    **_: Any,
) -> list[float]:
    """1 for a right program, else 0 (TRL's signature; the other arguments are data columns)."""
    scores = []
    for answer, shown, *given in zip(
        completions, examples, leaves, variables, largest, operators, strict=True
    ):
        size, names, constant, signs = given
        language = Language(size, names, constant, tuple(signs))
        program = parse(text_of(answer), language)
        right = program is not None and fits(program, read_examples(shown).examples, language)
        scores.append(float(right))
    return scores


class Programs(Listed[Question]):
    """The task: which questions there are, which programs are right, which of them are the same.

    Between `examples[0]` and `examples[1]` input–output pairs a question, inputs 0 … `inputs`,
    outputs `outputs[0]` … `outputs[1]`; programs of at most `leaves` variables and constants
    1 … `largest`, with `operators` out of ``+ - * // % max min``; `variables` is "xy" or "x". No
    program with fewer leaves is right (so no right one has a part without effect), and a question
    has between `solutions[0]` and `solutions[1]` solutions. Questions fall into three disjoint
    splits, by a hash of the set of examples: ``pretrain`` (demonstrations for a base model, 45 %),
    ``train`` (45 %) and ``test`` (10 %).
    """

    TRAIN_QUESTIONS: ClassVar = 2048  # of the 3,600 that the default settings have
    QUESTION = Question

    reward = staticmethod(reward)

    def __init__(
        self,
        examples: tuple[int, int] = (2, 3),
        leaves: int = 3,
        variables: str = "xy",
        largest: int = 2,
        inputs: int = 3,
        outputs: tuple[int, int] = (0, 9),
        operators: Sequence[str] = ("+", "-", "*", "max"),
        solutions: tuple[int, int] = (3, 16),
    ) -> None:
        if not 1 <= examples[0] <= examples[1] <= MOST_EXAMPLES:
            raise UserError(
                f"Programs shows between 1 and {MOST_EXAMPLES} examples a question, not {examples}"
            )
        if not 2 <= leaves <= 4:
            raise UserError(f"Programs takes 2 to 4 leaves, not {leaves}")
        if variables not in ("x", "xy"):
            raise UserError(f"Programs takes the variables 'x' or 'xy', not {variables!r}")
        if not 1 <= largest <= 9:
            raise UserError(f"Programs' largest constant is 1 to 9, not {largest}")
        if not 2 <= inputs <= 9:
            raise UserError(f"Programs' largest input is 2 to 9, not {inputs}")
        if not -WIDEST <= outputs[0] < outputs[1] <= WIDEST:
            raise UserError(
                f"Programs' outputs go from low to high, within ±{WIDEST}, not {outputs}"
            )
        if not operators or set(operators) - set(OPERATORS):
            raise UserError(f"Programs' operators are some of {list(OPERATORS)}, not {operators!r}")
        refuse_twice(operators, "Programs'")
        if not 1 <= solutions[0] <= solutions[1]:
            raise UserError(f"Programs' solutions go from low to high, at least 1, not {solutions}")
        self.examples, self.inputs, self.outputs = examples, inputs, tuple(outputs)
        self.solution_range = solutions
        self.language = Language(leaves, variables, largest, tuple(operators))

    @property
    def vocabulary(self) -> list[str]:
        """Every possible example is one word; the rest is spelled in operators and leaves."""
        cells = product(range(self.inputs + 1), repeat=len(self.language.variables))
        outputs = range(self.outputs[0], self.outputs[1] + 1)
        return [
            *";:(),",
            *self.language.variables,
            *self.language.constants,
            *(f"{name}(" if name in FUNCTIONS else name for name in OPERATORS),
            *(show((cell, output)) for cell in cells for output in outputs),
        ]

    def _draw(self, split: str, draw: random.Random) -> tuple[Question, Expression]:
        """A question of a split and the program that it was made from, with all its leaves.

        Program, number of examples and inputs are drawn again where too few outputs are defined and
        in range, all are the same, a shorter program is right, or the split is another one.
        """
        shorter = replace(self.language, leaves=self.language.leaves - 1)
        for _ in range(PATIENCE):
            program = draw_program(self.language, draw)
            count = draw.randint(*self.examples)
            possible = _graph(program, self.language.variables, self.inputs, self.outputs)
            if len(possible) < count:
                continue
            examples = tuple(draw.sample(possible, count))
            question = Question(examples)
            if (
                (len({output for _, output in examples}) > 1 or count == 1)
                and self.split_of(question) == split
                and not right_programs(examples, shorter)
            ):
                return question, program
        raise UserError(f"Programs found no question in {PATIENCE} draws with these settings")

    def questions(self, split: str, count: int, seed: int = 0) -> list[Question]:
        """`count` different questions of a split, drawn with `seed`: a program of the demonstrator
        on drawn inputs; what has too few or too many solutions or was drawn before is drawn
        again."""
        if split not in self.SPLITS:
            raise UserError(f"Programs has the splits {', '.join(self.SPLITS)}, not {split!r}")
        draw = random.Random(f"programs {split} {seed}")
        low, high = self.solution_range
        drawn: list[Question] = []
        seen: set[object] = set()
        since = 0
        while len(drawn) < count:
            question, _ = self._draw(split, draw)
            since += 1
            if since > PATIENCE:
                raise UserError(
                    f"Programs found {len(drawn)} different questions in the split {split!r} with "
                    f"these settings, fewer than the {count} asked for"
                )
            if question.identity in seen:
                continue
            seen.add(question.identity)
            if low <= len(self.solutions(question)) <= high:
                drawn.append(question)
                since = 0
        return drawn

    def answers(self, question: Question) -> tuple[str, ...]:
        """Every right program, in every spelling that `verify` accepts."""
        return right_programs(question.examples, self.language)

    def canonical(self, question: Question, text: str) -> str | None:
        """The solution that a right program spells, e.g. ``x-(y-x)`` as ``x+x-y``; else None."""
        program = parse(text, self.language)
        if program is None or not fits(program, question.examples, self.language):
            return None
        return write(normal(program))

    def row_solutions(self, columns: dict[str, Any]) -> dict[str, list[str]]:
        """The solutions of a row that `rows` made."""
        return self.solutions(read_examples(columns["examples"]))

    def out_of_distribution(self) -> dict[str, dict[str, Any]]:
        """Options of questions that none of the splits here has: one example more, and two."""
        most = self.examples[1]
        counts = (n for n in (most + 1, most + 2) if n <= MOST_EXAMPLES)
        return {f"{n} examples": {"examples": [n, n]} for n in counts}

    def rows(self, split: str, count: int, seed: int = 0) -> list[dict[str, Any]]:
        """Questions as the rows of a data set: the prompt, and what `reward` needs."""
        language = self.language
        return [
            {
                "prompt": question.prompt,
                "examples": [[*inputs, output] for inputs, output in question.examples],
                "leaves": language.leaves,
                "variables": language.variables,
                "largest": language.largest,
                "operators": list(language.operators),
            }
            for question in self.questions(split, count, seed)
        ]

    def demonstrations(self, seed: int = 0, mistakes: float = 0.0) -> Iterator[tuple[str, str]]:
        """Endless (prompt, program) pairs over the ``pretrain`` split, to train a base model on.

        A program is drawn first (`writer.draw_program`), then inputs for it, so that the right
        programs of a question are shown in proportion to how readily they are written; a question
        may have any number of solutions. A share `mistakes` of the programs has one leaf or
        operator wrong, as real corpora do.
        """
        draw = random.Random(f"programs demonstrations {seed}")
        while True:
            question, program = self._draw("pretrain", draw)
            if draw.random() < mistakes:
                wrong = program
                while fits(wrong, question.examples, self.language):
                    wrong = slip(program, self.language, draw)
                program = wrong
            yield question.prompt, write(program)


def read_examples(rows: Sequence[Sequence[int]]) -> Question:
    """The question of a row's examples, each a list of inputs and the output."""
    return Question(tuple((tuple(inputs), output) for *inputs, output in rows))
