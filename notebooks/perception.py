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
# # How real single samples look: FID, KID, LPIPS

# %% tags=["parameters"]
n_faces = 8  # measured test faces
n_samples = 128  # posterior samples of APS behind its mean
with_rivals = False  # DPS and DDRM, which iterate
with_inception = False  # FID and KID, which need torch and the network
n_reference = 16  # other test faces that they compare with
seed = 0

# %% tags=["hide-input"]
from aps_core import perception_study, plotting_images, record
from aps_core.perception import alexnet, inception

run = record.start("perception", globals(), {
    "n_faces": record.integer(2, 5188), "n_samples": record.integer(2, 4096), "with_rivals": record.boolean(), "with_inception": record.boolean(),
    "n_reference": record.integer(2), "seed": record.integer(0),
})  # fmt: skip
if with_inception:
    inception.load()  # what is missing is said now, not after the samples are drawn

# %% tags=["hide-input"]
test = perception_study.load_faces()
run.uses_data(test)
found = {}
for name in perception_study.TASKS:
    found[name], card = perception_study.pictures(name, test, n_faces, n_samples, perception_study.ITERATIVE if with_rivals else (), seed)
    run.uses_weights(card)
    perception_study.store_pixels(run, name, found[name])
    if alexnet.available():
        perception_study.store_lpips(run, name, found[name])

# %% tags=["hide-input"]
if with_inception:
    faces = perception_study.reference_faces(test, n_faces, n_reference)
    of_reference = inception.inception_features(faces, progress=True)
    known = {}
    for name, pictures in found.items():
        features = perception_study.features_of(pictures, known, progress=True)
        perception_study.store_distances(run, name, features, of_reference)
        known = {"truth": features["truth"]}

# %% tags=["hide-input"]
run.finish()
