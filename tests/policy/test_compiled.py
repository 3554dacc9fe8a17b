"""Compiled layers and log-probs: the same numbers, compiled few times, and never in the way."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from building import build, saved
from tests.rollout.rollouts import rollout as sample
from tiny_models import SIZE, V, make, make_rows
from torch._dynamo.exc import BackendCompilerFailed
from transformers import AutoModelForCausalLM, Gemma3Config

from evenflow.config import HeadConfig
from evenflow.policy import compiled
from evenflow.policy import logprobs as logprobs_module
from evenflow.policy.compiled import Compiler, compile_policy, decoder_layers
from evenflow.policy.logprobs import Projection, linear_scores, token_logprobs
from evenflow.policy.policy import Policy
from evenflow.policy.recompute import recompute_activations
from evenflow.policy.tokens import collate
from evenflow.rollout import Sampling

PROMPTS, ANSWERS = make_rows()
# Long prompts with several answers each: worth reading once.
SHARED = [prompt * 3 for prompt in PROMPTS for _ in range(4)]
THEIRS = [[*answer, i] for answer in ANSWERS for i in range(2, 6)]


class Counting:
    """A backend that runs what it is given as it is, and counts it."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, module: torch.fx.GraphModule, _inputs: Any, **_: Any) -> Callable[..., Any]:
        self.graphs += 1
        return module.forward


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Counting:
    torch._dynamo.reset()
    counting = Counting()
    monkeypatch.setattr(compiled, "BACKEND", counting)
    return counting


def learned(policy: Policy, shared: bool) -> dict[str, torch.Tensor]:
    """Log-probs and gradients, without the dropout that GPT-2 comes with."""
    policy.eval().zero_grad()
    policy.shares_prompts = shared
    logprobs = policy(collate(SHARED, THEIRS)).logprobs
    (logprobs * torch.linspace(-1, 2, logprobs.numel()).view_as(logprobs)).mean().backward()
    found = {name: p.grad for name, p in policy.model.named_parameters() if p.grad is not None}
    return found | {"logprobs": logprobs.detach()}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", ["qwen2", "gemma2", "gpt2"])
def test_compiled_layers_compute_the_same(backend: Counting, name: str, shared: bool) -> None:
    plain = learned(Policy(make(name)), shared)
    policy = Policy(make(name), reference=make(name))
    keys = list(policy.state_dict())
    compile_policy(policy)
    assert policy.compiler is not None
    assert policy.compiler.working
    assert policy.compiler.layers == 4
    assert all(p.grad is None for p in policy.parameters())
    torch.testing.assert_close(learned(policy, shared), plain, atol=1e-6, rtol=1e-5)
    assert list(policy.state_dict()) == keys
    assert backend.graphs > 0


@pytest.mark.parametrize("shared", [False, True])
def test_all_layers_share_what_is_compiled(backend: Counting, shared: bool) -> None:
    """A function for each layer would take minutes, and end at the limit of variants."""
    graphs = []
    for layers in (2, 12):
        torch._dynamo.reset()
        config = make("qwen2").config
        config.num_hidden_layers, config.layer_types = layers, ["full_attention"] * layers
        torch.manual_seed(0)
        policy = Policy(type(make("qwen2"))(config))
        compile_policy(policy)
        assert policy.compiler is not None
        assert policy.compiler.layers == layers
        before = backend.graphs
        learned(policy, shared)
        policy.score(SHARED, THEIRS)
        graphs.append(backend.graphs - before)
        before = backend.graphs
        learned(policy, shared)
        policy.score(SHARED[:9], THEIRS[:9])
        assert backend.graphs <= before + 1  # other sizes are no other function
    assert graphs[0] == graphs[1]


def test_the_sampler_runs_what_is_not_compiled(backend: Counting) -> None:
    policy = Policy(make("qwen2"))
    plain = sample(policy.model, PROMPTS, 2, Sampling(4, stop_ids=(1,)), seed=0)
    compile_policy(policy)
    before = backend.graphs
    again = sample(policy.model, PROMPTS, 2, Sampling(4, stop_ids=(1,)), seed=0)
    assert backend.graphs == before
    assert torch.equal(again.logprobs, plain.logprobs)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("lora", [None, {"rank": 2}])
