"""Rewards and their weighted sum: what functions are given, when they are done, what they raise."""

import asyncio
import gc
import logging
import math
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.rewards.scoring import same, score

from evenflow.errors import UserError
from evenflow.rewards import Rewards, load_reward, text_of
from evenflow.rewards.math import math as math_reward


def test_functions_get_what_they_name():
    seen = {}

    def everything(prompts, completions, **others):
        seen.update(others, prompts=prompts, completions=completions)
        return [0.0, 0.0]

    def little(answer, finished):
        return [float(a == "x") + f for a, f in zip(answer, finished, strict=True)]

    result = score(everything, little, answer=["x", "y"], hint=["h", "i"])
    same(result.parts["little"], [2.0, 0.0])
    assert seen == {
        "prompts": ["p", "q"],
        "completions": ["one", "two"],
        "completion_ids": [[1, 2], [3]],
        "finished": [True, False],
        "answer": ["x", "y"],
        "hint": ["h", "i"],
    }


def test_answers_to_chat_prompts_are_chat_messages():
    seen = []

    def look(prompts, completions):
        seen.extend(completions)
        return [0, 0]

    score(look, prompts=([{"role": "user", "content": "p"}], "q"))
    assert seen == [[{"role": "assistant", "content": "one"}], "two"]
    assert [text_of(c) for c in seen] == ["one", "two"]


@pytest.mark.parametrize("completion", [[], [{"role": "assistant", "content": None}]])
def test_a_call_of_a_tool_has_no_text(completion):
    assert text_of(completion) == ""
    assert math_reward([completion], ["4"]) == [0.0]


def test_missing_column_is_named():
    def needs(completions, answer, level=1):
        return [0.0, 0.0]

    with pytest.raises(UserError, match=r"'needs' needs the column 'answer'.*there are: gold$"):
        score(needs, gold=[1, 2])


def test_reserved_column_and_positional_only_argument_are_refused():
    def positional(completions, /):
        return [0.0, 0.0]

    with pytest.raises(UserError, match="data column 'finished' has a name that rewards reserve"):
        Rewards([("f", positional, 1.0)])(
            ["p"], ["a"], {"finished": [1]}, completion_ids=[[1]], finished=[True]
        )
    with pytest.raises(UserError, match="'positional' must take 'completions' by name"):
        score(positional)


def test_weights_none_and_unknown(caplog):
    """Hand-computed: 2·1 + 0.5·0.4; None is left out; all None, or any NaN, is unknown."""
    values = {
        "a": [1.0, 1, None, None, math.nan, None],
        "b": [0.4, None, True, None, 1.0, math.inf],
    }
    weights = {"a": 2.0, "b": 0.5}
    functions = [(n, lambda completions, v=v: v, weights[n]) for n, v in values.items()]
    with caplog.at_level(logging.WARNING):
        result = Rewards(functions)(
            ["p"] * 6, ["c"] * 6, {}, completion_ids=[[1]] * 6, finished=[True] * 6
        )
    same(result.total, [2.2, 2.0, 0.5, None, None, None])
    same(result.parts["a"], [1.0, 1.0, None, None, None, None])
    same(result.parts["b"], [0.4, None, 1.0, None, 1.0, None])
    assert [r.getMessage() for r in caplog.records] == [
        "the reward 'a' gave nan for answer 5 of 6; such values, 1 in this call, count as unknown",
        "the reward 'b' gave inf for answer 6 of 6; such values, 1 in this call, count as unknown",
    ]


def test_a_sum_that_no_float_holds_is_unknown():
    same(score(("f", lambda completions: [1e308, 1.0], 1e10)).total, [None, 1e10])
    same(score(("f", lambda completions: [1e18, 1.0], 1e10)).total, [None, 1e10])


def test_every_function_gets_lists_of_its_own():
    prompts = [[{"role": "user", "content": "p"}], "q"]
    columns = {"tests": [{"inputs": ["1"]}, None], "pair": [([1], 2), 3]}
    seen = []

    def edits(prompts, completions, completion_ids, finished, tests, pair):
        seen.append(repr((prompts, completions, completion_ids, finished, tests, pair)))
        prompts[0][0]["content"] = completions[0][0]["content"] = "gone"
        completion_ids[1].append(9)
        tests[0]["inputs"].clear()
        pair[0][0].clear()
        for given in (prompts, completions, completion_ids, finished, tests, pair):
            given.clear()
        return [1.0, 1.0]

    two = [("a", edits, 1.0), ("b", edits, 1.0)]
    ids = [[1, 2], [3]]
    rewards = Rewards(two)
    for _ in range(2):
        rewards(prompts, ["x", "y"], columns, completion_ids=ids, finished=[True, False])
    assert len(seen) == 4
    assert len(set(seen)) == 1
    assert (prompts[0][0]["content"], ids) == ("p", [[1, 2], [3]])
    assert columns == {"tests": [{"inputs": ["1"]}, None], "pair": [([1], 2), 3]}


def test_async_functions_run_concurrently_on_one_lasting_loop():
    """Each waits for the other: run one after another, they would never return."""
    met = {}

    def meeting(me, other):
        async def f(completions):
            met[me] = asyncio.get_running_loop()
            while other not in met:
                await asyncio.sleep(0.001)
            return [1.0, 2.0]

        return f

    class Callable:
        async def __call__(self, completions):
            return [0.5, 0.5]

    functions = [("a", meeting("a", "b"), 1.0), ("b", meeting("b", "a"), 1.0)]
    rewards = Rewards([*functions, ("c", Callable(), 1.0)], timeout=5.0)
    arguments = (["p", "q"], ["x", "y"], {})
    for _ in range(2):
        result = rewards(*arguments, completion_ids=[[1], [1]], finished=[True, True])
        same(result.total, [2.5, 4.5])
        met["loops"] = {met.pop("a"), met.pop("b")} | met.get("loops", set())
    assert len(met["loops"]) == 2  # one each, the same at every call


