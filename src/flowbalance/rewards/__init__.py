"""Rewards: functions with TRL's signature, ``f(prompts, completions, **columns)``, and their sum.

Nothing here knows the trainer, tensors or models.
"""

from flowbalance.rewards.compose import RewardResult, Rewards, text_of
from flowbalance.rewards.load import BUILT_IN, load_reward

__all__ = ["BUILT_IN", "RewardResult", "Rewards", "load_reward", "text_of"]
