"""One loop for every network: Adam with warm-up and cosine decay, clipping, EMA, exact resume, wall-clock budget, CSV
log.

Step i uses fold_in(key(seed), i), so that a resumed run continues with the numbers of an uninterrupted one. With
several devices the batch is split over them (see aps_core.training.devices); the first process alone evaluates, writes and
shows progress.
"""

import contextlib
import csv
import io
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors
from tqdm import tqdm

from aps_core import checks
from aps_core.files import check_writable, remove_unfinished, sha256_of, write_atomically
from aps_core.training import devices
from aps_core.weights import WeightsError

SAVE_SECONDS = 60  # between two checkpoints, and more where one takes longer than SLOW_SAVE
SLOW_SAVE = 3.0
STATE = {"step": int, "seconds": float, "sha256": str, "inputs": dict, "history": list, "recent": list}  # of state.json


@dataclass
class Trained:
    """What ``fit`` returns: ``params`` (averaged), the steps done, seconds over all sessions, and the log as rows."""

    params: dict
    step: int
    seconds: float
    history: list
    finished: bool


@dataclass(frozen=True)
class Watch:
    """What is measured along the way: ``evaluate(params, data, key) -> dict of floats`` of the averaged weights at step 0,
    every ``every`` steps and at the end. Without ``evaluate`` the losses alone are logged.

    Raises TypeError or ValueError for an ``every`` that is no count.
    """

    evaluate: Callable | None = None
    every: int = 100

    def __post_init__(self):
        object.__setattr__(self, "every", checks.count("every", self.every))


@dataclass(frozen=True)
class Session:
    """One sitting of a training. folder: where the checkpoint and ``log.csv`` are kept; a run found there is resumed. budget:
    seconds after which to save and stop. progress: whether a bar ``label`` is shown. inputs: what the run depends on, ready
    for JSON; a checkpoint that was made from other inputs is refused.

    Raises TypeError or ValueError for a folder that is no path, a budget that is no time and a progress that is no flag.
    """

    folder: Path | str | None = None
    budget: float | None = None
    progress: bool = True
    label: str = "train"
    inputs: dict = field(default_factory=dict)

    def __post_init__(self):
        if self.folder is not None and not isinstance(self.folder, (str, os.PathLike)):
            raise TypeError(f"folder must be a path, or None for no checkpoint, got {self.folder!r:.80}")
        if self.folder == "":  # would be no folder: nothing would be kept
            raise ValueError(f"folder must be a path, or None for no checkpoint, got {self.folder!r}")
        checks.flag("progress", self.progress)
        if self.budget is not None and checks.number("budget", self.budget) < 0:
            raise ValueError(f"budget must be a time of at least 0 seconds, got {self.budget!r}")


def fit(loss, params, data, optimizer, watch=Watch(), session=Session()):
    """Minimise ``loss(params, data, key, progress) -> (value, dict of scalars)`` over ``params``; progress goes from 0
    to 1.

    data: pytree passed to the compiled step as an argument (never baked in). SIGTERM and Ctrl-C save too.

    Raises FloatingPointError when the loss or its gradient stops being finite (naming the step), WeightsError for a
    checkpoint that does not fit, and for a folder in which another training is at work.
    """
    folder = None if session.folder is None else Path(session.folder)
    with _alone_in(folder):
        run = _Run(loss, params, data, optimizer, folder, session.inputs)
        return _until_done(run, watch, session)


@contextlib.contextmanager
def _alone_in(folder):
    """Hold the lock of a checkpoint folder: two trainings would remove each other's states. A kill frees it."""
    if folder is None or not devices.is_main():
        yield
        return
    check_writable("checkpoint", folder / "state.json")
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise WeightsError(
            f"another training is at work in the checkpoint folder {folder}: wait for it, or name another folder"
        ) from None
    try:
        remove_unfinished(folder)
        yield
    finally:
        lock.release()


def _until_done(run, watch, session):
    stop, steps = _StopFlag(), run.optimizer.steps
    begin = last_save = time.monotonic()
    pause = SAVE_SECONDS
    earlier = run.seconds
    hidden = None if session.progress and devices.is_main() else True
    bar = tqdm(total=steps, initial=run.step, desc=session.label, disable=hidden, mininterval=1.0)
    with stop, bar:
        if run.step == 0 and not run.history and watch.evaluate is not None:
            run.log(run.evaluate(watch.evaluate))
        while run.step < steps and not devices.agree(stop.requested):
            try:
                value = run.advance()
            except FloatingPointError:
                run.save()
                raise
            run.seconds = earlier + time.monotonic() - begin
            bar.update()
            bar.set_postfix(loss=f"{value:.4g}", refresh=False)
            if run.step == steps or run.step % watch.every == 0:
                run.log(run.evaluate(watch.evaluate))
            if session.budget is not None and devices.agree(time.monotonic() - begin > session.budget):
                break
            if time.monotonic() - last_save > pause:
                begin_save = time.monotonic()
                run.save()
                last_save = time.monotonic()
                pause = SAVE_SECONDS * max(1.0, (last_save - begin_save) / SLOW_SAVE)
        run.save()
    return Trained(run.ema, run.step, run.seconds, run.history, run.step == steps)


