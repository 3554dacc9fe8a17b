"""Each published surrogate on numbers worked out by hand, and the property that defines it."""

from math import e, exp, log, sqrt

import pytest
import torch
from surrogate_rows import SURROGATES, L
from torch import Tensor

from evenflow.objectives import PRESETS, Answers, Surrogate, surrogate_loss
from evenflow.objectives.objective import Scores

# Two answers to one question, of 2 and 1 tokens; what the mask covers is never read.
RATIO = [[1.1, 1.5], [0.7]]
LOG_PI = torch.tensor([[-1.0, -2.0], [-0.5, 7.0]], dtype=torch.float64)
OLD = LOG_PI - torch.tensor([[1.1, 1.5], [0.7, 1.0]], dtype=torch.float64).log()
REF = LOG_PI - 0.5
MASK = torch.tensor([[1, 1], [1, 0]])
REWARDS = torch.tensor([1.0, 0.0], dtype=torch.float64)
GROUPS = torch.tensor([4, 4])
VALUES = torch.tensor([[0.2, 0.6], [0.3, float("nan")]], dtype=torch.float64)

A = 0.5 / (sqrt(0.5) + 1e-6)  # ±A: (r − mean)/std, std² = (0.25 + 0.25)/(2 − 1)
K1 = [[0.5 - log(1.1), 0.5 - log(1.5)], [0.5 - log(0.7)]]  # log π_old − log π_ref
K2 = 0.5**2 / 2  # of every token, as log π_ref − log π = −½
K3 = exp(-0.5) + 0.5 - 1


def run(choices: Surrogate, **changes: Tensor) -> tuple[float, list[list[float]]]:
    """Loss and (N, T) gradient."""
    leaf = LOG_PI.clone().requires_grad_()
    given = {"old_logprobs": OLD, "ref_logprobs": REF} | changes
    if choices.needs.values:
        given |= {"values": VALUES}
    loss, _ = surrogate_loss(leaf, MASK, REWARDS, GROUPS, choices=choices, **given)
    return loss.item(), torch.autograd.grad(loss, leaf)[0].tolist()


def whitened(values: list[float]) -> list[float]:
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / len(values)
    return [(v - mean) / sqrt(variance + 1e-8) for v in values]


def close(got: list[list[float]], expected: list[list[float]]) -> None:
    assert [x for row in got for x in row] == pytest.approx([x for row in expected for x in row])


def advantages(name: str, rewards: Tensor, groups: list[int], lengths: list[int]) -> Tensor:
    """(N, T) at the reference, so that no KL is in the way."""
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    zeros = torch.zeros(mask.shape, dtype=torch.float64)
    answers = Answers(mask, rewards.double(), torch.tensor(groups), zeros, zeros)
    prepared = SURROGATES[name].prepare(answers).advantages
    assert prepared is not None
    return torch.where(mask, prepared, 0.0)


def slopes(name: str, ratios: list[float], advantage: float, size: int = 1) -> Tensor:
    """(T,) −size·∂loss/∂log π of an answer with these ratios, among `size` answers like it."""
    leaf = torch.zeros(size, len(ratios), dtype=torch.float64, requires_grad=True)
    old = (-torch.tensor(ratios, dtype=torch.float64).log()).expand_as(leaf)
    mask, rewards = torch.ones(leaf.shape), torch.zeros(size, dtype=torch.float64)
    answers = Answers(mask, rewards, torch.zeros(size).long(), old, leaf.detach())
    answers = answers.replace(advantages=torch.full_like(old, advantage))
    choices = SURROGATES[name]
    loss, _ = choices.loss(Scores(leaf), answers, choices.total(answers))
    return -size * torch.autograd.grad(loss, leaf)[0][0]


def test_grpo_by_hand() -> None:
    loss, gradient = run(PRESETS["grpo"].objective)
    # −min(ρA, clip(ρ)A): the second token is capped at 1.2; ρ = 0.7 with A < 0 is lifted to 0.8
    assert loss == pytest.approx(((-1.1 - 1.2) / 2 + 0.8) * A / 2 + 0.04 * K3)
    pull = 0.04 * (1 - exp(-0.5))  # ∂/∂log π of c·k3 = c·(1 − e^d)
    close(gradient, [[(-1.1 * A + pull) / 4, pull / 4], [pull / 2, 0]])


