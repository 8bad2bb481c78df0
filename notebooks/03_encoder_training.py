# %% [markdown]
# # 03 · From voxels into CLIP space
#
# **Question.** How well can the CLIP embedding of an image be predicted from the brain activity it
# evoked, and would we notice if the prediction had nothing to do with the brain?
#
# | | |
# |---|---|
# | you learn | ridge and contrastive decoding, how a readout changes a score, retrieval beside chance and ceiling, controls that tell reading the brain from something easier |
# | you need | notebooks 01 and 02; linear regression, cross-validation |
# | reads | `betas.h5`, `stimuli.h5`, `embeddings.h5` (notebooks 01, 02); the prior's bank |
# | writes | `ridge`, `contrastive`, `mlp`, `matched` and `prior.safetensors`, `predictions.h5`, `encoder_scores.json` |
# | minutes | to run: smoke 0.3 · demo 1.5 · nsd not measured; to work through: about 75 |
#
# A *mapper* predicts an embedding from a pattern of betas. Five mappers follow. All use one split and one
# interface: `fit(betas, embeddings, groups)`, then `predict(betas)`. They differ in what they call a good
# prediction.

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
from IPython.display import Markdown
from sklearn.linear_model import RidgeCV

from fmri_utils import encoders, metrics, nsd, plots
from fmri_utils.encoders import ceilings, controls
from fmri_utils.metrics.diagnostics import correlations
from fmri_utils.pictures import finetuning
from fmri_utils.pictures.prior import fit_prior, load_bank, save_prior
from fmri_utils.project.devices import choose_device
from fmri_utils.project.notebook_files import open_inputs, open_study
from fmri_utils.project.profiles import load_profile
from simulated_nsd.on_demand import planted_truth

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
# Ridge is least squares with a penalty on large weights. Cross-validation chooses the penalty of each
# embedding dimension. Folds are made of whole images, because repeats of one image on both sides of a fold
# would reward memory. One eigendecomposition of the betas serves all penalties, folds and targets.

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
# other images of the batch. This loss ignores the length of a prediction, so shrinking the weights does not
# prevent overfitting. Voxel dropout does: at every step most voxels are set to zero, different ones for each
# trial, so the map cannot rely on a few voxels. Training ends where images held out of the *training* set
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
# **Residual MLP**, trained as in MindEye (Scotti et al. 2023). In the first third of the steps, betas of two
# images are mixed (BiMixCo). Later, images count as right answers as far as they resemble the right one
# (SoftCLIP).

# %%
mind_reader, _ = encoders.fit_mapper("mind_reader", betas, target, groups, **common)
mlp, mlp_report = encoders.fit_mapper("mlp", betas, target, groups, **common)
print("MLP: best step", mlp_report["best_step"], "of", settings.mlp_steps)

# %% [markdown]
# ## The embedding that the generator will get
#
# A ridge prediction is the mean embedding plus what the voxels say, and the second part is too small. The
# noisier the data, the closer a prediction stays to the mean. For the generator, the deviations from the mean
# are scaled up to the spread of real embeddings. The factor is measured on held-out images of the training
# set. It changes no voxel's share in a prediction.

# %%
best = dict(alphas=ridge_report["best_alphas"], n_folds=settings.n_folds, basis=basis)
matched, scale = encoders.match_spread(ridge, betas, target, groups, **best)

# %%
centre, unit = target.mean(0), encoders.unit
print(f"length of the mean embedding {np.linalg.norm(centre):.2f}, factor {scale:.2f}")
for name, encoder in (("ridge", ridge), ("spread matched", matched)):
    given = encoder.predict(pattern)
    plain, after = (
        np.sqrt(f(given).var(0).sum() / f(truth).var(0).sum()) for f in (np.array, unit)
    )
    print(f"{name:15s} spread, 1 = embeddings: {plain:.2f}, after unit length {after:.2f}")

