# %% [markdown]
# # 03 · From voxels into CLIP space
#
# **Question.** How well can the CLIP embedding of an image be predicted from the brain activity it
# evoked, and would we notice if the prediction had nothing to do with the brain?
#
# | | |
# |---|---|
# | reads | `betas.h5`, `stimuli.h5`, `embeddings.h5` (notebooks 01, 02) |
# | writes | `ridge`, `contrastive` and `matched.safetensors`, `predictions.h5`, `encoder_scores.json` |
# | minutes | smoke 0.2 · demo 1.3 · nsd not measured |
#
# Both encoders below are linear: predicted embedding = betas x weights + intercept. They differ in what
# they call a good prediction.

# %% tags=["parameters"]
PROFILE = "demo"
SUBJECT = 1
SEED = 0
DEVICE = "auto"
OVERRIDES = []
INTERACTIVE = True

# %%
import matplotlib.pyplot as plt
import numpy as np

from fmri_utils import artifacts, encoders, metrics, nsd, plots
from fmri_utils.profiles import PROJECT_ROOT, load_profile

# %%
cfg = load_profile(PROFILE, subject=SUBJECT, seed=SEED, device=DEVICE, overrides=OVERRIDES)
rng = np.random.default_rng(cfg.seed)
print(cfg.name, "|", cfg.dataset_label)

# %%
files = [cfg.derived / name for name in ("betas.h5", "stimuli.h5", "embeddings.h5")]
brain = artifacts.load_arrays(files[0], remedy="Run `make 01`.")
stimuli = artifacts.load_arrays(files[1], remedy="Run `make 01`.")
clip = artifacts.load_arrays(files[2], remedy="Run `make 02`.")

# %% [markdown]
# Trials are rows; repeats of an image share its embedding. Training uses single trials, testing the mean
# of an image's repeats.

# %%
row = np.searchsorted(clip["nsd_id"], brain["nsd_id"])
train, test = brain["is_train"], brain["is_test"]
betas, groups = brain["betas"][train], brain["nsd_id"][train]
target = clip["image"][row[train]]
pattern, test_ids, counts = nsd.average_repeats(brain["betas"][test], brain["nsd_id"][test])
truth = clip["image"][np.searchsorted(clip["nsd_id"], test_ids)]
print("training (n_trials, n_voxels) =", betas.shape, "| embeddings", target.shape)
print("test (n_images, n_voxels) =", pattern.shape, "| repeats per image:", np.unique(counts))

# %% [markdown]
# ## Ridge
#
# Least squares with a penalty on large weights, chosen for each embedding dimension by
# cross-validation. Folds are made of whole images: two repeats of one image on both sides of a fold would
# reward memory.

# %%
e = cfg.encoder
alphas = np.logspace(e.log10_alpha_min, e.log10_alpha_max, e.n_alphas)
ridge, ridge_report = encoders.fit_ridge(betas, target, groups, alphas=alphas, n_folds=e.n_folds)
fig, ax = plt.subplots(figsize=(6, 2.4), layout="constrained")
_ = plots.plot_ridge_path(ridge_report["best_alphas"], alphas, ax=ax)
# %% [markdown]
# ## Contrastive-linear
#
# The same linear form, trained with InfoNCE: the prediction must be closer to its own image than to the
# other images of the batch. It is stopped where images held out of the *training* set score best.

# %%
settings = dict(n_steps=e.n_steps, batch_size=e.batch_size, learning_rate=e.learning_rate)
settings |= dict(weight_decay=e.weight_decay, temperature=e.temperature, seed=cfg.seed)
contrastive, report = encoders.fit_contrastive(betas, target, groups, progress=True, **settings)
fig, ax = plt.subplots(figsize=(6, 2.4), layout="constrained")
ax.plot(report["step"], report["train_loss"], label="training")
ax.plot(report["step"], report["validation_loss"], label="held-out training images")
ax.axvline(report["best_step"], color="0.6", ls=":")
ax.set(xlabel="step", ylabel="InfoNCE")
_ = ax.legend()
# %% [markdown]
# ## The embedding that the generator will get
#
# A ridge prediction is timid: the noisier the data, the closer it stays to the mean embedding, and the
# mean of all scenes is no scene. For the generator its deviations from the mean are scaled up
# to the spread of real embeddings, by a factor measured on held-out images of the training set. This changes no
# voxel's share in a prediction.

# %%
best = ridge_report["best_alphas"]
matched, scale = encoders.match_spread(ridge, betas, target, groups, alphas=best, n_folds=e.n_folds)
print(f"deviations from the mean embedding are scaled by {scale:.2f}")
for name, encoder in (("ridge", ridge), ("spread matched", matched)):
    sd = np.sqrt(encoder.predict(pattern).var(0).sum() / truth.var(0).sum())
    print(f"{name:15s} spread of predictions / spread of embeddings: {sd:.2f}")

