"""The case study: answers to one question, grouped by solution, as in the paper's AIME example.

A group is a solution: the canonical form of a right answer where the task lists them, the class
that a grader gave, else the text itself.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from evenflow.report.questions import Answer, Question, asked, paired
from evenflow.report.reading import Run

CHARACTERS = 3_000_000
"""Characters of all questions and answers on a page, unless one question alone has more."""
STEPS = 6
"""Evaluations of one training run that are shown: the first, the last, and some between."""
SPELLINGS = 3
"""Different texts of one solution that are shown."""
LONGEST = 6000
"""Characters of an answer, or of a question, that are shown."""


def case_study(runs: list[Run]) -> dict[str, Any]:
    """`sides` (a run at a step) with the groups of each question; what was left out is `limits`.

    sides[i] = {run, step, label, cases: {question's index: case}}
    case = {n, right, unknown, cut, solutions, effective, groups: [{label, verdict, count, texts}]}
    and `asked`, where the side put the question in other words.
    """
    sides: list[dict[str, Any]] = []
    put: list[list[Question]] = []  # one a side
    for index, run in enumerate(runs):
        steps = asked(run)
        for step in spread(list(steps)):
            label = run.name if step is None else f"{run.name}, step {step}"
            sides.append({"run": index, "step": step, "label": label})
            put.append(steps[step])
    found = paired(put)
    texts = {i: question.text for side in reversed(found) for i, question in side.items()}
    chosen = choose([{i: q.answers for i, q in side.items()} for side in found], texts)
    questions = []
    for number in chosen:
        golds = (side[number].gold for side in found if number in side)
        gold = next((shortened(gold) for gold in golds if gold is not None), None)
        questions.append({"prompt": shortened(texts[number], both_ends=True), "gold": gold})
    for side, numbered in zip(sides, found, strict=True):
        side["cases"] = {
            i: case(numbered[number], texts[number])
            for i, number in enumerate(chosen)
            if number in numbered
        }
    return {
        "sides": sides,
        "questions": questions,
        "limits": limits(len(chosen), len({number for side in found for number in side})),
    }


def case(question: Question, prompt: str) -> dict[str, Any]:
    """The answers by solution, and how it was asked where that is not `prompt`."""
    same = question.text == prompt
    other = {} if same else {"asked": shortened(question.text, both_ends=True)}
    return grouped(question.answers) | other


def spread(steps: list[int | None]) -> list[int | None]:
    """At most `STEPS` of them, the first and the last included, evenly between."""
    last = len(steps) - 1
    if last < STEPS:
        return steps
    return [steps[round(i * last / (STEPS - 1))] for i in range(STEPS)]


def choose(
    found: Sequence[Mapping[int, Sequence[Answer]]], prompts: Mapping[int, str] | None = None
) -> list[int]:
    """The questions to show, in order: all, or as many as there is room for of those that most
    sides have and answer most differently."""
    numbers = list(dict.fromkeys(number for answers in found for number in answers))

    def interest(number: int) -> tuple[int, float]:
        shares = [
            sum(answer.verdict == "right" for answer in answers[number]) / len(answers[number])
            for answers in found
            if number in answers
        ]
        return len(shares), max(shares) - min(shares)

    chosen: set[int] = set()
    room = CHARACTERS
    for number in sorted(numbers, key=interest, reverse=True):
        texts = ({answer.text for answer in answers.get(number, ())} for answers in found)
        room -= sum(min(len(text), LONGEST) for side in texts for text in side)
        room -= min(len((prompts or {}).get(number, "")), LONGEST)
        if room < 0 and chosen:
            break
        chosen.add(number)
    return [number for number in numbers if number in chosen]


def grouped(answers: list[Answer]) -> dict[str, Any]:
    """The answers to one question by solution, the commonest first."""
    texts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    reasons: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for text, verdict, form, _, reason in answers:
        key = form if form is not None else text.strip(), verdict
        texts[key][text] += 1
        reasons[key][reason] += 1
    groups = sorted(texts.items(), key=lambda item: -item[1].total())
    right = [spelled.total() for (_, verdict), spelled in groups if verdict == "right"]
    return {
        "n": len(answers),
        "right": sum(right),
        "unknown": sum(answer.verdict == "unknown" for answer in answers),
        "cut": sum(not answer.ended for answer in answers),
        "solutions": len(right),
        "effective": round(effective_number(right), 2),
        "groups": [
            {
                "label": shortened(label),
                "verdict": verdict,
                "count": spelled.total(),
                "spellings": len(spelled),
                "reason": shortened(reasons[label, verdict].most_common(1)[0][0]),
                "texts": [
                    {"text": shortened(text), "count": count}
                    for text, count in spelled.most_common(SPELLINGS)
                    if [*spelled] != [label]  # else the label says it all
                ],
            }
            for (label, verdict), spelled in groups
        ],
    }


def effective_number(counts: list[int]) -> float:
    """exp of the entropy of the shares: as many equally common solutions would be as diverse."""
    total = sum(counts)
    return math.exp(-sum(c / total * math.log(c / total) for c in counts)) if total else 0.0


def shortened(text: str, *, both_ends: bool = False) -> str:
    """At most `LONGEST` characters, and how many are left out: of a question in the middle, for
    what is asked may stand behind a long document."""
    beyond = len(text) - LONGEST
    if beyond <= 0:
        return text
    kept = LONGEST // 2 if both_ends else LONGEST
    end = f" …{text[-kept:]}" if both_ends else ""
    return f"{text[:kept]}… [{beyond:,} further characters]{end}"


def limits(shown: int, total: int) -> str:
    """What is left out of the page, in a sentence."""
    start = ""
    if shown < total:
        start = f"Shown are {shown} of {total:,} questions, those on which the runs differ most. "
    return (
        f"{start}Of each solution at most {SPELLINGS} different texts, of each text at most "
        f"{LONGEST:,} characters."
    )