# %% [markdown]
# The generator sees predictions at unit length, which already undoes most of the shrinkage if the mean embedding
# is short. The longer the mean, the more does the factor matter: a prediction near a long mean stays near it at
# unit length, too.
#
# ## A prior: which embedding is meant?
#
# Even then a prediction is not the embedding of any picture. Noise has moved it away, and a generator knows
# pictures only. *Bayes' rule* helps; Naselaris et al. (2009) used it so on pictures. Take a large
# *bank* of embeddings of pictures, none of them a test image. Learn from held-out training images how
# predictions come about from true embeddings: by a linear map, and noise. Weigh each embedding of the bank by
# how well it explains the prediction. The generator gets the weighted mean. We compare it with a *regression*
# from held-out predictions to true embeddings, which learns from the same errors but knows no pictures.

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
meant |= {"regression": regression.predict(unit(read)), "prior": prior.condition(read)}
nearness = {name: (unit(e) * truth).sum(1) for name, e in meant.items()}
for name, cosine in nearness.items():
    gain = metrics.paired_difference(
        cosine, nearness["spread matched"], rng=rng, n_resamples=cfg.encoder.n_bootstrap
    )
    print(f"{name:15s} cosine with the truth {cosine.mean():.3f} | against spread matched {gain}")

# %% [markdown]
# The retrieval scores and the maps of notebooks 05 and 06 ask what the *encoder* predicts. The prior adds no
# information about the brain; it only says which pictures there are. It stands between encoder and generator,
# so every picture goes through it, and so does every change that a voxel makes to a picture.
#
# ## How to read a prediction
#
# Images are ranked by their cosine with a prediction. The cosine of a shrunken prediction depends on its offset,
# the mean embedding, as well as on what the voxels say. Three *readouts* treat the offset differently: the
# prediction as it is, spread matched, and *from the mean*, where the mean training embedding is subtracted from
# prediction and candidates. Held-out training images choose between them, not the test images.

# %%
predicted, true, _ = encoders.held_out_means(betas, target, groups, **best)
predicted, true = predicted[:1000], true[:1000]
readouts = {"ridge": (true, predicted)}
readouts["ridge, spread matched"] = true, centre + scale * (predicted - centre)
readouts["ridge, from the mean"] = true - centre, predicted - centre

# %%
chosen_by = {
    name: metrics.retrieval_scores(*both)["brain_to_image"]["reciprocal_rank"].mean()
    for name, both in readouts.items()
}
best_ridge = max(chosen_by, key=chosen_by.get)
print("MRR of held-out training images:", {k: round(float(v), 3) for k, v in chosen_by.items()})
print("chosen:", best_ridge)

# %% [markdown]
# ## Which mapper is best?
#
# *Brain to image* ranks all test images for a brain pattern, *image to brain* all patterns for an image.
# The mean embedding ignores the brain. The oracle is the true embeddings, so it gives the highest score possible.

# %%
mean, _ = encoders.fit_mean(betas, target, groups)
mappers = {"mean embedding": mean, "ridge": ridge, "ridge, spread matched": matched}
mappers |= {"contrastive-linear": contrastive, "Mind Reader's loss": mind_reader, "MLP": mlp}
predictions = {name: mapper.predict(pattern) for name, mapper in mappers.items()}

# %%
given = predictions | {"oracle": truth}
scores = metrics.embedding_scores(truth, given, rng=np.random.default_rng(cfg.seed))
given = {"ridge, from the mean": predictions["ridge"] - centre}
scores |= metrics.embedding_scores(truth - centre, given, rng=np.random.default_rng(cfg.seed))

# %% alt="Retrieval and identification scores of the mappers with intervals, on bars from chance to ceiling"
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
# by image instead. One is called better only if the interval of the difference excludes 0. Half the width of the
# interval stands behind ±: a true difference of this size would be told from 0 in about half of such samples.

