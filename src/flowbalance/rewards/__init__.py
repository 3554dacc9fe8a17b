"""Rewards: functions with TRL's signature, ``f(prompts, completions, **columns)``, and their sum.

Nothing here knows the trainer, tensors or models.
"""

from flowbalance.rewards.compose import RewardResult, Rewards, text_of
from flowbalance.rewards.load import BUILT_IN, load_reward
from flowbalance.rewards.right import is_right

__all__ = ["BUILT_IN", "RewardResult", "Rewards", "is_right", "load_reward", "text_of"]