def test_grpo_knows_no_scale_of_a_question() -> None:
    """A group's rewards may be multiplied and shifted: its advantages are the same."""
    rewards, groups = torch.tensor([1.0, 0.0, 0.5, 3.0, 2.0]), [0, 0, 0, 1, 1]
    one = advantages("grpo", rewards, groups, [1] * 5)
    two = advantages("grpo", torch.tensor([104.0, 100.0, 102.0, 3.0, 2.0]), groups, [1] * 5)
    torch.testing.assert_close(one, two, rtol=3e-6, atol=0)


def test_dr_grpo_by_hand() -> None:
    loss, gradient = run(SURROGATES["dr-grpo"])
    assert loss == pytest.approx((-1.1 - 1.2 + 0.8) * 0.5 / (2 * L))
    close(gradient, [[-1.1 * 0.5 / (2 * L), 0], [0, 0]])


@pytest.mark.parametrize("length", [1, 2, 7])
def test_dr_grpo_has_no_length_bias(length: int) -> None:
    """A token's weight does not depend on how long its answer is; in GRPO it is 1/|y|."""
    got = slopes("dr-grpo", [1.0] * length, 1.0)
    assert got.tolist() == pytest.approx([1 / L] * length)
    assert slopes("grpo", [1.0] * length, 1.0).tolist() == pytest.approx([1 / length] * length)


def test_dr_grpo_has_no_difficulty_bias() -> None:
    """Without the division by the spread, rewards ten times apart weigh ten times as much."""
    rewards, groups = torch.tensor([1.0, 0.0, 10.0, 0.0]), [0, 0, 1, 1]
    got = advantages("dr-grpo", rewards, groups, [1] * 4)
    assert got.flatten().tolist() == [0.5, -0.5, 5.0, -5.0]


def test_rloo_by_hand() -> None:
    returns = [1 - 0.03 * sum(K1[0]), 0 - 0.03 * K1[1][0]]
    advantage = returns[0] - returns[1]  # the baseline of each is the other
    loss, gradient = run(PRESETS["rloo"].objective)
    assert loss == pytest.approx(-(2 * advantage - advantage) / 2)
    close(gradient, [[-advantage / 2] * 2, [advantage / 2, 0]])


def test_rloo_baseline_excludes_its_own_sample() -> None:
    """A reward higher by 1 moves its own advantage by 1, the others' by −1/(G − 1)."""
    rewards = torch.tensor([0.2, 0.9, 0.4, 0.0])
    bumped = rewards + torch.tensor([0.0, 1.0, 0.0, 0.0])
    one, two = (advantages("rloo", r, [3] * 4, [1] * 4).flatten() for r in (rewards, bumped))
    assert (two - one).tolist() == pytest.approx([-1 / 3, 1, -1 / 3, -1 / 3])


def test_reinforce_plus_plus_by_hand() -> None:
    c = 0.01
    a, b, d = whitened([1 - c * sum(K1[0]), 1 - c * K1[0][1], -c * K1[1][0]])
    loss, gradient = run(PRESETS["reinforce++"].objective)
    assert loss == pytest.approx(((-1.1 * a - 1.2 * b) / 2 - 0.8 * d) / 2)
    close(gradient, [[-1.1 * a / 4, 0], [0, 0]])


def test_reinforce_plus_plus_normalises_over_the_whole_batch() -> None:
    """Over tokens, not answers: mean 0 and variance 1, and no group has a baseline of its own."""
    rewards, groups, lengths = torch.tensor([1.0, 0.0, 1.0, 1.0]), [0, 0, 1, 1], [3, 1, 1, 2]
    got = advantages("reinforce++", rewards, groups, lengths)
    chosen = torch.cat([row[:n] for row, n in zip(got, lengths, strict=True)])
    assert chosen.mean().item() == pytest.approx(0, abs=1e-12)
    assert chosen.var(correction=0).item() == pytest.approx(1)
    # 6 of 7 tokens have reward 1: mean 6/7, variance 6/49
    assert got[:, 0].tolist() == pytest.approx([1 / sqrt(6), -sqrt(6), 1 / sqrt(6), 1 / sqrt(6)])
    regrouped = advantages("reinforce++", rewards, [0, 1, 2, 3], lengths)
    assert regrouped.tolist() == got.tolist()