# %%
n, pairs = len(truth), [("contrastive-linear", "ridge"), ("contrastive-linear", best_ridge)]
leads = {}
for first, second in dict.fromkeys([*pairs, ("MLP", "contrastive-linear")]):
    found = metrics.differences(scores, first, second, **boot)
    for name in (f"brain_to_image MRR of {n}", f"brain_to_image top-1 of {n}"):
        print(f"{first} - {second}, {name}: {found[name].signed()}")
    leads[first, second] = found[f"brain_to_image MRR of {n}"].value
offset = leads[pairs[0]] - leads[pairs[1]]
print(f"part of the lead of contrastive-linear over ridge that is due to the offset: {offset:.3f}")

# %% [markdown]
# Contrastive-linear learns its own offset, and plain ridge cannot. So contrastive-linear is compared with ridge at
# its best readout, too; the difference between both leads is due to the offset alone. In the demo, the offset
# explains 0.019 of the lead of 0.085 in MRR. The rest is 0.066 [0.007, 0.128], which excludes 0 barely; in top-1 no
# difference is seen. The intervals are not corrected for their number, and one training of one subject is shown.
# The study below has several of both.
#
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
#   cluster (Shirakawa et al. 2024). As a control, as many training images are left out at random.
#
# A mapper that lacks a cluster has another mean embedding, and its shrunken predictions stay near that mean. This
# would count against the left-out cluster before the brain is read. So every score of this section is read from
# the mean embedding that the mapper was trained on.

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
tested = {
    name: controls.scores_per_image(truth - centre, e - centre, left["cluster"])
    for name, e in compared.items()
}
tested |= {"ridge, cluster left out": left["left_out"], "ridge, fewer images": left["control"]}
rows = controls.validity_table(tested, **boot)
pd.DataFrame(rows).pivot(index="score", columns="method", values="value").round(2)

# %%
without, fewer = (left[side]["brain_to_image MRR"] for side in ("left_out", "control"))
lost = metrics.paired_difference(without, fewer, **boot)
print(
    f"MRR, cluster left out - fewer images: {lost}, {lost.value / fewer.mean():.0%} of the latter"
)

# %% alt="Scores of ridge and of the controls, overall, within clusters and across clusters, beside chance"
shown = ("brain_to_image MRR", "two-way within clusters", "two-way across clusters")
fig, axes = plt.subplots(1, 3, figsize=(10.5, 3.6), layout="constrained", sharey=True)
for ax, score in zip(axes, shown, strict=True):
    some = {r["method"]: r for r in rows if r["score"] == score}
    bars = {n: metrics.Interval(r["value"], r["low"], r["high"]) for n, r in some.items()}
    plots.plot_scores(bars, chance=some["ridge"]["chance"], xlabel=score, ax=ax)

# %% [markdown]
# A decoder of these clusters would be at chance within one. The prototypes know 20 finer kinds, so they are
# above chance there, too: compare them with ridge. In the demo, ridge loses 39 % of its MRR without the cluster: the
# MRR is 0.36, and 0.59 if as many random images are left out. So training on a kind of image helps, but ridge also
# finds images of a kind that it was never trained on.
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
# Averaging repeats removes noise. Predictions of the same image differ from repeat to repeat. From the size of
# these differences follows how much of the embedding's variance the same map would explain with infinitely many
# repeats. This limit assumes that the errors of two repeats are independent. Errors that repeats share look like
# signal, and then the limit comes out too low.

# %%
single, ids = ceilings.stack_repeats(brain["betas"][test], brain["nsd_id"][test], counts.max())
trials = ridge.predict(single.reshape(-1, single.shape[2])).reshape(len(ids), counts.max(), -1)
repeated = truth[np.isin(test_ids, ids)]
limit = ceilings.repeat_curve(repeated, trials)
pd.DataFrame(limit).round(3)

# %% [markdown]
# The last row is extrapolated, and it is uncertain with few test images. The other rows cannot test its assumption:
# they are made of the same variances within and between images. So with real data nothing here tests it. For a
# simulated subject we can give the map the planted patterns without noise, in units of z-scored betas.

