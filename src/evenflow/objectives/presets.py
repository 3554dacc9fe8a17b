"""Published methods as rows of choices. A new method is a new row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from inspect import isroutine, signature
from typing import Any, cast

from evenflow.errors import UserError, did_you_mean
from evenflow.imports import load_object, raised, require_methods
from evenflow.objectives.balance import Balance
from evenflow.objectives.objective import METHODS, Choices, Needs
from evenflow.objectives.surrogate import Surrogate


@dataclass(frozen=True)
class Preset:
    """An objective, what else the method brings, and where it is written down."""

    objective: Choices
    source: str
    settings: Mapping[str, object] = field(default_factory=dict)
    """Defaults of the recipe, by dotted key."""

    @property
    def dial(self) -> Mapping[str, Sequence[float]]:
        """What moves the method from diversity to accuracy, with four values: β of the balance
        family, around its own, and the weight of the KL to the reference of a surrogate."""
        if isinstance(self.objective, Balance):
            beta = self.objective.inverse_temperature
            return {"inverse_temperature": [beta / 4, beta / 2, beta, 2 * beta]}
        if not isinstance(self.objective, Surrogate):
            return {}
        own, others = self.objective.kl_coefficient, (0.0, 0.05, 0.2, 0.5)
        nearest = min(others, key=lambda value: abs(value - own))
        return {"kl_coefficient": [own if value == nearest else value for value in others]}


FLOWRL = Balance()

OFFICIAL_HEAD: Mapping[str, object] = {
    "head.dropout": 0.1,
    "head.learning_rate": None,
    "head.trunk_gradient": True,
    "head.pooling": "mean",
    "head.drop_last_token": True,
}
"""The head of the official code: dropout, the policy's own learning rate, a gradient into the
policy, the mean over the prompt without its last token."""

TRAJECTORY_BALANCE = {
    "scale": "sum",
    "reward": "raw",
    "importance": "none",
    "truncation": "none",
    "inverse_temperature": 20.0,
}
"""β = 1 / KL coefficient; 20 is a coefficient of 0.05."""

DAPO = Surrogate(epsilon_high=0.28, aggregation="token-mean")

DAPO_SETTINGS: Mapping[str, object] = {
    "rollout.dynamic_sampling": True,
    "reward.overlong_share": 0.2,
}
"""Groups that are all right or all wrong are dropped and others sampled; the last fifth of the
longest answer is penalised (4,096 of 20,480 tokens in the paper)."""

PRESETS: dict[str, Preset] = {
    "flowrl": Preset(
        FLOWRL,
        "FlowRL, arXiv 2509.15207: sequence weight within 1 ± 0.2, β 15",
    ),
    "flowrl-official": Preset(
        Balance(truncation="none"),
        "github.com/Xuekai-Zhu/FlowRL, first code: the clipped weight is computed and not used",
        OFFICIAL_HEAD,
    ),
    "flowrl-official-2": Preset(
        Balance(truncation="upper", cap=10.0),
        "github.com/Xuekai-Zhu/FlowRL, later code: the weight is at most 10",
        OFFICIAL_HEAD,
    ),
    "gflowrl": Preset(
        Balance(
            log_z="group",
            log_z_policy="old",
            reward="raw",
            truncation="upper",
            cap=1.2,
            inverse_temperature=8.0,
            residual_low=2.0,
            residual_high=4.0,
        ),
        "GFlowRL, arXiv 2607.13394: the group's log Z under π_old, residuals clipped; β 8. Bounds "
        "are this library's",
    ),
    "flowbalance": Preset(
        Balance(
            log_z="group",
            scale="sum",
            importance="none",
            truncation="none",
            inverse_temperature=1.0,
            guidance=0.1,
        ),
        "FlowBalance, arXiv 2609.03241: one log Z a group, guided by the gold answer; s 1, η 1 and "
        "β_G 0.1 are this library's (docs/related.md has the authors')",
    ),
    "tba": Preset(
        Balance(log_z="group", **TRAJECTORY_BALANCE),
        "Trajectory Balance with Asynchrony, arXiv 2503.18929",
    ),
    "rtb": Preset(
        Balance(log_z="head", **TRAJECTORY_BALANCE),
        "Relative Trajectory Balance, arXiv 2405.20971",
    ),
    "subtb": Preset(
        Balance(log_z="flow", **TRAJECTORY_BALANCE),
        "SubTB(λ), arXiv 2209.12782; for language models, arXiv 2310.04363; λ 0.9",
        {"critic.learning_rate": 3e-3},
    ),
    "best": Preset(
        Balance(
            log_z="group",
            scale="sum",
            reward="relative",
            importance="none",
            truncation="none",
            inverse_temperature=2.0,
            prior_lift=1.0,
            duplicates="once",
        ),
        "this library's: trajectory balance, arXiv 2503.18929, on MaxRL's rewards; right answers "
        "asked for alike, copies counted once (docs/results/frontiers.md)",
    ),
    "grpo": Preset(
        Surrogate(kl_coefficient=0.04),
        "GRPO, DeepSeekMath, arXiv 2402.03300, eq. 3 and 4, §4.2: KL coefficient 0.04, k3",
    ),
    "dr-grpo": Preset(
        Surrogate(advantage="centred", aggregation="constant"),
        "Dr. GRPO, arXiv 2503.20783: no division by the spread or the length",
    ),
    "maxrl": Preset(
        Surrogate(advantage="relative", aggregation="constant"),
        "MaxRL, arXiv 2602.02710: (r − mean)/mean; clip and aggregation are Dr. GRPO's",
    ),
    "ds-grpo": Preset(
        Surrogate(kl_coefficient=0.04, smoothing=0.05),
        "Differential smoothing, arXiv 2511.19942, eq. 4: of right answers, γ_p 0.05; else GRPO",
    ),
    "ucpo": Preset(
        Surrogate(kl_coefficient=0.04, rarity=0.2),
        "UCPO, arXiv 2605.00365: rare right answers weigh more, τ 0.2; else GRPO",
    ),
    "pkpo": Preset(
        Surrogate(
            advantage="best-of-k",
            ratio="none",
            clip="none",
            aggregation="constant",
            aggregation_length=1.0,
        ),
        "PKPO, arXiv 2505.15201: pass@4 in place of pass@1, baseline of the other k − 1",
    ),
    "rloo": Preset(
        Surrogate(
            advantage="leave-one-out",
            ratio="none",
            clip="none",
            aggregation="constant",
            aggregation_length=1.0,
            kl_coefficient=0.03,
            kl_in="reward",
            kl_estimator="k1",
        ),
        "RLOO, arXiv 2402.14740, App. C: the whole answer is one action, KL coefficient 0.03",
    ),
    "reinforce++": Preset(
        Surrogate(
            advantage="global",
            kl_coefficient=0.01,
            kl_in="reward",
            kl_estimator="k1",
            kl_credit="to-go",
        ),
        "REINFORCE++, arXiv 2501.03262v9, eq. 1, 4 and 5; KL coefficient of v1's Table 1",
    ),
    "reinforce++-baseline": Preset(
        Surrogate(advantage="centred", whiten=True, kl_coefficient=1e-5, kl_estimator="k2"),
        "REINFORCE++ w/ Baseline, arXiv 2501.03262v9, eq. 6 to 8; KL coefficient of OpenRLHF",
    ),
    "ppo": Preset(
        Surrogate(
            advantage="gae",
            whiten=True,
            aggregation="token-mean",
            kl_coefficient=0.001,
            kl_in="reward",
            kl_estimator="k1",
        ),
        "PPO, arXiv 1707.06347, eq. 7; GAE, arXiv 1506.02438; γ = λ = 1 and KL as verl has them",
    ),
    "dapo": Preset(DAPO, "DAPO, arXiv 2503.14476, eq. 8, 9, 11 and 13", DAPO_SETTINGS),
    "prorl": Preset(
        Surrogate(epsilon_high=0.4, kl_coefficient=0.001),
        "ProRL, arXiv 2505.24864, eq. 3 and 4, §2.3; KL coefficient and estimator are verl's",
        {"rollout.dynamic_sampling": True, "rollout.temperature": 1.2, "reset.patience": 50},
    ),
    "gspo": Preset(
        Surrogate(ratio="geometric", epsilon=3e-4, epsilon_high=4e-4),
        "GSPO, arXiv 2507.18071, eq. 5 to 7",
    ),
    "gmpo": Preset(
        Surrogate(ratio="geometric", clip="log-token", epsilon=0.4),
        "GMPO, arXiv 2507.20673v3, eq. 4: tokens' log-ratios within ±0.4",
    ),
    "cispo": Preset(
        Surrogate(clip="weight", epsilon_high=4.0, aggregation="token-mean"),
        "CISPO, MiniMax-M1, arXiv 2506.13585, eq. 4 and 5; the cap of 5 is not the paper's",
        DAPO_SETTINGS,
    ),
}


NO_CLASS = (
    "algorithm: {name}: is a function, not an objective's class (docs/architecture.md); a reward "
    "is named in reward.functions"
)


@cache
def preset(name: str) -> Preset:
    """The row of that name, or an objective of one's own by its import path, made without
    arguments. UserError that says what is wrong."""
    if name in PRESETS:
        return PRESETS[name]
    module, _, family = name.partition(":")
    if not (module and family.isidentifier()):
        hint = did_you_mean(name.lower(), PRESETS, most=2)
        raise UserError(
            f"algorithm: there is no preset {name!r}; {hint}there are {', '.join(PRESETS)}, and "
            "my_module:MyObjective"
        )
    try:
        kind = load_object(name, "algorithm")
    except UserError as error:
        if module not in PRESETS:  # a module may have a preset's name
            raise
        hint = f"a setting of the preset {module} is written {module}:{family}=…"
        raise UserError(f"{error}; {hint}") from None
    is_function = isroutine(kind)
    if is_function and _wants_arguments(kind):
        raise UserError(NO_CLASS.format(name=name))
    try:
        objective = kind()
    except UserError:
        raise
    except Exception as error:
        raise raised(f"algorithm: {name}, made without arguments,", error) from error
    if is_function and not hasattr(objective, "needs"):  # one that makes an objective may be named
        raise UserError(NO_CLASS.format(name=name))
    require_methods(objective, METHODS, f"algorithm: {name}")
    if isinstance(objective, Choices) and type(objective).loss is Choices.loss:
        raise UserError(f"algorithm: {name}: {type(objective).__name__} has no loss of its own")
    if not isinstance(objective.needs, Needs):
        given = type(objective.needs).__name__
        raise UserError(f"algorithm: {name}: needs is a property with Needs, not {given}")
    return Preset(cast(Any, objective), name)


def _wants_arguments(function: Any) -> bool:
    """Whether it cannot be called without any."""
    try:
        signature(function).bind()
    except TypeError:
        return True
    except ValueError:  # of C, and it does not say
        return False
    return False
