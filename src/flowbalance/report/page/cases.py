"""The case study: answers to one question, grouped by solution, as in the paper's AIME example.

A group is a solution: the canonical form of a right answer where the task lists them, the class
that a grader gave, else the text itself.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from flowbalance.report.page.reading import Run

QUESTIONS = 60
"""Questions on a page, at most."""
CHARACTERS = 3_000_000
"""Characters of all answers on a page, at most, unless one question alone has more."""
STEPS = 6
"""Evaluations of one training run that are shown: the first, the last, and some between."""
SPELLINGS = 3
"""Different texts of one solution that are shown."""
LONGEST = 6000
"""Characters of an answer that are shown."""

# text, verdict, class or None, whether it came to its end
Answer = tuple[str, str, str | None, bool]


def case_study(runs: list[Run]) -> dict[str, Any]:
    """`sides` (a run at a step) with the groups of each question; what was left out is `limits`.

    sides[i] = {run, step, label, cases: {question's index: case}}
    case = {n, right, unknown, cut, solutions, effective, groups: [{label, verdict, count, texts}]}
    """
    sides: list[dict[str, Any]] = []
    found: list[dict[str, list[Answer]]] = []  # by prompt, one a side
    golds: dict[str, str] = {}
    for index, run in enumerate(runs):
        steps = by_step(run)
        for step in spread(list(steps)):
            answers = steps[step]
            label = run.name if step is None else f"{run.name}, step {step}"
            sides.append({"run": index, "step": step, "label": label})
            found.append(answers)
        known = [row for row in run.answers if row.get("gold") is not None]
        golds |= {prompt_text(row["prompt"]): str(row["gold"]) for row in known}
    chosen = choose(found)
    for side, answers in zip(sides, found, strict=True):
        side["cases"] = {
            i: grouped(answers[prompt]) for i, prompt in enumerate(chosen) if prompt in answers
        }
    total = len({prompt for answers in found for prompt in answers})
    return {
        "sides": sides,
        "questions": [{"prompt": p, "gold": golds.get(p)} for p in chosen],
        "limits": limits(len(chosen), total),
    }


def by_step(run: Run) -> dict[int | None, dict[str, list[Answer]]]:
    """Answers by step and prompt; an evaluation has the step None."""
    found: dict[int | None, dict[str, list[Answer]]] = {}
    for row in run.samples:
        answers = found.setdefault(int(row["step"]), {})
        answers.setdefault(prompt_text(row["prompt"]), []).extend(_sampled(row, run.right))
    for row in run.answers:
        form = row.get("class")
        solution = None if form is None else str(form)
        ended = bool(row.get("finished", True))
        answer = str(row["response"]), str(row["verdict"]), solution, ended
        found.setdefault(None, {}).setdefault(prompt_text(row["prompt"]), []).append(answer)
    return found


def spread(steps: list[int | None]) -> list[int | None]:
    """At most `STEPS` of them, the first and the last included, evenly between."""
    last = len(steps) - 1
    if last < STEPS:
        return steps
    return [steps[round(i * last / (STEPS - 1))] for i in range(STEPS)]


def _sampled(row: dict[str, Any], right: float) -> Iterable[Answer]:
    """The answers of a line of samples.jsonl."""
    count = len(row["answers"])
    forms = row.get("classes") or [None] * count
    ended = row.get("finished") or [True] * count
    for text, reward, form, end in zip(row["answers"], row["rewards"], forms, ended, strict=False):
        verdict = "unknown" if reward is None else "right" if reward >= right else "wrong"
        yield str(text), verdict, form, bool(end)


def prompt_text(prompt: Any) -> str:
    """A question as text: messages of a chat one below the other."""
    if isinstance(prompt, list):
        parts = (m for m in prompt if isinstance(m, dict))
        return "\n\n".join(f"{m.get('role', '')}: {m.get('content', '')}" for m in parts)
    return str(prompt)


def choose(found: list[dict[str, list[Answer]]]) -> list[str]:
    """The questions to show, in order: all, or as many as there is room for of those that most
    sides have and answer most differently."""
    prompts = list(dict.fromkeys(prompt for answers in found for prompt in answers))

    def interest(prompt: str) -> tuple[int, float]:
        shares = [
            sum(verdict == "right" for _, verdict, _, _ in answers[prompt]) / len(answers[prompt])
            for answers in found
            if prompt in answers
        ]
        return len(shares), max(shares) - min(shares)

    chosen: set[str] = set()
    room = CHARACTERS
    for prompt in sorted(prompts, key=interest, reverse=True)[:QUESTIONS]:
        texts = ({text for text, *_ in answers.get(prompt, ())} for answers in found)
        room -= sum(min(len(text), LONGEST) for side in texts for text in side)
        if room < 0 and chosen:
            break
        chosen.add(prompt)
    return [prompt for prompt in prompts if prompt in chosen]


def grouped(answers: list[Answer]) -> dict[str, Any]:
    """The answers to one question by solution, the commonest first."""
    texts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for text, verdict, form, _ in answers:
        texts[form if form is not None else text.strip(), verdict][text] += 1
    groups = sorted(texts.items(), key=lambda item: -item[1].total())
    right = [spelled.total() for (_, verdict), spelled in groups if verdict == "right"]
    return {
        "n": len(answers),
        "right": sum(right),
        "unknown": sum(verdict == "unknown" for _, verdict, _, _ in answers),
        "cut": sum(not ended for *_, ended in answers),
        "solutions": len(right),
        "effective": round(effective_number(right), 2),
        "groups": [
            {
                "label": shortened(label),
                "verdict": verdict,
                "count": spelled.total(),
                "spellings": len(spelled),
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


def shortened(text: str) -> str:
    """At most `LONGEST` characters, and how many are left out."""
    beyond = len(text) - LONGEST
    return text if beyond <= 0 else f"{text[:LONGEST]}… [{beyond:,} further characters]"


def limits(shown: int, total: int) -> str:
    """What is left out of the page, in a sentence."""
    start = ""
    if shown < total:
        start = f"Shown are {shown} of {total:,} questions, those on which the runs differ most. "
    return (
        f"{start}Of each solution at most {SPELLINGS} different texts, of each text at most "
        f"{LONGEST:,} characters."
    )
