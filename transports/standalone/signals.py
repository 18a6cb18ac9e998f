"""The signals that say to stop."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

import trio

from ..logs import get_logger


async def call_on_signal(stop: Callable[[], object]) -> None:
    """Call `stop` for each signal that says to. Only for the main thread of a program."""
    signals = [signal.SIGINT, signal.SIGTERM] if sys.platform != "win32" else [signal.SIGINT]
    with trio.open_signal_receiver(*signals) as received:
        async for number in received:
            get_logger().info("stopping", signal=signal.Signals(number).name)
            stop()
