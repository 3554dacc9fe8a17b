"""Benchmarks: questions from a file or Hugging Face, n sampled answers each, graded and counted."""
