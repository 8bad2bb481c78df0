# %% [markdown]
# # 03 · From voxels into CLIP space
#
# **Question.** How well can the CLIP embedding of an image be predicted from the brain activity it
# evoked, and would we notice if the prediction had nothing to do with the brain?
#
# | | |
# |---|---|
# | you learn | ridge and contrastive decoding, retrieval scores beside chance and ceiling, controls that tell reading the brain from something easier |
# | you need | notebooks 01 and 02; linear regression, cross-validation |
# | reads | `betas.h5`, `stimuli.h5`, `embeddings.h5` (notebooks 01, 02); the prior's bank |
# | writes | `ridge`, `contrastive`, `mlp`, `matched` and `prior.safetensors`, `predictions.h5`, `encoder_scores.json` |
# | minutes | to run: smoke 0.3 · demo 1.5 · nsd not measured; to work through: about 75 |
#
# A *mapper* predicts an embedding from a pattern of betas. Five of them follow, all on one split and
# behind one interface: `fit(betas, embeddings, groups)`, then `predict(betas)`. They differ in what they
# call a good prediction.

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
import pandas as pd
from sklearn.linear_model import RidgeCV

from fmri_utils import encoders, metrics, nsd, plots
from fmri_utils.encoders import ceilings, controls
from fmri_utils.pictures import finetuning
from fmri_utils.pictures.prior import fit_prior, load_bank, save_prior
from fmri_utils.project.devices import choose_device
from fmri_utils.project.notebook_files import open_inputs, open_study
from fmri_utils.project.profiles import load_profile

# %%
cfg = load_profile(PROFILE, subject=SUBJECT, seed=SEED, device=DEVICE, overrides=OVERRIDES)
device = choose_device(cfg.device)
rng = np.random.default_rng(cfg.seed)
plt.style.use(plots.STYLE)
print(cfg.name, "|", cfg.dataset_label, "|", device)

# %%
files = open_inputs(cfg, "betas", "stimuli", "embeddings")
brain, stimuli, clip = files.values()

# %% [markdown]
# Trials are rows; repeats of an image share its embedding. Training uses single trials, testing the mean
# of an image's repeats.

# %%
row = np.searchsorted(clip["nsd_id"], brain["nsd_id"])
train, test = brain["is_train"], brain["is_test"]
betas, groups, session = (brain[name][train] for name in ("betas", "nsd_id", "session"))
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
# reward memory. One eigendecomposition of the betas serves all penalties, folds and targets.

# %% alt="Bars: how many embedding dimensions chose each ridge penalty"
settings = encoders.MapperSettings.of(cfg.encoder)
folds = dict(alphas=settings.alphas, n_folds=settings.n_folds)
basis = encoders.ridge_basis(betas, device=device)
ridge, ridge_report = encoders.fit_ridge(betas, target, groups, basis=basis, **folds)
fig, ax = plt.subplots(figsize=(6, 2.4), layout="constrained")
_ = plots.plot_ridge_path(ridge_report["best_alphas"], settings.alphas, ax=ax)
# %% [markdown]
# ## Contrastive-linear
#
# The same linear form, trained with InfoNCE: the prediction must be closer to its own image than to the
# other images of the batch. Such a loss does not see the length of a prediction, so that shrinking the
# weights does not keep it from overfitting. Silencing most voxels, other ones in every trial and step,
# does: no small set of voxels may be relied on. Training ends where images held out of the *training* set
# score best.

# %% alt="InfoNCE of training and of held-out training images over steps, with the best step marked"
common = dict(settings=settings, seed=cfg.seed, device=device, progress=True)
contrastive, report = encoders.fit_mapper("contrastive", betas, target, groups, **common)
fig, ax = plt.subplots(figsize=(6, 2.4), layout="constrained")
ax.plot(report["step"], report["train_loss"], label="training, voxels silenced")
ax.plot(report["step"], report["validation_loss"], label="held-out training images")
ax.axvline(report["best_step"], color="0.6", ls=":")
ax.set(xlabel="step", ylabel="InfoNCE")
_ = ax.legend()
# %% [markdown]
# ## Two more
#
# **Mind Reader's loss** (Lin et al. 2022) on the same linear form: squared error and cosine, no negatives.
# **Residual MLP**, trained as in MindEye (Scotti et al. 2023): betas of two images are mixed in the first
# third (BiMixCo), then images count as right answers as far as they resemble the right one (SoftCLIP).

