"""Full-size numbers on why the bound moves the mean of a flow on faces, added to the full run of the page on the paper's
objective.

``python -m aps_book.experiments.objective_faces`` writes weights/results/protocol.added-mean.json. Needs CelebA in
APS_DATA_DIR; some ten minutes of one core, of which the two chains take most.
"""

import argparse
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from aps_book import record
from aps_book.experiments import moved_mean
from aps_book.experiments.measured import measure
from aps_core import data
from aps_core.posterior import load_posterior
from aps_core.tasks import load_task

FLOWS = {
    "forward": "faces-denoise-held-out",
    "reverse": "faces-denoise-reverse",
    "spread": "faces-denoise-reverse-spread",
}
ROWS = {
    "spread": "flow, mean frozen at Tweedie's",
    "forward": "flow of the forward divergence",
    "reverse": "flow of the reverse divergence",
    "bound": "posterior of the bound, without a flow",
    "score": "posterior of the score at noise 0.01, without a flow",
    "coarse": "the same at noise 0.06",
    "fine": "at noise 0.01, a third of the step",
    "diffusion": "reverse diffusion from y, without a flow",
}
NOISES = (0.01, 0.05, 0.2)  # at which the Jacobian is looked at
SEGMENT = (0, 50, 100)  # per cent of the way from Tweedie's mean to the reverse flow's
PARTS, SAMPLES = 8, 2  # equal parts of the log odds; samples of each face for what the bound pays
CHAIN = {
    "bound": moved_mean.Langevin(moved_mean.bound_slope(), 44, 16, n_times=4, step=0.3, keep_every=2),
    "score": moved_mean.Langevin(moved_mean.score_slope(0.01), 56, 28, n_times=2, step=0.3, keep_every=2),
    "coarse": moved_mean.Langevin(moved_mean.score_slope(0.06), 40, 16, n_times=2, step=0.3, keep_every=2),
    "fine": moved_mean.Langevin(moved_mean.score_slope(0.01), 120, 60, n_times=2, step=0.1, keep_every=2),
}


class Faces:
    """Measured faces, their samples by flow of FLOWS (n, m, d), and what the estimates are held against, as flat arrays:
    Tweedie's means and other samples of the reverse flow, ``moved`` (n, 2 m, d). ``first`` takes that many of them.
    """

    def __init__(self, dataset, n, n_samples=128, first=None, seed=0):
        self.task = load_task("faces-denoise")
        self.prior, self.dataset = self.task.prior, dataset
        self.flows = {row: load_posterior(self.task, weights=name) for row, name in FLOWS.items()}
        self.modes = self.flows["spread"].flow.modes
        case = measure(self.task, dataset, n, seed)
        self.measurements = jax.tree.map(lambda a: a[:first], case.measurements)
        self.y, self.x0 = (np.asarray(a[:first]).reshape(len(a[:first]), -1) for a in (case.measurements.y, case.x0))
        self.tweedie = np.asarray(moved_mean.tweedie_means(self.prior, jnp.asarray(self.y), self.task.sigma_y))
        self.samples = {row: self._drawn(row, seed + 3, n_samples) for row in FLOWS}
        self.moved = self._drawn("reverse", seed + 4, 2 * n_samples)

    def _drawn(self, row, seed, m):
        samples = np.asarray(self.flows[row].sample(jax.random.key(seed), self.measurements, m))
        return samples.reshape(*samples.shape[:2], -1)

    def along(self, means):
        """How far estimates (n', d) of the first faces have gone from Tweedie's mean to the reverse flow's, (n',)."""
        return moved_mean.against_tweedie(np.repeat(means[:, None], 2, axis=1), *self.first(len(means)))["along"]

    def first(self, n):
        """Tweedie's means, samples of the reverse flow, and signals of the first n faces."""
        return self.tweedie[:n], self.moved[:n], self.x0[:n]

    def way(self, n):
        """From Tweedie's mean to the reverse flow's, of the first n faces (n, d)."""
        return self.moved[:n].mean(axis=1) - self.tweedie[:n]


def store_row(run, prefix, row, faces, means, samples, n=None):
    """Keep ``moved_mean.against_tweedie`` and coverage of the first n faces as ``prefix.row.along`` and so on."""
    found = moved_mean.against_tweedie(means, *faces.first(n))
    run.mean(f"{prefix}.{row}.lost", found["lost"], "dB")
    run.mean(f"{prefix}.{row}.along", 100 * found["along"], "%")
    run.mean(f"{prefix}.{row}.away", 100 * found["away"], "%")
    run.mean(f"{prefix}.{row}.inside_90", moved_mean.inside(samples, faces.x0[:n]), "%")