def test_what_is_late_is_unknown_and_the_rest_stands(caplog):
    release = threading.Event()

    def hangs(completions):
        release.wait()

    async def sleeps(completions):
        await asyncio.sleep(60)

    def quick(completions):
        return [1.0, None]

    for function in (hangs, sleeps):
        caplog.clear()
        start = time.monotonic()
        result = score(function, quick, timeout=0.1)
        assert time.monotonic() - start < 5
        same(result.total, [None, None])
        same(result.parts[function.__name__], [None, None])
        same(result.parts["quick"], [1.0, None])
        assert result.applied == [True, True]
        (record,) = caplog.records
        assert f"'{function.__name__}' did not return within 0.1 s" in record.getMessage()
    release.set()


def test_what_an_async_function_does_to_its_loop_is_its_own_matter():
    """One asks to exit, one to be cancelled, one blocks: a sentence, or unknown; the next call is
    as if nothing had been, and others are not touched."""

    async def fine(completions):
        return [1.0, 2.0]

    def calls(function):
        rewards = Rewards([("odd", function, 1.0), ("fine", fine, 1.0)], timeout=1.0)
        arguments = (["p", "q"], ["x", "y"], {})
        return lambda: rewards(*arguments, completion_ids=[[1], [1]], finished=[True, True])

    for error in (SystemExit, KeyboardInterrupt, asyncio.CancelledError):
        raised = []

        async def once(completions, error=error, raised=raised):
            if not raised:
                raised.append(error)
                raise error
            return [0.5, 0.5]

        call = calls(once)
        with pytest.raises(UserError, match=f"'odd' raised {error.__name__}"):
            call()
        same(call().total, [1.5, 2.5])

    blocked = []

    async def blocks(completions):
        if not blocked:
            blocked.append(True)
            time.sleep(3)
        return [0.5, 0.5]

    call = calls(blocks)
    result = call()
    same(result.parts["odd"], [None, None])
    same(result.parts["fine"], [1.0, 2.0])
    same(call().total, [1.5, 2.5])


def test_two_calls_that_give_up_the_same_loop():
    """One of a batch that nobody waits for any more, and the next batch's."""
    begun = threading.Event()

    async def blocks(completions):
        begun.set()
        time.sleep(3)
        return [0.5]

    rewards = Rewards([("blocks", blocks, 1.0)], timeout=0.3)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(rewards, ["p"], ["c"], {})
        assert begun.wait(20)
        second = pool.submit(rewards, ["p"], ["c"], {})
        assert math.isnan(first.result(60).total[0])
        assert math.isnan(second.result(60).total[0])


def test_rewards_that_are_let_go_leave_no_loop_open():
    loops = []

    async def sees_its_loop(completions):
        loops.append(asyncio.get_running_loop())
        return [1.0, 1.0]

    score(sees_its_loop)  # its Rewards lives no longer than the call
    gc.collect()
    until = time.monotonic() + 10
    while not loops[0].is_closed() and time.monotonic() < until:
        time.sleep(0.01)
    assert loops[0].is_closed()


def test_a_hanging_function_does_not_keep_the_process():
    code = (
        "import time\n"
        "from evenflow.rewards import Rewards\n"
        "def hangs(completions): time.sleep(600)\n"
        "print(Rewards([('hangs', hangs, 1.0)], timeout=0.1)"
        "(['p'], ['c'], {}, completion_ids=[[1]], finished=[True]).total)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0
    assert run.stdout == "[nan]\n"
    assert "'hangs' did not return within 0.1 s" in run.stderr


def test_no_timeout_waits():
    def slow(completions):
        time.sleep(0.05)
        return [1.0, 1.0]

    same(score(slow, timeout=None).total, [1.0, 1.0])


def test_a_raising_function_is_named_with_the_place():
    def broken(completions, answer):
        return [a["missing"] for a in answer]

    async def broken_too(completions):
        raise TimeoutError("the judge is away")

    def leaves(completions):
        sys.exit(3)

    with pytest.raises(UserError, match=r"'broken' raised KeyError: 'missing' \(.*, line \d+\)"):
        score(broken, answer=[{}, {}])
    with pytest.raises(UserError, match="'broken_too' raised TimeoutError: the judge is away"):
        score(broken_too)
    with pytest.raises(UserError, match="'leaves' raised SystemExit: 3"):
        score(leaves)


def test_bad_settings_are_refused():
    with pytest.raises(UserError, match="there is no reward function"):
        Rewards([])
    with pytest.raises(UserError, match="the same name: f, f"):
        Rewards([("f", len, 1.0), ("f", len, 2.0)])
    with pytest.raises(UserError, match="the weight of the reward 'f' is nan"):
        Rewards([("f", len, math.nan)])


def test_the_documented_example_works(tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    (tmp_path / "documented_rewards.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    right, brief = (load_reward(f"documented_rewards:{name}") for name in ("right", "brief"))
    result = score(("right", right, 1.0), ("brief", brief, 0.2), answer=["one", "one"])
    same(result.total, [1 + 0.2 * (1 - 2 / 200), 0.0])
    same(result.parts["brief"], [0.99, None])
