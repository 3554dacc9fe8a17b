"""What a comparison says before it starts: settings that change nothing, runs that are alike."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from evenflow.config import TrainConfig
from evenflow.config.effect import as_computed, cautions, without_effect
from evenflow.run.folder import choose_device
from evenflow.studies.compare.plan import INSTEAD, Run

BY_COMPARE = ("evaluation", "train.answers", *INSTEAD)
"""What a comparison itself sets or reads, idle as it may be in training."""
Found = dict[str, list[str]]
"""Sentence → the labels of the variants that it is said of."""


def notices(runs: Sequence[Run], named: Collection[str] = ()) -> list[tuple[str, str]]:
    """(kind, text) of each. `runs` are those of one seed, or the trials of a search, which changes
    the fields that are `named`.

    Of a field of the recipe's own it is said where no run has a use for it: that some algorithms
    have none is what a recipe for several is like.
    """
    labels = list(dict.fromkeys(run.variant.label for run in runs))
    idle, care = Found(), Found()
    for run in runs:
        label, config = run.variant.label, run.config
        # `auto` on a GPU stays open: a look at the card would keep a piece of its memory.
        on_cpu = config.model.dtype == "auto" and choose_device(config.device).type == "cpu"
        for sentence in without_effect(as_computed(config, "float32") if on_cpu else config):
            if not names(BY_COMPARE, field_of(sentence)):
                note(idle, sentence, label)
        for sentence in cautions(config):
            note(care, sentence, label)
    own = {run.variant.label: {key for key, _ in run.variant.changes} | {*named} for run in runs}
    found = []
    for sentence, of in idle.items():
        if len(of) < len(labels):
            of = [label for label in of if names(own[label], field_of(sentence))]
        if of:
            found.append(("no effect", f"{whose(of, labels)}{sentence}"))
    found += [("no effect", sentence) for sentence in alike(runs)]
    return found + [("take care", f"{whose(of, labels)}{text}") for text, of in care.items()]


def note(found: Found, sentence: str, label: str) -> None:
    """Keep the sentence for that label, once."""
    of = found.setdefault(sentence, [])
    if label not in of:
        of.append(label)


def whose(of: Sequence[str], labels: Sequence[str]) -> str:
    """The variants, where it is not all of them."""
    return "" if len(of) == len(labels) else f"{', '.join(of)}: "


def field_of(sentence: str) -> str:
    """The field that a sentence begins with."""
    return sentence.partition(":")[0]


def names(keys: Collection[str], field: str) -> bool:
    """Whether one of the keys is the field, or a section that has it."""
    return any(field == key or field.startswith(f"{key}.") for key in keys)


def alike(runs: Sequence[Run]) -> Iterator[str]:
    """Variants that make the very run of an earlier one."""
    met: list[tuple[str, TrainConfig, object]] = []
    for run in runs:
        # Folders, seeds and names aside: what a preset brings stands in the recipe.
        left_out: Mapping[str, object] = {"objective": {}, "algorithm": "", "output": None}
        made = run.config.model_copy(update=left_out), run.config.build_objective()
        label = run.variant.label
        before = next((other for other, *rest in met if tuple(rest) == made), label)
        if before != label:
            yield f"{label}: makes the very runs of {before}"
        met.append((label, *made))