def store_objective(run, faces, n, key):
    """Keep what the reverse flow has above the one with the frozen mean, in nats of the objective: ``paid.part1`` and so
    on by the parts of the bound's times, ``paid.gaussian``, ``paid.entropy``, and their sum ``paid.objective``.
    """
    few = {row: jnp.asarray(faces.samples[row][:n, :SAMPLES]) for row in ("reverse", "spread")}
    parts, gaussian, log_q = {}, {}, {}
    for row, x in few.items():
        flat = x.reshape(n * SAMPLES, -1)
        parts[row], gaussian[row] = _joint(faces, flat, n, key)
        given = jax.tree.map(lambda a: a[:n], faces.measurements)
        log_q[row] = np.asarray(faces.flows[row].log_prob(x.reshape(n, SAMPLES, *faces.task.shape), given)).mean(axis=1)
    paid = parts["reverse"] - parts["spread"]
    for i in range(PARTS):
        run.mean(f"paid.part{i + 1}", paid[:, i], "nats")
    less, closer = log_q["spread"] - log_q["reverse"], gaussian["reverse"] - gaussian["spread"]
    run.mean("paid.gaussian", closer, "nats")
    run.mean("paid.entropy", less, "nats")
    run.mean("paid.objective", paid.sum(axis=1) + closer + less, "nats")


def _joint(faces, x, n, key):
    """The bound's ratio to the Gaussian by part of its times (n, PARTS), and likelihood and Gaussian (n,), of flat
    samples x (n * SAMPLES, d), averaged over the samples of each face.
    """
    ratio = np.asarray(moved_mean.ratio_by_time(faces.prior, key, x, PARTS, 4)).reshape(n, SAMPLES, PARTS)
    gaussian = moved_mean.gaussian_part(faces.modes, np.repeat(faces.y[:n], SAMPLES, axis=0), x)
    return ratio.mean(axis=1), gaussian.reshape(n, SAMPLES).mean(axis=1)


def store_segment(run, faces, n, n_ode, key):
    """Keep by how much the joint density of y and the samples with the frozen mean rises when all of them are moved by a
    part of the way to the reverse flow's mean: ``segment.l50.bound`` and, for the whole way, ``segment.l100.ode``, in
    nats.
    """
    here = jnp.asarray(faces.samples["spread"][:n, :SAMPLES]).reshape(n * SAMPLES, -1)
    way = jnp.repeat(jnp.asarray(faces.way(n)), SAMPLES, axis=0)
    found = {share: _joint(faces, here + share / 100 * way, n, key) for share in SEGMENT}
    for share in SEGMENT[1:]:
        ratio, gaussian = (a - b for a, b in zip(found[share], found[0], strict=True))
        run.mean(f"segment.l{share}.bound", ratio.sum(axis=1) + gaussian, "nats")
    if n_ode:
        ends = (here[::SAMPLES][:n_ode], (here + way)[::SAMPLES][:n_ode])
        ode = [np.asarray(moved_mean.ode_log_prob(faces.prior, key, x)) for x in ends]
        likelihood = [-np.sum((faces.y[:n_ode] - x) ** 2, axis=1) / (2 * faces.task.sigma_y**2) for x in ends]
        run.mean("segment.l100.ode", np.asarray(ode[1] - ode[0] + likelihood[1] - likelihood[0]), "nats")


def store_chains(run, faces, n, rows=tuple(CHAIN), said=None):
    """Keep ``moved.bound`` and so on for ``rows`` of CHAIN: chains from a sample of the flow with the frozen mean and from one of
    the reverse flow, whose means apart stand beside as ``chain.bound.apart``.
    """
    starts = np.stack([faces.samples[row][:n, 0] for row in ("spread", "reverse")], axis=1)
    for row in rows:
        key = jax.random.key(17)
        found = moved_mean.chains(faces.task, faces.modes, faces.y[:n], starts, key, CHAIN[row], said)
        store_row(run, "moved", row, faces, found.means, found.samples, n)
        ends = [faces.along(found.means[:, i]) for i in (0, 1)]
        run.mean(f"chain.{row}.apart", 100 * (ends[1] - ends[0]), "%")