# %%
planted = planted_truth(cfg.data_root, cfg.simulation, cfg.subject, brain["mask"])

# %%
if planted is not None:
    sd, noise = (planted.voxels[name].to_numpy() for name in ("signal_sd", "noise_sd"))
    seen = pd.Index(planted.nsd_id).get_indexer(ids)
    noiseless = ridge.predict(planted.signal[seen] * (sd / np.hypot(sd, noise)))
    r = correlations(repeated, noiseless)
    share = ceilings.explained_variance(repeated, r, n_images=len(ids))
    print(
        f"explained without noise: extrapolated {limit['explained'][-1]:.3f}, planted {share:.3f}"
    )

# %% [markdown]
# And more training data? We add one session after the other, and voxels at random. The test patterns are always
# the same.

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
# ### What the simulator decides
#
# The ncsnr of a simulated subject is set to NSD's, but two shares of its noise are chosen freely: how much of it lies along the signal's patterns in tuned voxels (`shared_noise`, notebook 01), and
# how much of the same noise reaches empty voxels (`null_shared_noise`). `make study` simulates four brains that see
# these pictures, with other choices and fewer sessions of training. Intervals are over brains.

# %%
simulator = open_study(cfg, "simulator")
if simulator:
    found = pd.DataFrame(simulator["decoding"])
    found["shown"] = [
        f"{x:.2f} [{a:.2f}, {b:.2f}]" for x, a, b in found[["value", "low", "high"]].to_numpy()
    ]
    choice = ["null_shared_noise", "shared_noise", "n_sessions"]
    wide = found.pivot(index=choice, columns="score", values="shown")
    display(wide[["top-1", "MRR", "two-way", "explained", "limit over repeats"]])
    ncsnr = pd.DataFrame(simulator["measured"]).query("score == 'ncsnr'")["value"]
    print(f"measured ncsnr in all of these: {ncsnr.min():.3f} to {ncsnr.max():.3f}")
else:
    print("not available: run `make study`")

# %% [markdown]
# In the demo, the ncsnr is nearly the same in all rows, and the scores are not. With all sessions and a share of 5 % in
# empty voxels, ridge finds 72 of 100 images if no noise of tuned voxels lies along the signal's patterns, and 40 if
# 60 % does. More of this noise in empty voxels helps the decoder: they show the noise without the signal, so it can
# be subtracted. The limit over repeats changes less. So a score of a simulated subject says how its noise was
# chosen, and not what a real brain would give.
#
# ## Would another seed, or another subject, say the same?
#
# `make study` fits every mapper with five seeds in several subjects. Its intervals are over images and
# subjects; ticks are single subjects. With few subjects these intervals are too narrow: two subjects, for example,
# can be drawn in three ways only. Simulated subjects, moreover, come from one generator. The figure shows one
# score, and its intervals are not corrected for the number of comparisons.

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

# %% [markdown]
# The study also leaves clusters out, for ridge and for contrastive-linear, both read from the mean.

# %%
if study and "left_out" in study:
    by_side = pd.DataFrame(study["left_out"]).query("score == @score")
    print(by_side.set_index(["mapper", "readout"])[["low", "value", "high"]].round(3))
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
# The predicted embedding can be compared with anything in CLIP space. For four test images, we look for the
# nearest of all captions of the *training* images, read from brain activity alone. In italics stands what a
# person wrote about the test image.

