"""Rewards by import path, their weighted sum, and everything a reward function can do wrong."""

import asyncio
import gc
import io
import logging
import math
import signal
import subprocess
import sys
import threading
import time
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from evenflow.errors import UserError
from evenflow.rewards import Rewards, load_reward, text_of


def score(*functions, prompts=("p", "q"), completions=("one", "two"), timeout=5.0, **columns):
    named = [f if isinstance(f, tuple) else (f.__name__, f, 1.0) for f in functions]
    return Rewards(named, timeout=timeout)(
        list(prompts),
        list(completions),
        columns,
        completion_ids=[[1, 2], [3]],
        finished=[True, False],
    )


def same(actual, expected):
    assert [None if math.isnan(v) else v for v in actual] == pytest.approx(expected)


# --- what functions are given ---------------------------------------------------------------


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


# --- the sum --------------------------------------------------------------------------------


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


def test_arrays_and_their_scalars_are_taken():
    numpy = pytest.importorskip("numpy")
    array = numpy.array([1.0, 0.5], dtype="float32")
    same(score(("f", lambda completions: array, 1.0)).total, [1.0, 0.5])
    same(score(("f", lambda completions: list(array), 1.0)).total, [1.0, 0.5])


def test_every_kind_of_number_is_taken():
    numpy, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    for one, half in [
        (Fraction(1), Fraction(1, 2)),
        (Decimal(1), Decimal("0.5")),
        (numpy.float16(1), numpy.array(0.5)),
        (numpy.bool_(True), numpy.float64(0.5)),
        (torch.tensor(1), torch.tensor(0.5, dtype=torch.bfloat16)),
        (True, torch.tensor(0.5, requires_grad=True)),
    ]:
        same(score(("f", lambda completions, v=(one, half): list(v), 1.0)).total, [1.0, 0.5])


@pytest.mark.parametrize(
    "value",
    [10**400, -(10**400), 10**5000, Fraction(10**400), Decimal("sNaN"), Decimal("-Infinity")],
    ids=["huge", "negative", "unprintable", "fraction", "decimal NaN", "decimal infinity"],
)
def test_a_number_that_no_float_holds_is_unknown(value, caplog):
    with caplog.at_level(logging.WARNING):
        result = score(("f", lambda completions: [value, 1.0], 1.0))
    same(result.total, [None, 1.0])
    assert "for answer 1 of 2; such values, 1 in this call, count as unknown" in caplog.text


@pytest.mark.parametrize("weight", [1.0, -1.0])
def test_what_float32_cannot_compute_with_is_unknown(weight, caplog):
    """Its square, or the sum of a batch, would be infinite."""
    with caplog.at_level(logging.WARNING):
        result = score(("f", lambda completions: [1e300, 1e18], weight))
    same(result.total, [None, weight * 1e18])
    assert "the reward 'f' gave 1e+300 for answer 1 of 2" in caplog.text


def test_a_sum_that_no_float_holds_is_unknown():
    same(score(("f", lambda completions: [1e308, 1.0], 1e10)).total, [None, 1e10])
    same(score(("f", lambda completions: [1e18, 1.0], 1e10)).total, [None, 1e10])


# --- what functions do to what they are given -------------------------------------------------


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


# --- what functions do to the process ---------------------------------------------------------


def test_streams_are_put_back(capsys):
    def replaces(completions):
        sys.stdout = sys.stderr = io.StringIO()
        return [1.0, 1.0]

    def removes(completions):
        sys.stdout = None
        return [1.0, 1.0]

    for function in (replaces, removes):
        before = sys.stdout, sys.stderr
        score(function)
        assert (sys.stdout, sys.stderr) == before


@pytest.mark.parametrize(
    "what", ["sys.stdout.close(); sys.stderr.close()", "sys.stdout.detach()", "os.close(1)"]
)
@pytest.mark.parametrize("when", ["import", "call"])
def test_closed_streams_are_opened_again(what, when, tmp_path):
    (tmp_path / "closes.py").write_text(
        "import os, sys\n"
        + (f"{what}\n" if when == "import" else "")
        + "def f(completions):\n"
        + (f"    {what}\n" if when == "call" else "")
        + "    return [1.0]\n"
    )
    code = (
        "from evenflow.rewards import Rewards, load_reward\n"
        "f = load_reward('closes:f')\n"
        "r = Rewards([('f', f, 1.0)])(['p'], ['c'], {}, completion_ids=[[1]], finished=[True])\n"
        "print(r.total, flush=True)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert (run.returncode, run.stdout) == (0, "[1.0]\n"), run.stderr


def test_settings_of_pytorch_are_put_back():
    torch = pytest.importorskip("torch")

    def sets(completions):
        torch.set_default_dtype(torch.float64)
        torch.set_float32_matmul_precision("medium")
        return [1.0, 1.0]

    score(sets)
    assert torch.get_default_dtype() == torch.float32
    assert torch.get_float32_matmul_precision() == "highest"


# --- async and time -------------------------------------------------------------------------


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


# --- what functions do wrong ----------------------------------------------------------------


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


class Hostile:
    """Nothing can be asked of it."""

    def tolist(self):
        raise ZeroDivisionError

    __repr__ = __len__ = __iter__ = tolist


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([1.0], "'f' returned 1 values for 2 answers"),
        ([1.0, 2.0, 3.0], "'f' returned 3 values for 2 answers"),
        (None, "'f' must return a list with one number an answer, not NoneType"),
        (1.0, "'f' must return a list with one number an answer, not float"),
        (
            [1.0, "0.5"],
            r"'f' returned '0.5' \(str\) for answer 2 of 2; it must be a number or None",
        ),
        ([[1.0], [1.0]], r"'f' returned \[1.0\] \(list\) for answer 1 of 2"),
        ([1j, 0], r"'f' returned 1j \(complex\) for answer 1 of 2"),
        ([[10**5000], 0], r"'f' returned something \(list\) for answer 1 of 2"),
        ((x for x in [1.0, 2.0]), "must return a list .*, not generator"),
        ({0: 1.0, 1: 2.0}, "must return a list .*, not dict"),
        ("12", "must return a list .*, not str"),
        (Hostile(), "what the reward 'f' returned cannot be read: ZeroDivisionError"),
        ([Hostile(), 1.0], r"'f' returned something \(Hostile\) for answer 1 of 2"),
    ],
)
def test_wrong_returns_are_refused(returned, message):
    with pytest.raises(UserError, match=message):
        score(("f", lambda completions: returned, 1.0))


