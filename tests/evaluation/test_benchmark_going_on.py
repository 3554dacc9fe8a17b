"""An evaluation that was broken off, damaged or changed: what goes on, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from evenflow.cli import main
from evenflow.evaluation.benchmarks import result as results
from evenflow.evaluation.benchmarks import sampling
from evenflow.evaluation.benchmarks.answers import Answers
from evenflow.run.lock import only_one
from tests.evaluation.test_benchmark import MATH, Run, lines, result, run, saved

__all__ = ["run", "saved"]  # fixtures
Said = pytest.CaptureFixture[str]


@pytest.fixture
def stopped(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Ends an evaluation of six questions by a signal, after three."""

    def evaluate(folder: str, *overrides: str) -> Path:
        add = Answers.add

        def add_and_interrupt(self: Answers, rows: list[dict]) -> None:
            add(self, rows)
            if len(self.lines) == 12:
                signal.raise_signal(signal.SIGINT)

        with monkeypatch.context() as patch:
            patch.setattr(Answers, "add", add_and_interrupt)
            with pytest.raises(SystemExit):
                run(folder, *overrides)
        return tmp_path / folder

    return evaluate


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prompts that are sampled from here on."""
    asked: list[str] = []
    real = sampling.sample

    def sample(engine: Any, prompts: Sequence[Any], *rest: Any, **more: Any) -> Any:
        asked.extend(prompt.text for prompt in prompts)
        return real(engine, prompts, *rest, **more)

    monkeypatch.setattr(sampling, "sample", sample)
    return asked


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- answers.jsonl ------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", ['{"id": "2", "samp', "null", '{"id": 3}'])
def test_a_damaged_line_is_named_and_nothing_is_written(run: Run, bad: str, capsys: Said) -> None:
    folder = run("a")
    path = folder / "answers.jsonl"
    text = path.read_text().split("\n")
    text[6] = bad
    path.write_text("\n".join(text))
    before = contents(folder)
    run("a", status=2)
    assert "answers.jsonl, line 7: " in capsys.readouterr().err
    assert main(["eval", "--regrade", str(folder)]) == 2
    assert "answers.jsonl, line 7: " in capsys.readouterr().err
    assert contents(folder) == before


@pytest.mark.parametrize("at_once", [8, 512])
def test_nothing_is_sampled_twice(at_once: int, run: Run, stopped: Run, sampled: list[str]) -> None:
    folder = stopped("a", f"max_batch={at_once}")
    assert len(lines(folder)) == 12
    first = list(dict.fromkeys(line["prompt"] for line in lines(folder)))
    sampled.clear()
    run("a", f"max_batch={at_once}")
    assert len(sampled) == 3
    assert not set(sampled) & set(first)
    assert lines(folder) == lines(run("whole"))
    facts = json.loads((folder / "sampling.json").read_text())
    assert facts["tokens"] >= sum(line["tokens"] for line in lines(folder))


def test_memory_that_ran_out_is_no_dead_end(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    real = sampling.sample

    def runs_out(*arguments: Any, **more: Any):
        if (folder / "answers.jsonl").exists():  # the second pair is too much
            raise torch.OutOfMemoryError
        return real(*arguments, **more)

    folder = tmp_path / "a"
    with monkeypatch.context() as patch:
        patch.setattr(sampling, "sample", runs_out)
        run("a", status=2)
    assert len(lines(folder)) == 8
    said = capsys.readouterr().err
    assert f"lower it; output={folder} goes on from here" in said
    run("a", "max_batch=4")
    assert lines(folder) == lines(run("whole"))


# --- the model ----------------------------------------------------------------------------------


def copied(model: Path, place: Path, change: float = 0.0) -> Path:
    """A copy of a model, with its weights changed by a factor."""
    shutil.copytree(model, place)
    weights = load_file(place / "model.safetensors")
    for name in weights:
        weights[name] = weights[name] * (1 + change)
    save_file(weights, place / "model.safetensors", {"format": "pt"})
    return place


def test_answers_of_two_models_are_not_mixed(
    run: Run, stopped: Run, tiny_model: Path, tmp_path: Path, capsys: Said
) -> None:
    one, other = copied(tiny_model, tmp_path / "1"), copied(tiny_model, tmp_path / "2", 0.1)
    latest = tmp_path / "latest"
    latest.symlink_to(one)
    folder = stopped("a", f"model.path={latest}")
    before = contents(folder)
    # The same text names another model now.
    latest.unlink()
    latest.symlink_to(other)
    run("a", f"model.path={latest}", status=2)
    assert f"model.path: is '{other}', and the answers saved there were made with '{one}'" in (
        capsys.readouterr().err
    )
    # The same folder holds another model now.
    shutil.copy(other / "model.safetensors", one / "model.safetensors")
    run("a", f"model.path={one}", status=2)
    assert f"model.path: {one} has other weights" in capsys.readouterr().err
    assert contents(folder) == before
    shutil.rmtree(one)
    copied(tiny_model, one)
    latest.unlink()
    latest.symlink_to(one)
    run("a", f"model.path={latest}")
    assert result(folder)["model"] == str(one)
    assert result(folder)["questions"] == 6


def test_relative_paths_are_written_in_full(
    run: Run, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_model.parent)
    found = result(run("a", f"model.path=./{tiny_model.name}", "questions=1"))
    assert found["model"] == str(tiny_model.resolve())
    built_in = run("b", "model.path=builtin:countdown", "questions=1", "max_completion_length=2")
    assert result(built_in)["model"] == "builtin:countdown"


QUESTIONS = (
    '{"id": "a", "prompt": "1+1", "answer": "2"}\n{"id": "b", "prompt": "1+2", "answer": "3"}\n'
)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two folders with files of questions of one name, of which we are in the first."""
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    for place, gold in ((here, "2"), (elsewhere, "7")):
        place.mkdir()
        (place / "q.jsonl").write_text(QUESTIONS.replace('"2"', f'"{gold}"'))
    monkeypatch.chdir(here)
    return here, elsewhere


