"""Runs of our recipes by other trainers' programs."""
