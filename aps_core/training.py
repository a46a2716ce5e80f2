"""One loop for every network: Adam with warm-up and cosine decay, clipping, EMA, exact resume, wall-clock budget, CSV log.

Step i uses fold_in(key(seed), i), so that a resumed run continues with the numbers of an uninterrupted one. With several devices the
batch is split over them (see aps_core.parallel); the first process alone evaluates, writes and shows progress.
"""

import csv
import hashlib
import json
import os
import signal
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors
from tqdm import tqdm

from aps_core import parallel
from aps_core.weights import WeightsError, write_bytes

SAVE_SECONDS = 60  # between two checkpoints
PRECISIONS = ("float32", "tensorfloat32", "bfloat16")


@dataclass(frozen=True)
class Optimizer:
    """Adam settings of a recipe: ``steps`` in all, peak ``learning_rate`` after ``warmup`` steps, then cosine decay to ``final``.

    clip: largest global gradient norm; ema: decay of the averaged weights (0 keeps the last ones); seed: of all randomness.
    matmul: precision of matrix products on a GPU or TPU, "float32", "tensorfloat32" or "bfloat16"; a CPU always uses float32.
    """

    steps: int
    learning_rate: float = 1e-3
    warmup: int = 100
    final: float = 0.01
    clip: float = 1.0
    ema: float = 0.995
    seed: int = 0
    matmul: str = "float32"

    def __post_init__(self):
        for name in ("steps", "learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"optimizer {name} must be positive, got {getattr(self, name)!r}")
        if not 0 <= self.warmup < self.steps:
            raise ValueError(f"optimizer warmup must lie in 0..steps-1 (steps {self.steps}), got {self.warmup!r}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"optimizer ema must lie in [0, 1), got {self.ema!r}")
        if self.matmul not in PRECISIONS:
            raise ValueError(f"optimizer matmul must be one of {PRECISIONS}, got {self.matmul!r}")

    def transform(self):
        """The optax chain."""
        peak = self.learning_rate
        schedule = optax.warmup_cosine_decay_schedule(0.0, peak, self.warmup, self.steps, peak * self.final)
        return optax.chain(optax.clip_by_global_norm(self.clip), optax.adam(schedule))


@dataclass
class Trained:
    """What ``fit`` returns: ``params`` (averaged), the steps done, seconds over all sessions, and the log as rows."""

    params: dict
    step: int
    seconds: float
    history: list
    finished: bool


def fit(loss, params, data, optimizer, *, evaluate=None, evaluate_every=100, folder=None, budget=None, progress=True, label="train"):
    """Minimise ``loss(params, data, key, progress) -> (value, dict of scalars)`` over ``params``; progress goes from 0 to 1.

    data: pytree passed to the compiled step as an argument (never baked in). evaluate(params, data, key) -> dict of floats is
    called on the averaged weights at step 0, every ``evaluate_every`` steps and at the end. folder: where the checkpoint and
    ``log.csv`` are kept; a run found there is resumed. budget: seconds after which to save and stop. SIGTERM and Ctrl-C save too.

    Raises FloatingPointError when the loss or its gradient stops being finite (naming the step), WeightsError for a checkpoint that does not fit.
    """
    run = _Run(loss, params, data, optimizer, Path(folder) if folder else None)
    stop = _StopFlag()
    begin = last_save = time.monotonic()
    earlier = run.seconds
    progress = progress and parallel.is_main()
    bar = tqdm(total=optimizer.steps, initial=run.step, desc=label, disable=None if progress else True, mininterval=1.0)
    with stop, bar:
        if run.step == 0 and evaluate is not None:
            run.log(run.evaluate(evaluate))
        while run.step < optimizer.steps and not parallel.agree(stop.requested):
            try:
                value = run.advance()
            except FloatingPointError:
                run.save()
                raise
            run.seconds = earlier + time.monotonic() - begin
            bar.update()
            bar.set_postfix(loss=f"{value:.4g}", refresh=False)
            done = run.step == optimizer.steps
            if done or run.step % evaluate_every == 0:
                run.log(run.evaluate(evaluate))
            if budget is not None and parallel.agree(time.monotonic() - begin > budget):
                break
            if time.monotonic() - last_save > SAVE_SECONDS:
                run.save()
                last_save = time.monotonic()
        run.save()
    return Trained(run.ema, run.step, run.seconds, run.history, run.step == optimizer.steps)


class _Run:
    """State of one training run and its checkpoint."""

    def __init__(self, loss, params, data, optimizer, folder):
        self.optimizer, self.folder, self.mesh = optimizer, folder, parallel.data_mesh()
        self.data = parallel.replicate(data, self.mesh)
        transform = optimizer.transform()
        self.params, self.ema, self.opt_state = params, params, transform.init(params)
        self.step, self.seconds, self.history, self.recent = 0, 0.0, [], []

        def update(state, data, step):
            params, ema, opt_state = state
            key, progress = self.key(step), (step - 1) / optimizer.steps
            with parallel.over(self.mesh), jax.default_matmul_precision(optimizer.matmul):
                (value, parts), gradient = jax.value_and_grad(loss, has_aux=True)(params, data, key, progress)
            norm = optax.tree.norm(gradient)

            def moved():
                updates, new_opt_state = transform.update(gradient, opt_state, params)
                new = optax.apply_updates(params, updates)
                return new, optax.incremental_update(new, ema, 1 - optimizer.ema) if optimizer.ema else new, new_opt_state

            # a choice between whole states, not between their entries: the latter costs twice the update itself
            state = jax.lax.cond(jnp.isfinite(value) & jnp.isfinite(norm), moved, lambda: state)
            return state, value, parts, norm

        # the old state is overwritten, which saves a copy of everything at each step
        self.update = jax.jit(update, donate_argnums=0)
        if folder is not None and (folder / "state.json").is_file():
            self.load()
        state = jax.tree.map(jnp.array, (self.params, self.ema, self.opt_state))  # copies: the caller's arrays are not overwritten
        self.params, self.ema, self.opt_state = parallel.replicate(state, self.mesh)

    def key(self, step):
        return jax.random.fold_in(jax.random.key(self.optimizer.seed), step)

    def advance(self):
        """One step; returns the loss."""
        state = (self.params, self.ema, self.opt_state)
        (self.params, self.ema, self.opt_state), value, parts, norm = self.update(state, self.data, np.int32(self.step + 1))
        value, norm = float(value), float(norm)
        if not np.isfinite(value + norm):
            what = f"the loss is {value}, the norm of its gradient {norm}"
            raise FloatingPointError(f"{what} at step {self.step + 1}; the last good state is that of step {self.step}")
        self.step += 1
        self.recent.append({"loss": value, **{name: float(part) for name, part in parts.items()}})
        return value

    def evaluate(self, function):
        """What ``function(params, data, key)`` measures of the averaged weights; on one device, so that it needs no other process."""
        if function is None or not parallel.is_main():
            return {}
        params, data = jax.tree.map(jnp.array, self.ema), self.data
        if self.mesh is not None:
            params, data = jax.device_get((params, data))
        return function(params, data, self.key(0))

    def log(self, measured):
        """Append a row: means of the losses since the last row, and what was evaluated."""
        names = self.recent[0] if self.recent else []
        means = {name: float(np.mean([row[name] for row in self.recent])) for name in names}
        self.history.append({"step": self.step, "seconds": round(self.seconds, 3), **means, **measured})
        self.recent = []

    def save(self):
        """Checkpoint and log, each written under a temporary name first; the log last-but-one, the step last."""
        if self.folder is None or not parallel.is_main():
            return
        leaves = jax.tree.leaves((self.params, self.ema, self.opt_state))
        arrays = {f"{i:05d}": np.ascontiguousarray(leaf) for i, leaf in enumerate(leaves)}
        content = save_safetensors(arrays)
        write_bytes(self.folder / f"state-{self.step}.safetensors", content)
        self._write_log()
        state = {
            "step": self.step, "seconds": self.seconds, "sha256": hashlib.sha256(content).hexdigest(),
            "optimizer": asdict(self.optimizer), "history": self.history, "recent": self.recent,
        }  # fmt: skip
        write_bytes(self.folder / "state.json", json.dumps(state).encode())
        for old in self.folder.glob("state-*.safetensors"):
            if old.name != f"state-{self.step}.safetensors":
                old.unlink()

    def _write_log(self):
        names = list(dict.fromkeys(name for row in self.history for name in row))
        temporary = self.folder / "log.csv.part"
        with open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.history)
        os.replace(temporary, self.folder / "log.csv")

    def load(self):
        state, arrays = self._read()
        if {"matmul": "float32", **state["optimizer"]} != asdict(self.optimizer):  # older checkpoints do not say the precision
            raise WeightsError(f"the checkpoint in {self.folder} was made with {state['optimizer']}, this run has {asdict(self.optimizer)}")
        leaves, structure = jax.tree.flatten((self.params, self.ema, self.opt_state))
        saved = [arrays[name] for name in sorted(arrays)]
        # scalars (Adam's counters) are stored with shape (1,)
        if [np.atleast_1d(leaf).shape for leaf in leaves] != [array.shape for array in saved]:
            raise WeightsError(f"the checkpoint in {self.folder} is of another network")
        restored = [jnp.asarray(array.reshape(leaf.shape)) for array, leaf in zip(saved, leaves, strict=True)]
        self.params, self.ema, self.opt_state = jax.tree.unflatten(structure, restored)
        self.step, self.seconds = state["step"], state["seconds"]
        self.history, self.recent = state["history"], state["recent"]

    def _read(self):
        """The state and the arrays that belong to it, checked by sha256."""
        try:
            state = json.loads((self.folder / "state.json").read_text())
            content = (self.folder / f"state-{state['step']}.safetensors").read_bytes()
            if state["sha256"] != (sha := hashlib.sha256(content).hexdigest()):
                raise ValueError(f"sha256 {sha[:12]}..., {state['sha256'][:12]}... expected")
            return state, load_safetensors(content)
        except (ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
            raise WeightsError(f"the checkpoint in {self.folder} is truncated or altered: {error!r}; remove it to start anew") from error


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