def test_compiled_layers_are_recomputed(
    backend: Counting, folders: dict[str, Path], when: str, lora: dict | None
) -> None:
    """Whether recomputation was asked for before they were compiled or chosen after."""
    torch.manual_seed(0)
    plain = learned(build(folders["llama"], lora=lora), False)
    torch.manual_seed(0)
    policy = build(folders["llama"], lora=lora, gradient_checkpointing=when == "before" or None)
    compile_policy(policy)
    if when == "after":
        recompute_activations(policy)
    assert policy.recomputes
    assert policy.compiler is not None
    assert policy.compiler.working
    held: list[int] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        held.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        torch.testing.assert_close(learned(policy, False), plain, atol=1e-6, rtol=1e-5)
    policy.compiler.recompute = False
    less = sum(held)
    held.clear()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        learned(policy, False)
    assert less < sum(held)


def test_a_compiler_that_fails_is_said_once_and_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch._dynamo.reset()

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no compiler is here")

    monkeypatch.setattr(compiled, "BACKEND", fail)
    plain = learned(Policy(make("qwen2")), True)
    policy = Policy(make("qwen2"))
    compile_policy(policy)
    assert policy.compiler is not None
    assert not policy.compiler.working
    torch.testing.assert_close(learned(policy, True), plain, atol=0, rtol=0)
    said = capsys.readouterr().out
    assert said.count("train.compile: does not work here (BackendCompilerFailed: ") == 1
    assert "layers and log-probs run as they are" in said
    torch._dynamo.reset()


def test_what_is_no_fault_of_the_compiler_is_raised() -> None:
    compiler = Compiler()
    wrong = compiler.compile(lambda: (_ for _ in ()).throw(torch.OutOfMemoryError("full")))
    with pytest.raises(torch.OutOfMemoryError):
        wrong()
    assert compiler.working
    assert compiled.of_compiler(BackendCompilerFailed(compiled, RuntimeError("x"), None))  # type: ignore[arg-type]
    assert not compiled.of_compiler(RuntimeError("x"))


def test_a_checkpoint_of_compiled_layers_is_one_of_plain_ones(
    backend: Counting, folders: dict[str, Path], tmp_path: Path
) -> None:
    policy = build(folders["llama"], HeadConfig())
    compile_policy(policy)
    again = build(
        folders["llama"], HeadConfig(), saved(policy, folders["llama"], tmp_path / "checkpoint")
    )
    states = policy.state_dict(), again.state_dict()
    assert list(states[0]) == list(states[1])
    assert torch.equal(again.score(PROMPTS, ANSWERS), policy.score(PROMPTS, ANSWERS))


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler here")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_log_probs_are_the_plain_ones(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    """By the real compiler, chunk by chunk, with a last one that is shorter; kept or made again."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    layer = torch.nn.Linear(8, V).to(dtype)
    hidden = torch.randn(21, 8).to(dtype).requires_grad_()
    targets = torch.randint(0, V, (21,))
    fast = Compiler().compile(linear_scores)
    weights = torch.linspace(-1, 2, 42).view(21, 2)

    def found(**options: Any) -> list[torch.Tensor]:
        hidden.grad = None
        layer.zero_grad()
        project = Projection(layer, scale=0.5, cap=3.0)
        scores = token_logprobs(
            hidden, targets, project, temperature=0.7, chunk=8, entropy=True, **options
        )
        (scores * weights).sum().backward()
        parts = [scores.detach(), hidden.grad, layer.weight.grad, layer.bias.grad]
        return [part.float() for part in parts if part is not None]

    plain = found()
    for budget in (0, logprobs_module.OF_CPU):
        monkeypatch.setattr(logprobs_module, "OF_CPU", budget)
        tolerance = 1e-5 if dtype == torch.float32 else 2e-2
        torch.testing.assert_close(found(compiled=fast), plain, atol=tolerance, rtol=tolerance)
    with torch.no_grad():
        scored = token_logprobs(hidden, targets, Projection(layer), chunk=8, compiled=fast)
        truth = token_logprobs(hidden, targets, Projection(layer), chunk=8)
    torch.testing.assert_close(scored, truth, atol=1e-5, rtol=1e-5)


def test_the_layers_are_those_that_read_text() -> None:
    sight = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Gemma3Config(
        text_config=SIZE | {"head_dim": 4},
        vision_config=sight | {"intermediate_size": 16, "image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
    )
    model: Any = AutoModelForCausalLM.from_config(config)
    assert decoder_layers(model.model) == [*model.model.language_model.layers]
    assert decoder_layers(make("llama").model)
