"""The benchmarks as a table: where the questions are, how they are put, how answers are graded.

Names, configurations, splits and columns are those of the Hugging Face copies that public
evaluation code loads; a local file may have any of the columns named.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

BOXED = "{prompt}\n\nPlease reason step by step, and put your final answer within \\boxed{{}}."
FUNCTION = (
    "Complete this function. Answer with the whole function, with what it imports, in one block "
    "that opens with ```python.\n\n```python\n{prompt}\n```"
)
PROGRAM = "{prompt}\n\n{instruction}\nPut all of it into one block that opens with ```python."
BARE = "{prompt}"

QUESTION = ("problem", "question", "prompt")
GOLD = ("answer", "final_answer", "gold", "solution")
NAME = ("id", "unique_id", "task_id", "question_id", "ID")


@dataclass(frozen=True)
class Benchmark:
    """A row of the table."""

    source: str | None = None
    """The Hugging Face dataset, ``org/name`` or ``org/name:config``; None: a task, or a file."""
    split: str = "test"
    question: tuple[str, ...] = QUESTION
    """Columns that may hold the question: the first that a row has."""
    gold: tuple[str, ...] = GOLD
    """Columns that may hold the right answer; not needed where tests decide."""
    template: str = BOXED
    """Text around the question."""
    plain_template: str | None = None
    """The same where there is no chat template; None: the same."""
    grader: str = "math"
    files: tuple[str, ...] = ()
    """Where the dataset is a loading script beside plain files: those of the splits v1, v2, …"""
    note: str = ""
    """What to know of the copy: size, licence."""


AIME = "problems (c) Mathematical Association of America"
BENCHMARKS = {
    "aime24": Benchmark("HuggingFaceH4/aime_2024", "train", note=f"30 questions; {AIME}"),
    "aime25": Benchmark("math-ai/aime25", note=f"30 questions; {AIME}"),
    "amc23": Benchmark("math-ai/amc23", note=f"40 questions; {AIME}"),
    "math500": Benchmark("HuggingFaceH4/MATH-500", note="500 questions of MATH; MIT"),
    "minerva": Benchmark(
        "math-ai/minervamath",
        note="272 questions of MIT OpenCourseWare, CC BY-NC-SA; golds differ between copies",
    ),
    "olympiad": Benchmark(
        "math-ai/olympiadbench",
        gold=("final_answer", "answer", "gold"),  # its `solution` may be a list of whole solutions
        note="674 questions of OlympiadBench: English, text only, answers to compare; Apache-2.0",
    ),
    "gsm8k": Benchmark("openai/gsm8k:main", note="1319 questions; MIT"),
    "humaneval+": Benchmark(
        "evalplus/humanevalplus",
        question=("prompt",),
        template=FUNCTION,
        plain_template=BARE,
        grader="code",
        note="164 functions; Apache-2.0",
    ),
    "livecodebench": Benchmark(
        "livecodebench/code_generation_lite",
        "v6",
        question=("question_content", "prompt"),
        template=PROGRAM,
        grader="code",
        files=("test.jsonl", *(f"test{version}.jsonl" for version in range(2, 7))),
        note="v6: 175 problems of January to April 2025; each v is one file of the dataset",
    ),
    "codeforces": Benchmark(
        "open-r1/codeforces",
        question=("description", "prompt"),
        template=PROGRAM,
        grader="code",
        note="468 problems, less those that equality of output cannot judge; CC BY 4.0",
    ),
}
TASK_QUESTIONS = 200


def of_task(name: str) -> Benchmark:
    """The row of a built-in task: its own questions and reward, the bare prompt."""
    return Benchmark(question=("prompt",), template=BARE, grader=name)


def of_file(grader: str | None) -> Benchmark:
    """The row of somebody's own questions: as they are, graded as mathematics or by `grader`."""
    row = Benchmark(template=BARE, question=("prompt", "problem", "question"))
    return replace(row, grader=grader or "math")