def test_reinforce_plus_plus_baseline_by_hand() -> None:
    # ±½ centred; over the tokens ½, ½, −½: mean 1/6, variance 1/4 − 1/36 = 2/9
    loss, gradient = run(PRESETS["reinforce++-baseline"].objective)
    assert loss == pytest.approx(((-1.1 - 1.2) / sqrt(2) / 2 + 0.8 * sqrt(2)) / 2 + 1e-5 * K2)
    pull = 1e-5 * 0.5  # ∂/∂log π of c·½d² = −c·d
    close(gradient, [[(-1.1 / sqrt(2) + pull) / 4, pull / 4], [pull / 2, 0]])


def test_reinforce_plus_plus_baseline_forgets_how_hard_a_question_is() -> None:
    """A shift of one group's rewards is nothing; their scale counts against the other groups'."""
    rewards, groups, lengths = torch.tensor([1.0, 0.0, 4.0, 2.0]), [0, 0, 1, 1], [2, 1, 1, 2]
    name = "reinforce++-baseline"
    one = advantages(name, rewards, groups, lengths)
    two = advantages(name, rewards + torch.tensor([0.0, 0.0, 7.0, 7.0]), groups, lengths)
    torch.testing.assert_close(one, two)
    shifted = advantages("reinforce++", rewards + torch.tensor([0, 0, 7, 7]), groups, lengths)
    assert (shifted - advantages("reinforce++", rewards, groups, lengths)).abs().max() > 0.1
    # centred ½, ½, −½, 1, −1, −1: the spread between answers is kept across groups
    assert (one[2, 0] - one[3, 0]).item() == pytest.approx(2 * (one[0, 0] - one[1, 0]).item())


def test_ppo_by_hand() -> None:
    c, choices = 0.001, PRESETS["ppo"].objective
    # γ = λ = 1: A_t = rewards to go − V_t, and the return that V is regressed onto is that sum
    returns = [1 - c * sum(K1[0]), 1 - c * K1[0][1], -c * K1[1][0]]
    a, b, d = whitened([returns[0] - 0.2, returns[1] - 0.6, returns[2] - 0.3])
    errors = [(0.2 - returns[0]) ** 2, (0.6 - returns[1]) ** 2, (0.3 - returns[2]) ** 2]
    loss, gradient = run(choices)
    assert a > b > 0 > d  # so ρ = 1.5 is capped at 1.2 and 0.7 lifted to 0.8
    assert loss == pytest.approx((-1.1 * a - 1.2 * b - 0.8 * d + sum(errors) / 2) / 3)
    close(gradient, [[-1.1 * a / 3, 0], [0, 0]])


def test_ppo_without_a_critic_is_reinforce_plus_plus() -> None:
    """With V = 0 and γ = λ = 1 the advantages are the whitened returns."""
    plus = PRESETS["reinforce++"].objective
    ppo = PRESETS["ppo"].objective.model_copy(update={"kl_coefficient": plus.kl_coefficient})
    answers = Answers(MASK, REWARDS, GROUPS, OLD, REF, values=torch.zeros(2, 2).double())
    one, two = (choices.prepare(answers).advantages for choices in (ppo, plus))
    torch.testing.assert_close(one[MASK.bool()], two[MASK.bool()])


def test_dapo_by_hand() -> None:
    loss, gradient = run(PRESETS["dapo"].objective)
    assert loss == pytest.approx((-1.1 - 1.28 + 0.8) * A / 3)
    close(gradient, [[-1.1 * A / 3, 0], [0, 0]])


def test_dapo_clip_is_higher_above_than_below() -> None:
    """At ρ = 1.25 a good token still learns, at 0.75 a bad one does not."""
    assert slopes("dapo", [1.25], 1.0).item() == pytest.approx(1.25)
    assert slopes("dapo", [1.29], 1.0).item() == 0
    assert slopes("dapo", [0.79], -1.0).item() == 0
    assert slopes("dapo", [0.81], -1.0).item() == pytest.approx(-0.81)
    assert slopes("grpo", [1.25], 1.0).item() == 0
    # where the clip would help, it does not act: PPO's min
    assert slopes("dapo", [3.0], -1.0).item() == pytest.approx(-3.0)
    assert slopes("dapo", [0.1], 1.0).item() == pytest.approx(0.1)


