"""Countdown: the listing against brute force, hostile text, splits, demonstrations."""

from __future__ import annotations

from itertools import permutations, product

import pytest

from evenflow.errors import UserError
from evenflow.tasks import countdown
from evenflow.tasks.countdown import STEP, Countdown, Question, combine, effort, reward

TASK = Countdown()
QUESTION = Question((9, 6, 3, 9), 33)


def brute_force(numbers: tuple[int, ...], target: int, operators: str) -> set[str]:
    """Every right spelling, by trying all chains over positions rather than values."""
    found = set()

    def extend(hand: list[tuple[int, bool]], steps: list[str]) -> None:
        # hand: (value, is a result); every result has to be used, and the last is the target
        if steps:
            results = [value for value, is_result in hand if is_result]
            if results == [target]:
                found.add(",".join(steps))
        for i, j in permutations(range(len(hand)), 2):
            rest = [hand[k] for k in range(len(hand)) if k not in (i, j)]
            a, b = hand[i][0], hand[j][0]
            for sign in operators:
                value = {"+": a + b, "-": a - b, "*": a * b, "/": a / b}[sign]
                if value > 0 and value == int(value):
                    step = f"{a}{sign}{b}={int(value)}"
                    extend([*rest, (int(value), True)], [*steps, step])

    extend([(n, False) for n in numbers], [])
    return found


@pytest.mark.parametrize("operators", ["+-*", "+-*/"])
@pytest.mark.parametrize(
    ("numbers", "target"), [((9, 6, 3, 9), 33), ((1, 1, 2, 3), 10), ((4, 4, 4, 4), 16), ((2, 3), 6)]
)
def test_answers_are_all_right_answers(
    numbers: tuple[int, ...], target: int, operators: str
) -> None:
    task = Countdown(operators=operators)
    listed = task.answers(Question(numbers, target))
    assert set(listed) == brute_force(numbers, target, operators)
    assert len(set(listed)) == len(listed) > 0


def test_verify_accepts_exactly_the_listed_spellings() -> None:
    """Every text one edit away from a right answer is right only if it is listed too."""
    listed = set(TASK.answers(QUESTION))
    for text in sorted(listed)[:4]:
        assert TASK.verify(QUESTION, text)
        for place, character in product(range(len(text)), "0123456789+-*/=, "):
            edited = text[:place] + character + text[place + 1 :]
            assert TASK.verify(QUESTION, edited) == (edited in listed)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "33",
        "9-6=3",  # not the target
        "9*3=27,27+6=33,",
        "27+6=33",  # 27 is not at hand
        "9*3=27,9-6=3,27+6=33",  # 6 used twice
        "9-6=3,9*3=27,6+27=33",  # 6 used twice
        "9+9=18,18+6=24,3*11=33",  # 24 never used
        "9*3=27,27+06=33",
        "9*3=27,27+6=33\n",
        "9*3=27, 27+6=33",
        "9*3=27,27+6=33<eos>",
        "٩*3=27,27+6=33",
        "9*3=27,27+6=33" * 1000,
        "9-9=0,0+33=33",
        "1" * 5000 + "+1=2",
    ],
)
def test_hostile_text_is_wrong(text: str) -> None:
    assert not TASK.verify(QUESTION, text)


def test_every_intermediate_result_is_used() -> None:
    question = Question((2, 3, 5, 7), 12)
    assert TASK.verify(question, "5+7=12")
    assert not TASK.verify(question, "2+3=5,5+7=12,5+7=12")
    # The 5 that is made must be the one used; both readings exist, one of them is legal.
    assert TASK.verify(question, "2+3=5,5+7=12")


def test_canonical_counts_reordered_operands_once() -> None:
    forms = {TASK.canonical(QUESTION, text) for text in TASK.answers(QUESTION)}
    assert TASK.canonical(QUESTION, "9*3=27,27+6=33") == TASK.canonical(QUESTION, "3*9=27,6+27=33")
    assert TASK.canonical(QUESTION, "9-6=3,9*3=27,27+6=33") is None  # 6 used twice
    assert len(forms) == len(TASK.solutions(QUESTION)) < len(TASK.answers(QUESTION))


