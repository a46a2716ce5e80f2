# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # One flow for any linear operator on faces
#
# The paper trains one flow for one operator and one noise level, and so do the other pages. Whatever a linear operator
# does, the posterior is $\mathcal N(\mu_G(y), \Sigma_G)$ times $p/p_G$, the ratio of the learned prior to its Gaussian:
# mean and covariance of the closed form say all that operator, noise and data say. So a network that sees those can
# serve every operator. Here one is trained on draws of the prior and simulated measurements of them under a family of
# operators ({py:mod}`~aps_core.training.operator_family`): denoising at any level, blurs, means of blocks, missing
# pixels and rectangles, a part of the frequencies. It is asked for levels and operators of the family, and for
# operators that nothing was trained for.
#
# A new operator costs one factorization, which is kept on disk; then a sample, with its exact density, is one
# evaluation: `aps_core.load_posterior(aps_core.Task(MyOperator(), sigma_y, prior))`.

# %% tags=["parameters"]
settings = ["noise50", "noise200", "turned", "box"]  # operators and noise levels (thousandths)
n_samples = 32  # posterior samples of each measurement
n_test = 6  # faces
n_iterative = 0  # of them, those for DDRM and PiGDM
timed = False  # whether samples are timed
shown = "turned"  # the setting of the pictures
seed = 0

# %% tags=["hide-input"]
from aps_book import record
from aps_book.experiments import any_operator
from aps_book.figures import images
from aps_core import data, load_posterior

run = record.start(
    "any_operator",
    globals(),
    {
        "settings": record.list_of(record.one_of(*any_operator.SETTINGS)),
        "n_samples": record.integer(3, 4096),
        "n_test": record.integer(2, 5189),
        "n_iterative": record.several(512),
        "timed": record.boolean(),
        "shown": record.one_of(*any_operator.SETTINGS),
        "seed": record.seed(),
    },
)
run.uses_data(data.load("faces", "test"))
flow = load_posterior("faces-denoise", weights=any_operator.ANY)
run.uses_weights(flow.card)
run.number("training.seconds", flow.card["seconds"], unit="s")
run.say(f"The flow was trained by: {flow.trained_by}. Its last stage took {{training.seconds:.0f}} s.")
for name in settings:
    any_operator.store(
        run, name, *any_operator.scores(any_operator.SETTINGS[name], n_test, n_samples, n_iterative, seed)
    )

# %% [markdown]
# ## Against the closed form, setting by setting
#
# The closed form is exact under the Gaussian prior and knows each operator and noise level. For denoising Tweedie's
# estimate, one evaluation of the score network, is the posterior mean under the learned prior: no flow's mean can do
# better on draws of it.

# %% tags=["hide-input"]
rows = any_operator.rows(run)
run.table(
    rows,
    {
        "any_n1.psnr": ("one flow, N = 1 [dB]", ".2f"),
        "any.psnr": ("its mean [dB]", ".2f"),
        "any.coverage_90": ("90 % interval [%]", ".1f"),
    },
    caption="One flow for all settings (mean ± standard error over faces).",
)
run.table(
    rows,
    {
        "above_gaussian.psnr": ("mean minus closed form [dB]", "+.2f"),
        "above_gaussian.energy": ("energy score minus closed form", "+.3f"),
    },
    caption="Paired differences; a lower energy score is better.",
)
run.verdict(
    *(
        record.Difference(
            f"{name}.above_gaussian.energy",
            f"one flow ({any_operator.SETTINGS[name].label})",
            "the closed form",
            better="lower",
            form="+.3f",
            measure="energy score",
        )
        for name in settings
    ),
    before="Setting by setting, in the full run:",
    source="full",
)

# %% [markdown]
# ## Against Tweedie's estimate, and against a flow for one operator alone

# %% tags=["hide-input"]
for column, other in (("tweedie", "Tweedie's estimate"), ("own", "the flow for this operator alone")):
    if known := any_operator.rows(run, [f"above_{column}.psnr"]):
        energy = {f"above_{column}.energy": (f"energy score minus {other}", "+.3f")} if column == "own" else {}
        run.table(
            known,
            {f"above_{column}.psnr": (f"mean minus {other} [dB]", "+.2f"), **energy},
            caption=f"One flow for all beside {other}, paired by face.",
        )

