"""Programs: find a Python expression in x and y that maps the examples shown, and list them all."""

from evenflow.tasks.programs.grammar import Language, evaluate, parse, write
from evenflow.tasks.programs.task import Programs, Question, reward

__all__ = ["Language", "Programs", "Question", "evaluate", "parse", "reward", "write"]
