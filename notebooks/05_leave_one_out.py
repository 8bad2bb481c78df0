# %% [markdown]
# # 05 · Leave one voxel out
#
# **Question.** What does a single voxel contribute to the picture, and is what we see the voxel or the
# generator's own noise?
#
# | | |
# |---|---|
# | you learn | to tell what a model uses from what a voxel carries, to hold noise still, to correct for thousands of tests, why redundancy hides importance |
# | you need | notebooks 01 to 04; p values, the chain rule |
# | reads | `betas.h5`, `stimuli.h5`, `embeddings.h5`, `predictions.h5`, `ridge`, `matched` and `prior.safetensors`; `study_perturbation.json` where it is |
# | writes | `effects.h5` and maps of the brain (`*.nii.gz`) |
# | minutes | to run: smoke 0.5 · demo 1.2 · nsd not measured; to work through: about 90 |
#
# It is tempting to switch off one voxel, draw the picture again and wonder at the difference. But a
# generator has noise of its own, and may draw another picture whenever that is drawn anew. Here the noise
# is held fixed while the voxel changes, and the voxel is held fixed while the noise changes. And it is done
# for every voxel, with tests of whether an effect beats the noise; on the simulated subject also
# against what was planted.
#
# All of this is about a *model* that reads a brain. It does not say what a voxel does for the person.

# %% tags=["parameters"]
PROFILE = "demo"
SUBJECT = 1
SEED = 0
DEVICE = "auto"
OVERRIDES = []
INTERACTIVE = True

# %%
import copy

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import torch
from nilearn import plotting
from scipy.stats import spearmanr

from fmri_utils import encoders, nsd, perturbation, plots, visual_areas
from fmri_utils.pictures import reconstruction
from fmri_utils.pictures.prior import open_generator
from fmri_utils.plots import effects as effect_plots
from fmri_utils.project.devices import choose_device
from fmri_utils.project.notebook_files import open_inputs, open_study
from fmri_utils.project.profiles import load_profile
from fmri_utils.project.simulation_config import FIELD_DEG
from simulated_nsd import against_truth
from simulated_nsd.on_demand import planted_truth
from simulated_nsd.redundancy import redundancy_curve

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
betas, nsd_id = brain["betas"], brain["nsd_id"]
train, test = brain["is_train"], brain["is_test"]
target = clip["image"][np.searchsorted(clip["nsd_id"], nsd_id)]
pattern, truth = predicted["pattern"], predicted["truth"]
areas = dict(zip(brain["area_names"], brain["areas"], strict=True))
print("(n_test, n_voxels) =", pattern.shape)

# %% [markdown]
# ## Every voxel's effect on the embedding
#
# The encoder is linear, so leaving voxel v out (setting it to 0, its mean) moves the predicted embedding
# along row v of the weights. How far the direction turns, 1 - cosine, follows in closed form for all
# voxels and all test images at once. One voxel is recomputed the slow way to check.

# %%
effect = perturbation.embedding_effect(encoder, pattern.astype(np.float64))
mean_effect = effect.mean(0)
print("(n_test, n_voxels) =", effect.shape, "| median of 1 - cosine:", f"{np.median(effect):.1e}")

# %%
without = pattern.astype(np.float64)
before = encoders.unit(encoder.predict(without))
without[:, 0] = 0
again = 1 - (before * encoders.unit(encoder.predict(without))).sum(1)
print(f"largest difference from recomputation: {np.abs(again - effect[:, 0]).max():.0e}")

# %% alt="Effect of leaving out each voxel, a dot for each, by area, on a logarithmic axis"
fig, ax = plt.subplots(figsize=(9, 3.4), layout="constrained")
_ = plots.plot_area_effects(mean_effect, nsd.main_areas(areas), ax=ax)
# %% [markdown]
# ### What the voxel is replaced by
#
# 0 is not the only choice. The *conditional mean* is what the other voxels would guess: only what the voxel
# alone knows is lost. *Another repeat* of the image shows how much its noise matters (on single trials).
# *Microstimulation* adds one standard deviation.

