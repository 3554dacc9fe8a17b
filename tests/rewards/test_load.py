"""Reward functions by import path."""

import signal
import sys

import pytest

from evenflow.errors import UserError
from evenflow.rewards import load_reward


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
