"""What keeps the base model's diversity from staying: teachers that know the right answers.

    OMP_NUM_THREADS=1 python benchmarks/limits.py countdown       (or programs; --seeds 0,1,2)

The same base model, questions, steps and optimiser as benchmarks/frontiers/, and held-out scores of
the same questions, but instead of a reward for what was sampled

    listed   the target itself: cross-entropy on right answers drawn alike from their list
    mass     MaxRL with endless samples: the exact gradient of log p(right | question)
    reward   REINFORCE with endless samples: the exact gradient of p(right | question)
    slips    credit at the mistake: answers are sampled, and at each token up to the first slip the
             log-probability rises that a right answer stays within reach, whichever it is
    reach    the same with the probability in place of its logarithm
    marks    a process reward: the token of each sampled answer's first slip falls, and that is all
    weighed  the same, each slip weighed by 1 / the probability that there was of none

None is an algorithm: each reads the list of right answers. Rows are added to
docs/results/limits_<task>.csv as they come; a run that stands there is not run again. With
`--base FOLDER`, another base model of the task, they go to limits_<task>_<the folder's name>.csv.
"""

from __future__ import annotations

import argparse
import csv
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.rnn import pad_sequence

from evenflow.evaluation.exact import exact_scores
from evenflow.policy.loading import load_model, load_tokenizer
from evenflow.policy.policy import Policy
from evenflow.policy.tokens import collate
from evenflow.tasks import ListedTask, get_task
from evenflow.training.optim import adamw, parameter_groups, rate_factor, set_rate

RESULTS = Path(__file__).parent.parent / "docs" / "results"
QUESTIONS, ANSWERS, RATE, WARM_UP = 16, 16, 2e-4, 5
LIMIT = {"countdown": 40, "programs": 20}  # tokens of an answer
TRAIN = {"countdown": 4096, "programs": 2048}
SCORES = ("accuracy", "effective_solutions", "distinct@16", "pass@16")
COLUMNS = ("teacher", "steps", "seed", "step", *SCORES)
Ids = list[int]
Onward = dict[tuple[int, ...], set[int]]


class Lists:
    """The right answers to a task's questions as tokens."""

    def __init__(self, task: str) -> None:
        self.task, self.limit = cast(ListedTask, get_task(task, {})), LIMIT[task]
        self.tokenizer = load_tokenizer(f"builtin:{task}")
        self.end = cast(int, self.tokenizer.eos_token_id)

    def encode(self, text: str, *, ends: bool = False) -> Ids:
        return self.tokenizer.encode(text) + [self.end] * ends

    def right(self, row: dict[str, Any]) -> list[Ids]:
        """Every right answer, its end token included."""
        forms = self.task.row_solutions(row).values()
        return [self.encode(text, ends=True) for texts in forms for text in texts]


def onward(answers: Sequence[Ids]) -> Onward:
    """The tokens after each beginning that leave a right answer within reach."""
    found: Onward = defaultdict(set)
    for answer in answers:
        for position, token in enumerate(answer):
            found[tuple(answer[:position])].add(token)
    return dict(found)


def listed(
    policy: Policy, lists: Lists, rows: Sequence[dict[str, Any]], draw: random.Random
) -> Tensor:
    """−mean log π(y|x), y drawn alike from the right answers."""
    pairs = [
        (lists.encode(row["prompt"]), answer)
        for row in rows
        for answer in draw.choices(lists.right(row), k=ANSWERS)
    ]
    return -answer_logprobs(policy, pairs).mean()


def answer_logprobs(policy: Policy, pairs: Sequence[tuple[Ids, Ids]]) -> Tensor:
    """(N,) log π(y|x)."""
    prompts, answers = zip(*pairs, strict=True)
    return policy(collate(prompts, answers)).logprobs.sum(1)


def masses(policy: Policy, lists: Lists, rows: Sequence[dict[str, Any]]) -> Tensor:
    """(Q,) log p(right|x), the exact sum over the list."""
    found = []
    for row in rows:
        prompt = lists.encode(row["prompt"])
        found.append(answer_logprobs(policy, [(prompt, y) for y in lists.right(row)]).logsumexp(0))
    return torch.stack(found)


