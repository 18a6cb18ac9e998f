"""`python -m transports`, and the entry point of `grokproto`."""

from __future__ import annotations

from .cli import cli as main

if __name__ == "__main__":
    main(prog_name="grokproto")
