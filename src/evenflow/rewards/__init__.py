"""Rewards: functions with TRL's signature, ``f(prompts, completions, **columns)``, and their sum.

Nothing here knows the trainer, tensors or models.
"""

from evenflow.rewards.compose import RewardResult, Rewards, text_of
from evenflow.rewards.load import BUILT_IN, load_reward

__all__ = ["BUILT_IN", "RewardResult", "Rewards", "load_reward", "text_of"]