def store_diffusion(run, faces, n, n_draws=6, n_steps=24):
    """Keep ``moved.diffusion``, and how far along the mean of the denoised signal has gone at every fourth noise level,
    ``diffusion.s010.along``.
    """
    ratios, means, draws = moved_mean.reverse_diffusion(
        faces.prior, faces.y[:n], faces.task.sigma_y, jax.random.key(4), n_draws, n_steps
    )
    store_row(run, "moved", "diffusion", faces, draws, draws, n)
    for i in range(0, n_steps + 1, 4):
        run.number(f"diffusion.k{i // 4}.noise", ratios[i] / 2)
        run.mean(f"diffusion.k{i // 4}.along", 100 * faces.along(means[i]), "%")


def store_all_but_chains(run, faces, n, say, seed=1):
    """Keep everything else; n: faces of what takes long."""
    key = jax.random.key(seed)
    store_training(run)
    for row in FLOWS:
        store_row(run, "moved", row, faces, faces.samples[row], faces.samples[row])
    for noise in NOISES:
        found = moved_mean.asymmetry(faces.prior, key, jnp.asarray(faces.x0[:n]), noise)
        run.mean(f"asymmetry.s{round(1000 * noise):03d}", 100 * np.asarray(found), "%")
    for part, store in (
        ("objective", lambda: store_objective(run, faces, n, key)),
        ("segment", lambda: store_segment(run, faces, n, n, key)),
        ("diffusion", lambda: store_diffusion(run, faces, n)),
    ):
        say(part)
        store()


def store_training(run):
    """Keep the mean of the reverse flow along its training, from its card: ``settles.step100.psnr``, in dB."""
    card = load_posterior("faces-denoise", weights=FLOWS["reverse"]).card
    for state in card["history"]:
        run.number(f"settles.step{state['step']}.psnr", state["val_psnr_mean64"], unit="dB")


def rows(numbers):
    """Labels of the rows of ROWS that a record's numbers hold."""
    return {row: label for row, label in ROWS.items() if f"moved.{row}.along" in numbers}


def stands_on():
    """Which parameter says on how many faces a row of ROWS stands, for ``Run.table``."""
    return {row: "n_test" if row in FLOWS else "n_long" for row in ROWS}


def paid_columns(prior):
    """Columns of the table of ``paid``, for ``Run.table``; of the parts of the times those at which a face is not yet
    noise.
    """
    where = moved_mean.edges(prior, PARTS)
    parts = {f"part{i + 1}": f"noise {where[i]:.2g} to {where[i + 1]:.2g}" for i in range(PARTS) if where[i] < 1}
    others = {"gaussian": "likelihood, Gaussian", "entropy": "entropy", "objective": "objective"}
    return {key: (label, "+.0f") for key, label in {**parts, **others}.items()}


def along_curves(numbers):
    """Curves for ``curves.cost_curves``: how far along a mean lies against the noise at which the network was asked."""
    steps = sorted(key.removesuffix(".noise") for key in numbers if key.startswith("diffusion.k") and "noise" in key)
    value = lambda key: (numbers[key]["value"], numbers[key]["se"])  # noqa: E731
    diffusion = [(numbers[f"{k}.noise"]["value"], *value(f"{k}.along")) for k in steps]
    score = [(noise, *value(f"moved.{row}.along")) for row, noise in (("score", 0.01), ("coarse", 0.06))]
    return {
        "reverse diffusion from y": tuple(np.array(diffusion).T),
        "posterior of the score": tuple(np.array(score).T),
    }


def causes(numbers):
    """What the numbers of a record say of each candidate cause, as a Markdown list; "not run" where there are none.

    A share is called resolved where it is above two standard errors.
    """
    if "moved.bound.along" not in numbers:
        return "What carries how much of the way: not run."
    of = lambda key: (numbers[key]["value"], numbers[key]["se"] or 0.0)  # noqa: E731
    bound, score, diffusion = (of(f"moved.{row}.along") for row in ("bound", "score", "diffusion"))
    fine = f" (with a third of the step {_share(of('moved.fine.along'))})" if "moved.fine.along" in numbers else ""
    settled = [v["value"] for k, v in numbers.items() if k.startswith("settles.") and k != "settles.step0.psnr"]
    start, paid = of("paid.part1"), of("paid.objective")
    lines = [
        f"**a, the density,** carries {_share(bound)} of the way: that far from Tweedie's mean lies the mean of the "
        f"bound's own posterior, where no flow is. It is not the bound as an estimate: the posterior of the network's "
        f"score at noise 0.01, without Jacobian or divergence, lies {_share(score)} along{fine}, and moving the samples all "
        f"the way raises the bound by {_nats(numbers, 'segment.l100.bound')} and the density of the probability-flow "
        f"ODE by {_nats(numbers, 'segment.l100.ode')} nats.{_gap(numbers)} The reverse diffusion, which asks the same "
        f"network noise by noise, lies {_share(diffusion)} along.",
        _family(numbers),
        f"**c, noise of the gradient:** after the first hundred steps the reverse flow's mean stayed within "
        f"{max(settled) - min(settled):.3f} dB, while the rate fell to a fiftieth; see also below, how the gradient is "
        "estimated.",
        f"**d, the start:** the lowest of the bound's times pay {start[0]:+.0f} ± {start[1]:.0f} of the "
        f"{paid[0]:+.0f} ± {paid[1]:.0f} nats.{_start(numbers)}",
        f"**e, a mistake of the optimizer:** {'excluded' if paid[0] > 2 * paid[1] else 'not excluded'}: the objective "
        f"of the free mean differs by {-paid[0]:+.0f} ± {paid[1]:.0f} nats from that of the frozen one, on measurements "
        "that training did not see.",
    ]
    return "Full run:\n\n" + "\n".join(f"- {line}" for line in lines if line)


