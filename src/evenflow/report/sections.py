"""Which metrics stand on the page, under which names, and what each means in a sentence.

A chart is a row of a table. A metric that has no row here is drawn among the further ones.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """A metric within a chart."""

    metric: str
    label: str = ""
    """Where a chart has several lines: which one this is."""
    dash: tuple[int, ...] = ()
    level: bool = False
    """Whether it is one value that holds for a while: its ends are no measurements."""


@dataclass(frozen=True)
class Chart:
    """A few metrics on one pair of axes."""

    title: str
    meaning: str
    lines: tuple[Line, ...]
    percent: bool = False
    noisy: bool = True
    """Whether it is of single steps, so that smoothing helps."""


@dataclass(frozen=True)
class Section:
    """Charts under one heading."""

    key: str
    title: str
    text: str
    charts: tuple[Chart, ...]


def chart(
    metric: str, title: str, meaning: str, *, percent: bool = False, noisy: bool = True
) -> Chart:
    """A chart of one metric."""
    return Chart(title, meaning, (Line(metric),), percent, noisy)


def measured(metric: str, title: str, meaning: str, *, percent: bool = False) -> Chart:
    """A chart of a held-out score."""
    return chart(f"test/{metric}", title, meaning, percent=percent, noisy=False)


REWARDS = "rewards"
"""The section that the rewards of single functions are added to."""
SECTIONS = (
    Section(
        REWARDS,
        "Rewards and lengths",
        "Of the answers that each step samples and learns from: the whole reward, its functions "
        "before their weights, and how long the answers are.",
        (
            chart("reward/mean", "Reward", "Mean, before any penalty for length."),
            chart("answer/length", "Length", "Mean tokens of an answer, the end token included."),
            chart("answer/cut_off", "Cut off", "Share stopped by the length limit.", percent=True),
            chart("reward/overlong", "Penalty for length", "Mean, of the answers kept."),
        ),
    ),
    Section(
        "held-out",
        "Held-out questions",
        "Questions that are not trained on. Where all right answers can be listed the scores are "
        "exact probabilities, elsewhere they are of sampled answers.",
        (
            measured(
                "accuracy", "Accuracy", "Chance that one answer is right (avg@k).", percent=True
            ),
            measured(
                "pass@16", "pass@16", "Chance that 16 answers hold a right one.", percent=True
            ),
            measured("reward", "Reward", "Mean reward of an answer."),
            measured("length", "Length", "Mean tokens of an answer, the end token included."),
            measured(
                "finished", "Finished", "Share of answers that end within the limit.", percent=True
            ),
            measured(
                "unknown", "Unknown", "Share of answers that could not be judged.", percent=True
            ),
        ),
    ),
    Section(
        "diversity",
        "Diversity",
        "Whether many different right answers stay within reach.",
        (
            measured(
                "distinct@16",
                "Distinct right answers",
                "How many different solutions 16 answers are expected to hold.",
            ),
            measured(
                "effective_solutions",
                "Effective solutions",
                "exp of the entropy among right answers: as many equally likely solutions.",
            ),
            measured(
                "diversity",
                "Word-pair diversity",
                "1: no two answers to a question share a word pair; 0: all are the same.",
            ),
            chart(
                "policy/entropy",
                "Entropy",
                "Nats a token of the policy that samples; a fall to near 0 is collapse.",
            ),
            chart(
                "policy/entropy_exact",
                "Entropy of the whole distribution",
                "Nats a token, over the vocabulary instead of the sampled token.",
            ),
        ),
    ),
    Section(
        "training",
        "Training answers",
        "The answers that each step samples and learns from.",
        (
            chart("accuracy", "Accuracy", "Share of right answers.", percent=True),
            chart("reward/std", "Spread of the reward", "Standard deviation over the batch."),
            chart(
                "reward/equal_groups",
                "Groups with equal rewards",
                "Share of questions whose answers are all right or all wrong: nothing to compare.",
                percent=True,
            ),
            chart(
                "rollout/dropped_questions",
                "Dropped questions",
                "Dynamic sampling: questions asked in vain.",
            ),
            chart("reward/unknown", "Unknown", "Share that nobody could judge.", percent=True),
        ),
    ),
    Section(
        "log-z",
        "log Z and the residual",
        "The loss is a regression of δ = log Z + s·(log π − γ·log π_ref) − β·r̃ to 0. A group's own "
        "estimate is the mean of what log Z should be; a head is trained toward it. With a fixed "
        "target it lies below the true log Z by s times the KL to it, and meets it only there.",
        (
            Chart(
                "log Z",
                "Means over the step's questions; the true value is the mean over the held-out "
                "ones, from the list of their right answers.",
                (
                    Line("log_z/used", "in the loss (the head's, where there is one)"),
                    Line("log_z/group", "groups' estimate", (2, 3)),
                    Line("log_z/true", "true", (10, 5), level=True),
                ),
            ),
            chart(
                "log_z/error",
                "Error of log Z",
                "Root mean square, group by group, against the groups' estimates: whether a head "
                "tells questions apart.",
            ),
            chart("residual/abs", "Residual", "Mean |δ|: the distance to the fixed point."),
            chart("residual/mean", "Mean residual", "Near 0 where log Z is right on average."),
            chart(
                "log_z/effective_samples",
                "Effective samples",
                "Of the reference's answers behind an offline log Z.",
            ),
        ),
    ),
    Section(
        "distance",
        "Distance",
        "How far the policy has moved from where it began, and within a step.",
        (
            chart("kl/reference", "KL to the reference", "Nats an answer."),
            chart("kl/old", "KL to the sampling policy", "Nats a token; 0 on policy."),
            chart("resets", "Resets", "How often the policy became its own reference."),
        ),
    ),
    Section(
        "weights",
        "Importance weights",
        "π/π_old, before any truncation: 1 where the policy that learns is the one that sampled. "
        "One number an answer, at the level of the run's objective: the whole answer's (FlowRL and "
        "others with importance: sequence), its geometric mean per token (importance: geometric or "
        "token, ratio: geometric, as GSPO and GMPO), or the mean of its tokens' ratios (ratio: "
        "token, as PPO, GRPO, DAPO and CISPO). Spreads are comparable only between runs of one "
        "level.",
        (
            chart("weight/mean", "Mean weight", "Near 1 when healthy."),
            Chart(
                "Spread of the weights",
                "Between these two lie 98 of 100 weights.",
                (Line("weight/p01", "1st percentile", (2, 3)), Line("weight/p99", "99th")),
            ),
            chart(
                "weight/truncated",
                "Truncated",
                "Share of the weights that are cut off, or of tokens that a clip acts on.",
                percent=True,
            ),
        ),
    ),
    Section(
        "optimisation",
        "Optimisation",
        "What the optimiser sees.",
        (
            chart("loss", "Loss", "Its scale differs from one objective to another."),
            chart("grad_norm/policy", "Gradient of the policy", "Norm before clipping."),
            chart("grad_norm/head", "Gradient of log Z's head", "Norm before clipping."),
            chart("grad_norm/critic", "Gradient of the critic", "Norm before clipping."),
            chart(
                "learning_rate", "Learning rate", "Of the policy, after warm-up and decay.",
                noisy=False,
            ),
            chart("value/error", "Error of the critic", "Mean square."),
            chart("value/explained", "Explained by the critic", "1 − error/variance of returns."),
            chart(
                "sampler/gap",
                "Sampler against trainer",
                "Largest difference of a token's log-prob; arithmetic alone.",
            ),
            Chart(
                "Staleness",
                "Optimiser steps between sampling an answer and learning from it.",
                (Line("staleness/mean", "mean"), Line("staleness/max", "largest", dash=(4, 3))),
            ),
            Chart(
                "Weights by staleness",
                "Mean importance weight of answers from so many optimiser steps old on.",
                tuple(
                    Line(f"weight/stale_{low}", str(low), dash=(low, 2) if low else ())
                    for low in (0, 1, 2, 4, 8, 16, 32)
                ),
            ),
            chart("correction/mean", "Correction", "Mean weight of what another policy sampled."),
            chart(
                "correction/limited", "Corrected to the limit",
                "Share of answers, or tokens, that were truncated or left out.", percent=True,
            ),
            chart("optimizer/skipped", "Skipped steps", "Optimiser steps that were not finite."),
        ),
    ),
)  # fmt: skip
SPEED = chart("tokens_per_second", "Tokens a second", "Sampled tokens over the whole step's time.")
DRAWN = {
    line.metric for section in SECTIONS for drawn in section.charts for line in drawn.lines
} | {SPEED.lines[0].metric}
ELSEWHERE = ("seconds/", "test/pass@", "reward/")
"""Metrics that have a drawing of their own."""
AXES = ("step", "answers")
