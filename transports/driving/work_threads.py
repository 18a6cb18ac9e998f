"""What is done for one request in threads: by one of them at a time, and until somebody ends it.

The thread that has the client goes on with it, from one piece of the response to the next. In
between nobody is at it, for as long as the client takes. So whoever ends it, because the host ends
or the client has left, interrupts the thread that is at it, which then sees to the rest; or sees to
the rest itself, where nobody is. What is to be given back is so given back at once, and not when
the client comes back for more, which it may never do.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from typing import TypeAlias

from grokproto import commands as c

from ..loops.threads import News
from ..server.errors import StoppingError

Steps: TypeAlias = Generator[c.ClientCommand | None, None, None]
"""See `ThreadedDrive.run`."""


class ReplyClosedError(Exception):
    """Somebody has closed the response before its end."""


class Work:
    """What is done for one request.

    Args:
        news: Where the thread waits that is at it.
        is_near: What was given to the client has come to it. So it may have its answer, though
            nobody has asked for the end of that.
    """

    def __init__(self, news: News, *, is_near: bool = False) -> None:
        self._news = news
        self._is_near = is_near
        self._steps: Steps | None = None
        """None once they are over, or there is nothing in them for the client any more."""
        self._turn = threading.Lock()
        """Had by whoever goes on with the steps, or ends them."""
        self._ahead: deque[bytes] = deque()
        """What was made for the client before it came for it."""
        self._failed: Exception | None = None
        """What went wrong then."""
        self._stopped = False
        self._given_up = False
        self._whole = False
        """All of the response was made."""

    @property
    def over(self) -> bool:
        """There is nothing more to be done for the client."""
        return self._steps is None and not self._ahead

    def begin(self, steps: Steps) -> c.SendResponse:
        """Go to the head of the response. The steps are of no use to anybody else from now on."""
        self._steps = steps
        with self._turn:
            head = next(steps)
        self._settle()
        assert isinstance(head, c.SendResponse)
        return head

    def next_piece(self) -> bytes | None:
        """The next piece of the body; None behind the last.

        Raises:
            ReplyClosedError: It was given up before its end.
        """
        try:
            with self._turn:
                piece = self._read()
        finally:
            self._settle()
        if self._given_up and (self._ahead or not self._whole):
            raise ReplyClosedError
        return piece

    def give_up(self) -> None:
        """Nobody takes any more of it. Any thread may say so."""
        self._given_up = True
        self._news.interrupt()
        self._settle()

    def stop(self) -> None:
        """The host ends: have the client told, when it comes for more, and do nothing else that
        takes time."""
        self._stopped = True
        self._news.stop()
        self._settle()

    def _read(self) -> bytes | None:
        if self._ahead:
            return self._ahead.popleft()
        if self._failed is not None:
            raise self._failed
        steps = self._steps
        if steps is None:
            return None
        try:
            for command in steps:
                match command:
                    case c.SendData(data):
                        return data
                    case c.EndResponse():
                        self._whole = True
                    case None:
                        self._leave_behind(steps)
                        break
        except BaseException:
            self._steps = None
            raise
        self._steps = None
        return None

    def _settle(self) -> None:
        """End it, if that is wanted and nobody is at it. Whoever was at it comes by here next."""
        if not (self._stopped or self._given_up) or not self._turn.acquire(blocking=False):
            return
        try:
            steps, self._steps = self._steps, None
            if steps is not None:
                self._end(steps)
        finally:
            self._turn.release()

    def _end(self, steps: Steps) -> None:
        """Go on with what does not take time; that is all there is left."""
        if self._given_up and not self._is_near:
            steps.close()
            return
        try:
            for command in steps:
                match command:
                    case c.SendData() if self._given_up:
                        steps.close()
                    case c.SendData(data):
                        self._ahead.append(data)
                    case c.EndResponse():
                        self._whole = True
                    case None if not self._stopped:
                        self._leave_behind(steps)
                        break
        except Exception as exc:  # it is for whoever reads it, too
            self._failed = exc
            raise

    def _leave_behind(self, steps: Steps) -> None:
        """The client has its answer; what follows is not for it."""
        threading.Thread(target=list, args=(steps,), name="grokproto behind", daemon=True).start()


class Works:
    """Those under way that have something to give back at their end.

    Args:
        on_error: Told of an exception that nobody expected.
    """

    def __init__(self, on_error: Callable[[Exception], object]) -> None:
        self._on_error = on_error
        self._running: set[Work] = set()
        self._changed = threading.Condition()
        """For those, and for what follows."""
        self._stopped = False

    def __len__(self) -> int:
        return len(self._running)

    def enlist(self, work: Work) -> None:
        """Know of one, until `discard`.

        Raises:
            StoppingError: All were stopped, and none may begin.
        """
        with self._changed:
            if self._stopped:
                raise StoppingError
            self._running.add(work)

    def discard(self, work: Work) -> None:
        """It is over, if it was under way at all."""
        with self._changed:
            self._running.discard(work)
            self._changed.notify_all()

    def stop(self, seconds: float) -> None:
        """Stop them all, and let none begin; wait until all are over, but not for long.

        Args:
            seconds: How long.
        """
        with self._changed:
            self._stopped = True
            running = list(self._running)
        for work in running:
            try:
                work.stop()
            except Exception as exc:  # a mistake of ours must not keep the others from ending
                self._on_error(exc)
        with self._changed:
            self._changed.wait_for(lambda: not self._running, seconds)
