"""A task of one's own: of four numbers take two, and reach the target in one step.

`2,7,1,4>28:` is answered by `7*4=28`; the built-in base model of Countdown reads such questions.

    cd examples
    evenflow train ../recipes/countdown.yaml data.task=task:OneStep data.task_options.largest=9
"""

import itertools
import random


class OneStep:
    """Its arguments are fields of `data.task_options`."""

    def __init__(self, largest: int = 9) -> None:
        self.largest = largest

    def rows(self, split: str, count: int, seed: int = 0) -> list[dict]:
        """Questions; those whose numbers add up to a multiple of five are held out."""
        draw, found = random.Random(f"{split} {seed}"), {}
        while len(found) < count:
            numbers = [draw.randint(1, self.largest) for _ in range(4)]
            if (sum(numbers) % 5 == 0) == (split == "test"):
                pairs = list(itertools.permutations(numbers, 2))
                steps = {f"{a}+{b}": a + b for a, b in pairs}
                steps |= {f"{a}*{b}": a * b for a, b in pairs}
                target = draw.choice(list(steps.values()))
                right = [f"{step}={target}" for step, value in steps.items() if value == target]
                prompt = f"{','.join(map(str, numbers))}>{target}:"
                found[prompt] = {"prompt": prompt, "right": right}
        return list(found.values())

    def reward(self, completions: list[str], right: list[list[str]], **_: object) -> list[float]:
        """1 for a right answer, else 0; `right` is the column of that name."""
        return [float(text in texts) for text, texts in zip(completions, right, strict=True)]