def test_dapo_gives_every_token_one_weight() -> None:
    """1/Σ|y| of the mini-batch, so a long answer weighs more; in GRPO each answer weighs 1/N."""
    gradients = {}
    for name in ("dapo", "grpo"):
        leaf = LOG_PI.clone().requires_grad_()
        answers = Answers(MASK, REWARDS, GROUPS, LOG_PI, LOG_PI)
        answers = answers.replace(advantages=torch.ones(2, 2).double())
        choices = PRESETS[name].objective
        loss, _ = choices.loss(Scores(leaf), answers, choices.total(answers))
        gradients[name] = torch.autograd.grad(loss, leaf)[0].tolist()
    close(gradients["dapo"], [[-1 / 3, -1 / 3], [-1 / 3, 0]])
    close(gradients["grpo"], [[-1 / 4, -1 / 4], [-1 / 2, 0]])


def test_prorl_by_hand() -> None:
    loss, _ = run(PRESETS["prorl"].objective)
    assert loss == pytest.approx(((-1.1 - 1.4) / 2 + 0.8) * A / 2 + 0.001 * K3)


def test_prorl_is_grpo_with_a_higher_clip_and_a_reset() -> None:
    """It holds on to the reference, which resets move: it asks for both and samples dynamically."""
    prorl, grpo = PRESETS["prorl"], PRESETS["grpo"].objective
    update = {"epsilon_high": 0.4, "kl_coefficient": 0.001}
    assert prorl.objective == grpo.model_copy(update=update)
    assert prorl.objective.needs.reference
    assert prorl.settings["rollout.dynamic_sampling"] is True
    assert prorl.settings["reset.patience"] > 0
    assert slopes("prorl", [1.39], 1.0).item() == pytest.approx(1.39)
    assert slopes("prorl", [1.41], 1.0).item() == 0


def test_gspo_by_hand() -> None:
    loss, gradient = run(PRESETS["gspo"].objective)
    # √(1.1·1.5) = 1.28 is above 1.0004 with A > 0, 0.7 below 0.9997 with A < 0: both are clipped
    assert loss == pytest.approx((-1.0004 + 0.9997) * A / 2)
    close(gradient, [[0, 0], [0, 0]])
    wide = PRESETS["gspo"].objective.model_copy(update={"epsilon": 0.4, "epsilon_high": 0.4})
    rho = sqrt(1.1 * 1.5)
    loss, gradient = run(wide)
    assert loss == pytest.approx((-rho + 0.7) * A / 2)
    close(gradient, [[-rho * A / 4] * 2, [0.7 * A / 2, 0]])


@pytest.mark.parametrize("ratios", [[1.5, 1 / 1.5], [2.0, 0.5, 1.0], [1.0003]])
def test_gspo_ratio_is_one_number_a_sequence(ratios: list[float]) -> None:
    """Their geometric mean: wild tokens that cancel are not clipped, and all weigh the same."""
    mean = exp(sum(map(log, ratios)) / len(ratios))
    assert 1 - 3e-4 < mean < 1 + 4e-4
    assert slopes("gspo", ratios, 1.0).tolist() == pytest.approx([mean / len(ratios)] * len(ratios))


def test_gspo_clips_whole_sequences() -> None:
    assert slopes("gspo", [1.0, 1.0, 1.002], 1.0).tolist() == [0, 0, 0]
    assert slopes("gspo", [1.0, 1.0, 0.998], -1.0).tolist() == [0, 0, 0]


def test_gmpo_by_hand() -> None:
    loss, gradient = run(PRESETS["gmpo"].objective)
    rho = exp((log(1.1) + 0.4) / 2)  # log 1.5 = 0.405 is above 0.4; log 0.7 = −0.36 is not below
    assert loss == pytest.approx((-rho + 0.7) * A / 2)
    close(gradient, [[-rho * A / 4, 0], [0.7 * A / 2, 0]])


