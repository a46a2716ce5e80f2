"""What doit remembers between builds: written whole after each task, and held by one build at a time."""

import json
import sys
from pathlib import Path

from doit.dependency import JsonDB
from doit.exceptions import InvalidCommand
from filelock import FileLock, Timeout


class State(JsonDB):
    """doit's JSON state, safe against kills, full disks and a second build.

    doit writes its own at the end only, in place. This one is replaced as a whole whenever a task has succeeded or
    failed, and one that cannot be read counts as none, so that at worst something runs again. The file's lock is held
    as long as the process lives; raises InvalidCommand, which doit prints, where another build holds it.
    """

    def __init__(self, name, codec, *, module_name=None):
        self._lock = FileLock(f"{name}.lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            path = Path(name).resolve()
            raise InvalidCommand(f"another build is at work on {path}: wait for it, or stop it") from None
        super().__init__(name, codec, module_name=module_name)

    def _load(self):
        try:
            state = json.loads(Path(self.name).read_text("utf-8"))
            if isinstance(state, dict) and all(isinstance(entry, dict) for entry in state.values()):
                return state
            error = "not a table of tasks"
        except (OSError, ValueError) as unreadable:
            error = unreadable
        print(f"{self.name} cannot be read ({error}): everything counts as not built", file=sys.stderr)
        return {}

    def set(self, task_id, dependency, value):
        super().set(task_id, dependency, value)
        if dependency == "deps:":  # the last entry that doit makes of a task that succeeded
            self.dump()

    def remove(self, task_id):
        super().remove(task_id)
        self.dump()

    def dump(self):
        from aps_core.files import write_atomically  # takes seconds, which `doit list` need not wait for

        try:
            write_atomically(self.name, self.codec.encode(self._db))
        except OSError as error:
            print(f"{self.name} was not written, what was built last will be built again: {error}", file=sys.stderr)
