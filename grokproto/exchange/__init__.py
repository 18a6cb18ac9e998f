"""The exchange: one client request from its body to the last byte of its answer.

`machine` is the alternation that hosts see. The rest is what goes on inside, from the outside in:
`flow` finds credentials and tries again, `attempt` is one try with one credential, `upstream` waits
for Grok, `reply` is what the client has been told, `holdings` is what must be given back.
"""

from __future__ import annotations

from .machine import Exchange

__all__ = ["Exchange"]
