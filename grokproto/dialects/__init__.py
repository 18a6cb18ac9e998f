"""Dialects: the APIs that clients speak."""