# %% [markdown]
# ## Beside samplers that need no training either
#
# DDRM and PiGDM take any linear operator too, with twenty to a hundred evaluations of the score network for a sample.
# They run with their default settings here; on the three tasks with flows of their own they are tuned, and stand at
# several budgets in the overview. A lower energy score is better.

# %% tags=["hide-input"]
if known := any_operator.rows(run, ["few.ddrm.energy"]):
    columns = {"any": "one flow", "ddrm": "DDRM", "pigdm": "PiGDM"}
    run.table(
        known,
        {f"few.{row}_n1.psnr": (f"{label}, N = 1 [dB]", ".2f") for row, label in columns.items()},
        caption="Single samples of one flow for all, DDRM and PiGDM on the same faces.",
    )
    run.table(
        known,
        {
            f"above_few_{row}.{column}": (f"{measure} minus {label}", "+.3f")
            for column, measure in (("energy", "energy score"), ("psnr_n1", "PSNR, N = 1 [dB]"))
            for row, label in (("ddrm", "DDRM"), ("pigdm", "PiGDM"))
        },
        caption=f"One flow for all minus the sampler, paired by face, {any_operator.FEW} samples of each measurement.",
    )
if timed:
    for row, seconds in any_operator.times(any_operator.SETTINGS[shown]).items():
        run.number(f"time.{row}", float(f"{seconds:.2g}"), unit="s")
full = record.full_run("any_operator")
if full is not None and "time.any.n1" in full["numbers"]:
    run.say(
        f"Times, compiled before ({any_operator.SETTINGS[shown].label}): one sample of one flow "
        "{full/time.any.n1:.3g} s, 128 samples of one measurement {full/time.any.n128:.3g} s, one sample each of 64 "
        "measurements {full/time.any.batch:.3g} s for each; one sample of DDRM {full/time.ddrm.n1:.3g} s, of PiGDM "
        "{full/time.pigdm.n1:.3g} s."
    )

# %% tags=["hide-input"]
if known := any_operator.rows(run, ["share_of_own"]):
    run.say(
        "For the operators of this table, which training has not seen, a flow for each alone was trained from the "
        "weights of the one flow, on draws of the prior. What both gain over the closed form in energy score says how "
        "much is lost by never having seen it."
    )
    run.table(
        known,
        {
            "share_of_own": ("share of the gain of a flow for it alone [%]", ".0f"),
            "own.coverage_90": ("90 % interval of that flow [%]", ".1f"),
        },
        caption="Operators that training has not seen: what one flow for all gains over the closed form in energy "
        "score, over what a flow for that operator alone gains, on the same faces.",
    )

# %% [markdown]
# Before training the flow's mean is Tweedie's estimate at every noise level of denoising; training for all operators at
# once takes the trained network away from there. So where the problem is denoising, or nearly so, the flow is shifted
# by what the score network itself says, and the trained network gives scales and couplings alone
# ({py:class}`~aps_core.flows.universal.UniversalFlow`). What is left in the table is what the couplings bend, and what
# a mean of $n$ samples loses by their number alone, $10 \log_{10}(1 + 1/n)$ dB.

# %% tags=["hide-input"]
run.figure(
    images.face_columns(*any_operator.columns(any_operator.SETTINGS[shown], n_samples, seed)),
    "faces",
    alt="Three rows of faces. Columns: truth, data, two samples of the flow, their mean, and the standard deviation of "
    "its samples.",
    caption=f"Three draws of the prior ({any_operator.SETTINGS[shown].label}): truth, data, two samples, their mean "
    "and standard deviation.",
    label="fig-any-operator",
)

# %% [markdown]
# ## What it does not show
#
# Operators far outside of the family (noise far above 0.3, a handful of data) are answered with the closed
# form's first guess and a network that has not seen such spreads; `aps_core.diagnose` says so. An operator that is not
# linear is served through its tangent, {py:func}`~aps_core.samplers.tangent.linearize`; masks that are drawn anew for
# every measurement are not.

# %% tags=["hide-input"]
run.finish()
