# %% [markdown]
# # 06 · Visual areas
#
# **Question.** What does each visual area add to what is read from the brain, and which part of that
# could the other areas say as well?
#
# | | |
# |---|---|
# | you learn | to compare an area with patches of its size and with scattered voxels, why kept, left out and retrained give different answers, what Shapley values share out |
# | you need | notebooks 01 to 05 |
# | reads | `betas.h5`, `stimuli.h5`, `embeddings.h5`, `predictions.h5`, `ridge`, `matched` and `prior.safetensors`; the subject's betas once more |
# | writes | `areas.h5`, `areas.json` |
# | minutes | to run: smoke 0.2 · demo 1.4 · nsd not measured; to work through: about 60 |
#
# One voxel hardly matters, because others know the same (notebook 05). So now whole areas are taken: only
# one area is *kept*, or it is *left out*, or it is *stimulated*. An area is a large set of voxels in one
# place, and any such set does well. Each area is therefore compared with random groups of as many voxels.
#
# Everything here happens inside a decoder. No area of a brain is switched off.

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
import torch
from IPython.display import Markdown
from scipy import stats

from fmri_utils import encoders, metrics, nsd, perturbation, plots, visual_areas
from fmri_utils.nsd import quality
from fmri_utils.pictures import reconstruction
from fmri_utils.pictures.prior import open_generator
from fmri_utils.plots import area_figure as area_plots
from fmri_utils.project.devices import choose_device
from fmri_utils.project.notebook_files import open_inputs
from fmri_utils.project.profiles import load_profile
from simulated_nsd.on_demand import planted_truth

# %%
cfg = load_profile(PROFILE, subject=SUBJECT, seed=SEED, device=DEVICE, overrides=OVERRIDES)
device, p = choose_device(cfg.device), cfg.perturbation
rng = np.random.default_rng(cfg.seed)
plt.style.use(plots.STYLE)
print(cfg.name, "|", cfg.dataset_label, "|", device)

# %%
names = "betas", "stimuli", "embeddings", "predictions"
files = open_inputs(cfg, *names, "ridge", "matched", "prior", "generator")
brain, stimuli, clip, predicted = (files[name] for name in names)
ridge, encoder = (encoders.load_encoder(files[name]) for name in ("ridge", "matched"))

# %%
train = brain["is_train"]
betas, images = brain["betas"][train], brain["nsd_id"][train]
target = clip["image"][np.searchsorted(clip["nsd_id"], images)]
pattern, truth = predicted["pattern"], predicted["truth"]
areas = dict(zip(brain["area_names"], brain["areas"], strict=True))
print("(n_test, n_voxels) =", pattern.shape, "| training trials:", len(betas))

# %% [markdown]
# ## Which voxels are in which area
#
# Several atlases divide the same cortex, each by its own rule: maps of the visual field (V1 to hV4 and
# bands of eccentricity), the localizer's preference for faces, bodies, places or words, the
# streams, the hemispheres. An area here is the part of it that lies in the region of notebook 01.

# %%
families = visual_areas.area_groups(areas)
groups = {name: where for members in families.values() for name, where in members.items()}
sizes = {name: int(where.sum()) for name, where in groups.items()}
for family, members in families.items():
    print(f"{family:13s}", ", ".join(f"{name} {sizes[name]}" for name in members))

# %% [markdown]
# Areas of two localizers can overlap: a voxel may prefer faces and bodies to everything else.

# %%
named = nsd.available(areas, nsd.NAMED_AREAS)
count = np.sum([np.zeros(betas.shape[1], bool), *named.values()], axis=0)
for number in range(count.max() + 1):
    print(f"in {number} of {', '.join(named) or 'them'}: {(count == number).sum()} voxels")

# %% [markdown]
# Voxels in none of these are *unassigned*: visual, but without a name in the two atlases. Voxels in two
# count for both, so what is said of one is partly said of the other. Here is how many each two share:

# %%
shared = visual_areas.overlaps(named)
pd.DataFrame(shared, index=list(named), columns=list(named))

