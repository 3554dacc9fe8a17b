"""The language of ``algorithms`` and ``search``: what a variant means, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from evenflow.commands.compare import parse
from evenflow.config import CompareConfig, check
from evenflow.config.study import split
from evenflow.errors import UserError
from evenflow.studies.compare.variants import Variant, build_variants, check_search


def study(**fields: Any) -> CompareConfig:
    return check(CompareConfig, {"recipe": "r.yaml", "algorithms": "tba", **fields})


def variants(algorithms: Any) -> list[Variant]:
    return build_variants(study(algorithms=algorithms).algorithms)


def test_bare_names_are_the_objective_s() -> None:
    tba, flowrl, raw = variants(
        "tba,flowrl:inverse_temperature=5:head.pooling=last, flowrl:reward=raw"
    )
    assert (tba.label, tba.algorithm, tba.changes) == ("tba", "tba", ())
    assert flowrl.label == "flowrl:inverse_temperature=5:head.pooling=last"
    assert flowrl.changes == (("objective.inverse_temperature", 5), ("head.pooling", "last"))
    # `reward` is a section of the recipe's too.
    assert raw.changes == (("objective.reward", "raw"),)


def test_a_mistyped_name_is_taken_for_the_objective_s() -> None:
    """So that the refusal lists the objective's fields and suggests the right one."""
    assert variants("flowrl:betta=5")[0].changes == (("objective.betta", 5),)


def test_commas_and_colons_in_values() -> None:
    one, two = variants("grpo:train.betas=[0.9,0.95],flowrl:objective={log_z: group, scale: sum}")
    assert one.changes == (("train.betas", [0.9, 0.95]),)
    assert two.changes == (("objective", {"log_z": "group", "scale": "sum"}),)
    assert split("a:b=builtin:countdown:c=1", ":") == ["a", "b=builtin:countdown", "c=1"]


def test_a_list_of_yaml_says_the_same_as_the_short_form() -> None:
    short = "tba,flowrl:importance=none:head.pooling=last,flowrl:linex_alpha=-0.5"
    long = [
        "tba",
        {"flowrl": {"importance": "none", "head.pooling": "last"}},
        {"flowrl": {"linex_alpha": -0.5}},
    ]
    assert variants(long) == variants(short) == variants(short.split(","))


def test_a_section_names_the_fields_that_change() -> None:
    """Others of the section stay as the recipe has them; a field that is a mapping is replaced."""
    nested, lora, bare = variants(
        [
            {"flowrl": {"train": {"learning_rate": 1e-4, "betas": [0.9, 0.99]}}},
            {"flowrl": {"model": {"lora": {"rank": 2}}}},
            {"tba": {"objective": {}}},
        ]
    )
    assert nested.changes == (("train.learning_rate", 1e-4), ("train.betas", [0.9, 0.99]))
    assert nested.label == 'flowrl:train={"learning_rate": 0.0001, "betas": [0.9, 0.99]}'
    assert lora.changes == (("model.lora.rank", 2),)
    assert (bare.label, bare.changes) == ("tba:objective={}", (("objective", {}),))


def test_values_that_a_label_must_quote() -> None:
    """A label is one line, in which no text looks like a number or like another setting."""
    written = {"1": '"1"', "a,b:c=1": '"a,b:c=1"', "two\nlines": '"two\\nlines"', "x": "x"}
    for value, shown in written.items():
        (variant,) = variants([{"flowrl": {"rollout.stop": value}}])
        assert variant.label == f"flowrl:rollout.stop={shown}"
        assert variant.changes == (("rollout.stop", value),)


def test_folders_differ_where_labels_do() -> None:
    labels = ["flowrl:a=1:b=2", "flowrl:a=1,b=2", "flowrl:x=[1,2]", "flowrl:x=a/b", "flowrl"]
    slugs = [v.slug for label in labels for v in variants(label.replace(",b", ":b"))]
    assert slugs[0] == "flowrl,a=1,b=2"
    assert all("/" not in slug and " " not in slug for slug in slugs)
    assert len(set(slugs[2:])) == 3


def test_folders_of_long_labels_have_names_that_a_disk_takes() -> None:
    one, two = (v.slug for v in variants([{"flowrl": {"x": "ü" * 300 + end}} for end in "ab"]))
    assert one != two
    assert max(len(one), len(two)) < 200


