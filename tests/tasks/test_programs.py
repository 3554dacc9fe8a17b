"""Programs: the listing against brute force, questions, splits, demonstrations, reward."""

from __future__ import annotations

from collections import Counter
from itertools import islice, product
from statistics import fmean

import pytest

from evenflow.errors import UserError
from evenflow.tasks.programs import Language, Programs, Question, evaluate, parse, reward
from evenflow.tasks.programs.grammar import OPERATORS, Expression, count_leaves, write
from evenflow.tasks.programs.search import right_programs

TASK = Programs()
QUESTION = Question((((1, 2), 0), ((1, 1), 1), ((3, 0), 6)))


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


def read(prompt: str) -> Question:
    """The question that a prompt shows."""
    examples = []
    for shown in prompt.removesuffix(":").split(";"):
        inputs, output = shown.split(">")
        examples.append((tuple(map(int, inputs.split(","))), int(output)))
    question = Question(tuple(examples))
    assert question.prompt == prompt
    return question


@pytest.mark.parametrize(
    ("language", "examples"),
    [
        (Language(leaves=3, largest=4), QUESTION.examples),
        (Language(leaves=3, largest=2, operators=OPERATORS), (((3, 2), 1), ((5, 0), 1))),
        (Language(leaves=2, largest=9), (((2, 2), 4),)),
        (Language(leaves=1), (((2, 2), 2),)),
        (Language(leaves=4, largest=2, variables="x", operators=("+", "*")), (((3,), 10),)),
    ],
)
def test_answers_are_all_right_programs(
    language: Language, examples: tuple[tuple[tuple[int, ...], int], ...]
) -> None:
    every = (tree for size in range(1, language.leaves + 1) for tree in trees(language, size))
    truth = {
        write(tree)
        for tree in every
        if all(
            evaluate(tree, dict(zip(language.variables, inputs, strict=True))) == output
            for inputs, output in examples
        )
    }
    listed = right_programs(examples, language)
    assert len(listed) == len(set(listed)) > 0
    assert set(listed) == truth


def test_verify_accepts_exactly_the_listed_spellings() -> None:
    """All strings of up to five characters, and every text one edit from a right answer."""
    small = Programs(leaves=2, largest=1, variables="x", operators=("+", "-", "*"))
    question = Question((((2,), 3),))
    strings = ("".join(text) for length in range(6) for text in product("x1+-*()", repeat=length))
    assert {text for text in strings if small.verify(question, text)} == {"x+1", "1+x"}
    assert set(small.answers(question)) == {"x+1", "1+x"}

    listed = set(TASK.answers(QUESTION))
    assert "2*x-y" in listed
    for text in sorted(listed):
        assert TASK.verify(QUESTION, text)
        for place, character in product(range(len(text)), "0123xy+-*/%(),;>:main "):
            edited = text[:place] + character + text[place + 1 :]
            assert TASK.verify(QUESTION, edited) == (edited in listed)


def test_solutions_by_hand() -> None:
    """0 at (1, 2), 1 at (1, 1), 6 at (3, 0): 2x - y in two ways, and (2 - y)x."""
    assert TASK.solutions(QUESTION) == {
        "(2-y)*x": ["(2-y)*x", "x*(2-y)"],
        "2*x-y": ["2*x-y", "x*2-y"],
        "x+x-y": ["x+(x-y)", "x+x-y", "x-(y-x)", "x-y+x"],
    }
    assert TASK.canonical(QUESTION, "x-(y-x)") == "x+x-y"
    assert TASK.canonical(QUESTION, "x+y") is None


def test_three_or_more_solutions_a_question_and_few_spellings() -> None:
    questions = TASK.questions("test", 100)
    solutions = [TASK.solutions(question) for question in questions]
    counts = [len(forms) for forms in solutions]
    assert min(counts) >= 3
    assert max(counts) <= 16
    assert 3 < fmean(counts) < 6
    assert max(sum(map(len, forms.values())) for forms in solutions) < 100
    assert {len(question.examples) for question in questions} == {2, 3}


def test_no_right_program_has_a_part_without_effect() -> None:
    for question in TASK.questions("test", 30):
        for text in TASK.answers(question):
            program = parse(text, TASK.language)
            assert program is not None
            assert count_leaves(program) == TASK.language.leaves


def test_splits_are_disjoint_and_seeded() -> None:
    drawn = {
        split: {q.identity for q in TASK.questions(split, 60, seed=3)} for split in TASK.SPLITS
    }
    assert not drawn["train"] & drawn["test"]
    assert not drawn["train"] & drawn["pretrain"]
    assert not drawn["test"] & drawn["pretrain"]
    assert TASK.questions("train", 20, seed=1) == TASK.questions("train", 20, seed=1)
    assert TASK.questions("train", 20, seed=1) != TASK.questions("train", 20, seed=2)
    shown_otherwise = Question(tuple(reversed(QUESTION.examples)))
    assert TASK.split_of(shown_otherwise) == TASK.split_of(QUESTION)


