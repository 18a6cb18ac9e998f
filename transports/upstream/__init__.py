"""Calls to the far ends, by httpcore: in tasks and in threads."""
