"""Completion tokens per CPU-second: the embedded engine against `model.generate`.

Both engines sample the same number of answers to the same prompts, with the same model, stop tokens
and limit, one thread each, in turns, so that what else runs on the machine meets both. What counts
is the process's CPU time; the medians over the repeats are compared.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from evenflow.data import Prompt
from evenflow.policy.policy import Policy
from evenflow.rollout import Sampling, sample
from evenflow.rollout.embedded.engine import EmbeddedEngine
from evenflow.tasks.countdown import Countdown

BUILT_IN = Path(str(files("evenflow"))) / "assets" / "countdown"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", type=Path, default=BUILT_IN, help="model folder (default: the built-in model)")
    add("--prompts", type=Path, help="file with one prompt a line (default: Countdown questions)")
    add("--questions", type=int, default=64, help="prompts in the batch (%(default)s)")
    add("--generations", type=int, default=8, help="answers to each (%(default)s)")
    add("--max-tokens", type=int, default=32, help="limit of an answer (%(default)s)")
    add("--max-batch", type=int, default=512, help="answers decoded at once by ours (%(default)s)")
    add("--repeats", type=int, default=9, help="turns of each engine (%(default)s)")
    return parser.parse_args()


def load(options: argparse.Namespace) -> tuple[PreTrainedModel, list[list[int]], tuple[int, ...]]:
    """The model, the prompts' token ids and the stop tokens."""
    if options.model == BUILT_IN and not BUILT_IN.exists():
        print(
            f"There is no built-in model at {BUILT_IN}: this is a random Llama of its size, whose "
            "answers are of random, not natural length. Pass --model for a real one.\n",
            file=sys.stderr,
        )
        return random_model(options.questions)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    if options.prompts:
        texts = options.prompts.read_text(encoding="utf-8").splitlines()[: options.questions]
    else:
        texts = [question.prompt for question in Countdown().questions("test", options.questions)]
    prompts = [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    return model, prompts, (tokenizer.eos_token_id,)


def random_model(questions: int) -> tuple[PreTrainedModel, list[list[int]], tuple[int, ...]]:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=24,
        hidden_size=128,
        intermediate_size=344,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=128,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    draw = random.Random(0)
    prompts = [[draw.randrange(2, 24) for _ in range(11)] for _ in range(questions)]
    return LlamaForCausalLM(config).eval(), prompts, (1,)


def transformers_engine(
    model: PreTrainedModel, prompts: list[list[int]], generations: int, sampling: Sampling
) -> Callable[[int], Tensor]:
    """`model.generate` as it comes (dynamic cache); returns the answers' lengths."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])

    def run(seed: int) -> Tensor:
        torch.manual_seed(seed)
        output = model.generate(
            ids,
            attention_mask=mask,
            do_sample=True,
            top_k=0,
            num_return_sequences=generations,
            max_new_tokens=sampling.max_tokens,
            eos_token_id=list(sampling.stop_ids),
            pad_token_id=0,
        )
        stop = torch.isin(output[:, longest:], torch.tensor(sampling.stop_ids)).long()
        return (stop.cumsum(1) - stop == 0).sum(1)  # up to and with the first stop token

    return run


def main() -> None:
    options = arguments()
    torch.set_num_threads(1)
    model, prompts, stop_ids = load(options)
    sampling = Sampling(max_tokens=options.max_tokens, stop_ids=stop_ids)

    asked = [Prompt(str(i), "", tuple(ids), {}) for i, ids in enumerate(prompts)]
    engine = EmbeddedEngine(None, options.max_batch)
    engine.update(Policy(model), 0)

    def ours(seed: int) -> Tensor:
        groups = sample(engine, asked, options.generations, sampling, seed=seed)
        return torch.tensor([len(answer) for group in groups for answer in group.answers])

    engines = {
        "transformers": transformers_engine(model, prompts, options.generations, sampling),
        "evenflow": ours,
    }
    speeds: dict[str, list[float]] = {name: [] for name in engines}
    lengths = torch.zeros(0)
    for turn in range(options.repeats + 1):
        for name, run in engines.items():
            start = time.process_time()
            lengths = run(turn)
            seconds = time.process_time() - start
            if turn:  # the first turn warms up
                speeds[name].append(int(lengths.sum()) / seconds)

    parameters = sum(parameter.numel() for parameter in model.parameters())
    low, mid, high = torch.quantile(lengths.float(), torch.tensor([0.05, 0.5, 0.95])).tolist()
    print(
        f"{type(model).__name__}, {parameters / 1e6:.2f} M parameters, {len(prompts)} prompts × "
        f"{options.generations} answers of {low:.0f} – {mid:.0f} – {high:.0f} tokens "
        f"(5 %, median, 95 %), {options.repeats} turns"
    )
    print(f"{'engine':14}{'tokens / CPU-second':>22}{'slowest':>10}{'fastest':>10}")
    for name, values in speeds.items():
        print(f"{name:14}{median(values):22.0f}{min(values):10.0f}{max(values):10.0f}")
    print(f"ratio of medians: {median(speeds['evenflow']) / median(speeds['transformers']):.2f}")


if __name__ == "__main__":
    main()