# %% [markdown]
# Between families nearly everything overlaps, by intention: V1 holds all eccentricities, and lies in the
# stream `early`. The main groups of this notebook are the eight named areas and the unassigned voxels.
#
# ## Two kinds of random groups
#
# Each group is compared with random groups of its size, of two kinds. They ask different questions.
#
# * *Scattered* voxels lie anywhere in the region. They ask whether it matters that the voxels of an area
#   are neighbours. Neighbours share noise, and they know similar things.
# * A *patch* is one piece in each hemisphere: a random voxel, and the voxels nearest to it. It has as many
#   voxels in each hemisphere as the area. Patches ask whether an area is special among pieces of cortex.
#
# One thing that sets them apart is noise. What a trial has beside the mean of its image's trials is noise
# (notebook 01). How strongly is the noise of two voxels correlated, within an area and within its controls? Another
# thing is the signal itself: which share of a single trial's variance is signal, by the ncsnr?

# %%
main = {name: groups[name] for name in (*named, *families.get("unassigned", {}))}
coordinates = quality.voxel_coordinates(brain["mask"], brain["affine"])
controls = {"scattered": visual_areas.scattered(len(coordinates))}
controls["patches"] = visual_areas.patches(coordinates, areas.get("lh"))
test = brain["is_test"]
noise, _ = quality.noise_residuals(brain["betas"][test], brain["nsd_id"][test])

# %%
columns = pd.MultiIndex.from_product([["noise r", "signal share"], ["area", *controls]])
alike = pd.DataFrame(index=list(main), columns=columns, dtype=float)
ncsnr = np.nan_to_num(brain["ncsnr"])
share = ncsnr**2 / (1 + ncsnr**2)
for name, where in main.items():
    drawn = {"area": [where]}
    for kind, control in controls.items():
        size = control.sizes({name: where})[0]
        drawn[kind] = [control.draw(size, rng) for _ in range(20)]
    for kind, some in drawn.items():
        of_noise = [visual_areas.shared_noise(noise, one) for one in some]
        alike.loc[name, [("noise r", kind)]] = np.mean(of_noise)
        alike.loc[name, [("signal share", kind)]] = np.mean([share[one].mean() for one in some])
alike.round(3)

# %% [markdown]
# Noise that voxels share stays when they are averaged. In the demo two voxels of a patch share about twice as
# much as two scattered ones (0.10 against 0.06). V1 to hV4 are like patches. Voxels of `faces`, `bodies`
# and `words` share more (0.31, 0.19, 0.23): in the simulated subject voxels that are tuned alike share noise. The share
# of signal is not matched either: it is lower in `places` (0.07) and in the unassigned voxels (0.10) than in their
# patches (0.14).
#
# ## Keep one area, or leave it out
#
# A voxel is left out by setting it to 0, its mean. Keeping V1 only means 0 everywhere else; what
# remains is the mean embedding plus what V1's weights add. The *gain* is how much closer to the true
# embedding that comes than no voxel at all, the *loss* how much is missing if the area alone is taken
# away. Both are in the cosine, image by image.

# %%
how = {"controls": controls, "n_random": p.n_random, "rng": rng, "progress": True}
scores = visual_areas.score_areas(encoder, pattern, truth, groups, **how)
both = np.stack([encoder.predict(pattern), np.repeat(encoder.intercept[None], len(truth), 0)])
ends = visual_areas.embedding_scores_of(both, truth)
for name, (all_voxels, no_voxel) in ends.items():
    print(f"{name:16s} all voxels {all_voxels.mean():.3f} | no voxel {no_voxel.mean():.3f}")

# %%
boot = {"rng": rng, "n": cfg.encoder.n_bootstrap}
table = pd.DataFrame(scores.records(**boot))
table["interval"] = [str(metrics.Interval(*v)) for v in table[["value", "low", "high"]].to_numpy()]
for control in controls:
    limits = table[[f"{control}_low", f"{control}_high"]].to_numpy()
    table[control] = [f"{low:.3f} to {high:.3f}" for low, high in limits]
shown = table.pivot(index=["score", "group"], columns="kind", values=["interval", *controls])
shown.loc["reciprocal_rank"].loc[list(scores.names)]

# %% [markdown]
# `reciprocal_rank` is 1 if the pattern's own image comes first among all test images, 1/2 for the second
# place (brain_to_image). `scattered` and `patches` are the middle 95 % of random groups of the same size.
# Intervals are over images. An image that is easy is easy for every group. So the gain and the loss, image
# by image, are known better than the scores themselves. Behind each stand two p values, against scattered
# voxels and against patches:

# %%
whole, none = ends["cosine"]
gain = scores.difference("keep_only", "cosine", none, **boot)
change = scores.difference("leave_out", "cosine", whole, **boot)
loss = [metrics.Interval(-i.value, -i.high, -i.low) for i in change]
p_values = {k: [scores.p(kind, "cosine", k) for kind in scores.per_image] for k in controls}