def mass(policy: Policy, lists: Lists, rows: Sequence[dict[str, Any]], _: random.Random) -> Tensor:
    """−mean log p(right|x)."""
    return -masses(policy, lists, rows).mean()


def reward(
    policy: Policy, lists: Lists, rows: Sequence[dict[str, Any]], _: random.Random
) -> Tensor:
    """−mean p(right|x)."""
    return -masses(policy, lists, rows).exp().mean()


@dataclass(frozen=True)
class Attempts:
    """N sampled answers up to their first slips."""

    reach: Tensor  # (M,) log-prob that a right answer stays within reach, at each of their tokens
    slip: Tensor  # (K,) log-prob of the first slip of those that have one
    before: Tensor  # (K,) `reach` there
    count: int  # N


def attempt(policy: Policy, lists: Lists, rows: Sequence[dict[str, Any]]) -> Attempts:
    """The policy's answers to the questions, held to the lists."""
    prompts = [lists.encode(row["prompt"]) for row in rows]
    after = [onward(lists.right(row)) for row in rows]
    sampled = sample(policy, prompts, lists)
    ids = [torch.tensor(prompts[q] + answer) for q, answer in sampled]
    padded = pad_sequence(ids, batch_first=True)
    logprobs = policy.model(input_ids=padded).logits.log_softmax(-1)
    allowed = torch.zeros(logprobs.shape, dtype=torch.bool)
    slips = []
    for i, (q, answer) in enumerate(sampled):
        last, begin = first_slip(answer, after[q]), len(prompts[q]) - 1
        for position in range(min(last + 1, len(answer))):
            allowed[i, begin + position, list(after[q][tuple(answer[:position])])] = True
        if last < len(answer):
            slips.append((i, begin + last, answer[last]))
    reach = logprobs.masked_fill(~allowed, -torch.inf).logsumexp(-1)  # (N, S)
    row, column, token = torch.tensor(slips).reshape(-1, 3).unbind(1)
    return Attempts(
        reach[allowed.any(-1)], logprobs[row, column, token], reach[row, column], len(ids)
    )


def slips(policy: Policy, lists: Lists, rows: Sequence[dict[str, Any]], _: random.Random) -> Tensor:
    """−mean over answers of Σ_t log Σ_{a right answer stays within reach} π(a|x, y_<t)."""
    found = attempt(policy, lists, rows)
    return -found.reach.sum() / found.count


def reach(policy: Policy, lists: Lists, rows: Sequence[dict[str, Any]], _: random.Random) -> Tensor:
    """−mean over answers of Σ_t Σ_{a right answer stays within reach} π(a|x, y_<t)."""
    found = attempt(policy, lists, rows)
    return -found.reach.exp().sum() / found.count


def marks(policy: Policy, lists: Lists, rows: Sequence[dict[str, Any]], _: random.Random) -> Tensor:
    """mean over answers of log π(the first slip), 0 for right ones."""
    found = attempt(policy, lists, rows)
    return found.slip.sum() / found.count


def weighed(
    policy: Policy, lists: Lists, rows: Sequence[dict[str, Any]], _: random.Random
) -> Tensor:
    """mean over answers of log π(the first slip) / π(no slip there), the divisor without
    gradient."""
    found = attempt(policy, lists, rows)
    return (found.slip / found.before.detach().exp()).sum() / found.count


def first_slip(answer: Ids, after: Onward) -> int:
    """The position of the token with which no right answer is within reach any more; the answer's
    length where there is none."""
    for position, token in enumerate(answer):
        if token not in after.get(tuple(answer[:position]), ()):
            return position
    return len(answer)