# %%
mind_reader, _ = encoders.fit_mapper("mind_reader", betas, target, groups, **common)
mlp, mlp_report = encoders.fit_mapper("mlp", betas, target, groups, **common)
print("MLP: best step", mlp_report["best_step"], "of", settings.mlp_steps)

# %% [markdown]
# ## The embedding that the generator will get
#
# A ridge prediction is timid: the noisier the data, the closer it stays to the mean embedding, and the
# mean of all scenes is no scene. For the generator its deviations from the mean are scaled up
# to the spread of real embeddings, by a factor measured on held-out images of the training set. This changes no
# voxel's share in a prediction.

# %%
best = dict(alphas=ridge_report["best_alphas"], n_folds=settings.n_folds, basis=basis)
matched, scale = encoders.match_spread(ridge, betas, target, groups, **best)
print(f"deviations from the mean embedding are scaled by {scale:.2f}")
for name, encoder in (("ridge", ridge), ("spread matched", matched)):
    sd = np.sqrt(encoder.predict(pattern).var(0).sum() / truth.var(0).sum())
    print(f"{name:15s} spread of predictions / spread of embeddings: {sd:.2f}")

# %% [markdown]
# ## A prior: which embedding is meant?
#
# Even then a prediction is not the embedding of any picture. Noise has moved it away, and a generator knows
# pictures only. *Bayes' rule* helps; Naselaris et al. (2009) used it so on pictures. Take a large
# *bank* of embeddings of pictures, none of them a test image. Learn from held-out training images how
# predictions come about from true embeddings: by a linear map, and noise. Weigh each embedding of the bank by
# how well it explains the prediction. The generator gets the weighted mean. Beside it a *regression* from
# held-out predictions to true embeddings: it learns from the same errors, but knows no pictures.

# %%
held = finetuning.predict_held_out(betas, target, groups, **best)
held_truth = clip["image"][np.searchsorted(clip["nsd_id"], held.ids)]
bank = load_bank(cfg.path(cfg.lafite.bank)) if cfg.lafite.bank else held_truth
prior = fit_prior(held.predicted[:, 0], held_truth, bank)
print("bank (n_pictures, n_dimensions) =", bank.shape)

# %%
read = matched.predict(pattern)
regression = RidgeCV(np.logspace(-4, 2, 13)).fit(held.predicted[:, 0], held_truth)
meant = {"none": ridge.predict(pattern), "spread matched": read}
meant |= {"regression": regression.predict(encoders.unit(read)), "prior": prior.condition(read)}
nearness = {name: (encoders.unit(e) * truth).sum(1) for name, e in meant.items()}
for name, cosine in nearness.items():
    gain = metrics.paired_difference(
        cosine, nearness["spread matched"], rng=rng, n_resamples=cfg.encoder.n_bootstrap
    )
    print(f"{name:15s} cosine with the truth {cosine.mean():.3f} | against spread matched {gain}")

# %% [markdown]
# The retrieval scores and the maps of notebooks 05 and 06 ask what the *encoder* predicts. The prior adds no
# information about the brain; it only says which pictures there are. It stands between encoder and generator,
# so the pictures go through it, and whatever a voxel does to a picture.
#
# ## Which mapper is best?
#
# *Brain to image* ranks all test images for a brain pattern, *image to brain* all patterns for an image.
# The mean embedding ignores the brain; the oracle, the true embeddings, is the ceiling.

# %%
mean, _ = encoders.fit_mean(betas, target, groups)
mappers = {"mean embedding": mean, "ridge": ridge, "ridge, spread matched": matched}
mappers |= {"contrastive-linear": contrastive, "Mind Reader's loss": mind_reader, "MLP": mlp}
predictions = {name: mapper.predict(pattern) for name, mapper in mappers.items()}
scores = metrics.embedding_scores(truth, predictions | {"oracle": truth}, rng=rng)

# %% alt="Retrieval and identification scores of five mappers with intervals, on bars from chance to ceiling"
about = {"dataset": cfg.dataset_name, "simulated": cfg.simulation is not None}
about |= {"subject": cfg.subject, "split": "shared images are the test set"}
about |= {"repeats": f"{counts.min()} to {counts.max()}", "clip_model": cfg.clip.model}
ends = dict(baseline="mean embedding", ceiling="oracle")
boot = dict(rng=rng, n_resamples=cfg.encoder.n_bootstrap)
table = metrics.score_table(scores, about=about, **ends, **boot)
fig, ax = plt.subplots(figsize=(8, 5), layout="constrained")
names = [n for n, r in table["rows"].items() if r["better"] == "higher"]
_ = plots.plot_score_rows(table, names, ax=ax)