# %%
for i, name in enumerate(scores.names):
    keep, leave = (" / ".join(f"{p[k][i]:.3f}" for p in p_values.values()) for k in (0, 1))
    print(f"{name:11s} gain {gain[i]} p {keep} | loss {loss[i]} p {leave}")

# %% [markdown]
# p is two-sided: how often a random group of the same size is as far out, in either direction. With so many
# groups a few p values are below .05 by chance. So which of the main groups stand out among patches if the
# rate of false discoveries is held at 5 % over all their gains and losses?

# %%
own_rows = [list(scores.names).index(name) for name in main]
questions = [f"{what} {name}" for what in ("only", "without") for name in main]
q = stats.false_discovery_control(np.concatenate([p[own_rows] for p in p_values["patches"]]))
found = {name: round(float(value), 3) for name, value in zip(questions, q, strict=True)}
print({name: value for name, value in found.items() if value < 0.05})

# %%
total = (whole - none).mean()
gains, losses = (np.array([row[i].value for i in own_rows]) for row in (gain, loss))
print(f"sum of gains {gains.sum():.3f}, of losses {losses.sum():.3f}; all voxels gain {total:.3f}")

# %% [markdown]
# What to look for:
#
# * The gains add up to more than all voxels gain together, and the losses to less: in the demo to 1.21 and
#   0.16, where all voxels gain 0.42. This does not show that areas share what they know. A cosine grows less and less
#   as voxels are added, so its gains and losses do so even for groups that share nothing. The next section asks it
#   in a measure that adds up.
# * Against *scattered* voxels many areas gain less alone, or cost more when left out. In the demo 10 of the 18
#   p values of the main groups are below .05. For compact areas it is enough that their voxels are neighbours:
#   neighbours know similar things and share noise, and when they are left out together none stays behind.
# * Against *patches* fewer groups stand out. In the demo `places` and the unassigned voxels gain less than
#   patches, and `faces` cost more (q .024 each). `bodies` gain less than scattered voxels (p .004),
#   but whether less than patches remains open (p .080).
# * Patches are no perfect match. They are compact, while an area may have several pieces. Their voxels may hold more
#   signal, as those of the patches of `places` and of unassigned voxels do in the demo: this is part of why these two
#   gain less. And large patches overlap: a hemisphere is the only patch of its size, so its p is 1.
#
# ## Do areas share what they know?
#
# The squared error of the ridge prediction adds up where the cosine does not. Ridge predicts a sum: the mean
# embedding, and what each group of voxels says. Suppose the groups say things that are unrelated over images. Then the
# variance that they explain alone adds up to what all explain together, and so does the variance that is lost without
# them. Each voxel may stand in one group only, so voxels in several areas are a group of their own.

# %%
parts = visual_areas.disjoint(main)
rest = truth - ridge.predict(np.zeros_like(pattern))  # what the mean embedding leaves
says = {name: pattern[:, where] @ ridge.weights[where] for name, where in parts.items()}
missing = rest - sum(says.values())
left, unexplained = (rest**2).sum(), (missing**2).sum()
together = 1 - unexplained / left
alone = {name: 1 - ((rest - x) ** 2).sum() / left for name, x in says.items()}
lost = {name: (((missing + x) ** 2).sum() - unexplained) / left for name, x in says.items()}
print(f"share of variance explained by all voxels {together:.3f}")
print(f"by the groups alone, sum {sum(alone.values()):.3f}; lost without each, sum", end=" ")
print(f"{sum(lost.values()):.3f}")

# %% [markdown]
# Above what all voxels explain, the sum of the groups alone counts things twice; below it, the sum of the losses leaves
# out what others could say. In the demo the sums are 0.297 and 0.215, and all voxels explain 0.256. So the groups
# share something, but much less than the cosine seems to say.
#
# ## The accuracy divided among areas
#
# Back to the cosine. Its gains are too large and its losses too small to add up.
# *Shapley values* stand between: the mean gain when an area joins, over all orders of joining. They are exact
# here, from all subsets of the groups.

# %% alt="Shapley value of each area with its interval: the accuracy divided among areas"
shares = {
    name: metrics.bootstrap(values, rng=rng, n_resamples=cfg.encoder.n_bootstrap)
    for name, values in visual_areas.shapley_by_trial(encoder, pattern, truth, parts).items()
}
joined = np.array([[v.value, v.low, v.high] for v in shares.values()])
fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
area_plots.plot_area_changes(
    list(shares), {"joined": (joined, {})}, xlabel="Shapley value (cosine)", ax=ax
)
print(f"sum {joined[:, 0].sum():.4f} | all voxels - no voxel {total:.4f}")

