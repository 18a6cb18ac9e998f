"""Hypothesis profiles: a short one for every run, `--hypothesis-profile=long` for a long one."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("short", max_examples=60, deadline=None)
settings.register_profile(
    "long", max_examples=5_000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("short")