# %% [markdown]
# Intervals of single mappers are wide with so few images, and they overlap. Two mappers are compared image
# by image instead, and one is called better only if the interval of the difference excludes 0.

# %%
for first, second in (("contrastive-linear", "ridge"), ("MLP", "contrastive-linear")):
    found = metrics.differences(scores, first, second, **boot)
    for name in found:
        if name.startswith("brain_to_image") and ("MRR" in name or "top-1" in name):
            print(f"{first} - {second}, {name}: {found[name]}")

# %% [markdown]
# ## Is it reading the brain?
#
# * **shuffled pairing**: the whole ridge fit repeated with the embeddings of other images. Above chance,
#   something leaks.
# * **oracle, shifted by one**: the true embeddings, each for the next image. This is what an index that is
#   off by one would score.
# * **classifier and prototype**: reads one of 20 clusters of images and answers with the cluster's mean
#   embedding. What a mapper has beyond this is more than the category.

# %%
wrong = controls.shuffle_pairing(target, groups, rng)
shuffled, _ = encoders.fit_ridge(betas, wrong, groups, basis=basis, **folds)
classes = dict(n_classes=20, seed=cfg.seed, basis=basis)
prototype, _ = controls.fit_prototypes(betas, target, groups, **classes, **folds)

# %% [markdown]
# * **cluster left out**: every test image is predicted by a mapper that was trained on no image of its
#   kind (Shirakawa et al. 2024). Beside it, as many training images are left out at random.

# %%
chosen = dict(alphas=np.unique(ridge_report["best_alphas"]), n_folds=settings.n_folds)
fit = controls.fitter(encoders.fit_ridge, device=device, **chosen)
left = controls.leave_clusters_out(
    fit, betas, target, groups, pattern, truth, test_ids, n_clusters=5, seed=cfg.seed, progress=True
)
print("training images in each cluster:", left["n_left_out"])

# %%
compared = {"shuffled pairing": shuffled.predict(pattern), **controls.pairing_oracle(truth)}
compared |= {"classifier and prototype": prototype.predict(pattern), "ridge": predictions["ridge"]}
compared |= {"ridge, cluster left out": left["prediction"], "ridge, fewer images": left["control"]}
rows = controls.validity_table(truth, compared, clusters=left["cluster"], **boot)
pd.DataFrame(rows).pivot(index="score", columns="method", values="value").round(2)

# %% alt="Scores of ridge and of the controls, overall, within clusters and across clusters, beside chance"
shown = ("brain_to_image MRR", "two-way within clusters", "two-way across clusters")
fig, axes = plt.subplots(1, 3, figsize=(10.5, 3.6), layout="constrained", sharey=True)
for ax, score in zip(axes, shown, strict=True):
    some = {r["method"]: r for r in rows if r["score"] == score}
    bars = {n: metrics.Interval(r["value"], r["low"], r["high"]) for n, r in some.items()}
    plots.plot_scores(bars, chance=some["ridge"]["chance"], xlabel=score, ax=ax)

# %% [markdown]
# A decoder of these clusters would be at chance within one. The prototypes know 20 finer kinds, so they are
# above it there too: compare them with ridge. Where a whole cluster was left out, predictions are drawn to kinds
# that were trained on. In the demo that costs nearly all retrieval (MRR 0.11, with as many random images left
# out 0.53), while images of one cluster are still told apart (0.90): the mapper reads what varies within a kind
# that it has never seen, but does not find the kind.
#
# ## How few dimensions would do?
#
# A score that is reached through very few numbers per pattern asks little of the brain (BrainBits, Mayo et
# al. 2024). The dashed line is the true embedding through the same bottleneck.