def _share(value):
    resolved = abs(value[0]) > 2 * value[1]
    return f"{value[0]:.0f} ± {value[1]:.0f} %" + ("" if resolved else " (not resolved)")


def _nats(numbers, key):
    return f"{numbers[key]['value']:+.0f} ± {numbers[key]['se']:.0f}"


def _gap(numbers):
    """Whether the reverse flow has found signals where the bound is tighter, from the numbers of ``bound_ends``."""
    if "gap.reverse" not in numbers:
        return ""
    return (
        f" The bound minus that density is {_nats(numbers, 'gap.frozen')} nats at the samples with the frozen mean; paired, it "
        f"changes by {_change(numbers, 'gap.moved')} when they are moved, and by {_change(numbers, 'gap.reverse')} to the "
        "samples of the reverse flow."
    )


def _change(numbers, key, form="+.0f"):
    value, se = numbers[key]["value"], numbers[key]["se"]
    return f"{value:{form}} ± {se:{form[1:]}}" + ("" if abs(value) > 2 * se else " (not resolved)")


def _start(numbers):
    """What times before ``t_residual`` would pay, from the numbers of ``bound_ends``."""
    if "start.paid" not in numbers:
        return ""
    low, high = (numbers[f"start.{key}"]["value"] for key in ("low", "high"))
    return (
        f" With the network from t = {low:g} on, and not from {high:g}, the bound would pay the reverse flow "
        f"{_change(numbers, 'start.paid', '+.1f')} nats more than the frozen mean."
    )


def _family(numbers):
    keys = ("family.contrast.exact.lost", "family.contrast.mode_seeking", "family.contrast.apart")
    if any(key not in numbers for key in keys):
        return "**b, the family:** not run."
    exact, seeking, apart = (numbers[key] for key in keys)
    return (
        f"**b, the family:** in a mixture, with the exact density, the mean of a flow of this kind costs "
        f"{exact['value']:.2f} ± {exact['se']:.2f} dB against the exact mean by the reverse divergence, which is "
        f"{seeking['value']:+.2f} ± {seeking['se']:.2f} dB to the cost by the forward one; training on with the bound, "
        f"which is exact there, changes it by {apart['value']:+.2f} ± {apart['se']:.2f} dB."
    )


def main(arguments=None):
    """Command line: measure, and write the record."""
    parser = argparse.ArgumentParser(prog="python -m aps_book.experiments.objective_faces", description=main.__doc__)
    parser.add_argument("--faces", type=int, default=16, help="validation faces")
    parser.add_argument("--long-faces", type=int, default=6, help="of them, for chains and densities")
    parser.add_argument("--chains", nargs="*", default=list(CHAIN), choices=list(CHAIN))
    parser.add_argument("--chains-only", action="store_true", help="nothing but these, into --out")
    parser.add_argument("--folder", type=Path, default=Path("checkpoints/objective-faces"))
    parser.add_argument("--out", type=Path, default=Path("weights/results/protocol.added-mean.json"))
    options = parser.parse_args(arguments)
    n, say = options.long_faces, partial(print, flush=True)
    run = record.Run("protocol", {"n_test": options.faces, "n_long": n}, options.folder)
    faces = Faces(data.load("faces", "val"), options.faces, first=n if options.chains_only else None)
    run.uses_data(faces.dataset)
    run.uses_weights(*(flow.card for flow in faces.flows.values()))
    if not options.chains_only:
        store_all_but_chains(run, faces, n, say)
    store_chains(run, faces, n, options.chains, lambda step, mean: say("step", step))
    run.finish()
    print(record.save({**record.load(options.folder / "protocol.json"), "figures": []}, options.out))


if __name__ == "__main__":
    main()