# %%
precision = perturbation.fit_precision(betas[train], dtype=np.float32)
penalty = perturbation.shrinkage_penalty(betas[train])
guess = perturbation.conditional_mean(precision, pattern, penalty)
repeat, rows = perturbation.other_repeat(betas[test], nsd_id[test])

# %%
trials = betas[test][rows]
replaced = {"0 (mean)": (pattern, 0.0), "conditional mean": (pattern, guess)}
replaced |= {"another repeat, single trials": (trials, repeat)}
replaced |= {"+1 SD": (pattern, pattern + 1)}
by_replacement = {
    name: perturbation.embedding_effect(encoder, x, replacement=value).mean(0)
    for name, (x, value) in replaced.items()
}
for name, values in by_replacement.items():
    print(f"{name:30s} median 1 - cosine {np.median(values):.1e}")

# %% [markdown]
# ### Fitting again without the voxel
#
# Switching a voxel off in a finished decoder is not what a decoder without it would do: fitted again, its
# neighbours take over what they know as well. For ridge regression this too has a closed form, exact to
# rounding (the penalties are read off the fit's own equations).

# %%
alphas = perturbation.ridge_penalties(ridge, betas[train], target[train])
refit = perturbation.refit_change(encoder, precision, pattern, alphas)
refit_effect = refit.effect().mean(0)
print(
    f"median 1 - cosine: ablation {np.median(mean_effect):.1e}, refit {np.median(refit_effect):.1e}"
)
print(f"rank correlation of the two: {spearmanr(mean_effect, refit_effect).statistic:.2f}")

# %% [markdown]
# ## Three other questions
#
# A large effect only says that the decoder *uses* the voxel. Does it help: how much closer to the true
# embedding is the prediction with it (*contribution*)? Does it carry anything about the image at
# all (*encoding pattern*: its correlation with the true embeddings over the training trials, Haufe et al. 2014)?

# %%
each_gain = perturbation.contribution(encoder, pattern, truth)
gain = each_gain.mean(0)
carried = perturbation.encoding_pattern(betas[train], target[train])
print("voxels that help on average:", f"{(gain > 0).mean():.0%}")

# %% [markdown]
# And third: does the voxel say the same when the image comes back? The *reliability test* puts another
# trial's value into a single trial. A value from another repeat of the *same* image should move the
# embedding less than one from a repeat of *another* image. For a voxel that carries nothing neither is
# closer, so pairing the repeats with other images, for all voxels alike, gives the null distribution. Every
# image is tested once, by a decoder that was fitted without it.