# %% alt="MRR against the number of dimensions of a bottleneck, from the brain and for true embeddings"
sizes = (1, 2, 5, 10, 30, 100)
narrow = controls.bottleneck(predictions["ridge"], ridge.predict(betas), sizes)
ideal = controls.bottleneck(truth, target, sizes)
curves = [metrics.bottleneck_curve(truth, p, **boot) for p in (narrow, ideal)]
fig, ax = plt.subplots(figsize=(6, 2.8), layout="constrained")
for curve, style, name in zip(curves, ("-", "--"), ("from the brain", "ceiling"), strict=True):
    ax.plot(curve["n_dims"], curve["brain_to_image_mrr"]["value"], style, marker="o", label=name)
ax.set(xscale="log", xlabel="dimensions", ylabel="brain_to_image MRR")
_ = ax.legend()
# %% [markdown]
# ## How much could be predicted at all?
#
# Averaging repeats removes noise. From how much a map's predictions differ between the repeats of an
# image follows what the same map would reach with endless repeats; what was measured with fewer repeats
# checks that extrapolation.

# %%
single, ids = ceilings.stack_repeats(brain["betas"][test], brain["nsd_id"][test], counts.max())
trials = ridge.predict(single.reshape(-1, single.shape[2])).reshape(len(ids), counts.max(), -1)
limit = ceilings.repeat_curve(truth[np.isin(test_ids, ids)], trials)
names = ["n_repeats", "explained", "extrapolated", "top1", "mrr"]
pd.DataFrame({name: limit[name] for name in names}).round(3)

# %% [markdown]
# And more training data? Sessions are added one by one, tested always on the same patterns.

