"""Carrying out what an exchange commands, in tasks or in threads, and so answering requests."""