# %% [markdown]
# The values add up to what all voxels gain. The groups differ in size and in noise, and a Shapley value takes neither
# out. So it says nothing about how special a group is.
#
# ## Ablated is not retrained
#
# The decoder's weights were made for the company of all voxels. An area that looks poor when kept
# alone may only be badly read. So the decoder is trained again, on the area *only* (penalties
# chosen anew by cross-validation in the training images), and on all *but* the area (in closed form).
# The controls are decoders trained on random groups of its size. They keep the penalties of the area.

# %%
settings = encoders.MapperSettings.of(cfg.encoder)
tests = {"pattern": pattern, "truth": truth, "settings": settings, "device": device}
again = visual_areas.score_retrained(
    betas, target, images, main, **how | {"n_random": p.n_retrained}, **tests
)
best_gain = again.difference("retrained", "cosine", none, **boot)

# %%
alphas = perturbation.ridge_penalties(ridge, betas, target)
precision = perturbation.fit_precision(betas, dtype=np.float32)
without = visual_areas.refit_without(encoder, precision, main, alphas)
refitted = np.stack([one.predict(pattern) for one in without.values()])
refit_scores = visual_areas.embedding_scores_of(refitted, truth)
n_resamples = cfg.encoder.n_bootstrap
best_loss = [
    metrics.paired_difference(whole, row, rng=rng, n_resamples=n_resamples)
    for row in refit_scores["cosine"]
]

# %%
bands = {k: again.band("retrained", "cosine", k) - none.mean() for k in controls}
for i, name in enumerate(main):
    print(f"{name:10s} only: ablated {gains[i]:.3f}, retrained {best_gain[i]}", end="")
    print("".join(f", {k} {band[i, 0]:.3f} to {band[i, 1]:.3f}" for k, band in bands.items()))
    print(f"{'':10s} without: ablated {losses[i]:+.4f}, retrained {best_loss[i]}")

# %% [markdown]
# Trained on its own, an area gains far more than its weights in the large decoder let on. And without it
# the others, trained again, lose less than the ablation says or nothing at all. Neither number is wrong.
# The first asks what the area *carries*, the second whether it is *needed*, and the ablated ones what this
# decoder *does* with it.
#
# The ranges are those of 39 random groups (fewer in smoke): one group in twenty lies beyond such a range by chance, and
# no p value can be smaller than .05. With nine groups this is too coarse to call any one of them special. In the
# demo `places` (0.233) and the unassigned voxels (0.357) carry less than all their patches; they also hold
# less signal. The retrained losses have no random groups beside them; their intervals only tell them from 0.
#
# ## One region, or a choice of areas?
#
# `nsdgeneral` takes whatever responds to pictures in the back of the brain. Would named areas do, alone or
# together? And what is lost outside of it: parts of the named areas lie beyond its border. Their betas
# are read from the subject's folder.