@torch.no_grad()
def sample(policy: Policy, prompts: Sequence[Ids], lists: Lists) -> list[tuple[int, Ids]]:
    """(question, answer) of ANSWERS answers to each question, as the policy gives them."""
    longest = max(map(len, prompts))
    pad = [[0] * (longest - len(prompt)) + prompt for prompt in prompts for _ in range(ANSWERS)]
    seen = [[0] * (longest - len(p)) + [1] * len(p) for p in prompts for _ in range(ANSWERS)]
    out = (
        cast(Any, policy.model)
        .generate(
            input_ids=torch.tensor(pad),
            attention_mask=torch.tensor(seen),
            do_sample=True,
            top_k=0,
            max_new_tokens=lists.limit,
            pad_token_id=0,
            eos_token_id=lists.end,
        )[:, longest:]
        .tolist()
    )
    whole = [row[: row.index(lists.end) + 1] if lists.end in row else row for row in out]
    return [(i // ANSWERS, answer) for i, answer in enumerate(whole)]


Teacher = Callable[[Policy, Lists, Sequence[dict[str, Any]], random.Random], Tensor]
TEACHERS: dict[str, Teacher] = {
    "listed": listed,
    "mass": mass,
    "reward": reward,
    "slips": slips,
    "reach": reach,
    "marks": marks,
    "weighed": weighed,
}


def run(
    task: str, teacher: str, steps: int, seed: int, base: str | None = None
) -> Iterator[tuple[int, dict[str, float]]]:
    """Teach the base model; held-out scores at every eighth of the steps."""
    torch.manual_seed(seed)
    draw = random.Random(seed)
    lists = Lists(task)
    policy = Policy(load_model(base or f"builtin:{task}", torch.float32))
    train = lists.task.rows("train", TRAIN[task])
    held_out = lists.task.rows("test", 500)[300:]
    prompts = [row["prompt"] for row in held_out]
    solutions = [lists.task.row_solutions(row) for row in held_out]
    optimizer = adamw(parameter_groups(policy.parameters(), RATE, 0.0))

    def score(prompts: Sequence[str], answers: Sequence[str]) -> Tensor:
        pairs = [lists.encode(y, ends=True) for y in answers]
        return policy.score([lists.encode(x) for x in prompts], pairs, budget=4096).sum(1)

    order: list[dict[str, Any]] = []
    for step in range(steps):
        if len(order) < QUESTIONS:
            order = draw.sample(train, len(train))
        rows = [order.pop() for _ in range(QUESTIONS)]
        set_rate(optimizer, rate_factor(step, "linear", WARM_UP, steps))
        TEACHERS[teacher](policy, lists, rows, draw).backward()
        clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if (step + 1) % (steps // 8) == 0:
            yield step + 1, exact_scores(score, prompts, solutions).table()


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("task", choices=sorted(LIMIT))
    add("--seeds", default="0", help="(%(default)s)")
    add("--steps", type=int, default=160, help="of 16 questions (%(default)s)")
    add("--teachers", default=",".join(TEACHERS), help="(%(default)s)")
    add("--base", metavar="FOLDER", help="a base model (the built-in one)")
    options = parser.parse_args()
    of = f"{options.task}_{Path(options.base).name}" if options.base else options.task
    path = RESULTS / f"limits_{of}.csv"
    there: set[tuple[str, ...]] = set()
    if path.is_file():
        with path.open(newline="") as file:
            there = {(r["teacher"], r["steps"], r["seed"]) for r in csv.DictReader(file)}
    else:
        path.write_text(",".join(COLUMNS) + "\n")
    for seed in map(int, options.seeds.split(",")):
        for teacher in options.teachers.split(","):
            if (teacher, str(options.steps), str(seed)) in there:
                continue
            found = list(run(options.task, teacher, options.steps, seed, options.base))
            with path.open("a", newline="") as file:
                for step, scores in found:
                    values = [f"{scores[name]:.4f}" for name in SCORES]
                    csv.writer(file).writerow([teacher, options.steps, seed, step, *values])
            print(teacher, options.steps, seed, {k: round(v, 3) for k, v in found[-1][1].items()})


if __name__ == "__main__":
    main()
