"""Several processes that answer requests, and this one, which has the pool and the state.

Each worker listens on a socket of its own at the same port (`SO_REUSEPORT`); the kernel deals
connections out among them. This process keeps the sockets open too, so that where a worker dies,
those who connect meanwhile wait for the next one. It starts another in its place, after a pause
where that one did not live long. A worker that hangs is killed for that.

Workers ask for calls over a pair of sockets each (`pool_service`). Where this process dies, they
see the far end closed, finish what they have begun, and end; the state is free for the next server
at once, and has every call that was granted.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import trio

from grokproto.secret import Secret

from ..api.service import build_service, open_pictures
from ..config import Config
from ..logs import get_logger
from ..loops.trio_loop import TRIO
from ..pool.scheduler import Scheduler
from ..pool.waiting import Waiting
from ..server.listening import Listening, open_listeners
from ..upstream.calls import Upstream
from .pool_messages import Setup, Stop
from .pool_service import PoolService
from .process import call_on_signal
from .serving import WorkerError, report_fault
from .wire import Wire

_LONG_LIFE = 10.0
"""Seconds after which the end of a worker is no reason to wait before the next one."""
_PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
_LAST_WORDS = 8.0
"""Seconds beyond its grace that a worker has to end."""
_AT_ONCE = 3.0
"""Seconds that a worker has to end at once."""


async def run_workers(
    config: Config,
    variables: Mapping[str, str],
    scheduler: Scheduler,
    announce: Callable[[Listening], None] = lambda _: None,
    *,
    demo: str | None = None,
) -> None:
    """Serve with credentials from `scheduler`, by `config.workers` processes, until a signal.

    Args:
        config: The configuration.
        variables: What it was made of.
        scheduler: Of the pool.
        announce: Told where they listen, once they all do.
        demo: Where the simulated Grok is, if they are to talk to that.

    Raises:
        ConfigurationError: The directory of local pictures cannot be used.
        OSError: They cannot listen there.
        WorkerError: A worker ended before it listened.
    """
    service = build_service(config, open_pictures(config))  # what is wrong with it is said once
    listening, sets = await _open_sets(config)
    workers = Workers(config, variables, scheduler, sets, demo)
    async with trio.open_nursery() as nursery:
        if service.fetches_guests:
            upstream = Upstream(service.upstream, on_error=report_fault)
            await nursery.start(upstream.run)
            guests = Waiting(scheduler, TRIO).run_guests
            nursery.start_soon(guests, upstream, service.settings)
        nursery.start_soon(call_on_signal, workers.stop)

        def tell() -> None:
            get_logger().info("listening", url=listening.url, workers=config.workers)
            announce(listening)

        await workers.run(tell)
        nursery.cancel_scope.cancel()


async def _open_sets(config: Config) -> tuple[Listening, list[list[socket.socket]]]:
    """The sockets of each worker, all at one port.

    Raises:
        OSError: They cannot be opened.
    """
    # Others may share a port as well. One that is not shared shows that nobody is there.
    alone = await open_listeners(config.host, config.port)
    port: int = alone[0].getsockname()[1]
    for listener in alone:
        listener.close()
    sets = [await open_listeners(config.host, port, shared=True) for _ in range(config.workers)]
    return Listening(config.host, port), sets


class Workers:
    """The workers of a server.

    Args:
        config: The configuration.
        variables: What it was made of.
        scheduler: Of the pool.
        sets: The sockets of each. They are closed in the end.
        demo: Where the simulated Grok is, if they are to talk to that.
    """

    def __init__(
        self,
        config: Config,
        variables: Mapping[str, str],
        scheduler: Scheduler,
        sets: Sequence[Sequence[socket.socket]],
        demo: str | None = None,
    ) -> None:
        self._grace = config.shutdown_grace
        self._variables = {name: Secret(value) for name, value in variables.items()}
        self._scheduler = scheduler
        self._sets = sets
        self._demo = demo
        self._running: dict[int, tuple[PoolService, trio.Process]] = {}
        self._listening: set[int] = set()
        """Those that have listened, now or before."""
        self._on_listening: Callable[[], object] = lambda: None
        self._stopping = trio.Event()
        self._patience = trio.CancelScope()
        """How long workers have to end."""
        self._log = get_logger()

    async def run(self, on_listening: Callable[[], object] = lambda: None) -> None:
        """Have them run until `stop`; when this ends, none is left.

        Args:
            on_listening: Called once all of them listen.

        Raises:
            WorkerError: One ended before it ever listened.
        """
        self._on_listening = on_listening
        try:
            with self._patience:
                async with trio.open_nursery() as nursery:
                    for number in range(1, len(self._sets) + 1):
                        nursery.start_soon(self._keep, number)
        finally:
            self._close_listeners()

    def stop(self) -> None:
        """Let them finish what they do, and end. Twice: end at once."""
        at_once = self._stopping.is_set()
        if not at_once:
            self._stopping.set()
            self._close_listeners()  # lest clients wait in a queue that nobody looks after
        patience = _AT_ONCE if at_once else self._grace + _LAST_WORDS
        self._patience.deadline = trio.current_time() + patience
        for service, _ in self._running.values():
            service.send(Stop(at_once))

    def _close_listeners(self) -> None:
        for listener in (each for listeners in self._sets for each in listeners):
            listener.close()

    async def _keep(self, number: int) -> None:
        """Have a worker run, and another one when it ends."""
        short_lives = 0
        while not self._stopping.is_set():
            began = trio.current_time()
            status = await self._run_one(number)
            if self._stopping.is_set():
                return
            if number not in self._listening:
                raise WorkerError(f"a worker ended with status {status} before it listened")
            self._log.error("a worker ended; another takes its place", worker=number, status=status)
            if trio.current_time() - began >= _LONG_LIFE:
                short_lives = 0
            else:
                with trio.move_on_after(_PAUSES[min(short_lives, len(_PAUSES) - 1)]):
                    await self._stopping.wait()
                short_lives += 1

    async def _run_one(self, number: int) -> int:
        """Run a worker to its end; its status."""
        ours, theirs = socket.socketpair()
        wire = Wire(ours)
        try:
            with theirs:
                process = await _start(theirs, self._sets[number - 1])
        except BaseException:
            wire.close()
            raise
        service = PoolService(
            self._scheduler,
            wire,
            on_listening=partial(self._note_listening, number),
            on_silence=partial(self._end_silence, number, process),
        )
        self._running[number] = service, process
        service.send(Setup(number, self._variables, self._demo))
        if self._stopping.is_set():
            service.send(Stop())
        try:
            await service.run()
            with trio.move_on_after(_AT_ONCE):
                await process.wait()
        finally:
            del self._running[number]
            wire.close()
            if process.returncode is None:
                process.kill()
            with trio.CancelScope(shield=True):
                status = await process.wait()
        return status

    def _end_silence(self, number: int, process: trio.Process) -> None:
        """A worker hangs. Nothing is lost by ending it that it would still have done."""
        self._log.error("a worker does not answer any more, and is killed", worker=number)
        process.kill()

    def _note_listening(self, number: int) -> None:
        if number not in self._listening:
            self._listening.add(number)
            if len(self._listening) == len(self._sets) and not self._stopping.is_set():
                self._on_listening()


async def _start(wire: socket.socket, listeners: Sequence[socket.socket]) -> trio.Process:
    descriptors = [wire.fileno(), *(listener.fileno() for listener in listeners)]
    # It must find what this process has found, wherever that was started from.
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    return await trio.lowlevel.open_process(
        [sys.executable, "-P", "-m", "transports.standalone.worker", *map(str, descriptors)],
        stdin=subprocess.DEVNULL,
        pass_fds=descriptors,
        start_new_session=True,  # a terminal's signals are for this process
        env={**os.environ, "PYTHONPATH": path},
    )
