"""A batch sampled and judged: rewards after the sampling against rewards beside it.

    OMP_NUM_THREADS=1 python benchmarks/overlap.py

The answers are those of a random Llama (--hidden wide, answers of very different length); a reward
is a program of each answer run in the sandbox, or a wait, as for a judge elsewhere. Prints medians
of wall seconds over alternating turns. The least that the second way can take is the longer of
sampling and judging; what it has to sample and judge at the same time costs cores twice.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from statistics import median

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from evenflow.data import Prompt
from evenflow.policy.policy import Policy
from evenflow.rewards import Rewards
from evenflow.rewards.code import code
from evenflow.rollout import Group, Sampling, sample
from evenflow.rollout.embedded.engine import EmbeddedEngine
from evenflow.rollout.judging import Judging

VOCABULARY, STOP = 512, 1
TESTS = {"entry_point": "f", "inputs": [[3], [4]], "outputs": [9, 16]}


def run_program(completions: list[str], completion_ids: list[list[int]], **_: object) -> list:
    """A program in the sandbox for each answer, another one each so that none is run twice."""
    programs = [f"def f(x):\n    return x * x  # {ids}" for ids in completion_ids]
    return code(programs, [TESTS] * len(programs))


def wait(completions: list[str], **_: object) -> list[float]:
    """20 ms an answer, without work on this machine."""
    time.sleep(0.02 * len(completions))
    return [0.0] * len(completions)


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--questions", type=int, default=16, help="in the batch (%(default)s)")
    add("--generations", type=int, default=8, help="answers to each (%(default)s)")
    add("--max-tokens", type=int, default=256, help="limit of an answer (%(default)s)")
    add("--max-batch", type=int, default=32, help="answers decoded at once (%(default)s)")
    add("--hidden", type=int, default=256, help="width of the model (%(default)s)")
    add("--repeats", type=int, default=3, help="turns of each (%(default)s)")
    options = parser.parse_args()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=options.hidden,
        intermediate_size=2 * options.hidden,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=options.max_tokens + 16,
    )
    model = LlamaForCausalLM(config).eval()
    prompts = [
        Prompt(str(i), f"question {i}", tuple(torch.randint(2, VOCABULARY, (8,)).tolist()), {})
        for i in range(options.questions)
    ]
    sampling = Sampling(max_tokens=options.max_tokens, stop_ids=tuple(range(1, 6)))

    engine = EmbeddedEngine(None, options.max_batch)
    engine.update(Policy(model), 0)

    def groups() -> Iterator[Group]:
        return sample(engine, prompts, options.generations, sampling, seed=0)

    def after(rewards: Rewards) -> tuple[float, float]:
        began = time.monotonic()
        whole = list(groups())
        sampled = time.monotonic()
        with Judging(rewards, prompts) as judging:
            for group in whole:
                judging.submit(group)
            judging.judged()
        return sampled - began, time.monotonic() - sampled

    def beside(rewards: Rewards) -> float:
        began = time.monotonic()
        with Judging(rewards, prompts) as judging:
            for group in groups():
                judging.submit(group)
            judging.judged()
        return time.monotonic() - began

    print("reward       sampling   judging   one after the other   beside   ratio")
    for name, function in (("a program", run_program), ("a wait", wait)):
        rewards = Rewards([(name, function, 1.0)], timeout=600)
        turns = [(after(rewards), beside(rewards)) for _ in range(options.repeats)]
        sampled, judged = (median(turn[0][part] for turn in turns) for part in (0, 1))
        both, overlapped = median(sum(turn[0]) for turn in turns), median(t[1] for t in turns)
        print(
            f"{name:<11}{sampled:>8.2f} s{judged:>8.2f} s{both:>20.2f} s{overlapped:>7.2f} s"
            f"{both / overlapped:>7.2f}×"
        )


if __name__ == "__main__":
    main()
