"""The language of ``algorithms=`` and ``search=``: what a variant means, and what is refused."""

from __future__ import annotations

import pytest

from evenflow.errors import UserError
from evenflow.studies.compare.variants import parse_search, parse_variants, split


def test_bare_names_are_the_objective_s() -> None:
    tba, flowrl, raw = parse_variants(
        "tba,flowrl:inverse_temperature=5:head.pooling=last, flowrl:reward=raw"
    )
    assert (tba.label, tba.algorithm, tba.overrides) == ("tba", "tba", ())
    assert flowrl.label == "flowrl:inverse_temperature=5:head.pooling=last"
    assert flowrl.overrides == ("objective.inverse_temperature=5", "head.pooling=last")
    # `reward` is a section of the recipe's too.
    assert raw.overrides == ("objective.reward=raw",)


def test_a_mistyped_name_is_taken_for_the_objective_s() -> None:
    """So that the refusal lists the objective's fields and suggests the right one."""
    assert parse_variants("flowrl:betta=5")[0].overrides == ("objective.betta=5",)


def test_commas_and_colons_in_values() -> None:
    one, two = parse_variants(
        "grpo:train.betas=[0.9,0.95],flowrl:objective={log_z: group, scale: sum}"
    )
    assert one.overrides == ("train.betas=[0.9,0.95]",)
    assert two.overrides == ("objective={log_z: group, scale: sum}",)
    assert split("a:b=builtin:countdown:c=1", ":") == ["a", "b=builtin:countdown", "c=1"]


def test_folders_differ_where_labels_do() -> None:
    labels = ["flowrl:a=1:b=2", "flowrl:a=1,b=2", "flowrl:x=[1,2]", "flowrl:x=a/b", "flowrl"]
    slugs = [v.slug for label in labels for v in parse_variants(label.replace(",b", ":b"))]
    assert slugs[0] == "flowrl,a=1,b=2"
    assert all("/" not in slug and " " not in slug for slug in slugs)
    assert len(set(slugs[2:])) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "name at least one"),
        ("flowrll", "there is no preset 'flowrll'; there are flowrl,"),
        ("tba,tba", "tba stands there twice"),
        ("tba:5", "there is no preset 'tba:5'"),
        ("tba:=5", "there is no preset 'tba:=5'"),
        ("grpo:reward=raw", "reward cannot differ .* the same reward"),  # it has no such field
        ("flowrl:seed=3", "seed cannot differ between the runs: seeds="),
        ("flowrl:train.answers=9", "train.answers cannot differ"),
        ("flowrl:train={steps: 3}", "train cannot differ"),
        ("flowrl:data.task=stories", "data.task cannot differ .* the same questions"),
        ("flowrl:model.path=x", "model.path cannot differ .* one base model"),
        ("flowrl:evaluation.questions=5", "evaluation.questions cannot differ"),
    ],
)
def test_refusals(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_variants(text)


def test_a_search_is_a_grid() -> None:
    variants = parse_variants("tba,grpo:kl_coefficient=0")
    grid = parse_search(["train.learning_rate=1e-4,2e-4:train.warmup_steps=1,5"], variants)
    assert grid == {"train.learning_rate": ["1e-4", "2e-4"], "train.warmup_steps": ["1", "5"]}
    assert parse_search(["a.b=[1,2],[3,4]"], variants) == {"a.b": ["[1,2]", "[3,4]"]}
    assert parse_search([], variants) == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train.learning_rate"], "write name=value,value"),
        (["train.learning_rate="], "write name=value,value"),
        (["a=1", "a=2"], "a stands there twice"),
        (["train.answers=1,2"], "train.answers cannot differ"),
        (["kl_coefficient=0,1"], "kl_coefficient is set by grpo:kl_coefficient=0"),
    ],
)
def test_search_refusals(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_search(words, parse_variants("tba,grpo:kl_coefficient=0"))
