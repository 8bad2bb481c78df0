# %% [markdown]
# # 06 · Visual areas
#
# **Question.** What does each visual area add to what is read from the brain, and which part of that
# could the other areas say as well?
#
# | | |
# |---|---|
# | you learn | to compare an area with random voxels, why kept, left out and retrained give different answers, what Shapley values share out |
# | you need | notebooks 01 to 05 |
# | reads | `betas.h5`, `stimuli.h5`, `embeddings.h5`, `predictions.h5`, `ridge`, `matched` and `prior.safetensors`; the subject's betas once more |
# | writes | `areas.h5`, `areas.json` |
# | minutes | to run: smoke 0.2 · demo 1.1 · nsd not measured; to work through: about 60 |
#
# One voxel hardly matters, because others know the same (notebook 05). So now whole areas are taken: only
# one area is *kept*, or it is *left out*, or it is *stimulated*. An area is a large set of voxels, and any
# large set does well; each is therefore compared with random sets of as many voxels.
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

from fmri_utils import encoders, metrics, nsd, perturbation, plots, visual_areas
from fmri_utils.pictures import reconstruction
from fmri_utils.pictures.prior import open_generator
from fmri_utils.plots import area_figure as area_plots
from fmri_utils.project.devices import choose_device
from fmri_utils.project.notebook_files import open_inputs
from fmri_utils.project.profiles import load_profile

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
# ## Keep one area, or leave it out
#
# A voxel is left out by setting it to 0, its mean. Keeping V1 only means 0 everywhere else; what
# remains is the mean embedding plus what V1's weights add. The *gain* is how much closer to the true
# embedding that comes than no voxel at all, the *loss* how much is missing if the area alone is taken
# away. Both are in the cosine, image by image.

# %%
main = {name: groups[name] for name in (*named, *families.get("unassigned", {}))}
scores = visual_areas.score_areas(
    encoder, pattern, truth, groups, n_random=p.n_random, rng=rng, progress=True
)
both = np.stack([encoder.predict(pattern), np.repeat(encoder.intercept[None], len(truth), 0)])
ends = visual_areas.embedding_scores_of(both, truth)
for name, (all_voxels, no_voxel) in ends.items():
    print(f"{name:16s} all voxels {all_voxels.mean():.3f} | no voxel {no_voxel.mean():.3f}")

# %%
boot = {"rng": rng, "n": cfg.encoder.n_bootstrap}
table = pd.DataFrame(scores.records(**boot))
table["interval"] = [str(metrics.Interval(*v)) for v in table[["value", "low", "high"]].to_numpy()]
ends_of_bands = table[["random_low", "random_high"]].to_numpy()
table["random"] = [f"{a:.3f} to {b:.3f}" for a, b in ends_of_bands]
shown = table.pivot(index=["kind", "group"], columns="score", values=["interval", "random"])
shown.loc["keep_only"].loc[list(scores.names)]

# %%
shown.loc["leave_out"].loc[list(scores.names)]

# %% [markdown]
# `random` is the middle 95 % of random groups of the same size. `top1` is the share of patterns whose own
# image comes first among all test images (brain_to_image), `reciprocal_rank` is 1 for the first place,
# 1/2 for the second. Intervals are over images. An image that is easy is easy for every group, so the gain
# and the loss, image by image, are known better than the scores themselves:

# %%
whole, none = ends["cosine"]
gain = scores.difference("keep_only", "cosine", none, **boot)
change = scores.difference("leave_out", "cosine", whole, **boot)
loss = [metrics.Interval(-i.value, -i.high, -i.low) for i in change]
p_keep, p_leave = (scores.p(kind, "cosine") for kind in ("keep_only", "leave_out"))
for i, name in enumerate(scores.names):
    print(f"{name:12s} gain {gain[i]} p {p_keep[i]:.3f} | loss {loss[i]} p {p_leave[i]:.3f}")

# %% [markdown]
# p is two-sided: how often a random group of the same size is as far out, in either direction. It is each
# group's own; with so many groups a few are below .05 by chance. What to look for:
#
# * The gains add up to far more than all voxels gain together, and most losses are small. Areas share
#   what they know.
# * Kept alone, most areas gain *less* than as many random voxels; left out, some cost *more*. Both have one
#   reason. The voxels of an area know similar things and share their noise. A random group has something
#   of everything, and for each of its voxels a neighbour stays behind.
#
# ## The accuracy divided among areas
#
# Kept alone, an area gets credit for what others know as well; left out, it gets none for it.
# *Shapley values* stand between: the mean gain when an area joins, over all orders of joining. They are exact
# here, from all subsets. They need groups without overlap, so voxels in several areas are a group of their
# own.