def test_independent_steps_in_either_order_are_one_solution() -> None:
    question = Question((1, 2, 3, 4), 10)
    one = TASK.canonical(question, "1+2=3,3+4=7,3+7=10")
    assert one is not None
    question = Question((9, 4, 8, 2), 15)
    first = TASK.canonical(question, "9-4=5,8+2=10,5+10=15")
    assert first == TASK.canonical(question, "8+2=10,9-4=5,10+5=15") is not None


def test_about_seven_solutions_a_question() -> None:
    questions = TASK.questions("test", 150)
    mean = sum(len(TASK.solutions(q)) for q in questions) / len(questions)
    assert 5 < mean < 9


def test_splits_are_disjoint_and_seeded() -> None:
    drawn = {
        split: {q.identity for q in TASK.questions(split, 300, seed=3)} for split in TASK.SPLITS
    }
    assert not drawn["train"] & drawn["test"]
    assert not drawn["train"] & drawn["pretrain"]
    assert not drawn["test"] & drawn["pretrain"]
    assert TASK.questions("train", 50, seed=1) == TASK.questions("train", 50, seed=1)
    assert TASK.questions("train", 50, seed=1) != TASK.questions("train", 50, seed=2)
    assert all(TASK.answers(q) for q in TASK.questions("test", 50))


def test_demonstrations_are_right_and_uneven() -> None:
    pairs = TASK.demonstrations(seed=0)
    shares = []
    for _ in range(300):
        prompt, answer = next(pairs)
        numbers, target = prompt.removesuffix(":").split(">")
        question = Question(tuple(map(int, numbers.split(","))), int(target))
        assert TASK.split_of(question) == "pretrain"
        assert TASK.verify(question, answer)
        shares.append(effort(answer))
    listed = [effort(a) for q in TASK.questions("pretrain", 100) for a in TASK.answers(q)]
    assert sum(shares) / len(shares) < sum(listed) / len(listed) - 2


def test_mistaken_demonstrations_slip_in_one_step() -> None:
    pairs = TASK.demonstrations(seed=0, mistakes=1.0)
    for _ in range(100):
        prompt, answer = next(pairs)
        numbers, target = prompt.removesuffix(":").split(">")
        question = Question(tuple(map(int, numbers.split(","))), int(target))
        assert not TASK.verify(question, answer)
        wrong = [
            step
            for step in STEP.findall(answer)
            if combine(int(step[0]), step[1], int(step[2])) != int(step[3])
        ]
        assert len(wrong) >= 1


def test_reward_reads_the_columns() -> None:
    row = TASK.rows("test", 1)[0]
    right = TASK.answers(Question(tuple(row["numbers"]), row["target"]))[0]
    columns = {name: [row[name]] * 3 for name in ("numbers", "target", "operators")}
    chat = [{"role": "assistant", "content": right}]
    assert reward([right, right + ",", chat], **columns) == [1.0, 0.0, 1.0]


def test_refusals_name_what_is_allowed() -> None:
    with pytest.raises(UserError, match="train, test"):
        TASK.questions("validation", 1)
    with pytest.raises(UserError, match="fewer than"):
        TASK.questions("test", 10**6)
    with pytest.raises(UserError, match="2 to 5"):
        Countdown(numbers=9)
    with pytest.raises(UserError, match="operators"):
        Countdown(operators="^")


def test_questions_that_are_hardly_ever_drawn_are_taken_from_the_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(countdown, "DRAWS", 2000)
    task = Countdown(numbers=3, targets=(1, 1_000_000))
    size = task._sizes["test"]
    found = task.questions("test", size, seed=1)
    assert len({q.identity for q in found}) == size
    assert all(task.split_of(q) == "test" and task.answers(q) for q in found)
    assert found == task.questions("test", size, seed=1)
    assert any(list(q.numbers) != sorted(q.numbers) for q in found[-20:])


def test_what_is_drawn_soon_is_drawn_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    before = TASK.questions("train", 300)
    monkeypatch.setattr(countdown, "DRAWS", 10**9)
    assert TASK.questions("train", 300) == before