@pytest.mark.parametrize("asked", [["benchmark=q.jsonl"], ["benchmark=math500", "data=./q.jsonl"]])
def test_files_of_questions_are_the_same_from_another_folder(
    asked: list[str], run: Run, places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = places
    folder = run("a", *asked, "prompt_template={prompt}=")
    assert result(folder)["source"] == str(here / "q.jsonl")
    monkeypatch.chdir(elsewhere)
    assert main(["eval", "--regrade", str(folder), f"grader={COUNTED}", "gold_column=answer"]) == 0
    assert result(folder)["source"] == str(here / "q.jsonl")
    assert {line["gold"] for line in lines(folder)} == {"2", "3"}
    assert main(["eval", "--regrade", str(folder), "data=q.jsonl", "grader=null"]) == 0
    assert {line["gold"] for line in lines(folder)} == {"7", "3"}
    monkeypatch.chdir(here)
    assert main(["eval", "--regrade", str(folder), f"grader={COUNTED}"]) == 0
    assert {line["gold"] for line in lines(folder)} == {"7", "3"}


def made_relative(folder: Path, here: Path) -> str:
    """Its configuration as it was written once."""
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace(str(here / "q.jsonl"), "q.jsonl"))
    assert "\nbenchmark: q.jsonl\n" in path.read_text()
    return path.read_text()


