"""What a build prints while it works: which notebook of how many, how long it took, and how long the rest may take.

The seconds of the last run of each notebook are kept in .build/seconds.json; the estimate is their sum over those that
look stale (a file that they depend on is newer than their record). One that was not run here before is taken to need what
book/build.toml says, times what those that ended in this build needed more or less than that.
"""

import contextlib
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from doit.reporter import ConsoleReporter

SECONDS = Path(".build/seconds.json")
PREFIX = "notebook:"


class Progress(ConsoleReporter):
    """doit's console reporter with a line at the beginning and the end of each notebook; on a terminal it counts on."""

    desc = "which notebook of how many, seconds, and time left"

    def __init__(self, outstream, options):
        super().__init__(outstream, options)
        self.stale, self.last, self.begun, self.number, self.total = set(), seconds(), {}, 0, 1
        self.at_once = int(os.environ.get("APS_AT_ONCE", "1"))  # notebooks, which `make book` says
        self.usual, self.paces = {}, []  # seconds elsewhere; what was needed here over that
        self.clock, self.lock = None, threading.Lock()  # two notebooks may begin at once, each in its thread

    def initialize(self, tasks, selected_tasks):
        """Note the notebooks of this build and which of them look stale."""
        wanted = [name for name in needed(tasks, selected_tasks) if name.startswith(PREFIX)]
        self.stale = {name for name in wanted if looks_stale(tasks[name])}
        told = {name: (tasks[name].meta or {}).get("seconds") for name in wanted}
        self.usual = {name: seconds for name, seconds in told.items() if seconds}
        self.number, self.total = 0, max(len(wanted), 1)

    def execute_task(self, task):
        """A line that says what begins."""
        if not task.name.startswith(PREFIX):
            super().execute_task(task)
            return
        with self.lock:
            self._pause()
            self.stale.add(task.name)
            self.begun[task.name] = time.monotonic()
            self.at_once = max(self.at_once, len(self.begun))
            self.number += 1
            self.write(f"{self._begins(task.name)}\n")
            self._count()

    def skip_uptodate(self, task):
        """As doit's; it does not run any more."""
        if task.name.startswith(PREFIX):
            self.stale.discard(task.name)
            self.number += 1
        super().skip_uptodate(task)

    def add_success(self, task):
        """A line that says what ended."""
        if task.name in self.stale and task.executed:
            self._end(task.name, "done")

    def add_failure(self, task, fail):
        """A line that says what failed, then doit's."""
        if task.name in self.stale and task.executed:
            self._end(task.name, "failed")
        super().add_failure(task, fail)

    def _begins(self, name):
        place = f"{self.number} of {self.total}"
        last = self.last.get(short(name))
        before = "not run before" if last is None else f"{duration(last)} last time"
        return f".  {place}: {short(name)} runs ({before}; {self.left()})"

    def _end(self, name, how):
        with self.lock:
            self._pause()
            took = time.monotonic() - self.begun.pop(name)
            self.stale.discard(name)
            if how == "done":
                self.last = keep(short(name), took)
                self.paces += [took / self.usual[name]] if name in self.usual else []
            self.write(f"   {short(name)} {how} after {duration(took)}; {self.left()}\n")
            self._count()

    def _pause(self):
        if self.clock is not None:
            self.clock = self.clock.stop()

    def _count(self):
        if self.begun and self.outstream.isatty():
            self.clock = Clock(self.outstream, {short(name): begun for name, begun in self.begun.items()})

    def left(self):
        """The time left in words."""
        pace = statistics.median(self.paces or [1.0])
        here = [self.last[short(name)] for name in self.stale if short(name) in self.last]
        elsewhere = [
            pace * self.usual[name] for name in self.stale if short(name) not in self.last and name in self.usual
        ]
        unknown = len(self.stale) - len(here) - len(elsewhere)
        if not self.stale:
            return "no notebook left"
        if unknown == len(self.stale):
            return "time left unknown"
        source = " by the times of another machine" if elsewhere and not self.paces else ""
        more = f", and {unknown} not run before" if unknown else ""
        return f"about {duration(sum(here + elsewhere) / self.at_once)} left{source}{more}"


class Clock(threading.Thread):
    """Counts the seconds of what runs, {name: when it began}, on a terminal, in a line that is removed at the end."""

    def __init__(self, stream, begun):
        super().__init__(daemon=True)
        self.stream, self.ended, self.begun = stream, threading.Event(), begun
        self.start()

    def run(self):
        """Write the line anew each second."""
        while not self.ended.wait(1.0):
            now = time.monotonic()
            running = ", ".join(f"{name} {duration(now - begun)}" for name, begun in self.begun.items())
            self.stream.write(f"\r\033[K   {running} ")
            self.stream.flush()
        self.stream.write("\r\033[K")

    def stop(self):
        """End and remove the line; returns None."""
        self.ended.set()
        self.join()


@contextlib.contextmanager
def step(name: str, what: str) -> Iterator[None]:
    """Say what begins, and how long it took the last time; a terminal counts the seconds. How long it takes is kept under
    ``name`` where it ends without an exception.
    """
    last = seconds().get(name)
    print(f".  {what} ({'not done before' if last is None else f'{duration(last)} last time'})", flush=True)
    begun = time.monotonic()
    clock = Clock(sys.stdout, {name: begun}) if sys.stdout.isatty() else None
    try:
        yield
    finally:
        if clock is not None:
            clock.stop()
    keep(name, time.monotonic() - begun)


def needed(tasks, selected):
    """The names of the selected tasks and of all that they need."""
    found, todo = set(), list(selected)
    while todo:
        name = todo.pop()
        if name in tasks and name not in found:
            found.add(name)
            todo += tasks[name].task_dep
    return found


def looks_stale(task):
    """Whether a result of the task is missing, or older than a file that it depends on; doit itself looks closer."""
    made, needed = [Path(p) for p in task.targets], [Path(p) for p in task.file_dep]
    if not all(path.exists() for path in made):
        return True
    newest = max((path.stat().st_mtime for path in needed if path.exists()), default=0.0)
    return newest > min(path.stat().st_mtime for path in made)


def short(name):
    """The notebook's name without the task's."""
    return name.removeprefix(PREFIX)


def duration(value):
    """Seconds in words, such as "48 s" or "3 min 20 s"."""
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def seconds():
    """{notebook: seconds of its last run}; empty where nothing is known."""
    try:
        found = json.loads(SECONDS.read_text("utf-8"))
        return {name: float(value) for name, value in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def keep(name, value):
    """Keep the seconds of a run; a file that cannot be written costs only the next estimate."""
    from aps_core.files import write_atomically  # takes seconds, which `doit list` need not wait for

    found = {**seconds(), name: round(value, 1)}
    try:
        write_atomically(SECONDS, json.dumps(found, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        print(f"{SECONDS} was not written: {error}", file=sys.stderr)
    return found
