"""Numbers that options take: nothing but numbers that can be reckoned with."""

from __future__ import annotations

import math
from typing import Any

import click


class Amount(click.FloatRange):
    """A number between two others. Not NaN either, which is not outside of any range."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


SECONDS = Amount(0, 86400)
PATIENCE = Amount(0.001, 86400)
"""Seconds that something is waited for; with none, nothing would ever come."""
