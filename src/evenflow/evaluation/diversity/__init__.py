"""How different the answers to a question are: as texts, as points, as solutions, to a judge."""

from evenflow.evaluation.diversity.texts import bigram_diversity

__all__ = ["bigram_diversity"]
