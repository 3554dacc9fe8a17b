"""Answers sampled by vLLM: beside the policy in one process, or by servers (docs/engines.md)."""