# %%
captions = stimuli["captions"][:, 0]
library = np.isin(clip["nsd_id"], groups)
centred = clip["first_caption"][library] - clip["first_caption"][library].mean(0)
read = contrastive.predict(pattern) - centre
nearest = np.argsort(-(unit(read) @ unit(centred).T), axis=1)[:, :3]

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
# do predictions spread, compared with true embeddings, and how many images are found? And how many from the mean?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
for alpha in (settings.alphas.min(), np.median(ridge_report["best_alphas"]), settings.alphas.max()):
    only = folds | dict(alphas=np.array([alpha]))
    one = encoders.fit_ridge(betas, target, groups, basis=basis, **only)[0].predict(pattern)
    sd = np.sqrt(one.var(0).sum() / truth.var(0).sum())
    both = (truth, one), (truth - centre, one - centre)
    plain, from_mean = (metrics.retrieval(*p, rng=rng)["brain_to_image"]["mrr"] for p in both)
    print(f"penalty {alpha:9.0f}: spread {sd:.2f}, MRR {plain:.2f}, from the mean {from_mean:.2f}")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# A small penalty lets every voxel's noise into the weights: predictions spread more widely, for a good part in wrong
# directions. The largest penalty shrinks predictions to the mean embedding. As it is, such a prediction ranks the
# images mostly by how near each is to the mean, and little retrieval is left. Read from the mean, the same
# predictions find more: the last two columns of the third line differ by what the offset costs. The middle line is
# the median of the penalties that cross-validation chose. They were chosen for the squared error, and not for
# retrieval.
#
# </details>
#
# ### Exercise 2: scoring what was trained on
#
# Take as many *training* images as there are test images, and average their repeats. Which top-1 does ridge reach
# there? And which one for the same images if the fit did not hold them?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
seen_ids = np.unique(groups)[:n]
rows_seen = np.isin(groups, seen_ids)
seen_pattern, _, _ = nsd.average_repeats(betas[rows_seen], groups[rows_seen])
cases = {"trained on": (true[:n], ridge.predict(seen_pattern))}
cases |= {"the same, left out of the fit": (true[:n], predicted[:n])}
cases |= {"test images": (truth, predictions["ridge"])}
for name, both in cases.items():
    found_in = metrics.retrieval(*both, rng=np.random.default_rng(0))["brain_to_image"]
    print(
        f"{name:30s} top-1 of {len(both[0])}: {found_in['top1']:.2f}, chance {1 / len(both[0]):.2f}"
    )

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# The first two lines are of the same images and the same patterns. They differ only in whether the fit held these
# trials, so their difference is memory. With about as many voxels as trials, a linear map learns a part of the noise
# of each trial by heart. A good penalty does not prevent that. Only images whose repeats were all left out say how
# well a brain is read.
#
# </details>
#
# ### Exercise 3: a louder scanner
#
# On the day of the test all betas come out three times too large, or three times too small. Does retrieval change?
# The cosine does not see the length of a prediction, so one might say no.

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
for gain in (1 / 10, 1 / 3, 1, 3):
    louder = ridge.predict(gain * pattern)
    both = (truth, louder), (truth - centre, louder - centre)
    plain, from_mean = (metrics.retrieval(*p, rng=rng)["brain_to_image"]["mrr"] for p in both)
    print(f"betas x {gain:.2f}: MRR {plain:.2f}, from the mean {from_mean:.2f}")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# As it is, it does: a prediction is the mean embedding *plus* what the voxels add, and only the second part grows or
# shrinks. With small betas the common part decides, and images near the mean are nearest to every pattern (*hubs*).
# With large betas the direction of the deviation decides. Read from the mean, only this direction counts, so the last
# column does not change. So z-scoring has to be the same in training and test, or the readout has to be from the mean.
#
# </details>

# %% [markdown]
# ## Answer
#
# How well can the CLIP embedding of an image be predicted from the brain activity it evoked, and would we notice if
# the prediction had nothing to do with the brain?

# %%
mrr = {r["method"]: r["value"] for r in rows if r["score"] == "brain_to_image MRR"}
display(
    Markdown(f"""
* Read from the mean embedding, ridge finds the image that was seen among all test images with a mean reciprocal \
rank of **{mrr["ridge"]:.2f}**.
* We would notice: the same fit with shuffled pairs, which has nothing to do with the brain, scores \
**{mrr["shuffled pairing"]:.2f}**.
* Trained on no image of the seen image's cluster, ridge scores **{mrr["ridge, cluster left out"]:.2f}**.
""")
)

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