# %%
folds = perturbation.cross_fit(betas, target, nsd_id, alphas, n_folds=p.n_folds, seed=cfg.seed)
parts, sizes, fold_maps = [], [], []
for one, held in folds:
    fold_maps.append(perturbation.embedding_effect(one, pattern).mean(0))
    trial_rows = perturbation.repeat_rows(nsd_id, np.isin(np.arange(len(nsd_id)), held))
    n_blocks = max(1, trial_rows.shape[1] // p.block_size)
    for block in np.array_split(rng.permutation(trial_rows.shape[1]), n_blocks):
        x = betas[trial_rows[:, block]]
        pairings = perturbation.draw_pairings(p.n_permutations, *x.shape[:2], rng)
        parts.append(perturbation.reliability(one, x, pairings))
        sizes.append(len(block))

# %%
reliable = perturbation.combine(parts, sizes)
tested = perturbation.max_t(reliable)
print("images tested:", sum(sizes), "| (n_pairings, n_voxels) =", reliable.shape)
print(f"p <= .05, each voxel alone:             {(tested.p <= 0.05).mean():.0%} of the voxels")
print(f"q <= .05 (false-discovery rate):        {(tested.q <= 0.05).mean():.0%}")
print(f"family-wise p <= .05 (largest voxel):   {(tested.p_corrected <= 0.05).mean():.0%}")

# %% [markdown]
# *Family-wise*: over all voxels together, the chance of a single false one is at most 5 %. Would the map
# look the same with other data? Twice: between halves of the test images, and between the decoders
# of the folds, each fitted to other training images.

# %%
halves = perturbation.split_half(effect, rng=rng)
gain_halves = perturbation.split_half(each_gain, rng=rng)
between = perturbation.between_maps(np.stack(fold_maps))
print("effect, halves of the test images:      ", halves)
print("contribution, halves of the test images:", gain_halves)
print("effect, decoders of the folds:          ", between)

# %% [markdown]
# ## Against the planted truth
#
# Of a simulated subject we know which voxels carry nothing. How well does each number tell the tuned voxels
# from these? AUROC is 0.5 for guessing, 1 for a perfect answer, and below 0.5 if the empty voxels come out
# *on top*. For real data there is no such list and the cell says so.

# %%
planted = planted_truth(cfg.data_root, cfg.simulation, cfg.subject, brain["mask"])
null = None if planted is None else planted.voxels["null"].to_numpy(bool)
statistics = {"effect": mean_effect, "refit effect": refit_effect, "contribution": gain}
statistics |= {"conditional mean": by_replacement["conditional mean"], "reliability": tested.z}
statistics |= {"encoding pattern": carried}
auroc = against_truth.auroc(null, statistics, rng=rng)
print({name: str(value) for name, value in auroc.items()})

# %% alt="Reliability of each voxel, tuned ones and empty ones, and the AUROC of each statistic against planted truth"
fig, axes = plt.subplots(1, 2, figsize=(10.5, 3.2), layout="constrained")
effect_plots.plot_tested_reliability(tested.z, tested.p_corrected <= 0.05, null, ax=axes[0])
axes[1].set_visible(bool(auroc))
if auroc:
    _ = plots.plot_scores(auroc, chance=0.5, xlabel="AUROC, tuned against empty", ax=axes[1])
# %% [markdown]
# In the demo the encoding pattern separates tuned voxels from empty ones almost perfectly and reliability
# nearly as well. Leaving voxels out does hardly better than guessing, and after a refit the *empty* voxels
# show the larger effects: what they hold is their own noise, which no neighbour can replace. Such an effect
# is real, but it is an effect on the model.
#
# ## Redundancy hides importance
#
# Why does leaving one out fail? In a small linear subject we choose how many voxels see each source of
# information. Their noise has a part in common that looks like another image, so that more voxels do not
# average it out.

# %% alt="AUROC of each statistic against the number of voxels per source of information"
curves = redundancy_curve(p.redundancies, seed=cfg.seed)
fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
_ = effect_plots.plot_redundancy(p.redundancies, curves, ax=ax)
# %% [markdown]
# With one voxel per source every statistic works. The more voxels know the same, the less a decoder needs
# any one of them, and the effects of leaving one out end below guessing. What a voxel *carries* is not
# hidden.
#
# *Shapley values* share the accuracy among groups fairly: the mean gain when a group joins, over all
# orders of joining. Here the streams of the visual system, beside what is lost when only one is left out.

# %%
names = ["early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal"]
streams = nsd.available(areas, names)
values = visual_areas.shapley(encoder, pattern, truth, streams, rng=rng, n_permutations=p.n_orders)
whole = (before * truth).sum(1).mean()
for name, (value, error) in values.items():
    left = visual_areas.group_embedding(encoder, pattern, streams[name], "leave_out")
    lost = whole - (encoders.unit(left) * truth).sum(1).mean()
    print(f"{name:12s} Shapley {value:.4f} +- {error:.4f} | lost without it {lost:.4f}")

# %% [markdown]
# What is lost without a group is less than its Shapley value wherever others know the same. A group also
# has to be compared with random groups of its size, since any large set of voxels does well:

# %%
for name, where in nsd.available(areas, ["early"]).items():
    value, random = visual_areas.against_random(
        encoder, pattern, truth, where, kind="keep_only", rng=rng, n_groups=p.n_random
    )
    low, high = np.percentile(random, [2.5, 97.5])
    print(f"keeping only {name} visual cortex: cosine {value:.3f}")
    print(f"keeping as many random voxels: {random.mean():.3f} [{low:.3f}, {high:.3f}]")

# %% [markdown]
# ## One voxel and the picture
#
# So far the effects are those on the encoder's prediction. The picture is drawn as in notebook 04: the prior
# turns the prediction into a condition, and the generator draws it. Here the voxels that move the first test image's
# embedding most are each set to 0 alone, with **the same z and the same noise buffers**; below, every voxel is in place
# and only the noise is drawn anew.

# %%
generator = open_generator(files, device=device)
psi, image = cfg.lafite.truncation_psi, 0
voxels = np.argsort(-effect[image])[: p.n_voxels]
base_z = reconstruction.draw_z(generator, 1, cfg.seed)
other_z = reconstruction.draw_z(generator, p.n_noise, cfg.seed + 1)
draw = perturbation.renderer(generator, psi=psi, seed=cfg.seed)

# %%
result = perturbation.picture_effect(
    draw, encoder, pattern[image], voxels, z=base_z, other_z=other_z
)
print("pixel RMS, one voxel left out:", np.round(result.rms(), 5))
print("SSIM with the picture before: ", np.round(result.ssim(), 5))
print("pixel RMS, new noise only:    ", np.round(result.noise_rms(), 3))
print(f"rounding floor: {result.floor:.1e}")

# %%
seen = stimuli["images"][np.searchsorted(stimuli["nsd_id"], predicted["test_ids"][image])]
results = {"seen": seen, "baseline": result.baseline, "noise": result.noise}
results |= {"perturbed": result.perturbed, "names": nsd.voxel_names(areas, voxels)}
results |= {"rms": result.rms(), "new_noise_rms": result.noise_rms(), "effect": mean_effect}
results |= {"null": np.zeros(0, bool) if null is None else null}

# %% alt="Pictures with one voxel left out, their differences, scaled, pictures with new noise only, and the effect of every voxel on the brain and by area"
background = nib.Nifti1Image(brain["background"], brain["affine"])
effect_map = nsd.to_volume(mean_effect, brain["mask"], brain["affine"])
volumes = {"effect_map": effect_map, "background": background}
_ = plots.fig_leave_one_out(
    results, areas=nsd.main_areas(areas), label=cfg.dataset_label, **volumes
)
# %% [markdown]
# The differences are scaled by the factor that each is labelled with. Is it only these voxels? The same
# comparison for many test images: the voxel that moves each image's embedding most against one new draw of the
# noise.

# %%
some = pattern[: p.n_images]
strongest = effect[: p.n_images].argmax(1)
noise = {"z": base_z, "other_z": other_z[:1], "batch_size": cfg.lafite.batch_size}
voxel_rms, noise_rms = perturbation.voxel_against_noise(draw, encoder, some, strongest, **noise)
print(f"median RMS: strongest voxel {np.median(voxel_rms):.4f}", end=", ")
print(f"new noise {np.median(noise_rms):.4f}")
print(f"images in which the noise changes more: {(noise_rms > voxel_rms).mean():.0%}")

# %% [markdown]
# Which of the two is larger has to be measured for each generator. The voxel that moves the embedding most need not
# be the one that changes the picture most: in the demo the second voxel of the figure above changes it more than any
# draw of the noise does. Without it the prior finds other scenes likelier. Noise decides what an embedding leaves
# open: here where things are, which way they turn and what else is there. The other way round: let the
# strongest voxel vary as it does from trial to trial, z and the noise buffers too, in all combinations. How
# much of the pictures' variance is whose?

# %% alt="Bars: shares of the pictures' variance that belong to the voxel, to z, to the noise buffers and to their interactions"
voxel = int(mean_effect.argmax())
some_z = reconstruction.draw_z(generator, p.n_z, cfg.seed + 2)
crossed = perturbation.crossed_pictures(
    generator, encoder, pattern[image], voxel, [-1.15, -0.32, 0.32, 1.15],
    z=some_z, n_noise=p.n_buffers, seed=cfg.seed, psi=psi,
)  # fmt: skip
shares = perturbation.variance_shares(crossed)
fig, ax = plt.subplots(figsize=(7, 2.6), layout="constrained")
_ = effect_plots.plot_shares(shares, ax=ax)
# %% [markdown]
# (The four values are the middles of the quarters of a normal distribution.)
#
# In the demo nine tenths of it are z's, a few percent the voxel's (alone and together with z), and nothing
# the noise buffers': this generator was trained to redraw pictures, without a discriminator, and such a
# training has no use for random texture. A generator
# trained as a GAN uses them.
#
# ## All voxels and the picture
#
# A picture for every voxel and image would take days on real data. But a voxel reaches the picture only
# through the predicted embedding, so to first order one *Jacobian* J of prior and generator serves all voxels: voxel v
# changes the picture by J w, with w the derivative of the embedding. First the range in which that holds.

# %%
steps = np.array([1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0])
sample = rng.choice(len(mean_effect), min(4, len(mean_effect)), replace=False)
step_errors = {}
for kind in (torch.float64, torch.float32):
    network = copy.deepcopy(generator).to("cpu", kind)
    one_picture = perturbation.picture_function(network, base_z.to(kind), psi=psi)
    step_errors[str(kind).removeprefix("torch.")] = perturbation.eps_curve(
        one_picture, encoder, pattern[image], sample, steps, like=base_z.to(kind)
    )

# %% alt="Relative difference between first order and finite differences against step size, in double and in single precision"
fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
_ = effect_plots.plot_step_sizes(steps, step_errors, ax=ax)
# %% [markdown]
# In double precision first order and finite differences agree to rounding until the step is large enough to
# switch some of the generator's leaky ReLUs. In single precision, which pictures are drawn in, small
# steps drown in rounding.
#
# Now all voxels: for many images by *random projections* (a few random pictures, each one backward pass),
# for some exactly, with a map of where in the picture the effect falls. What is finished is kept, so a
# run that is killed goes on.

# %%
atlas = {"folder": cfg.derived / "parts", "psi": psi, "seed": cfg.seed, "progress": True}
atlas |= {"key": files.hashes}
many = perturbation.image_effects(generator, encoder, some, base_z, n_probes=p.n_probes, **atlas)
exact = perturbation.image_effects(
    generator, encoder, pattern[: p.n_maps], base_z, n_cells=p.n_cells, **atlas
)
print("(n_images, n_voxels) =", many.sensitivity.shape, "and exactly", exact.sensitivity.shape)

# %%
moved = exact.sensitivity > 0  # not by a voxel without any data
error = np.abs(many.sensitivity[: p.n_maps][moved] / exact.sensitivity[moved] - 1)
print(f"random projections against the exact form: median relative error {np.median(error):.1%}")
size = np.linalg.norm(encoder.weights, axis=1)
row = np.arange(len(some))
expected = np.abs(some[row, strongest]) * many.sensitivity[row, strongest]
ratio = np.percentile(expected / voxel_rms, [25, 50, 75])
print("strongest voxels, first order / drawn picture, quartiles:", np.round(ratio, 2))

# %% [markdown]
# Is a voxel's effect on the picture more than the size of its weights? The *voxel-label* null compares each
# voxel with the hundred others whose weights are most like its own in size.

# %%
sensitivity = many.typical()
label_p = perturbation.matched_rank(sensitivity, size, n_matched=min(100, len(size)))
print(f"rank correlation of picture effect and size: {spearmanr(sensitivity, size).statistic:.3f}")
print(f"voxels in the top 5 % of their like: {(label_p <= 0.05).mean():.1%}")

# %% [markdown]
# The second number is near 5 % whenever effects vary freely among voxels of like size: by itself it is no
# evidence for labels. The square of the first is the share of the ranking that goes with the length of a voxel's
# row of weights: about half in the demo. The rest is direction, and the error of the projections.
#
# ### Where in the picture
#
# Every voxel has a map: the share of its effect that falls into each cell. Three voxels of V1, three of
# the face areas, and the mean over all voxels.

# %% alt="Small maps of where in the picture six voxels and the mean of all voxels have their effect"
held = nsd.available(areas, ("V1", "faces"))
shown = [voxel for where in held.values() for voxel in np.flatnonzero(where)[:3]]
chosen = np.concatenate([exact.maps[shown], exact.maps.mean(0, keepdims=True)])
_ = effect_plots.plot_places(chosen, [*nsd.voxel_names(areas, shown), "all voxels"])
# %%
centroid, spread = perturbation.centroid_and_spread(exact.maps, FIELD_DEG)
relative = perturbation.relative_maps(exact.maps)
own_place, _ = perturbation.centroid_and_spread(relative, FIELD_DEG)
print("SD over voxels of the centroid, degrees (right, up):", np.nanstd(centroid, axis=0).round(2))
print(f"median spread: {np.nanmedian(spread):.1f} degrees of {FIELD_DEG}")

# %% [markdown]
# The maps look alike: any voxel changes what is easy to change. Dividing by the mean map leaves what is a
# voxel's own. Does it lie where the voxel looks? Rank correlation of its centroid with the
# planted centre of the receptive field, voxels of V1 to V3, with a permutation test.

# %%
place_r = {}
if planted is not None:
    early = planted.voxels["stage"].isin(["V1", "V2", "V3"]).to_numpy() & ~null
    field = planted.voxels.loc[early, ["prf_x", "prf_y"]].to_numpy()
    for name, measured in (("centroid", centroid), ("own place", own_place)):
        place_r[name] = against_truth.alignment(field, measured[early], rng=rng)
print({name: str(value) for name, value in place_r.items()} or "not available: no planted truth")

# %% [markdown]
# The relation is weak at best, and has to be. Whatever V1 knows about places reaches the generator
# through one CLIP vector, which says what is there far better than where. And in this decoder a V1 voxel
# does not draw at its own place: it votes for scenes in which that place is usually so bright or so busy.
#
# ### Towards which concept
#
# A concept is a direction: the mean of the captions that use a word minus the mean of the others. The four
# concepts of the localizer areas were fixed in the profile before anybody looked. Each area is
# stimulated as a whole by one standard deviation.

# %%
known = np.isin(clip["nsd_id"], nsd_id[train])
captions, caption_embeddings = stimuli["captions"][known, 0], clip["first_caption"][known]
concepts = perturbation.parse_concepts(p.concepts)
directions = perturbation.concept_directions(concepts, captions, caption_embeddings)
regions = nsd.available(areas, concepts)
area_shift = perturbation.area_shifts(encoder, pattern, regions, directions).mean(1)

# %% alt="Table of shifts towards faces, bodies, places and words for each area stimulated"
fig, ax = plt.subplots(figsize=(6, 2.6), layout="constrained")
effect_plots.plot_matrix(area_shift, list(regions), list(concepts), ylabel="area stimulated", ax=ax)
most = [list(concepts)[column] for column in area_shift.argmax(1)]
print("shifts most towards the concept:", dict(zip(regions, most, strict=True)))

# %% [markdown]
# Single voxels, one standard deviation each, and the whole vocabulary of the captions:

# %%
raised = pattern + 1
words, word_directions = perturbation.vocabulary(captions, caption_embeddings)
word_shift = perturbation.concept_shift(encoder, pattern, word_directions, replacement=raised)
shift = perturbation.concept_shift(encoder, pattern, directions, replacement=raised)
named = perturbation.strongest_words(word_shift[voxels], words)
for name, nearest in zip(nsd.voxel_names(areas, voxels), named, strict=True):
    print(f"{name:22s}", ", ".join(nearest))

# %%
if planted is not None:
    columns = [f"selective_{name}" for name in ("face", "body", "place", "word")]
    selective = planted.voxels[columns].to_numpy()
    found = against_truth.alignment(selective[~null], shift[~null], rng=rng)
    print("planted selectivity and shift along the same concept, over voxels: r =", found)

# %% [markdown]
# An area as a whole moves towards its concept; a single voxel hardly does, because its weight is mostly set
# by what its neighbours leave over. The words of single voxels are a caution rather than a result:
# every direction has a nearest word.
#
# ## Are the p values right?
#
# `make study` repeats the whole reliability test on subjects in whom no voxel carries anything. How
# often does it call any voxel significant at .05? It should be one run in twenty, or less:

# %%
study = open_study(cfg, "perturbation")
if study:
    c, s = study["calibration"], study["seeds"]["rank_correlation"]
    print(f"family-wise error at .05: {c['rate']:.3f}", end=" ")
    print(f"[{c['low']:.3f}, {c['high']:.3f}] over {c['n_runs']} runs")
    print(f"maps of {study['seeds']['n_seeds']} training seeds, mean rank correlation:", end=" ")
    print({name: round(value["mean"], 2) for name, value in s.items()})
else:
    print("not available: run `make study`")

# %% [markdown]
# ## What leaving one voxel out can and cannot show
#
# * It shows what *this decoder* does with a voxel. That is a fact, exact to rounding, and cheap for all
#   voxels at once.
# * It does not show what a voxel *carries*. Redundancy hides carriers, and noise cancelling makes empty
#   voxels look important. Ask the encoding pattern or the reliability test.
# * It does not show what a voxel *does for the person*. Nothing was switched off in a brain.
# * A changed picture proves nothing unless z and noise were held still and the change is compared with
#   what they do on their own.
# * Places in the picture are the generator's more than the voxel's.

# %% [markdown]
# ## Exercises
#
# Write down what you expect before you unfold a solution.
#
# ### Exercise 1: two voxels at once
#
# The two strongest voxels are left out together. Is the effect the sum of both effects, more, or less? What decides?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
first, second = np.argsort(-mean_effect)[:2]
left = visual_areas.group_embedding(encoder, pattern, np.array([first, second]), "leave_out")
together = (1 - (before * encoders.unit(left)).sum(1)).mean()
angle = (encoders.unit(encoder.weights[first]) * encoders.unit(encoder.weights[second])).sum()
print(f"alone {mean_effect[first]:.1e} and {mean_effect[second]:.1e}, together {together:.1e}")
print(f"cosine of the two voxels' weights: {angle:+.2f}")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# 1 - cosine grows with the *square* of a shift. Shifts at right angles add like the sides of a right-angled
# triangle, so the effects add. Shifts in one direction give up to twice the sum, opposite ones cancel; and the
# direction of a shift turns around with the sign of a voxel's activity. Effects of groups can therefore not be
# added up from effects of voxels.
#
# </details>
#
# ### Exercise 2: no picture needed
#
# How well can the effect of a voxel on the first test image be guessed from two numbers: its activity, and the length of
# its row of weights? Give a rank correlation.

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
row_length = np.linalg.norm(encoder.weights, axis=1)
guessed = np.abs(pattern[0]) * row_length
for name, values in {"activity x length": guessed, "length alone": row_length}.items():
    print(f"{name}: rank correlation {spearmanr(values, effect[0]).statistic:.2f}")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# Nearly 1: setting x to 0 shifts the embedding by x times the row of weights, and in a space of hundreds of
# dimensions most shifts turn the embedding, few only lengthen it. A map of effects is, for the most part, a map of
# how active a voxel was and how much the decoder relies on it. Nothing in it is about seeing.
#
# </details>
#
# ### Exercise 3: a brain without any signal
#
# One of the wrong pairings is taken for the data, so that no voxel carries anything. How many voxels are
# significant at .05, each alone? And after correcting for all of them?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
empty = perturbation.max_t(reliable[1:])
for name, p_values in {"each alone": empty.p, "family-wise": empty.p_corrected}.items():
    print(f"{name:12s} {(p_values <= 0.05).sum()} of {len(p_values)} voxels")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# About one in twenty, by definition: dozens of "visual voxels" in a large region without any signal, and because
# noise is shared between neighbours they may well lie together and look like an area. The family-wise correction
# leaves none in nineteen of twenty such experiments.
#
# </details>

# %% [markdown]
# ## What is kept

# %%
results |= {"contribution": gain, "encoding_pattern": carried, "voxels": voxels}
results |= {"strongest_rms": voxel_rms, "one_noise_rms": noise_rms, "floor": result.floor}
results |= {"refit_effect": refit_effect, "reliability": reliable[0]}
results |= {"reliability_z": tested.z, "p": tested.p, "p_corrected": tested.p_corrected}
results |= {"q": tested.q, "sensitivity": sensitivity, "label_p": label_p, "maps": exact.maps}
results |= {"centroid": centroid, "spread": spread, "concept_shift": shift}

# %%
results |= {"concept_names": list(concepts), "area_shift": area_shift}
results |= {"area_shift_names": list(regions), "words": words, "word_shift": word_shift}
results |= {"share_names": list(shares), "shares": list(shares.values()), "steps": steps}
results |= {f"step_error_{kind}": values for kind, values in step_errors.items()}
results |= {"auroc_names": list(auroc), "auroc": [v.value for v in auroc.values()]}
results |= {"auroc_low": [v.low for v in auroc.values()]}
results |= {"auroc_high": [v.high for v in auroc.values()]}

# %% [markdown]
# The maps are volumes in the subject's own space; any viewer opens them over the mean volume.

# %%
maps = {"embedding_effect": mean_effect, "image_effect": sensitivity, "contribution": gain}
maps |= {"refit_effect": refit_effect, "encoding_pattern": carried, "reliability": tested.z}
maps |= {"reliability_p_corrected": tested.p_corrected, "reliability_q": tested.q}
maps |= {"centroid_right": centroid[:, 0], "centroid_up": centroid[:, 1], "spread": spread}
maps |= {f"shift_{name}": shift[:, i] for i, name in enumerate(concepts)}

# %% alt="Reliability and effect on the picture of every voxel, on brain slices"
volume = {name: nsd.to_volume(v, brain["mask"], brain["affine"]) for name, v in maps.items()}
fig, axes = plt.subplots(2, 1, figsize=(10, 5), layout="constrained")
top = dict(vmin=0, n_cuts=8)
plots.plot_volume(volume["reliability"], background, title="reliability", ax=axes[0], **top)
_ = plots.plot_volume(volume["image_effect"], background, title="image effect", ax=axes[1], **top)

# %%
if INTERACTIVE:
    display(
        plotting.view_img(
            volume["image_effect"],
            bg_img=background,
            cmap="inferno",
            symmetric_cmap=False,
            threshold=1e-12,
            resampling_interpolation="nearest",
        )
    )

# %%
files.save("effects", results)
where = brain["mask"], brain["affine"]
files.written += perturbation.save_maps(cfg.derived, maps, *where, **files.origin)
files.finish("06_visual_areas")
