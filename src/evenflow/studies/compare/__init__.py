"""Algorithms × seeds from one base model, with an equal budget of sampled answers, as one table."""
