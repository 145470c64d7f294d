"""An event loop on virtual time, shared by simulated processes that can be killed, paused and started again.

Everything that happens is a handle of some process. Handles run first in, first out, as asyncio promises; time moves to
the next timer when none is left. So a run is decided by the seed alone. A killed process's handles never run, not even
its `finally` blocks: that is what SIGKILL does. A paused one's wait, with all that reached it meanwhile.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from itertools import count
from typing import Any

_THREAD_SECONDS = 0.001


class Livelock(Exception):
    """More steps than any run needs: something goes round in circles."""


class Process:
    """What is killed and paused together. `clock` is how far its clock is off, in microseconds."""

    def __init__(self, loop: "SimulatedLoop", name: str) -> None:
        self.loop = loop
        self.name = name
        self.alive = True
        self.paused = False
        self.held: list[Handle] = []
        self.fuse: int | None = None
        """How many more steps it may take before it is killed."""
        self.on_death: list[Callable[[], None]] = []
        self.clock = 0
        self.exit: BaseException | None = None
        loop.processes.append(self)

    def __repr__(self) -> str:
        return self.name

    def kill(self) -> None:
        if not self.alive:
            return
        self.alive = False
        self.loop.buried += self.held
        self.held.clear()
        for each in self.on_death:
            self.loop.call_at(self.loop.time(), each, process=self.loop.nature)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        held, self.held = self.held, []
        self.loop.ready.extend(held)

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """A task of this process."""
        before, self.loop.current = self.loop.current, self
        try:
            return self.loop.create_task(coroutine)
        finally:
            self.loop.current = before


class Handle:
    __slots__ = ("_canceled", "arguments", "callback", "process", "time")

    def __init__(
        self, process: Process, callback: Callable[..., object], arguments: tuple[Any, ...], time: float
    ) -> None:
        self.process = process
        self.callback = callback
        self.arguments = arguments
        self.time = time
        self._canceled = False

    def cancel(self) -> None:
        self._canceled = True

    def cancelled(self) -> bool:
        return self._canceled

    def when(self) -> float:
        return self.time


class SimulatedTask(asyncio.Task[Any]):
    """Sets of tasks are gone through in the same order in every run: by when they began, not where in memory."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], loop: "SimulatedLoop") -> None:
        self._number = next(loop.task_numbers)
        super().__init__(coroutine, loop=loop, name="task")

    def __hash__(self) -> int:
        return self._number


class SimulatedLoop(asyncio.AbstractEventLoop):
    def __init__(self, salt: int = 0, most_steps: int = 400_000) -> None:
        self.ready: deque[Handle] = deque()
        self._timers: list[tuple[float, int, Handle]] = []
        self._now = 0.0
        self._count = 0
        self._most_steps = most_steps
        self.steps = 0
        self.processes: list[Process] = []
        self.nature = Process(self, "nature")
        """Whom the faults belong to, and whatever else is of no process."""
        self.current = self.nature
        self.task_numbers = count(salt * 1_000_003)
        self._tasks: list[asyncio.Task[Any]] = []
        self.buried: list[Handle] = []
        """What dead processes would have done next; run only to get rid of their tasks."""

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        handle = Handle(self.current, callback, args, self._now)
        self.ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        return self.call_at(self._now + delay, callback, *args)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
        process: Process | None = None,
    ) -> Handle:
        handle = Handle(process or self.current, callback, args, when)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, handle))
        return handle

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> "asyncio.Task[Any]":
        task = SimulatedTask(coro, self)
        self._tasks.append(task)
        return task

    def run_in_executor(  # type: ignore[override]
        self, executor: None, func: Callable[..., Any], *args: Any
    ) -> "asyncio.Future[Any]":
        """What a thread would do is done at once, and its result is there a moment later."""
        future = self.create_future()
        try:
            result = func(*args)
        except Exception as error:
            self.call_later(_THREAD_SECONDS, _fail, future, error)
        else:
            self.call_later(_THREAD_SECONDS, _succeed, future, result)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Told when a task is forgotten with an exception that nobody asked for, as those of killed processes are."""

    async def shutdown_asyncgens(self) -> None:
        return

    def run_until(self, until: float, done: Callable[[], bool] | None = None) -> bool:
        """Run up to this time, or until `done`, which is asked each time that time moves on. Whether it is done."""
        asyncio._set_running_loop(self)
        try:
            return self._run(until, done)
        finally:
            asyncio._set_running_loop(None)
            self.current = self.nature

    def _run(self, until: float, done: Callable[[], bool] | None) -> bool:
        timers = self._timers
        while True:
            self._run_ready()
            if done is not None and done():
                return True
            if not timers or timers[0][0] > until:
                self._now = max(self._now, until)
                return False
            when, _, handle = heapq.heappop(timers)
            if handle._canceled:
                continue
            self._now = max(self._now, when)
            self.ready.append(handle)

    def _run_ready(self) -> None:
        ready = self.ready
        while ready:
            handle = ready.popleft()
            process = handle.process
            if handle._canceled:
                continue
            if not process.alive:
                self.buried.append(handle)
                continue
            if process.paused:
                process.held.append(handle)
                continue
            if process.fuse is not None and self._burn(process):
                self.buried.append(handle)
                continue
            self.steps += 1
            if self.steps > self._most_steps:
                raise Livelock(f"{self.steps} steps")
            self.current = process
            handle.callback(*handle.arguments)

    def _burn(self, process: Process) -> bool:
        assert process.fuse is not None
        process.fuse -= 1
        if process.fuse > 0:
            return False
        process.fuse = None
        process.kill()
        return True

    def dispose(self) -> None:
        """Let every task end, whatever becomes of it; the run is over."""
        self._timers.clear()
        self.ready.extend(self.buried)
        self.buried.clear()
        asyncio._set_running_loop(self)
        try:
            for _ in range(20):
                tasks = [task for task in self._tasks if not task.done()]
                if not tasks:
                    break
                for task in tasks:
                    task.cancel()
                self._drain()
        finally:
            asyncio._set_running_loop(None)

    def _drain(self) -> None:
        for _ in range(50_000):
            if not self.ready:
                return
            handle = self.ready.popleft()
            if not handle._canceled:
                try:
                    handle.callback(*handle.arguments)
                except (Exception, asyncio.CancelledError):
                    pass


def _succeed(future: "asyncio.Future[Any]", result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: "asyncio.Future[Any]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