class _Run:
    """State of one training run and its checkpoint."""

    def __init__(self, loss, params, data, optimizer, folder, inputs):
        self.optimizer, self.folder, self.mesh = optimizer, folder, devices.data_mesh()
        self.inputs = json.loads(json.dumps({"optimizer": asdict(optimizer), **inputs}))
        self.data = devices.replicate(data, self.mesh)
        transform = optimizer.transform()
        self.params, self.ema, self.opt_state = params, params, transform.init(params)
        self.step, self.seconds, self.history, self.recent, self.sha256 = 0, 0.0, [], [], "0"

        def update(state, data, step):
            params, ema, opt_state = state
            key, progress = self.key(step), (step - 1) / optimizer.steps
            with devices.over(self.mesh), jax.default_matmul_precision(optimizer.matmul):
                held = lambda *args: loss(optimizer.freeze(args[0]), *args[1:])  # noqa: E731
                (value, parts), gradient = jax.value_and_grad(held, has_aux=True)(params, data, key, progress)
            norm = optax.tree.norm(gradient)

            def moved():
                updates, new_opt_state = transform.update(gradient, opt_state, params)
                new = optax.apply_updates(params, updates)
                return (
                    new,
                    optax.incremental_update(new, ema, 1 - optimizer.ema) if optimizer.ema else new,
                    new_opt_state,
                )

            # a choice between whole states, not between their entries: the latter costs twice the update itself
            state = jax.lax.cond(jnp.isfinite(value) & jnp.isfinite(norm), moved, lambda: state)
            return state, value, parts, norm

        # the old state is overwritten, which saves a copy of everything at each step
        self.update = jax.jit(update, donate_argnums=0)
        if folder is not None and (folder / "state.json").is_file():
            self.load()
        self._check_processes()
        # copies: the caller's arrays are not overwritten
        state = jax.tree.map(jnp.array, (self.params, self.ema, self.opt_state))
        self.params, self.ema, self.opt_state = devices.replicate(state, self.mesh)

    def _check_processes(self):
        """Raise WeightsError unless all processes train the same from the same state: nothing else would tell."""
        said = json.dumps([self.inputs["optimizer"], self.inputs.get("recipe")], sort_keys=True)
        if not devices.alike(int(sha256_of(said.encode())[:7], 16)):
            raise WeightsError("the processes of this run have different recipes, expected the same for all")
        if not devices.alike(self.step, int(self.sha256[:7], 16)):
            raise WeightsError(
                f"the processes of this run find different states in the checkpoint folder {self.folder}, this one that of step "
                f"{self.step}: expected a folder that all of them see"
            )

    def key(self, step):
        return jax.random.fold_in(jax.random.key(self.optimizer.seed), step)

    def advance(self):
        """One step; returns the loss."""
        state = (self.params, self.ema, self.opt_state)
        (self.params, self.ema, self.opt_state), value, parts, norm = self.update(
            state, self.data, np.int32(self.step + 1)
        )
        value, norm = float(value), float(norm)
        if not np.isfinite(value + norm):
            what = f"the loss is {value}, the norm of its gradient {norm}"
            raise FloatingPointError(f"{what} at step {self.step + 1}; the last good state is that of step {self.step}")
        self.step += 1
        self.recent.append({"loss": value, **{name: float(part) for name, part in parts.items()}})
        return value

    def evaluate(self, function):
        """What ``function(params, data, key)`` measures of the averaged weights; on one device, so that it needs no
        other process.
        """
        if function is None or not devices.is_main():
            return {}
        params, data = jax.tree.map(jnp.array, self.ema), self.data
        if self.mesh is not None:
            params, data = jax.device_get((params, data))
        return function(params, data, self.key(0))

    def log(self, measured):
        """Append a row: means of the losses since the last row, and what was evaluated.

        Raises TypeError for what is no number: a checkpoint could not hold it, and all since the last would be lost.
        """
        measured = _numbers_of(measured)
        names = self.recent[0] if self.recent else []
        means = {name: float(np.mean([row[name] for row in self.recent])) for name in names}
        self.history.append({"step": self.step, "seconds": round(self.seconds, 3), **means, **measured})
        self.recent = []

    def save(self):
        """Checkpoint and log, each written under a temporary name first; the log last-but-one, the step last."""
        if self.folder is None or not devices.is_main():
            return
        leaves = jax.tree.leaves((self.params, self.ema, self.opt_state))
        arrays = {f"{i:05d}": np.ascontiguousarray(leaf) for i, leaf in enumerate(leaves)}
        content = save_safetensors(arrays)
        write_atomically(self.folder / f"state-{self.step}.safetensors", content)
        self._write_log()
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "sha256": sha256_of(content),
            "inputs": self.inputs,
            "history": self.history,
            "recent": self.recent,
        }
        write_atomically(self.folder / "state.json", json.dumps(state).encode())
        for old in self.folder.glob("state-*.safetensors"):
            if old.name != f"state-{self.step}.safetensors":
                old.unlink()

    def _write_log(self):
        names = list(dict.fromkeys(name for row in self.history for name in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, names)
        writer.writeheader()
        writer.writerows(self.history)
        write_atomically(self.folder / "log.csv", text.getvalue())

    def load(self):
        state, arrays = self._read()
        differing = _first_difference(state["inputs"], self.inputs)
        if differing is not None:
            raise WeightsError(
                f"the checkpoint in {self.folder} was made from other inputs: {differing}; to start anew remove that folder "
                "or name another one"
            )
        if not 0 <= state["step"] <= self.optimizer.steps:
            raise WeightsError(
                f"the checkpoint in {self.folder} is altered: step is {state['step']}, expected one of 0 to {self.optimizer.steps}; "
                "remove it to start anew"
            )
        leaves, structure = jax.tree.flatten((self.params, self.ema, self.opt_state))
        saved = [arrays[name] for name in sorted(arrays)]
        # scalars (Adam's counters) are stored with shape (1,)
        if [np.atleast_1d(leaf).shape for leaf in leaves] != [array.shape for array in saved]:
            raise WeightsError(f"the checkpoint in {self.folder} is of another network")
        restored = [jnp.asarray(array.reshape(leaf.shape)) for array, leaf in zip(saved, leaves, strict=True)]
        self.params, self.ema, self.opt_state = jax.tree.unflatten(structure, restored)
        self.step, self.seconds = state["step"], state["seconds"]
        self.history, self.recent = state["history"], state["recent"]
        self.sha256 = state["sha256"]

    def _read(self):
        """The state and the arrays that belong to it, checked by sha256."""
        try:
            state = json.loads((self.folder / "state.json").read_text("utf-8"))
            for name, kind in STATE.items():
                if not isinstance(state[name], kind) or not _are_rows(state[name]):
                    raise ValueError(f"{name} is {state[name]!r:.80}")
            content = (self.folder / f"state-{state['step']}.safetensors").read_bytes()
            if state["sha256"] != (sha := sha256_of(content)):
                raise ValueError(f"sha256 {sha[:12]}..., {state['sha256'][:12]}... expected")
            return state, load_safetensors(content)
        except (ValueError, KeyError, TypeError, OSError, RecursionError, SafetensorError) as error:
            raise WeightsError(
                f"the checkpoint in {self.folder} is truncated or altered: {error!r}; remove it to start anew"
            ) from error


def _are_rows(value):
    """Whether ``value``, where it is a list, is one of rows: numbers by name."""
    return not isinstance(value, list) or all(
        isinstance(row, dict) and all(isinstance(one, (int, float)) for one in row.values()) for row in value
    )


def _numbers_of(measured):
    """What ``evaluate`` gave as numbers that JSON knows. Raises TypeError naming what is none."""
    if not isinstance(measured, dict):
        raise TypeError(f"evaluate must give a dict of numbers, got {measured!r:.80}")
    found = {}
    for name, value in measured.items():
        array = np.asarray(value)
        if array.ndim or array.dtype.kind not in "biuf":
            raise TypeError(f"evaluate must give a dict of numbers, got {name!r} = {value!r:.80}")
        found[name] = value if isinstance(value, (int, float)) else array.item()
    return found


def _first_difference(old, new, path=""):
    """Where two JSON values differ first, in words, or None."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            found = _first_difference(old.get(name), new.get(name), f"{path}.{name}" if path else name)
            if found is not None:
                return found
        return None
    return None if old == new else f"{path} was {old!r}, now it is {new!r}"


class _StopFlag:
    """Turns SIGTERM and SIGINT into a request to stop after the current step; only in the main thread."""

    requested = False

    def __enter__(self):
        self.previous = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self.previous[number] = signal.signal(number, self._request)
        return self

    def _request(self, number, frame):
        del number, frame
        self.requested = True

    def __exit__(self, *exc):
        for number, handler in self.previous.items():
            signal.signal(number, handler)
