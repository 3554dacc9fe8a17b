"""Engines, objectives and tasks of one's own that break their promise: one sentence names them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
from tests.training.runs import open_run

from evenflow.config import TrainConfig
from evenflow.errors import UserError
from evenflow.objectives import Answers, Choices
from evenflow.rollout.embedded.engine import EmbeddedEngine
from evenflow.rollout.group import Group
from evenflow.training.trainer import Trainer

Make = Callable[..., TrainConfig]
HERE = __name__


def said(config: TrainConfig) -> str:
    """The sentence that a run ends with."""
    with pytest.raises(UserError) as error:
        Trainer(config, open_run(config, "test")).run()
    sentence = str(error.value)
    assert "\n" not in sentence
    return sentence


# --- engines ---------------------------------------------------------------------------------


class Own:
    """An engine that hands over to the embedded one, and spoils what it gives."""

    spoil: ClassVar[Callable[[list[Group]], Any]] = staticmethod(lambda groups: groups)

    def __init__(self, tokenizer: Any, max_batch: int) -> None:
        self.inner = EmbeddedEngine(tokenizer, max_batch)

    def update(self, policy: Any, version: int) -> None:
        self.inner.update(policy, version)

    def limits(self, prompts: Any) -> Any:
        return self.inner.limits(prompts)

    def groups(self, prompts: Any, count: int, sampling: Any, *, seed: Any) -> Iterator[Any]:
        found = self.inner.groups(prompts, count, sampling, seed=seed)
        yield from type(self).spoil(sorted(found, key=lambda group: group.place))


def of_first(**changes: Callable[[Any], Any]) -> Callable[[list[Group]], list[Group]]:
    """The first group with fields changed."""

    def spoil(groups: list[Group]) -> list[Group]:
        first = groups[0]
        new = {name: change(getattr(first, name)) for name, change in changes.items()}
        return [replace(first, **new), *groups[1:]]

    return spoil


def first_token(to: Any) -> Callable[[list[list[Any]]], list[list[Any]]]:
    return lambda rows: [[to, *rows[0][1:]], *rows[1:]]


SPOILED: dict[str, tuple[Callable[[list[Group]], Any], str]] = {
    "nothing": (lambda groups: [None], "gave NoneType, not Group"),
    "too few answers": (of_first(answers=lambda a: a[1:]), "gave 3 answers in a group of 4"),
    "too many texts": (of_first(texts=lambda t: [*t, ""]), "gave 5 texts in a group of 4"),
    "a place beyond": (of_first(place=lambda _: 4), "gave a group of place 4; 4 prompts were"),
    "a negative place": (of_first(place=lambda _: -1), "gave a group of place -1"),
    "no place": (of_first(place=lambda _: None), "gave a group of place None"),
    "a place twice": (lambda groups: [groups[0], *groups], "gave two groups for place 0"),
    "a place left out": (lambda groups: groups[1:], "gave no group for 1 of 4 prompts"),
    "other prompts": (
        lambda groups: [replace(groups[0], prompt=groups[1].prompt), *groups[1:]],
        "gave a group of a question that nobody asked for at its place, 0",
    ),
    "no version": (of_first(version=lambda _: None), "gave the version None"),
    "no list": (of_first(answers=lambda _: None), "gave answers that are NoneType, not list"),
    "no lists": (of_first(answers=tuple), "gave answers that are tuple, not list"),
    "tensors of ids": (
        of_first(answers=lambda a: [torch.tensor(a[0]), *a[1:]]),
        "gave token ids that are Tensor, not list",
    ),
    "empty answers": (of_first(answers=lambda a: [[], *a[1:]]), "gave an answer of 0 tokens"),
    "long answers": (
        of_first(answers=lambda a: [[5] * 11, *a[1:]]),
        "gave an answer of 11 tokens; it has from 1 to 10",
    ),
    "a log-prob too many": (
        of_first(logprobs=lambda p: [[*p[0], -1.0], *p[1:]]),
        "log-probs for an answer of",
    ),
    "nan": (of_first(logprobs=first_token(math.nan)), "gave the log-prob nan"),
    "impossible tokens": (of_first(logprobs=first_token(-math.inf)), "gave the log-prob -inf"),
    "probabilities": (of_first(logprobs=first_token(0.5)), "gave the log-prob 0.5"),
    "texts for log-probs": (
        of_first(logprobs=first_token("-1")),
        "gave a log-prob that is str ('-1'), not float",
    ),
    "nothing for log-probs": (
        of_first(logprobs=first_token(None)),
        "gave a log-prob that is NoneType (None), not float",
    ),
    "ids beyond": (of_first(answers=first_token(10**6)), "gave the token id 1000000, and the"),
    "negative ids": (of_first(answers=first_token(-3)), "gave the token id -3"),
    "ids with a point": (
        of_first(answers=first_token(5.0)),
        "gave a token id that is float (5.0), not int",
    ),
    "bytes for texts": (
        of_first(texts=lambda t: [b"1", *t[1:]]),
        "gave a text that is bytes (b'1'), not str",
    ),
    "unknown ends": (
        of_first(finished=lambda f: [None, *f[1:]]),
        "gave a finished that is NoneType (None), not bool",
    ),
}


@pytest.mark.parametrize("name", SPOILED)
def test_groups_that_are_not_what_was_asked_for(
    recipe: Make, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    spoil, sentence = SPOILED[name]
    monkeypatch.setattr(Own, "spoil", staticmethod(spoil))
    config = recipe(f"rollout.engine={HERE}:Own", "train.steps=1")
    assert said(config).startswith("rollout.engine: Own.groups gave ")
    assert sentence in said(config)


@pytest.mark.parametrize("error", [ValueError("not\nso"), KeyError("x"), StopIteration()])
@pytest.mark.parametrize("method", ["update", "limits", "groups"])
def test_an_engine_that_raises(
    recipe: Make, monkeypatch: pytest.MonkeyPatch, method: str, error: Exception
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(Own, method, fail)
    sentence = said(recipe(f"rollout.engine={HERE}:Own"))
    assert sentence.startswith(f"rollout.engine: Own.{method} raised {type(error).__name__}")
    assert "test_protocol.py, line " in sentence


def test_an_engine_out_of_memory_is_told_as_ours_is(
    recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Own, "groups", fail)
    assert "lower rollout.max_batch" in said(recipe(f"rollout.engine={HERE}:Own"))


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_process_ends_it(
    recipe: Make, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(Own, "groups", fail)
    config = recipe(f"rollout.engine={HERE}:Own")
    with pytest.raises(error):
        Trainer(config, open_run(config, "test")).run()


def test_its_own_sentence_stays(recipe: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise UserError("the server is asleep; wake it")

    monkeypatch.setattr(Own, "groups", fail)
    assert said(recipe(f"rollout.engine={HERE}:Own")) == "the server is asleep; wake it"


class Resting(Own):
    """Writes down what is asked of it, in order."""

    log: ClassVar[list[str]] = []

    def groups(self, prompts: Any, count: int, sampling: Any, *, seed: Any) -> Iterator[Any]:
        self.log.append("groups")
        return super().groups(prompts, count, sampling, seed=seed)

    def rest(self) -> None:
        self.log.append("rest")


def test_an_engine_is_told_when_nothing_is_sampled_for_a_while(
    recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Resting, "log", [])
    config = recipe(f"rollout.engine={HERE}:Resting", "train.steps=2")
    Trainer(config, open_run(config, "test")).run()
    assert Resting.log == ["rest", *["groups", "rest"] * 2]


def test_an_engine_that_raises_when_it_is_to_rest(
    recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("not now")

    monkeypatch.setattr(Resting, "rest", fail)
    sentence = said(recipe(f"rollout.engine={HERE}:Resting"))
    assert sentence.startswith("rollout.engine: Resting.rest raised ValueError: not now")


class Lacking:
    def __init__(self, tokenizer: Any, max_batch: int) -> None: ...

    def update(self, policy: Any, version: int) -> None: ...


class Unready:
    def __init__(self, model: str) -> None: ...


class Broken:
    def __init__(self, tokenizer: Any, max_batch: int) -> None:
        raise OSError("no server at port 1")


class Unlimited(Own):
    def limits(self, prompts: Any) -> Any:
        return {"positions": 4}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("Lacking", "Lacking has no limits, groups"),
        ("Unready", "Unready, made with tokenizer and max_batch, raised TypeError"),
        ("Broken", "Broken, made with tokenizer and max_batch, raised OSError: no server at port"),
        ("Unlimited", "Unlimited.limits gave dict, not Limits"),
        ("HERE", "is a str, not a class"),
    ],
)
def test_things_that_are_no_engine(recipe: Make, name: str, sentence: str) -> None:
    whole = said(recipe(f"rollout.engine={HERE}:{name}"))
    assert whole.startswith("rollout.engine")
    assert sentence in whole


# --- objectives ------------------------------------------------------------------------------


class Mine(Choices):
    """A sound objective; tests put something else in place of its methods."""

    def loss(self, scores: Any, answers: Answers, total: Any) -> Any:
        value = -answers.token_sum(scores.logprobs).sum() / total
        return value, {"tokens": answers.lengths}


class Bare:
    """All of the protocol, and nothing of `Choices`."""

    needs = Mine().needs
    prepare = estimate = memory = summarise = total = residual = None

    def __init__(self) -> None:
        inner = Mine()
        for name in ("prepare", "estimate", "memory", "summarise", "total", "residual", "loss"):
            setattr(self, name, getattr(inner, name))


@pytest.mark.parametrize("name", ["Mine", "Bare"])
def test_an_objective_that_keeps_its_promise_trains(recipe: Make, name: str) -> None:
    config = recipe(f"algorithm={HERE}:{name}", "train.steps=2", "evaluation.every=1")
    rows = Trainer(config, open_run(config, "test")).run().rows
    assert all(math.isfinite(row["loss"]) for row in rows[1:])


class Half:
    needs = Mine().needs

    def loss(self, *_: Any) -> None: ...


class Silent(Choices):
    """No loss."""


class Asking(Choices):
    x: int

    def loss(self, *_: Any) -> Any: ...


def brief(completions: list[str], **_: Any) -> list[float]:
    return [1.0 for _ in completions]


def short(completions: Any = (), **_: Any) -> list[float]:
    return [1.0 for _ in completions]


def nothing() -> None: ...


def made() -> Mine:
    return Mine()


class Demanding(Mine):
    def __init__(self, x: int) -> None: ...


def test_a_function_that_makes_an_objective_may_be_named(recipe: Make) -> None:
    assert isinstance(recipe(f"algorithm={HERE}:made").build_objective(), Mine)


def test_a_class_that_wants_arguments_is_not_put_down_to_our_own_source(recipe: Make) -> None:
    with pytest.raises(UserError) as error:
        recipe(f"algorithm={HERE}:Demanding")
    said = str(error.value)
    assert "made without arguments, raised TypeError" in said
    assert said.endswith("missing 1 required positional argument: 'x'")


class Wanting(Mine):
    @property
    def needs(self) -> Any:
        return {"reference": True}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("Half", "Half has no prepare, estimate, total, summarise, memory, residual"),
        ("Silent", "Silent has no loss of its own"),
        ("Asking", "made without arguments, raised ValidationError"),
        ("Wanting", "needs is a property with Needs, not dict"),
        ("brief", "brief: is a function, not an objective's class (docs/architecture.md)"),
        ("nothing", "nothing: is a function, not an objective's class (docs/architecture.md)"),
        ("short", "short: is a function, not an objective's class (docs/architecture.md)"),
    ],
)
def test_things_that_are_no_objective(recipe: Make, name: str, sentence: str) -> None:
    with pytest.raises(UserError, match=r"^algorithm: .*") as error:
        recipe(f"algorithm={HERE}:{name}")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


SOUND = torch.zeros(())


@pytest.mark.parametrize(
    ("method", "gives", "sentence"),
    [
        ("loss", lambda *_: SOUND, "gave Tensor, not tuple"),
        ("loss", lambda *_: (SOUND, {}, {}), "something else than a loss and a dictionary"),
        ("loss", lambda *_: (SOUND, [1]), "something else than a loss and a dictionary"),
        ("loss", lambda *_: (0.5, {}), "gave a loss that is float, not a tensor"),
        ("loss", lambda s, *_: (s.logprobs.sum(1), {}), "gave, for a loss, one of shape (16,)"),
        ("loss", lambda *_: (SOUND, {}), "gave, for a loss, one without gradient"),
        ("loss", lambda s, *_: (s.logprobs.sum(), {"x": SOUND}), "gave a metric 'x'"),
        ("loss", lambda s, *_: (s.logprobs.sum(), {"x": 1.0}), "gave a metric 'x'"),
        ("loss", lambda s, *_: (s.logprobs.sum(), {"x": s.logprobs[:, 0]}), "detached tensor"),
        ("loss", lambda *_: 1 / 0, "raised ZeroDivisionError: division by zero ("),
        ("loss", lambda s, *_: s.nothing, "raised AttributeError"),
        ("prepare", lambda *_: None, "gave NoneType, not Answers"),
        ("prepare", lambda a: a.replace(log_z=a.mask), "raised ValueError: log_z must be (16,)"),
        ("estimate", lambda *_: 3, "gave int, not Answers"),
        ("total", lambda *_: 1 / 0, "raised ZeroDivisionError"),
        ("memory", lambda *_: 1 / 0, "raised ZeroDivisionError"),
        ("summarise", lambda *_: None, "gave NoneType, not dict"),
        ("summarise", lambda *_: {"x": SOUND}, "gave Tensor for 'x'; it must be a number"),
    ],
)
def test_methods_that_give_something_else(
    recipe: Make,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    gives: Callable[..., Any],
    sentence: str,
) -> None:
    monkeypatch.setattr(Mine, method, lambda self, *arguments: gives(*arguments))
    whole = said(recipe(f"algorithm={HERE}:Mine", "train.steps=1"))
    assert whole.startswith(f"algorithm: Mine.{method} ")
    assert sentence in whole


# --- tasks -----------------------------------------------------------------------------------


class Sums:
    """A sound task."""

    def rows(self, split: str, count: int) -> Any:
        return [{"prompt": f"{n},1>{n + 1}:", "right": f"{n}+1"} for n in range(1, 6)]

    def reward(self, completions: list[str], right: list[str], **_: Any) -> list[float]:
        return [float(text == gold) for text, gold in zip(completions, right, strict=True)]


class Rewardless:
    def rows(self, split: str, count: int) -> Any: ...


class Numb(Sums):
    reward: Any = 1.0


class Fragile(Sums):
    def __init__(self) -> None:
        raise OSError("no such disk")


OF_TASK = ("reward.functions={}", "train.steps=1")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("Rewardless", "Rewardless has no reward"),
        ("Own", "data.task_options: "),
        ("Numb", "Numb.reward: is a float, no function"),
        ("Fragile", "Fragile, made with data.task_options, raised OSError: no such disk"),
    ],
)
def test_things_that_are_no_task(recipe: Make, name: str, sentence: str) -> None:
    whole = said(recipe(f"data.task={HERE}:{name}", *OF_TASK))
    assert whole.startswith("data.task")
    assert sentence in whole


@pytest.mark.parametrize(
    ("gives", "sentence"),
    [
        (lambda: None, "gave NoneType, not list"),
        (lambda: ({"prompt": "1"},), "gave tuple, not list"),
        (list, "gave no row of the split 'train'"),
        (lambda: ["1>1:"], ": row 1 is str ('1>1:'), not a mapping from column to value"),
        (lambda: [{"prompt": "1>1:"}, {1: 2}], ": row 2 is dict ({1: 2}), not a mapping"),
        (lambda: 1 / 0, "raised ZeroDivisionError: division by zero ("),
    ],
)
def test_rows_that_are_none(
    recipe: Make, monkeypatch: pytest.MonkeyPatch, gives: Callable[[], Any], sentence: str
) -> None:
    monkeypatch.setattr(Sums, "rows", lambda *_: gives())
    whole = said(recipe(f"data.task={HERE}:Sums", *OF_TASK))
    assert whole.startswith("data.task: Sums.rows")
    assert sentence in whole


def test_rows_without_a_prompt_or_what_the_reward_asks_for(
    recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = recipe(f"data.task={HERE}:Sums", *OF_TASK)
    monkeypatch.setattr(Sums, "rows", lambda *_: [{"question": "1>1:"}])
    assert "row 1 has no column 'prompt'" in said(config)
    monkeypatch.setattr(Sums, "rows", lambda *_: [{"prompt": "1>1:"}])
    assert "needs the column 'right', which the data lack" in said(config)


def test_a_sound_task_trains(recipe: Make) -> None:
    config = recipe(f"data.task={HERE}:Sums", *OF_TASK)
    assert Trainer(config, open_run(config, "test")).run().steps == 1