def test_gmpo_gradient_weights() -> None:
    """Each token has the weight ρ̄/|y| of its answer, not its own ratio; a limited one has none."""
    inside = [1.4, 0.7, 1.0]
    mean = exp(sum(map(log, inside)) / 3)
    assert slopes("gmpo", inside, 1.0).tolist() == pytest.approx([mean / 3] * 3)
    assert slopes("grpo", [1.1, 0.9, 1.0], 1.0).tolist() == pytest.approx([1.1 / 3, 0.3, 1 / 3])
    # a token of ratio 20 counts as e^0.4 in the others' weight, and gets no gradient
    mean = exp((0.4 + 0 + 0) / 3)
    assert slopes("gmpo", [20.0, 1.0, 1.0], 1.0).tolist() == pytest.approx([0, mean / 3, mean / 3])
    # with A < 0 it is not limited from above
    mean = exp(log(20) / 3)
    assert slopes("gmpo", [20.0, 1.0, 1.0], -1.0).tolist() == pytest.approx([-mean / 3] * 3)


@pytest.mark.parametrize("advantage", [1.7, -0.6])
def test_gmpo_is_the_product_form(advantage: float) -> None:
    """−(Π_t |min(ρA, clip(ρ, e^−0.4, e^0.4)·A)|)^{1/|y|}·sgn A, as the paper writes it."""
    ratios = torch.tensor([0.3, 0.8, 1.0, 1.3, 2.5], dtype=torch.float64)
    clipped = ratios.clamp(e**-0.4, e**0.4)
    product = torch.minimum(ratios * advantage, clipped * advantage).abs().prod() ** (1 / 5)
    old = -ratios.log()[None]
    answers = Answers(torch.ones(1, 5), torch.zeros(1), torch.zeros(1).long(), old)
    answers = answers.replace(advantages=torch.full_like(old, advantage))
    loss, _ = SURROGATES["gmpo"].loss(Scores(torch.zeros_like(old)), answers, 1.0)
    assert -loss.item() == pytest.approx(product.item() * (1 if advantage > 0 else -1))


def test_cispo_by_hand() -> None:
    loss, gradient = run(PRESETS["cispo"].objective)
    # −ρ·A·log π of each token, over three tokens
    assert loss == pytest.approx(-(1.1 * -1.0 + 1.5 * -2.0 - 0.7 * -0.5) * A / 3)
    close(gradient, [[-1.1 * A / 3, -1.5 * A / 3], [0.7 * A / 3, 0]])


@pytest.mark.parametrize(("ratio", "weight"), [(8.0, 5.0), (5.5, 5.0), (4.0, 4.0), (0.01, 0.01)])
@pytest.mark.parametrize("advantage", [1.0, -2.0])
def test_cispo_keeps_the_gradient_of_clipped_tokens(
    ratio: float, weight: float, advantage: float
) -> None:
    """The weight is at most 5 whatever the sign of A, has no lower limit and no gradient."""
    assert slopes("cispo", [ratio], advantage).item() == pytest.approx(weight * advantage)


@pytest.mark.parametrize("name", SURROGATES)
def test_on_policy_every_preset_is_the_policy_gradient(name: str) -> None:
    """At π = π_old = π_ref nothing is clipped: −∂loss/∂log π is A over the aggregate's size."""
    size = {"sequence-mean": 3.0, "token-mean": 3.0, "constant": L}
    choices = SURROGATES[name]
    if choices.aggregation_length is not None:
        size["constant"] = choices.aggregation_length
    if choices.needs.values:
        choices = choices.model_copy(update={"advantage": "group"})
    leaf = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    answers = Answers(torch.ones(2, 3), REWARDS, GROUPS, leaf.detach(), leaf.detach())
    answers = answers.replace(advantages=torch.tensor([[1.0] * 3, [-2.0] * 3]).double())
    loss, _ = choices.loss(Scores(leaf), answers, choices.total(answers))
    gradient = torch.autograd.grad(loss, leaf)[0] * 2 * size[choices.aggregation]
    close(gradient.tolist(), [[-1.0] * 3, [2.0] * 3])
