"""Benchmarks: one script a question. README.md here says what they said last."""