@pytest.mark.parametrize(
    ("algorithms", "said"),
    [
        ("", "name at least one"),
        ([], "name at least one"),
        ([""], "there is no preset ''"),
        (5, "algorithms: must be a valid list"),
        ([5], "algorithms: must be a valid string or a valid dictionary, not 5"),
        ([{"flowrl": 5}], "algorithms: must be a valid dictionary, not 5"),
        ([{"flowrl": None}], "algorithms: must be a valid dictionary, not empty"),
        ([{}], "a variant is one preset with its changes"),
        ([{"flowrl": {}, "tba": {}}], "flowrl, tba: a variant is one preset with its changes"),
        ([["flowrl"]], "algorithms: must be a valid string"),
        ([{"flowrl": {"a b": 1}}], "'a b' is no name of a field"),
        ([{"flowrl": {"": 1}}], "'' is no name of a field"),
        ([{"flowrl": {1: 1}}], "algorithms: must be a valid string"),
        ("flowrll", "there is no preset 'flowrll'; did you mean flowrl"),
        ([{"flowrll": {}}], "there is no preset 'flowrll'; did you mean flowrl"),
        ("tba,tba", "tba stands there twice"),
        (["flowrl:reward=raw", {"flowrl": {"reward": "raw"}}], "flowrl:reward=raw stands there tw"),
        ("flowrl:reward=raw:reward=centred", "objective.reward stands there twice"),
        ([{"flowrl": {"reward": "raw", "objective.reward": "raw"}}], "reward stands there twice"),
        ("tba:5", "there is no preset 'tba:5'"),
        ("grpo:clip", "no module 'grpo'.*a setting of the preset grpo is written grpo:clip=…"),
        ("tba:=5", "there is no preset 'tba:=5'"),
        (["tba:x=\x1b[31m"], "has a character that no table can show"),
        (["tba\n- |"], "has a character that no table can show"),
        (["tba:x=\udcff"], "has a character that no file can hold"),
        ("grpo:reward=raw", "reward cannot differ .* the same reward"),  # it has no such field
        ("flowrl:seed=3", "seed cannot differ between the runs: seeds="),
        ("flowrl:train.answers=9", "train.answers cannot differ"),
        ("flowrl:train={steps: 3}", "train.steps cannot differ"),
        ("flowrl:train={}", "train cannot differ"),
        ("flowrl:data.task=stories", "data.task cannot differ .* the same questions"),
        ("flowrl:model.path=x", "model.path cannot differ .* one base model"),
        ([{"flowrl": {"model": {"path": "x"}}}], "model.path cannot differ .* one base model"),
        ("flowrl:evaluation.questions=5", "evaluation.questions cannot differ"),
    ],
)
def test_refusals(algorithms: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        variants(algorithms)


def test_each_field_that_there_is_is_named_once() -> None:
    with pytest.raises(UserError, match="there is no such field; there are: recipe, ") as refused:
        parse(["countdown", "qqqq=2", "algorithms=tba"])
    named = str(refused.value).partition("there are: ")[2].split(", ")
    assert "output" in named
    assert len(set(named)) == len(named)


def test_a_search_is_a_grid() -> None:
    short = "train.learning_rate=1e-4,2e-4:train.warmup_steps=1,5"
    grid = {"train.learning_rate": [1e-4, 2e-4], "train.warmup_steps": [1, 5]}
    assert study(search=short).search == study(search=grid).search == grid
    assert study(search="a.b=[1,2],[3,4]").search == {"a.b": [[1, 2], [3, 4]]}
    check_search(grid, variants("tba,grpo:kl_coefficient=0"))


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ("train.learning_rate", "write search=train.learning_rate=1e-4,2e-4"),
        ("train.learning_rate=", "write search=train.learning_rate=1e-4,2e-4"),
        ({"a": []}, "search: 'a' has no values"),
        ({"a": 1}, "search: must be a valid list, not 1"),
        ({"train": {"steps": [1]}}, "search: must be a valid list, not "),
        (["a"], "search: must be a valid dictionary"),
        ("a=1:a=2", "a stands there twice"),
        ("train.epochs=1,2,1", "1 stands there twice among the values of train.epochs"),
        ({"a b": [1]}, "'a b' is no name of a field"),
        ("train.answers=1,2", "train.answers cannot differ"),
        ("kl_coefficient=0,1", "kl_coefficient is set by grpo:kl_coefficient=0"),
    ],
)
def test_search_refusals(search: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_search(study(search=search).search, variants("tba,grpo:kl_coefficient=0"))
