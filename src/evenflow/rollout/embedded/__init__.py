"""The embedded engine: answers from a Transformers model in this process."""
