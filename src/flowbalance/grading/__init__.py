"""Verdicts on a file of responses: `flowbalance grade`."""