# %% [markdown]
# ## Scores, with their controls
#
# * **mean embedding**: the same vector for every image. What is left when the brain is ignored.
# * **shuffled pairing**: the whole ridge fit repeated with brain patterns of other images. If this scores
#   above chance, something leaks.
# * **pairing oracle**: the true embeddings, which must retrieve everything, and the same shifted by one
#   image, which must retrieve nothing.

# %%
unique, first = np.unique(groups, return_index=True)
other = dict(zip(unique, rng.permutation(unique), strict=True))
wrong = np.searchsorted(clip["nsd_id"], [other[g] for g in groups])
shuffled = encoders.refit_ridge(betas, clip["image"][wrong], alphas=best)

# %%
mean = np.repeat(target.mean(0, keepdims=True), len(truth), axis=0)
jitter = 1e-6 * rng.standard_normal(mean.shape)  # breaks the ties of identical predictions
predictions = {
    "mean embedding": mean + jitter,
    "shuffled pairing": shuffled.predict(pattern),
    "ridge": ridge.predict(pattern),
    "ridge, spread matched": matched.predict(pattern),
    "contrastive-linear": contrastive.predict(pattern),
    "oracle": truth,
    "oracle, shifted by one": np.roll(truth, 1, axis=0),
}

# %%
boot = {"rng": rng, "n_resamples": e.n_bootstrap}
two_way = {
    name: metrics.bootstrap(metrics.two_way_scores(truth, p), **boot)
    for name, p in predictions.items()
}

# %%
ranks = {name: metrics.retrieval_ranks(truth, p) for name, p in predictions.items()}
top1 = {
    direction: {n: metrics.bootstrap(r[direction] < 0.5, **boot) for n, r in ranks.items()}
    for direction in metrics.DIRECTIONS
}

# %%
fig, axes = plt.subplots(1, 3, figsize=(14, 3.4), layout="constrained", sharey=True)
plots.plot_scores(two_way, chance=0.5, xlabel="two-way identification", ax=axes[0])
for ax, direction in zip(axes[1:], metrics.DIRECTIONS, strict=True):
    xlabel = f"{direction} top-1 of {len(truth)}"
    plots.plot_scores(top1[direction], chance=1 / len(truth), xlabel=xlabel, ax=ax)

# %% [markdown]
# In the demo both encoders find the right one of 100 images in four to five of ten cases, the fit to
# shuffled pairs stays at chance, and the oracle is perfect until it is shifted by one. The intervals of the
# two encoders overlap: with 100 test images this does not say which is better.
#
# ## What the brain pattern is closest to
#
# The predicted embedding can be compared with anything in CLIP space. For three test images: the nearest
# of all captions of the *training* images, read from brain activity alone.

# %%
captions = stimuli["captions"][:, 0]
library = np.isin(clip["nsd_id"], groups)
centred = clip["first_caption"][library] - clip["first_caption"][library].mean(0)
read = contrastive.predict(pattern) - target.mean(0)
nearest = np.argsort(-(encoders.unit(read) @ encoders.unit(centred).T), axis=1)[:, :3]

# %%
for k in range(3):
    own = captions[np.searchsorted(clip["nsd_id"], test_ids[k])]
    print(f"seen: {own}\n   ->", "\n   -> ".join(captions[library][nearest[k]]), "\n")

# %% [markdown]
# ## What is kept

# %%
inputs = {p.name: artifacts.sha256_file(p) for p in files}
config = cfg.as_dict()
trained = {"ridge": ridge, "contrastive": contrastive, "matched": matched}
encoder_files = [cfg.derived / f"{name}.safetensors" for name in trained]
for path, encoder in zip(encoder_files, trained.values(), strict=True):
    encoders.save_encoder(encoder, path)
    artifacts.write_manifest(path, config=config, inputs=inputs)

# %%
predictions_file, scores_file = cfg.derived / "predictions.h5", cfg.derived / "encoder_scores.json"
arrays = {"test_ids": test_ids, "pattern": pattern, "truth": truth, "repeats": counts}
arrays |= {"ridge": predictions["ridge"], "contrastive": predictions["contrastive-linear"]}
arrays |= {"condition": matched.predict(pattern), "other_embeddings": target[first]}
artifacts.save_arrays(predictions_file, arrays, config=config, inputs=inputs)
table = {"two_way": two_way, **top1}
table = {s: {n: vars(v) for n, v in rows.items()} for s, rows in table.items()}
artifacts.save_json(scores_file, {"n_images": len(truth), **table}, config=config, inputs=inputs)
written = [*encoder_files, predictions_file, scores_file]
artifacts.list_outputs(written, root=PROJECT_ROOT, next_notebook="04_lafite_reconstruction")
