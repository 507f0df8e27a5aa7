"""What /debug/pprof/ answers for a Python program: where time and memory go, and what is being waited for.

The CPU profile is taken by the profiling timer's signal (SIGPROF), as Go takes its own: a sampling thread would get
its turn when the event loop waits, and so see it always waiting. Folded stacks are what flame graph tools read.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import traceback
import tracemalloc
from collections import Counter
from io import StringIO
from types import FrameType

from fairway.io.http.message import Answer, Handler, Request

MAX_SECONDS = 120.0
RATE = 100
_INDEX = """profiles of this process:

/debug/pprof/profile?seconds=10    CPU time of the event loop's thread: folded stacks, 100 samples a second
/debug/pprof/tasks                 asyncio tasks, and where each one waits
/debug/pprof/threads               threads, and where each one is
/debug/pprof/heap?seconds=10       memory allocated in that time and still held, by line
/debug/pprof/cmdline               the command line
"""


def profile_handlers() -> dict[str, Handler]:
    """Handlers by path."""
    return {
        "/debug/pprof/": lambda request: Answer.text(200 if request.path == "/debug/pprof/" else 404, _INDEX),
        "/debug/pprof/profile": _profile,
        "/debug/pprof/tasks": lambda _: Answer.text(200, _tasks()),
        "/debug/pprof/goroutine": lambda _: Answer.text(200, _tasks()),
        "/debug/pprof/threads": lambda _: Answer.text(200, _threads()),
        "/debug/pprof/heap": _heap,
        "/debug/pprof/cmdline": lambda _: Answer.text(200, "\0".join(sys.orig_argv)),
    }


def _seconds(request: Request) -> float | None:
    try:
        seconds = float(request.query.get("seconds", "10"))
    except ValueError:
        return None
    return seconds if 0 < seconds <= MAX_SECONDS else None


_BAD_SECONDS = Answer.text(400, f"seconds: a number above 0 and up to {MAX_SECONDS:.0f} is wanted\n")


async def _profile(request: Request) -> Answer:
    seconds = _seconds(request)
    if seconds is None:
        return _BAD_SECONDS
    if threading.current_thread() is not threading.main_thread():
        return Answer.text(501, "this server does not run in the main thread, which alone gets signals\n")
    if signal.getitimer(signal.ITIMER_PROF)[0]:
        return Answer.text(409, "another profile is being taken\n")
    counts: Counter[str] = Counter()
    before = signal.signal(signal.SIGPROF, lambda _, frame: counts.update((_fold(frame),)))
    signal.setitimer(signal.ITIMER_PROF, 1 / RATE, 1 / RATE)
    try:
        await asyncio.sleep(seconds)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        # not the default action, which ends the process: one more signal may be on its way
        signal.signal(signal.SIGPROF, before if callable(before) else signal.SIG_IGN)
    return Answer.text(200, "".join(f"{stack} {count}\n" for stack, count in counts.most_common()))


def _fold(frame: FrameType | None) -> str:
    names = []
    while frame is not None:
        names.append(f"{frame.f_globals.get('__name__', '?')}.{frame.f_code.co_name}")
        frame = frame.f_back
    return ";".join(reversed(names))


def _tasks() -> str:
    text = StringIO()
    for task in sorted(asyncio.all_tasks(), key=lambda task: task.get_name()):
        print(f"task {task.get_name()}: {getattr(task.get_coro(), '__qualname__', '?')}", file=text)
        task.print_stack(file=text)
        print(file=text)
    return text.getvalue()


def _threads() -> str:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "".join(
        f"thread {names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame))}\n"
        for ident, frame in sorted(sys._current_frames().items())  # noqa: SLF001
    )


async def _heap(request: Request) -> Answer:
    seconds = _seconds(request)
    if seconds is None:
        return _BAD_SECONDS
    if tracemalloc.is_tracing():
        return Answer.text(409, "another heap profile is being taken\n")
    tracemalloc.start()
    try:
        await asyncio.sleep(seconds)
        found = await asyncio.to_thread(tracemalloc.take_snapshot)
    finally:
        tracemalloc.stop()
    lines = [
        f"{stat.size:>12} bytes {stat.count:>8} blocks  {stat.traceback}\n" for stat in found.statistics("lineno")[:100]
    ]
    return Answer.text(200, "".join(lines))
