"""Proof by enumeration: policies trained where every answer can be listed."""