def test_demonstrations_are_right_and_uneven() -> None:
    operators: Counter[str] = Counter()
    for prompt, answer in islice(TASK.demonstrations(seed=0), 200):
        question = read(prompt)
        assert TASK.split_of(question) == "pretrain"
        assert TASK.verify(question, answer)
        operators.update({name: answer.count(name) for name in ("+", "-", "max")})
    assert operators["+"] > operators["-"] > operators["max"] > 0


def test_mistaken_demonstrations_have_one_leaf_or_operator_wrong() -> None:
    mistaken = TASK.demonstrations(seed=0, mistakes=1.0)
    (prompt, answer), (same, wrong) = next(TASK.demonstrations(seed=0)), next(mistaken)
    assert prompt == same
    assert TASK.verify(read(prompt), answer)
    assert differences(answer, wrong) == 1
    for prompt, answer in islice(mistaken, 100):
        assert parse(answer, TASK.language) is not None
        assert not TASK.verify(read(prompt), answer)


def differences(one: str, other: str) -> int:
    """In how many leaves and operators two programs of one shape differ."""

    def count(a: Expression, b: Expression) -> int:
        if isinstance(a, str) or isinstance(b, str):
            return int(a != b)
        return (a[0] != b[0]) + count(a[1], b[1]) + count(a[2], b[2])

    first, second = parse(one, TASK.language), parse(other, TASK.language)
    assert first is not None
    assert second is not None
    return count(first, second)


def test_the_vocabulary_has_every_word_of_prompts_and_programs() -> None:
    words = TASK.vocabulary
    assert len(words) == len(set(words)) == 5 + 2 + 2 + 7 + 4 * 4 * 10
    for prompt, answer in islice(TASK.demonstrations(seed=2), 100):
        assert set(prompt.removesuffix(":").split(";")) <= set(words)
        assert set(answer.replace("max", "")) <= set(words)


def test_share_of_mistakes() -> None:
    pairs = list(islice(TASK.demonstrations(seed=1, mistakes=0.3), 500))
    wrong = sum(not TASK.verify(read(prompt), answer) for prompt, answer in pairs)
    assert 110 < wrong < 190  # 150 ± 4 standard deviations


def test_reward_reads_the_columns() -> None:
    row = TASK.rows("test", 1)[0]
    question = read(row["prompt"])
    right = TASK.answers(question)[0]
    assert TASK.row_solutions(row) == TASK.solutions(question)
    columns = {name: [value] * 4 for name, value in row.items() if name != "prompt"}
    chat = [{"role": "assistant", "content": right}]
    assert reward([right, right + " ", "x", chat], **columns) == [1.0, 0.0, 0.0, 1.0]


def test_other_settings() -> None:
    """One variable, all operators, four leaves: shown, listed and rewarded alike."""
    task = Programs(
        examples=(4, 4), leaves=4, variables="x", largest=2, operators=OPERATORS, solutions=(1, 999)
    )
    row = task.rows("test", 1)[0]
    question = read(row["prompt"])
    assert len(question.examples) == 4
    assert all(len(inputs) == 1 for inputs, _ in question.examples)
    answers = task.answers(question)
    columns = {name: [value] * len(answers) for name, value in row.items() if name != "prompt"}
    assert reward(answers, **columns) == [1.0] * len(answers)


def test_refusals_name_what_is_allowed() -> None:
    with pytest.raises(UserError, match="train, test"):
        TASK.questions("validation", 1)
    scarce = Programs(examples=(2, 2), leaves=2, variables="x", largest=1, solutions=(1, 16))
    with pytest.raises(UserError, match="fewer than the 9999"):
        scarce.questions("test", 9999)
    with pytest.raises(UserError, match="found no question"):
        Programs(variables="x", largest=1, operators=["max"]).questions("test", 1)
    with pytest.raises(UserError, match="1 and 5 examples"):
        Programs(examples=(0, 2))
    with pytest.raises(UserError, match="2 to 4"):
        Programs(leaves=9)
    with pytest.raises(UserError, match="operators"):
        Programs(operators=["**"])
    with pytest.raises(UserError, match="variables"):
        Programs(variables="z")
    with pytest.raises(UserError, match="constant"):
        Programs(largest=10)
    with pytest.raises(UserError, match="low to high"):
        Programs(solutions=(3, 2))
    with pytest.raises(UserError, match="low to high"):
        Programs(outputs=(5, 5))
    with pytest.raises(UserError, match="input is 2 to 9"):
        Programs(inputs=1)


def test_out_of_distribution_are_questions_with_more_examples() -> None:
    sets = Programs().out_of_distribution()
    assert sets == {"4 examples": {"examples": [4, 4]}, "5 examples": {"examples": [5, 5]}}
    for options in sets.values():
        rows = Programs(**options).rows("test", 5)
        assert {len(row["examples"]) for row in rows} == {options["examples"][0]}
    assert list(Programs(examples=(2, 4)).out_of_distribution()) == ["5 examples"]
    assert Programs(examples=(5, 5)).out_of_distribution() == {}