def test_relative_files_of_questions_in_older_folders_are_found_from_where_they_lie(
    run: Run, places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    here, elsewhere = places
    folder = run("a", "benchmark=q.jsonl")
    path, old = folder / "config.yaml", made_relative(folder, here)
    answers = (folder / "answers.jsonl").read_bytes()
    # Elsewhere: what needs no questions does not take those that lie there for its own.
    monkeypatch.chdir(elsewhere)
    assert main(["eval", "--regrade", str(folder)]) == 0
    assert path.read_text() == old
    (elsewhere / "q.jsonl").write_text(QUESTIONS.replace("1+1", "1+7"))
    run("a", "benchmark=q.jsonl", status=2)
    assert "question a: has changed in" in capsys.readouterr().err
    assert path.read_text() == old
    assert (folder / "answers.jsonl").read_bytes() == answers
    # Where they lie: graded again with them, and gone on with.
    monkeypatch.chdir(here)
    assert main(["eval", "--regrade", str(folder), "benchmark=./q.jsonl"]) == 0
    assert path.read_text() == old
    assert main(["eval", "--regrade", str(folder), f"grader={COUNTED}"]) == 0
    assert f"\nbenchmark: {here / 'q.jsonl'}\n" in path.read_text()
    assert main(["eval", "--regrade", str(folder), "grader=null"]) == 0
    made_relative(folder, here)
    rows = (folder / "answers.jsonl").read_text().splitlines(keepends=True)
    (folder / "answers.jsonl").write_text("".join(rows[:4]))
    run("a", "benchmark=q.jsonl")
    assert (folder / "answers.jsonl").read_text() == "".join(rows)
    assert f"\nbenchmark: {here / 'q.jsonl'}\n" in path.read_text()


# --- how much of it there is --------------------------------------------------------------------


def test_a_part_says_that_it_is_one(stopped: Run, capsys: Said) -> None:
    folder = stopped("a")
    with (folder / "answers.jsonl").open("a") as file:  # a kill may leave a part of a question
        file.write(json.dumps(lines(folder)[0] | {"id": "6"}) + "\n")
    capsys.readouterr()
    assert main(["eval", "--regrade", str(folder), "grader=math"]) == 0
    said = capsys.readouterr().out
    assert "countdown: 3 of 6 questions" in said
    assert "not finished: 3 of 6 questions are answered" in said
    found = result(folder)
    assert (found["questions"], found["questions_asked"]) == (3, 6)
    assert found["source"] == "task countdown"


def test_what_is_known_is_written_before_the_first_answer(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict] = []

    def killed(*_: object, **__: object) -> None:
        folder = tmp_path / "a"
        seen.append(json.loads((folder / "sampling.json").read_text()))
        raise KeyboardInterrupt

    monkeypatch.setattr(sampling, "sample", killed)
    run("a", status=130)
    (facts,) = seen
    assert facts["source"] == "task countdown"
    assert facts["prompt_format"] == "plain text\n{prompt}"
    assert facts["max_completion_length"] == 8
    assert facts["questions"] == 6
    assert facts["weights"].startswith("sha256 ")


def test_scores_of_fewer_questions_say_so(saved: Path, capsys: Said) -> None:
    assert main(["eval", "--regrade", str(saved)]) == 0  # one of three golds cannot be read
    said = capsys.readouterr().out
    assert result(saved)["pass@k"]["3"]["questions"] == 2
    assert "of fewer than 3 questions, where the others have too few known answers: avg@3 (2)" in (
        said
    )
    assert "not finished" not in said


# --- grading again ------------------------------------------------------------------------------


def test_golds_of_other_questions_are_refused(saved: Path, tmp_path: Path, capsys: Said) -> None:
    # Without ids the place of a line is its id.
    place = {row["id"]: str(at) for at, row in enumerate(MATH, 1)}
    path = saved / "answers.jsonl"
    path.write_text(
        "".join(json.dumps(line | {"id": place[line["id"]]}) + "\n" for line in lines(saved))
    )
    unnamed = [{k: v for k, v in row.items() if k != "id"} for row in MATH]
    data = tmp_path / "unnamed.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in reversed(unnamed)))
    before = contents(saved)
    assert main(["eval", "--regrade", str(saved), f"data={data}"]) == 2
    assert f"question 1: has changed in {data}" in capsys.readouterr().err
    assert contents(saved) == before
    data.write_text("".join(json.dumps(row) + "\n" for row in unnamed))
    assert main(["eval", "--regrade", str(saved), f"data={data}"]) == 0
    assert result(saved)["source"] == str(data)
    assert main(["eval", "--regrade", str(saved), "grader=dapo"]) == 0
    assert result(saved)["source"] == str(data)


def test_there_is_no_other_output(saved: Path, tmp_path: Path, capsys: Said) -> None:
    before = contents(saved)
    assert main(["eval", "--regrade", str(saved), f"output={tmp_path / 'other'}"]) == 2
    assert "output: --regrade writes into the folder that it is given" in capsys.readouterr().err
    assert contents(saved) == before
    assert not (tmp_path / "other").exists()


CALLS: list[int] = []
WAIT: list[float] = []


def counted(completions: list, **_: object) -> list[float]:
    CALLS.append(len(completions))
    time.sleep(WAIT.pop() if WAIT else 0)
    return [float(len(text) > 2) for text in completions]


COUNTED = f"{__name__}:counted"


def test_a_longer_time_out_grades_what_was_late(run: Run) -> None:
    CALLS.clear()
    WAIT[:] = [0.5]
    folder = run("a", f"grader={COUNTED}", "grading_timeout=0.1")
    late = [line for line in lines(folder) if line["verdict"] == "unknown"]
    assert [line["reason"] for line in late] == ["no reward within 0.1 s"] * 4
    assert result(folder)["unknown"] == pytest.approx(4 / 24)
    WAIT[:] = [0.5]
    run("a", f"grader={COUNTED}", "grading_timeout=30")
    assert result(folder)["unknown"] == 0
    assert CALLS == [4] * 7  # six questions, and one of them again


def test_ctrl_c_saves_the_verdicts_so_far(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    real = results.grade

    def interrupted(waiting: Sequence[dict], *rest: Any, **more: Any):
        for number, found in enumerate(real(waiting, *rest, **more)):
            if number == 10:  # in the midst of the third question
                raise KeyboardInterrupt
            yield found

    CALLS.clear()
    with monkeypatch.context() as patch:
        patch.setattr(results, "grade", interrupted)
        with pytest.raises(SystemExit) as stopped:
            run("a", f"grader={COUNTED}")
    assert stopped.value.code == 130
    folder = tmp_path / "a"
    assert f"the same command with output={folder} goes on from here" in capsys.readouterr().out
    assert [line["reason"] == "not graded yet" for line in lines(folder)] == [False] * 10 + (
        [True] * 14
    )
    assert not (folder / "result.json").exists()
    CALLS.clear()
    run("a", f"grader={COUNTED}")
    assert CALLS == [4] * 4  # all answers to the third question, and three more questions
    assert lines(folder) == lines(run("whole", f"grader={COUNTED}"))


def test_ctrl_c_leaves_what_is_graded_again_as_it_was(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["eval", "--regrade", str(saved)]) == 0
    before = contents(saved)

    def interrupted(*_: object, **__: object):
        yield "right", "so"
        raise KeyboardInterrupt

    monkeypatch.setattr(results, "grade", interrupted)
    assert main(["eval", "--regrade", str(saved), "grader=dapo"]) == 130
    assert contents(saved) == before


def refuse_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("evenflow.evaluation.benchmarks.evaluate.loaded", refuse)


def test_tests_that_cannot_be_read_are_found_before_the_model_is_loaded(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    refuse_loading(monkeypatch)
    data = tmp_path / "mine.jsonl"
    data.write_text('{"id": "x", "prompt": "Add."}\n')
    folder = run("a", f"benchmark={data}", "grader=code", status=2)
    assert "question x: there are no `tests`" in capsys.readouterr().err
    data.write_text('{"id": "x", "prompt": "Add.", "entry_point": "f", "base_input": 7}\n')
    run("a", f"benchmark={data}", "grader=code", status=2)
    assert "question x: HumanEval+: base_input must be a list" in capsys.readouterr().err
    assert not folder.exists()


def of_level(completions: list, level: list, **_: object) -> list[float]:
    return [float(at) for at in level]


def test_columns_that_a_reward_lacks_are_found_before_the_model_is_loaded(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    refuse_loading(monkeypatch)
    data = tmp_path / "mine.jsonl"
    for row, says in [
        ({"prompt": "1"}, "question 2: the reward .* needs the column 'level'"),
        ({"prompt": "1", "level": 1, "opened_thoughts": ""}, "question 2: .* 'opened_thoughts'"),
    ]:
        data.write_text('{"prompt": "0", "level": 1}\n' + json.dumps(row) + "\n")
        folder = run("a", f"benchmark={data}", f"grader={__name__}:of_level", status=2)
        assert re.search(says, capsys.readouterr().err)
        assert not folder.exists()


def test_a_task_lists_its_solutions_with_its_options(run: Run) -> None:
    options = "task_options={numbers: 2, largest: 9, targets: [2, 4], operators: '+-*/'}"
    folder = run("a", options, "questions=7", "num_generations=1")
    rows = lines(folder)
    divided = next(
        (line, f"{a}/{b}={target}")
        for line in rows
        for a, b, target in [_numbers(line["prompt"])]
        if a == b * target and target not in (a + b, a - b, a * b)
    )
    for line in rows:
        line["response"] = divided[1] if line is divided[0] else line["response"]
    (folder / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in rows))
    assert main(["eval", "--regrade", str(folder)]) == 0
    found = next(line for line in lines(folder) if line["id"] == divided[0]["id"])
    assert found["verdict"] == "right"
    assert found["class"] is not None


def _numbers(prompt: str) -> tuple[int, int, int]:
    """ "6,2>3:" as 6, 2, 3, the larger one first."""
    numbers, _, target = prompt.rstrip(":").partition(">")
    a, b = sorted(map(int, numbers.split(",")), reverse=True)
    return a, b, int(target)


# --- the folder ---------------------------------------------------------------------------------


def test_options_without_effect_are_named(run: Run, saved: Path, capsys: Said) -> None:
    run("a", "questions=1", "chat=false", "chat_template_kwargs={a: 1}")
    assert "no effect: chat_template_kwargs: chat is false" in capsys.readouterr().out
    assert main(["eval", "--regrade", str(saved), "right=0.5", "max_batch=3"]) == 0
    said = capsys.readouterr().out
    assert "no effect: right: only where the grader is a reward function" in said
    assert "no effect: max_batch: --regrade samples nothing" in said


def test_a_folder_of_the_users_own_stays(run: Run, capsys: Said) -> None:
    too_long = "max_completion_length=64"
    folder = run("a", too_long, status=2)
    assert not folder.exists()  # made by the command that failed
    folder.mkdir()
    run("a", too_long, status=2)
    assert list(folder.iterdir()) == []
    run("b", "questions=1")
    (folder / "config.yaml").write_bytes((folder.parent / "b" / "config.yaml").read_bytes())
    run("a", too_long, status=2)
    assert [path.name for path in folder.iterdir()] == ["config.yaml"]


def test_one_evaluation_at_a_time(run: Run, capsys: Said) -> None:
    folder = run("a")
    before = contents(folder)
    with only_one(folder):
        run("a", status=2)
        assert "is at work there" in capsys.readouterr().err
        assert main(["eval", "--regrade", str(folder)]) == 2
        assert "is at work there" in capsys.readouterr().err
    assert contents(folder) == before