# %% alt="Shapley value of each area with its interval: the accuracy divided among areas"
parts = visual_areas.disjoint(main)
shares = {
    name: metrics.bootstrap(values, rng=rng, n_resamples=cfg.encoder.n_bootstrap)
    for name, values in visual_areas.shapley_by_trial(encoder, pattern, truth, parts).items()
}
joined = np.array([[v.value, v.low, v.high] for v in shares.values()])
fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
area_plots.plot_area_changes(
    list(shares), {"joined": (joined, None)}, xlabel="Shapley value (cosine)", ax=ax
)
total = joined[:, 0].sum()
print(f"sum {total:.4f} | all voxels - no voxel {(whole - none).mean():.4f}")

# %% [markdown]
# ## Ablated is not retrained
#
# The decoder's weights were made for the company of all voxels. An area that looks poor when kept
# alone may only be badly read. So the decoder is trained again, on the area *only* (penalties
# chosen anew by cross-validation in the training images), and on all *but* the area (in closed form).
# The controls are decoders trained on random voxels, as many.

# %%
settings = encoders.MapperSettings.of(cfg.encoder)
tests = {"pattern": pattern, "truth": truth, "settings": settings, "device": device}
again = visual_areas.score_retrained(
    betas, target, images, main, n_random=p.n_retrained, rng=rng, progress=True, **tests
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
low, high = again.band("retrained", "cosine").T - none.mean()
for i, name in enumerate(main):
    print(f"{name:11s} only: ablated {gain[i].value:.3f}, retrained {best_gain[i]}", end=" ")
    print(f"(random {low[i]:.3f} to {high[i]:.3f})", end=" | ")
    print(f"without: ablated {loss[i].value:+.4f}, retrained {best_loss[i].value:+.4f}")

# %% [markdown]
# Trained on its own, an area gains far more than its weights in the large decoder let on. And without it
# the others, trained again, lose less than the ablation says or nothing at all. Neither number is wrong.
# The first asks what the area *carries*, the second whether it is *needed*, and the ablated ones what this
# decoder *does* with it.
#
# ## One region, or a choice of areas?
#
# `nsdgeneral` takes whatever responds to pictures in the back of the brain. Would named areas do, alone or
# together? And what is lost outside of it: parts of the named areas lie beyond its border. Their betas
# are read from the subject's folder.

# %%
combinations = visual_areas.unions(perturbation.parse_concepts(p.combinations), areas)
combined = visual_areas.score_retrained(
    betas, target, images, combinations, n_random=p.n_retrained, rng=rng, progress=True, **tests
)

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
test = brain["is_test"]
wide_pattern, _, _ = nsd.average_repeats(wide[test], brain["nsd_id"][test])
everything = {f"{cfg.data.roi} and all of them": np.ones(len(inside), bool)}
own = tests | {"pattern": wide_pattern, "n_random": 0}
widest = visual_areas.score_retrained(wide[train], target, images, everything, rng=rng, **own)

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
# image; below that, what as many random voxels of the region reach.

# %%
for name in [*combined.names, *widest.names]:
    difference = metrics.paired_difference(
        mrr[name], mrr[cfg.data.roi], rng=rng, n_resamples=n_resamples
    )
    print(f"{name} - {cfg.data.roi}: {difference}")
for name, random in zip(
    combined.names, combined.random["retrained"]["reciprocal_rank"], strict=True
):
    print(f"as many random voxels as {name}: {random.min():.3f} to {random.max():.3f}")

# %% [markdown]
# What to look for: whether a choice of areas excludes 0 against the whole
# region, whether it beats as many random voxels of it, and whether the voxels beyond the border add anything.
# In the demo no choice beats random voxels, only all named areas together are not told apart from the region,
# and the voxels beyond the border, although tuned, add nothing measurable: others know the same.
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
random_shift = visual_areas.random_shift(
    encoder, pattern, shared.diagonal(), directions, n_random=p.n_random, rng=rng, progress=True
)

# %% alt="Table of shifts towards four concepts for each stimulated area; an area's own concept is framed"
low_shift, high_shift = np.percentile(random_shift, [2.5, 97.5], axis=0)
beyond = (shift < low_shift) | (shift > high_shift)
fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
area_plots.plot_area_shift(shift, low_shift, high_shift, list(named), list(concepts), ax=ax)
ax.set(xlabel="concept", ylabel="area stimulated")
print("beyond 95 % of random groups:", int(beyond.sum()), "of", beyond.size, "cells")

# %% [markdown]
# Does it hold? And by how much, against the best of the other three concepts, chosen anew for every image?

# %%
holds = {}
for name in [c for c in concepts if c in named]:
    row, own = list(named).index(name), list(concepts).index(name)
    other = np.delete(shifts[row], own, axis=1).max(1)
    lead = metrics.paired_difference(shifts[row, :, own], other, rng=rng, n_resamples=n_resamples)
    holds[name] = bool(shift[row].argmax() == own)
    strongest = list(named)[shift[:, own].argmax()]
    print(f"{name:7s} most towards its own: {holds[name]}; own minus best other {lead}", end="; ")
    print(f"the area that moves most towards it: {strongest}")

# %% [markdown]
# Framed is an area's own concept, bold a shift that less than 5 % of random groups of its size reach. Along a
# row: does the area move towards its own concept more than towards the others? Along a column the question
# is another, which area moves the embedding most towards faces, say. There areas of different size
# compete, and concepts that go together share captions: a person has a face, and stands in a place. Early
# areas move it too, as they know colours and layouts that go with a concept.
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
# Keeping a group gives a picture between the mean scene and the full reconstruction: the fewer voxels,
# the nearer to the mean. Leaving one out often changes little that one could name. How much is that, beside
# new noise?

# %%
condition = torch.from_numpy(
    encoders.unit(encoder.predict(pattern[: len(full)])).astype(np.float32)
)
other_z = reconstruction.draw_z(generator, 1, cfg.seed + 1).expand(len(full), -1)
renewed = draw(other_z, condition, True)
noise_rms = np.median(np.sqrt(((renewed - full) ** 2).mean((1, 2, 3))))
for kind in kinds:
    rms = np.sqrt(((changed[kind] - full[:, None]) ** 2).mean((2, 3, 4))).mean(0)
    print(f"{kind:9s}", {n: round(float(v), 3) for n, v in zip(pictured, rms, strict=True)})
print(f"new noise only, median: {noise_rms:.3f} (pixel RMS)")

# %% [markdown]
# ## What taking areas away can and cannot show
#
# * It shows how sensitive *this decoder* is to an area. It is exact, and it is about the model: nothing was
#   switched off in a brain, and no area computes without the others.
# * A small loss does not mean that the area carries little. Others may carry the same: then each of them can
#   go, but not all. Look at keep-only, at Shapley values and at retraining beside it.
# * A loss does not mean that the area carries anything about the picture. Noise is correlated between voxels,
#   and a decoder can use a voxel without signal to subtract another's noise.
# * More voxels average out more noise. An area counts as special only against random groups of its size;
#   and random groups, spread over the brain, share less noise than neighbours do.
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
# Far more than their share, because voxels know the same things. Whoever sees that an area of a tenth of the
# voxels alone keeps much of the accuracy has not learned anything about the area yet: a random tenth does so too.
#
# </details>
#
# ### Exercise 2: two areas out
#
# The losses without `faces` and without `bodies` are known. Is the loss without both the sum of the two?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
gone = nsd.available(areas, ["faces", "bodies"])
if len(gone) == 2:
    gone |= {"faces and bodies": np.any(list(gone.values()), axis=0)}
for name, where in gone.items():
    left = encoders.unit(visual_areas.group_embedding(encoder, pattern, where, "leave_out"))
    print(f"without {name}: {(whole - (left * truth).sum(1)).mean():+.4f} in {where.sum()} voxels")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# If each stands in for the other, the loss of both is larger than the sum: only together are they missed. If they
# share voxels, these are counted twice in the sum, which makes the loss of both smaller. Both are at work
# here, so that a sum of losses has no meaning of its own. Shapley values are made for that.
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
order = [list(scores.names).index(name) for name in main]
results = {"names": list(main), "sizes": scores.sizes[order]}
listed = {"gain": gain, "loss": loss}
listed = {key: [intervals[i] for i in order] for key, intervals in listed.items()}
listed |= {"retrained_gain": best_gain, "retrained_loss": best_loss}
for key, intervals in listed.items():
    results[key] = np.array([[i.value, i.low, i.high] for i in intervals])
results["gain_random"] = scores.band("keep_only", "cosine")[order] - none.mean()
results["loss_random"] = whole.mean() - scores.band("leave_out", "cosine")[order][:, ::-1]
results["retrained_gain_random"] = np.stack([low, high], axis=1)

# %%
results |= {"shapley_names": list(shares), "shapley": joined}
results |= {"shift": shift, "shift_names": list(named), "concept_names": list(concepts)}
results |= {"shift_random_low": low_shift, "shift_random_high": high_shift}
results |= {"overlaps": shared, "seen": seen, "whole": full, "picture_names": list(pictured)}
results |= changed

# %%
summary = {"sizes": sizes, "unassigned": sizes.get("unassigned", 0)}
summary |= {"scores": table.drop(columns=["interval", "random"]).to_dict("records")}
summary |= {
    "stimulation": {
        n: dict(zip(concepts, r.tolist(), strict=True)) for n, r in zip(named, shift, strict=True)
    }
}
summary |= {"moves_most_towards_its_own": holds, "n_random": p.n_random}
summary |= {"regions_mrr": {name: [v.value, v.low, v.high] for name, v in region.items()}}

# %%
files.save("areas", results)
files.save("areas.json", summary)
files.finish("07_self_supervised")
