"""Verdicts on a file of responses: `evenflow grade`."""