# %%
combinations = visual_areas.unions(perturbation.parse_concepts(p.combinations), areas)
how |= {"controls": {"scattered": controls["scattered"]}, "n_random": (p.n_retrained + 1) // 2}
combined = visual_areas.score_retrained(betas, target, images, combinations, **how, **tests)

# %% [markdown]
# The wider region holds the same trials. Its voxels are z-scored as in notebook 01, and the cell stops if those
# that both regions share are not the same.

# %%
layout = nsd.NSDLayout(cfg.data_root, cfg.subject, beta_version=cfg.data.beta_version)
sessions = nsd.first_sessions(layout, cfg.data.n_sessions)
wide_mask = nsd.roi_mask(layout, f"{cfg.data.roi}+{p.added_rois}")
wide = nsd.read_betas(layout, wide_mask, sessions)
wide = nsd.zscore_sessions(wide, brain["session"], train)
inside = brain["mask"][wide_mask]
assert np.allclose(wide[:, inside], brain["betas"], atol=1e-5), "other betas: `make 01`"
print("(n_trials, n_voxels) =", wide.shape, "| beyond the region:", (~inside).sum())

# %%
wide_pattern, _, _ = nsd.average_repeats(wide[test], brain["nsd_id"][test])
everything = {f"{cfg.data.roi} and all of them": np.ones(len(inside), bool)}
own = tests | {"pattern": wide_pattern}
how |= {"controls": {}}
widest = visual_areas.score_retrained(wide[train], target, images, everything, **how, **own)

# %%
mrr = {cfg.data.roi: ends["reciprocal_rank"][0]}
mrr |= dict(zip(combined.names, combined.per_image["retrained"]["reciprocal_rank"], strict=True))
mrr |= dict(zip(widest.names, widest.per_image["retrained"]["reciprocal_rank"], strict=True))
n_voxels = [len(inside) - (~inside).sum(), *combined.sizes, *widest.sizes]
region = {
    f"{name} ({n})": metrics.bootstrap(values, rng=rng, n_resamples=n_resamples)
    for (name, values), n in zip(mrr.items(), n_voxels, strict=True)
}

# %% alt="MRR of decoders trained on the region, on choices of areas and on a wider region, with intervals, beside chance"
chance = metrics.chance(len(truth))["reciprocal_rank"]
fig, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
_ = plots.plot_scores(region, chance=chance, xlabel="brain_to_image MRR, retrained", ax=ax)

# %% [markdown]
# In brackets the number of voxels. The intervals overlap, so the choices are compared with the whole region image by
# image. Below that stands what as many scattered voxels of the region reach, in half as many random groups.

# %%
for name in [*combined.names, *widest.names]:
    difference = metrics.paired_difference(
        mrr[name], mrr[cfg.data.roi], rng=rng, n_resamples=n_resamples
    )
    print(f"{name} - {cfg.data.roi}: {difference}")
for name, random in zip(
    combined.names, combined.random["scattered"]["retrained"]["reciprocal_rank"], strict=True
):
    print(f"as many scattered voxels as {name}: {random.min():.3f} to {random.max():.3f}")

# %% [markdown]
# Each interval is at 95 %, so among six of them one that barely leaves out 0 means little. In the demo no choice
# of areas is better than as many scattered voxels. Only all named areas together are not told apart from the
# region. The voxels beyond the border add nothing: with them the MRR is 0.033 [0.007, 0.063] lower.
#
# Why do they add nothing? Other voxels may know the same. Or they may know little: *ncsnr* is the standard deviation
# of a voxel's signal over that of its noise, in single trials (notebook 01).

# %%
sides = {"inside": inside, "beyond": ~inside}
snr = nsd.read_ncsnr(layout, wide_mask)
planted = planted_truth(cfg.data_root, cfg.simulation, cfg.subject, wide_mask)
snr_of = {"NSD's ncsnr map": snr}
if planted is not None:
    snr_of["planted ncsnr"] = planted.voxels["ncsnr"].to_numpy()
for what, values in snr_of.items():
    found = {side: round(float(np.nanmedian(values[w])), 3) for side, w in sides.items() if w.any()}
    print(f"{what}, median: {found}")

# %% [markdown]
# In the demo the voxels beyond the border are also much noisier: their planted ncsnr is 0.15, inside it is 0.36. So
# the signal is 2 % of the variance of a single trial beyond the border, and 11 % inside. The comparison above
# therefore cannot say whether others know the same, or whether noise hides what these voxels know.
#
# ## Stimulating an area
#
# Instead of taking an area away, every voxel of it is raised by one standard deviation. Which way does the
# embedding go? The four directions were fixed in the profile, from words of captions, before anybody
# looked. Each localizer area should move most towards its own.

# %%
known = np.isin(clip["nsd_id"], images)
captions, caption_embeddings = stimuli["captions"][known, 0], clip["first_caption"][known]
concepts = perturbation.parse_concepts(p.concepts)
directions = perturbation.concept_directions(concepts, captions, caption_embeddings)
shifts = perturbation.area_shifts(encoder, pattern, named, directions)
shift = shifts.mean(1)
random_shift = {
    name: visual_areas.random_shift(
        encoder, pattern, named, directions, control=control, n_random=p.n_random, rng=rng
    )
    for name, control in controls.items()
}

# %% alt="Table of shifts towards four concepts for each stimulated area; an area's own concept is framed"
shift_bands = {
    name: visual_areas.random_band(np.moveaxis(drawn, 0, -1)).T
    for name, drawn in random_shift.items()
}
fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
limits = shift_bands["patches"]
area_plots.plot_area_shift(shift, *limits, list(named), list(concepts), ax=ax)
ax.set(xlabel="concept", ylabel="area stimulated")
for name, (low, high) in shift_bands.items():
    beyond = (shift < low) | (shift > high)
    print(f"beyond 95 % of {name}: {beyond.sum()} of {beyond.size} cells")

# %% [markdown]
# Framed is an area's own concept, bold a shift that less than 5 % of patches of its size reach. In the demo these
# are four of 32 cells, where chance gives about two: the own concepts of `faces`, `places` and `words`, and
# V1's shift away from bodies.
#
# Along a row: does the area move towards its own concept more than towards the others? Along a column the
# question is different: which area moves the embedding most towards faces, say? There areas of different size
# compete, and concepts that go together share captions: a person has a face, and stands in a place. Early
# areas can move it too, as they know colours and layouts that go with a concept.
#
# ### How sure is a lead?
#
# An area's *lead* is the shift towards its own concept minus the shift towards the best of the other three.
# Test images hardly change a lead, because stimulation adds the same vector to every prediction. A decoder
# from other training images can change it. So the training images are divided 16 times into two halves, and a
# decoder is fitted to each half. Two such decoders share no image. Half of their difference varies as
# much as decoders from all our training images would, if the spread goes with one over the root of their
# number. The directions stay those of all captions. The same decoders tell how sure gains and losses are.

# %%
scale = np.linalg.norm(encoder.weights) / np.linalg.norm(ridge.weights)
learned = betas, target, images, alphas / 2  # as strong a penalty for half of the trials
halvings = perturbation.half_decoders(*learned, scale=scale, n_halvings=16, device=device)

# %%
everything = main | {"all": np.ones(pattern.shape[1], bool)}
halves = {"lead": [], "gain": [], "loss": []}
for half in (half for pair in halvings for half in pair):
    moved = perturbation.area_shifts(half, pattern, named, directions)
    leads = perturbation.own_leads(moved, list(named), list(concepts))
    of_half = visual_areas.score_areas(half, pattern, truth, everything, **how)
    keep, leave = (of_half.means(kind, "cosine") for kind in of_half.per_image)
    halves["lead"].append([lead.mean() for lead in leads.values()])
    halves["gain"].append(keep[:-1] - leave[-1])
    halves["loss"].append(keep[-1] - leave[:-1])

# %%
errors = {}
for what, values in halves.items():
    difference = np.diff(np.reshape(values, (len(halvings), 2, len(values[0]))), axis=1)[:, 0]
    errors[what] = np.sqrt((difference**2).mean(0)) / 2
for i, name in enumerate(main):
    print(f"{name:11s} gain {gains[i]:.3f} +- {errors['gain'][i]:.3f}", end=", ")
    print(f"loss {losses[i]:.4f} +- {errors['loss'][i]:.4f} over training images")

# %%
holds, leads = {}, perturbation.own_leads(shifts, list(named), list(concepts))
for (name, rows), error in zip(leads.items(), errors["lead"], strict=True):
    lead = metrics.bootstrap(rows, rng=rng, n_resamples=n_resamples)
    own = list(concepts).index(name)
    holds[name] = bool(shift[list(named).index(name)].argmax() == own)
    print(f"{name:7s} most towards its own: {holds[name]}; lead {lead} over test images,", end=" ")
    print(f"+- {error:.3f} over training images, {lead.value / error:.1f} times that;", end=" ")
    print(f"the area that moves most towards it: {list(named)[shift[:, own].argmax()]}")

# %% [markdown]
# In the demo all four areas move most towards their own concept, and test images seem to leave no doubt
# about it. Training images do leave a doubt. Over them a lead varies by 0.04 to 0.05, 7 to 16 times as much as over test
# images. The lead of `bodies`, 0.021 [0.015, 0.027], is smaller than this (0.050). So with other training
# images `bodies` might have moved most towards another concept. The other leads are 2.6 to 3.8 times as large as
# their own error over training images. (Behind ± stands such a standard error, half as wide as a 95 % interval.)
#
# For gains and losses it is the other way round: there the test images matter more. All other intervals of
# this notebook hold the one decoder fixed.
#
# A simulated subject makes this a test of recovery, and no discovery. Its four areas were given their tuning
# by the same four categories whose caption words are the concepts here. The test says how well signal, noise,
# decoder and directions together bring back what was planted: in the demo, for three areas of the four.
#
# ## The pictures
#
# The same z and the same noise buffers for every picture of a row, drawn through the prior. What differs is
# the group.

# %%
generator = open_generator(files, device=device)
base_z = reconstruction.draw_z(generator, 1, cfg.seed)
draw = perturbation.renderer(generator, psi=cfg.lafite.truncation_psi, seed=cfg.seed)
pictured = visual_areas.unions(perturbation.parse_concepts(p.pictured), areas)
kinds = ("keep_only", "leave_out", "stimulate")
full, changed = visual_areas.area_pictures(
    draw, encoder, pattern[: p.n_pictured], pictured, z=base_z, kinds=kinds, progress=True
)
print("(n_images, n_groups, H, W, 3) =", changed["keep_only"].shape)

# %% alt="For each image: what was seen, the picture from all voxels, and pictures with each group kept only, left out, and stimulated"
shown = np.searchsorted(stimuli["nsd_id"], predicted["test_ids"][: p.n_pictured])
seen = stimuli["images"][shown]
_ = area_plots.plot_area_pictures(seen, full, changed, list(pictured))

# %% [markdown]
# Keeping a group gives a picture on the way from the mean scene to the full reconstruction. Leaving one out
# often changes little that one could name. How far do the pictures go, beside new noise? And how far from the
# picture of no voxel at all, which is drawn from the mean embedding?

# %%
condition = torch.from_numpy(
    encoders.unit(encoder.predict(pattern[: len(full)])).astype(np.float32)
)
other_z = reconstruction.draw_z(generator, 1, cfg.seed + 1).expand(len(full), -1)
renewed = draw(other_z, condition, True)
noise_rms = np.median(np.sqrt(((renewed - full) ** 2).mean((1, 2, 3))))
no_voxel = draw(base_z, condition.new_tensor(encoders.unit(encoder.intercept)[None]), False)

# %%
pairs = {kind: (changed[kind], full[:, None]) for kind in kinds}
pairs["keep_only, from no voxel"] = changed["keep_only"], no_voxel
for what, (pictures, base) in pairs.items():
    rms = np.sqrt(((pictures - base) ** 2).mean((2, 3, 4))).mean(0)
    print(f"{what:9s}", {n: round(float(v), 3) for n, v in zip(pictured, rms, strict=True)})
print(f"new noise only, median: {noise_rms:.3f} (pixel RMS)")

# %% [markdown]
# The first three rows are distances from the picture of all voxels. In the demo leaving out hV4, `bodies`,
# `places` or `words` changes the pictures less than new noise does. The last row is the distance that an area
# moves the picture by itself. In the demo it grows with the number of voxels, by and large: 0.12 for the
# 94 voxels of hV4, 0.28 for the 1006 unassigned ones.
#
# ## What taking areas away can and cannot show
#
# * It shows how sensitive *this decoder* is to an area. It is exact, and it is about the model: nothing was
#   switched off in a brain, and no area computes without the others.
# * A small loss does not mean that the area carries little. Others may carry the same: then each of them can
#   go, but not all. Look at keep-only, at Shapley values and at retraining beside it.
# * A loss does not mean that the area carries anything about the picture. Noise is correlated between voxels,
#   and a decoder can use a voxel without signal to subtract another's noise.
# * More voxels average out more noise, and neighbours share noise. An area counts as special only against
#   patches of its size. Scattered voxels ask a weaker question: is it a piece of cortex?
# * Stimulation adds a pattern that no picture evokes, one standard deviation everywhere. Where the
#   embedding goes then is what the weights have learned to go with the area.

# %% [markdown]
# ## Exercises
#
# Write down what you expect before you unfold a solution.
#
# ### Exercise 1: half of the voxels
#
# A random half of all voxels is kept, then a quarter, then fewer. Which part of the gain in cosine remains?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
order = np.random.default_rng(cfg.seed).permutation(pattern.shape[1])
whole, none = ends["cosine"]
for part in (0.5, 0.25, 0.1, 0.02):
    some = order[: max(1, int(part * len(order)))]
    kept = visual_areas.group_embedding(encoder, pattern, some, "keep_only")
    gained = ((encoders.unit(kept) * truth).sum(1) - none).mean()
    print(f"{part:.0%} of the voxels keep {gained / (whole - none).mean():.0%} of the gain")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# Far more than their share. One reason is that voxels know the same things. Another is the cosine, which grows less and
# less as voxels are added. Suppose an area with a tenth of the voxels keeps a large part of the gain. That alone says
# nothing about the area, because a random tenth does the same.
#
# </details>
#
# ### Exercise 2: two groups out
#
# How much of the explained variance is lost without each hemisphere, and how much without `faces` and without `words`?
# Is the loss without both the sum of the two?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
pairs = [nsd.available(areas, names) for names in (("lh", "rh"), ("faces", "words"))]
for gone in [pair for pair in pairs if len(pair) == 2]:
    gone |= {" and ".join(gone): np.any(list(gone.values()), axis=0)}
    for name, where in gone.items():
        without_it = missing + pattern[:, where] @ ridge.weights[where]
        share_lost = ((without_it**2).sum() - unexplained) / left
        print(f"without {name}: {share_lost:+.4f} in {where.sum()} voxels")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# If each of two groups stands in for the other in part, the loss of both is larger than the sum. So it is with the
# hemispheres: in the demo 0.107 and 0.118, together 0.256. The difference, 0.03, is what both can say. If two groups share
# voxels, these count twice in the sum, as with `faces` and `words`. In the cosine the loss of both hemispheres is three
# times the sum of the losses, but there even groups that share nothing would lose more together.
#
# </details>
#
# ### Exercise 3: the other way
#
# Each area is *lowered* by one standard deviation instead of raised. Is the shift towards each concept the same
# with the opposite sign?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
raised = perturbation.area_shifts(encoder, pattern, main, directions).mean(1)
lowered = perturbation.area_shifts(encoder, pattern, main, directions, k=-1).mean(1)
both = np.corrcoef(lowered.ravel(), raised.ravel())
print(f"correlation with the shifts of +1 SD: {both[0, 1]:.2f}")
print(f"mean of +1 SD {raised.mean():+.3f}, of -1 SD {lowered.mean():+.3f}")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# Nearly. The decoder is linear, and its output moves exactly the other way; but the cosine is taken
# after going back to unit length, which bends large shifts. A real area would not do this: activity has a
# floor, and an area below its rest is not the opposite of a face.
#
# </details>

# %% [markdown]
# ## What is kept

# %%
results = {"names": list(main), "sizes": scores.sizes[own_rows]}
listed = {"gain": gain, "loss": loss}
listed = {key: [intervals[i] for i in own_rows] for key, intervals in listed.items()}
listed |= {"retrained_gain": best_gain, "retrained_loss": best_loss}
for key, intervals in listed.items():
    results[key] = np.array([[i.value, i.low, i.high] for i in intervals])
for name in controls:
    results[f"gain_{name}"] = scores.band("keep_only", "cosine", name)[own_rows] - none.mean()
    kept = scores.band("leave_out", "cosine", name)[own_rows]
    results[f"loss_{name}"] = whole.mean() - kept[:, ::-1]
    results[f"retrained_gain_{name}"] = bands[name]
    results[f"shift_{name}_low"], results[f"shift_{name}_high"] = shift_bands[name]

# %%
results |= {"shapley_names": list(shares), "shapley": joined}
results |= {"shift": shift, "shift_names": list(named), "concept_names": list(concepts)}
results |= {"overlaps": shared, "seen": seen, "whole": full, "picture_names": list(pictured)}
results |= changed

# %%
summary = {"sizes": sizes, "unassigned": sizes.get("unassigned", 0)}
summary |= {"scores": table.drop(columns=["interval", *controls]).to_dict("records")}
summary |= {"regions_mrr": {name: [v.value, v.low, v.high] for name, v in region.items()}}

# %%
rows = zip(named, shift.tolist(), strict=True)
summary |= {"stimulation": {name: dict(zip(concepts, row, strict=True)) for name, row in rows}}
summary |= {"moves_most_towards_its_own": holds, "n_random": p.n_random}
summary |= {"errors_over_training_images": {k: v.tolist() for k, v in errors.items()}}

# %% [markdown]
# ## Answer
#
# What does each visual area add to what is read from the brain, and which part of that could the other areas
# say as well?

# %%
n_special = int((q < 0.05).sum())
display(
    Markdown(
        "If every voxel stands in one group only, the variance that the groups explain alone adds up to "
        f"**{sum(alone.values()) / together:.0%}** of what all voxels explain, where groups that say unrelated things "
        f"would give 100 %. The variance lost without each group adds up to **{sum(lost.values()) / together:.0%}**, "
        f"so the rest could be said by others. In cosine, **{n_special}** of the {q.size} gains and losses stand out "
        "among patches of the same size when false discoveries are held at one in twenty."
    )
)

# %%
files.save("areas", results)
files.save("areas.json", summary)
files.finish("07_self_supervised")