def test_bad_settings_are_refused():
    with pytest.raises(UserError, match="there is no reward function"):
        Rewards([])
    with pytest.raises(UserError, match="the same name: f, f"):
        Rewards([("f", len, 1.0), ("f", len, 2.0)])
    with pytest.raises(UserError, match="the weight of the reward 'f' is nan"):
        Rewards([("f", len, math.nan)])


# --- by import path -------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current folder with modules of the user's own."""
    (tmp_path / "own_reward_module.py").write_text(
        "LEVEL = 3\ndef short(completions, **_):\n    return [1.0 for c in completions]\n"
    )
    (tmp_path / "own_broken_module.py").write_text("import a_module_that_is_not_there\n")
    (tmp_path / "own_raising_module.py").write_text("1 / 0\n")
    (tmp_path / "own_leaving_module.py").write_text("import sys\nsys.exit(0)\n")
    (tmp_path / "own_stopping_module.py").write_text("raise KeyboardInterrupt\n")
    (tmp_path / "own_base_module.py").write_text("raise BaseException('no')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def test_own_function_from_the_current_folder(folder):
    assert load_reward("own_reward_module:short")(completions=["a", "b"]) == [1.0, 1.0]


@pytest.mark.parametrize("name", ["gsm8k", "countdown", "stories"])
def test_built_in_names(name):
    assert callable(load_reward(name))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("gsm9k", "neither package.module:function nor built in .*, gsm8k, .*stories"),
        ("own_reward_module.py:", "neither package.module:function"),
        ("no_such_module:f", "there is no module 'no_such_module', neither installed nor in "),
        ("own_reward_module.deep:f", "there is no module 'own_reward_module.deep'|not a package"),
        (
            "own_broken_module:f",
            "importing own_broken_module failed: ModuleNotFoundError: .*not_th",
        ),
        ("own_raising_module:f", "importing own_raising_module failed: ZeroDivisionError"),
        ("own_leaving_module:f", "importing own_leaving_module failed: SystemExit: 0"),
        ("own_stopping_module:f", "importing own_stopping_module failed: KeyboardInterrupt$"),
        ("own_base_module:f", "importing own_base_module failed: BaseException: no$"),
        ("own_reward_module.py:short", "name the module, not its file: own_reward_module:short"),
        ("/deep/own_reward_module.py:short", "not its file: own_reward_module:short"),
        ("own_reward_module:long", "own_reward_module has no 'long'; it has: short$"),
        ("own_reward_module:LEVEL", "is a int, not a function"),
    ],
)
def test_bad_paths_say_what_is_wrong(folder, path, message):
    with pytest.raises(UserError, match=message):
        load_reward(path)


def test_an_import_leaves_the_process_as_it_was(folder):
    torch = pytest.importorskip("torch")
    (folder / "own_spoiling_module.py").write_text(
        "import signal, sys, torch\n"
        "sys.stdout = None\n"
        "torch.set_default_dtype(torch.float64)\n"
        "torch.set_grad_enabled(False)\n"
        "torch.set_num_threads(torch.get_num_threads() + 1)\n"
        "torch.set_default_device('meta')\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "def f(completions): return [1.0]\n"
    )

    def state():
        handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
        made = torch.zeros(1)
        return sys.stdout, made.dtype, made.device, torch.get_num_threads(), handlers

    before = state()
    assert callable(load_reward("own_spoiling_module:f"))
    assert torch.is_grad_enabled()
    assert state() == before


def test_ctrl_c_while_a_module_is_imported_is_ctrl_c(folder):
    (folder / "own_slow_module.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(10)\n"
    )
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        load_reward("own_slow_module:f")
    assert signal.getsignal(signal.SIGINT) is before


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