# %%
learning = ceilings.curve_over_sessions(
    fit, betas, target, groups, session, pattern, truth, progress=True
)
total = betas.shape[1]
some = sorted({min(total, max(10, total // k)) for k in (64, 16, 4, 1)})
by_voxels = ceilings.curve_over_voxels(
    fit, betas, target, groups, pattern, truth, n_voxels=some, n_draws=1, rng=rng, progress=True
)

# %% alt="MRR against the number of sessions and of voxels"
fig, axes = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained", sharey=True)
for ax, curve, size in zip(axes, (learning, by_voxels), ("n_sessions", "n_voxels"), strict=True):
    ax.plot(curve[size], curve["scores"]["brain_to_image MRR"].mean(1), "o-")
    ax.set(xlabel=size, ylabel="brain_to_image MRR")
_ = axes[1].set_xscale("log")

# %% [markdown]
# ## Would another seed, or another subject, say the same?
#
# `make study` fits every mapper with five seeds in several subjects. Its intervals are over images and
# subjects; ticks are single subjects. A mapper is called better only where an interval leaves zero out.

# %%
study, score = open_study(cfg, "encoders"), "brain_to_image MRR"
if study:
    rows_of_study = [row for row in study["mappers"] if row["score"] in (score, "two-way")]
    seen = pd.DataFrame(rows_of_study).query("target == 'image' and readout == 'image'")
    print("subjects", study["subjects"])
    seen = seen.set_index(["score", "mapper"])[["chance", "low", "value", "high"]]
    print(seen.round(3))
else:
    print("not available: run `make study`")

# %% alt="From make study: differences between mappers over subjects, and MRR against sessions and voxels"
if study:
    fig, axes = plt.subplots(1, 3, figsize=(10.5, 3.2), layout="constrained")
    plots.plot_study_differences(study["differences"], score, ax=axes[0])
    chance = seen.loc[score, "chance"].iloc[0]
    for ax, rows_of, size in zip(
        axes[1:], ("sessions", "voxels"), ("n_sessions", "n_voxels"), strict=True
    ):
        plots.plot_study_curves(study[rows_of], size, score, chance=chance, ax=ax)
    axes[2].set_xscale("log")
    axes[2].legend()

# %% [markdown]
# ## What the brain pattern is closest to
#
# The predicted embedding can be compared with anything in CLIP space. For four test images (in
# italics, what a person wrote): the nearest of all captions of the *training* images, read from brain
# activity alone.

# %%
captions = stimuli["captions"][:, 0]
library = np.isin(clip["nsd_id"], groups)
centred = clip["first_caption"][library] - clip["first_caption"][library].mean(0)
read = contrastive.predict(pattern) - target.mean(0)
nearest = np.argsort(-(encoders.unit(read) @ encoders.unit(centred).T), axis=1)[:, :3]

# %% alt="Four test images with their own caption above and the three captions nearest to the prediction from the brain below"
asked = np.searchsorted(clip["nsd_id"], test_ids[:4])
fig, axes = plt.subplots(1, 4, figsize=(10.5, 4.8), layout="constrained")
own, found = captions[asked], captions[library][nearest[:4]]
_ = plots.plot_nearest_captions(stimuli["images"][asked], own, found, axes=axes)

# %% [markdown]
# ## Exercises
#
# Write down what you expect before you unfold a solution.
#
# ### Exercise 1: too little and too much penalty
#
# Ridge again, once with the smallest penalty tried for all dimensions, once with the largest. Predict for both: how far
# do predictions spread, compared with true embeddings, and how many images are found?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
for alpha in (settings.alphas.min(), settings.alphas.max()):
    only = folds | dict(alphas=np.array([alpha]))
    one = encoders.fit_ridge(betas, target, groups, basis=basis, **only)[0].predict(pattern)
    sd = np.sqrt(one.var(0).sum() / truth.var(0).sum())
    mrr = metrics.retrieval(truth, one, rng=np.random.default_rng(0))["brain_to_image"]["mrr"]
    print(f"penalty {alpha:9.0f}: spread {sd:.2f}, MRR {mrr:.2f}")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# A small penalty lets every voxel's noise into the weights: predictions spread widely, for a good part in wrong
# directions. The largest one shrinks them to the mean embedding. All patterns then rank the images alike, by how
# near each is to the mean, and little retrieval is left. The best penalty lies between, and is a compromise: it was
# chosen for the squared error, which sees the length of predictions, and not for retrieval.
#
# </details>
#
# ### Exercise 2: scoring what was trained on
#
# As many *training* images as there are test images, their repeats averaged: which top-1 does ridge reach there?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
seen_ids = np.unique(groups)[: len(truth)]
rows_seen = np.isin(groups, seen_ids)
seen_pattern, _, _ = nsd.average_repeats(betas[rows_seen], groups[rows_seen])
seen_truth = clip["image"][np.searchsorted(clip["nsd_id"], seen_ids)]
for name, (true, x) in {"trained on": (seen_truth, seen_pattern), "new": (truth, pattern)}.items():
    found_in = metrics.retrieval(true, ridge.predict(x), rng=np.random.default_rng(0))
    print(f"{name:10s} top-1 {found_in['brain_to_image']['top1']:.2f}")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# Close to perfect, although the penalty was chosen well: with as many voxels as trials a linear map can learn the
# noise of each trial by heart. Only images whose repeats were all left out say anything about reading a brain.
#
# </details>
#
# ### Exercise 3: a louder scanner
#
# On the day of the test all betas come out three times too large, or three times too small. Does retrieval change? The
# cosine does not see the length of a prediction, so one might say no.

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
for gain in (1 / 3, 1, 3):
    louder = ridge.predict(gain * pattern)
    mrr = metrics.retrieval(truth, louder, rng=np.random.default_rng(0))["brain_to_image"]["mrr"]
    print(f"betas x {gain:.2f}: MRR {mrr:.2f}")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# It does, because a prediction is the mean embedding *plus* what the voxels add, and only the second part grows. With
# small betas the common part decides, and images near the mean are nearest to every pattern (*hubs*). With large ones
# the direction of the deviation decides, which hurts far less. So z-scoring has to be the same in training and
# test; and Exercise 1's largest penalty found so few because of the common part, not because the direction was lost.
#
# </details>

# %% [markdown]
# ## What is kept

# %%
trained = {"ridge": ridge, "contrastive": contrastive, "mlp": mlp, "matched": matched}
for name, encoder in trained.items():
    files.save(name, encoder, encoders.save_encoder)
files.save("prior", prior, save_prior)

# %%
_, first = np.unique(groups, return_index=True)
arrays = {"test_ids": test_ids, "pattern": pattern, "truth": truth, "repeats": counts}
arrays |= {"ridge": predictions["ridge"], "contrastive": predictions["contrastive-linear"]}
arrays |= {"mlp": predictions["MLP"], "condition": meant["prior"]}
arrays |= {f"conditions/{name}": e for name, e in meant.items()}
arrays |= {"other_embeddings": target[first], "cluster": left["cluster"]}
files.save("predictions", arrays)
kept = {"n_images": len(truth), "table": table, "validity": rows}
kept["per_image"] = {k: v.tolist() for k, v in metrics.per_image_arrays(scores).items()}
files.save("encoder_scores", kept)
files.finish("04_lafite_reconstruction")
