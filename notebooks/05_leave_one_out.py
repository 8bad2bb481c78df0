# %% [markdown]
# # 05 · Leave one voxel out
#
# **Question.** What does a single voxel contribute to the picture, and is what we see the voxel or the generator's
# own noise?
#
# | | |
# |---|---|
# | you learn | to tell what a model uses from what a voxel carries, to hold noise still, to correct for thousands of tests, why redundancy hides importance |
# | you need | notebooks 01 to 04; p values, the chain rule |
# | reads | `betas.h5`, `stimuli.h5`, `embeddings.h5`, `predictions.h5`, `ridge`, `matched` and `prior.safetensors`; `study_perturbation.json` and `study_simulator.json` where they are |
# | writes | `effects.h5` and maps of the brain (`*.nii.gz`) |
# | minutes | to run: smoke 0.5 · demo 1.1 · nsd not measured; to work through: about 90 |
#
# It is tempting to switch off one voxel, draw the picture again and wonder at the difference. But a generator has
# noise of its own, and may draw another picture whenever that is drawn anew. Here the noise is held fixed while the
# voxel changes, and the voxel is held fixed while the noise changes. And it is done for every voxel, with tests of
# whether an effect beats the noise; on the simulated subject also against what was planted.
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
import pandas as pd
import torch
from IPython.display import Markdown
from nilearn import plotting
from scipy.stats import spearmanr

from fmri_utils import encoders, nsd, perturbation, plots, visual_areas
from fmri_utils.metrics import bootstrap
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
betas, nsd_id, session = brain["betas"], brain["nsd_id"], brain["session"]
train, test = brain["is_train"], brain["is_test"]
target = clip["image"][np.searchsorted(clip["nsd_id"], nsd_id)]
pattern, truth = predicted["pattern"], predicted["truth"]
areas = dict(zip(brain["area_names"], brain["areas"], strict=True))
print("(n_test, n_voxels) =", pattern.shape)

# %% [markdown]
# ## Every voxel's effect on the embedding
#
# The encoder is linear, so leaving voxel v out (setting it to 0, its mean) moves the predicted embedding along row v
# of the weights. How far the direction turns, 1 - cosine, follows in closed form for all voxels and all test images
# at once. One voxel is recomputed the slow way to check.

# %%
effect = perturbation.embedding_effect(encoder, pattern.astype(np.float64))
mean_effect = effect.mean(0)
print("(n_test, n_voxels) =", effect.shape, f"| median over all of them: {np.median(effect):.1e}")

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
# 0 is not the only choice. The *conditional mean* is what the other voxels would guess for this one, so only what the
# voxel alone knows is lost. The guess needs a penalty: the one that best predicts the voxels' responses to training
# images left out. *Another repeat* of the image shows how much the voxel's noise matters (on single trials).
# *Microstimulation* adds one standard deviation.

# %%
precision = perturbation.fit_precision(betas[train], dtype=np.float32)
how = {"alphas": encoders.MapperSettings.of(cfg.encoder).alphas, "seed": cfg.seed}
penalty = perturbation.prediction_penalty(betas[train], nsd_id[train], **how)
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
explained = 1 - ((guess - pattern) ** 2).sum(0) / np.maximum((pattern**2).sum(0), 1e-12)
print(f"variance of a voxel that the others explain, test images: {np.median(explained):.2f}")

# %% [markdown]
# ### Fitting again without the voxel
#
# A decoder that is fitted again without the voxel differs from the finished decoder with the voxel switched off:
# other voxels take over what they know as well. For ridge regression this too has a closed form, exact to rounding
# (the penalties are read off the fit's own equations).

# %%
alphas = perturbation.ridge_penalties(ridge, betas[train], target[train])
refit = perturbation.refit_change(encoder, precision, pattern, alphas)
refit_effect = refit.effect().mean(0)
print("median 1 - cosine:", *(f"{np.median(e):.1e}" for e in (mean_effect, refit_effect)), end="; ")
print(f"rank correlation of the two: {spearmanr(mean_effect, refit_effect).statistic:.2f}")

# %% [markdown]
# ## Three other questions
#
# A large effect only says that the decoder *uses* the voxel. Does the voxel help: how much closer to the true
# embedding is the prediction with it (*contribution*)? And does it carry anything about the image? A *forward model*,
# also called encoding model, predicts the voxel from the true embedding of images left out. No decoder takes part in
# it.

# %%
each_gain = perturbation.contribution(encoder, pattern, truth)
gain = each_gain.mean(0)
carried = perturbation.forward_model(betas[train], target[train], nsd_id[train])
print(f"voxels that help on average: {(gain > 0).mean():.0%}", end="; ")
print("forward model, correlation, quartiles:", np.percentile(carried, [25, 50, 75]).round(2))

# %% [markdown]
# *Haufe's pattern* (Haufe et al. 2014) looks at the decoder from its output: which voxels vary together with what it
# predicts? The trials must be new to the decoder. So we fit several decoders, each without one part of the images.

# %%
how = {"n_folds": p.n_folds, "seed": cfg.seed, "device": device}
folds = list(perturbation.cross_fit(betas, target, nsd_id, alphas, **how))
output = np.empty_like(target)
for one, held in folds:
    output[held] = one.predict(betas[held])
haufe = perturbation.haufe_pattern(betas, output)
repeats = np.nan_to_num(nsd.split_half_reliability(betas, nsd_id, rng))  # NaN without data

# %% [markdown]
# And third: does the voxel say the same when the image comes back? The plain answer is the correlation of its
# repeats. The *reliability test* asks through the decoder. We replace a voxel's value by its value in another trial.
# If the voxel carries information, a trial of the *same* image should change the embedding less than a trial of a
# *different* image. If it carries none, there is no such difference. So we pair trials with wrong images, in the same
# way for all voxels, to get the null distribution. Every image is tested once, by a decoder fitted without it.
#
# Repeats of an image often lie close together in time, where slow trends make any two trials alike. So a cubic trend
# is removed from each session, and a wrong pair lies in the same two sessions as the true pair.

# %%
reliable = perturbation.reliability_of_folds(
    folds, betas, nsd_id, session, n_permutations=p.n_permutations, block_size=p.block_size, rng=rng
)
tested = perturbation.max_t(reliable)
print("(n_pairings, n_voxels) =", reliable.shape)
for name, values in {"p": tested.p, "q": tested.q, "family-wise p": tested.p_corrected}.items():
    print(f"voxels with {name} <= .05: {(values <= 0.05).mean():.0%}")
needed = int(np.ceil(len(tested.p) / (0.05 * len(reliable))))
print(f"smallest possible p: 1/{len(reliable)}; q <= .05 takes {needed} voxels that reach it")
same = spearmanr(tested.z, repeats).statistic
print(f"rank correlation of the test's z with the correlation of repeats: {same:.3f}")

# %% [markdown]
# *Family-wise*: over all voxels together, the chance of any false one is at most 5 %. The false-discovery rate
# cannot find a few voxels alone, because with few pairings no p is small enough. The last line is a caution: both
# differences pass through the same row of weights, so the weights nearly cancel. In the demo, the test says hardly
# more than the correlation of repeats.
#
# ### The same map with other data?
#
# Would other data give the same map? We check this with other test images and with other training images. Halves of
# the *test* images are seen by one decoder, so what is chance in this decoder counts as agreement. Halves of the
# *training* images give two decoders that have no image in common.

# %%
scale = np.linalg.norm(encoder.weights) / np.linalg.norm(ridge.weights)
learned = betas[train], target[train], nsd_id[train]  # penalties in proportion to the trials
how = {"scale": scale, "device": device}
half_decoders = perturbation.half_decoders(*learned, alphas / 2, **how)
[quarters] = perturbation.half_decoders(*learned, alphas / 4, n_halvings=1, n_parts=4, **how)
effects = [[perturbation.embedding_effect(x, pattern) for x in pair] for pair in half_decoders]
gains = [[perturbation.contribution(x, pattern, truth) for x in pair] for pair in half_decoders]

# %%
by_image = {"effect": (effect, effects), "contribution": (each_gain, gains)}
agreement = {}
for name, (values, pairs) in by_image.items():
    agreement[name] = perturbation.between_halves([(a.mean(0), b.mean(0)) for a, b in pairs])
    both = perturbation.between_halves([(a[::2].mean(0), b[1::2].mean(0)) for a, b in pairs])
    print(f"{name}, halves of the test images:    ", perturbation.split_half(values, rng=rng))
    print(f"{name}, halves of the training images:", agreement[name])
    print(f"{name}, halves of both:               ", both)
of_quarters = np.stack([perturbation.embedding_effect(x, pattern).mean(0) for x in quarters])
print(f"effect, quarters of the training images: {perturbation.between_maps(of_quarters).mean:.3f}")

# %% [markdown]
# In the demo, other test images give nearly the same map of effects (0.81), other training images do not (0.33): an
# effect belongs to one decoder, not to the voxel alone. "In full" is what maps from all images would reach, by
# Spearman and Brown's formula. It promises too much: from quarters of the training images (0.27) it expects 0.43 for
# halves. Contributions of single voxels hardly repeat (0.04 between halves of both).
#
# The p values and intervals of this notebook come from wrong pairings, other test images or other voxels, with the
# decoders held fixed. They do not say what other *training* images would change. The halves of the training images
# do: here for the maps, below for Shapley values, and in notebook 06 for areas.
#
# ## Against the planted truth
#
# Of a simulated subject we know which voxels carry nothing. How well does each number tell the tuned voxels from
# these? AUROC is 0.5 for guessing, 1 for a perfect answer, and below 0.5 if the empty voxels come out *on top*. For
# real data there is no such list and the cell says so.

# %%
planted = planted_truth(cfg.data_root, cfg.simulation, cfg.subject, brain["mask"])
null = None if planted is None else planted.voxels["null"].to_numpy(bool)
statistics = {"effect": mean_effect, "refit effect": refit_effect, "contribution": gain}
statistics |= {"conditional mean": by_replacement["conditional mean"], "reliability": tested.z}
statistics |= {"repeat correlation": repeats, "ncsnr": np.nan_to_num(brain["ncsnr"])}
statistics |= {"forward model": carried, "Haufe's pattern": haufe}
auroc = against_truth.auroc(null, statistics, rng=rng)
for name, value in auroc.items():
    print(f"{name:20s} {value}")

# %% alt="Reliability of each voxel, tuned ones and empty ones, and the AUROC of each statistic against planted truth"
fig, axes = plt.subplots(1, 2, figsize=(10.5, 3.6), layout="constrained")
effect_plots.plot_tested_reliability(tested.z, tested.p_corrected <= 0.05, null, ax=axes[0])
axes[1].set_visible(bool(auroc))
if auroc:
    _ = plots.plot_scores(auroc, chance=0.5, xlabel="AUROC, tuned against empty", ax=axes[1])
# %% [markdown]
# In the demo, the forward model, Haufe's pattern, the ncsnr and the correlation of repeats separate tuned voxels
# from empty ones almost perfectly. For the forward model this is nearly a definition: tuned means that the image
# drives the voxel. Leaving voxels out does worse than guessing. The *empty* voxels show the larger effects, even
# more so after a refit. Two things could make them so. Other voxels cannot replace them, because what they hold is noise.
# And a decoder can use them to subtract noise from tuned voxels. So we look at how well the other voxels explain
# them, and at what the decoder loses without all of them, beside as many tuned voxels drawn at random. Also: how
# often does the test call an empty voxel significant?

# %%
whole = (before * truth).sum(1)
if auroc:
    print({name: f"{x:.1%}" for name, x in against_truth.false_positives(null, tested).items()})
    as_many = rng.permutation(np.flatnonzero(~null))[: null.sum()]
    groups = {"empty": null, "tuned": np.isin(np.arange(null.size), as_many)}
    refitted = visual_areas.refit_without(encoder, precision, groups, alphas)
    for name, where in groups.items():
        predictions = encoders.unit(refitted[name].predict(pattern))
        loss = bootstrap(whole - (predictions * truth).sum(1), rng=rng)
        print(f"{name}: the other voxels explain {np.median(explained[where]):.2f}", end=", ")
        print(f"cosine lost when fitted without them {loss}")

# %% [markdown]
# In the demo both are at work. The other voxels explain 0.39 of an empty voxel and 0.71 of a tuned one. And the
# decoder loses more without the empty voxels (0.019) than without as many tuned ones (0.000), although the empty ones
# carry nothing: their noise is in part that of their tuned neighbours, and is subtracted. How much noise they share
# is a free choice of the simulator, and the AUROC of effects, refits and contributions depends on it. An effect of an
# empty voxel is real, but it is an effect on the model.
#
# `make study` simulates four brains that see the same pictures, with other shares of noise along the signal's patterns in
# tuned voxels (`shared_noise`) and in empty ones (`null_shared_noise`). Here are the AUROC, with intervals over brains:

# %%
simulator = open_study(cfg, "simulator")
if simulator:
    choices = pd.DataFrame(simulator["leave_one_out"])
    choices["AUROC"] = [
        f"{x:.2f} [{a:.2f}, {b:.2f}]" for x, a, b in choices[["value", "low", "high"]].to_numpy()
    ]
    choice = ["null_shared_noise", "shared_noise"]
    display(choices.pivot(index=choice, columns="score", values="AUROC"))
else:
    print("not available: run `make study`")

# %% [markdown]
# In the demo, the effect is above 0.5 only where empty voxels share no such noise: 0.76 and 0.62, for shares of 20 % and
# 40 % in tuned voxels. With a share of 5 % in empty voxels it is 0.36 and 0.30, with 40 % it is 0.21 and 0.12. After a
# refit it is about 0.5 or below in every row. So the order of voxels in such a map depends on noise that no ncsnr shows.
#
# ## Redundancy and shared noise hide importance
#
# In a small linear subject we choose how many voxels see each source of information, and whether noise is shared. If it is,
# the voxels of a source have noise in common that looks like another image, so more voxels do not average it out. And
# each empty voxel shares noise with one tuned voxel, which a decoder can subtract.

# %% alt="AUROC of each statistic against the number of voxels per source of information, with shared noise and without"
fig, axes = plt.subplots(1, 2, figsize=(10.5, 3.2), layout="constrained", sharey=True)
for shared, ax in zip((False, True), axes, strict=True):
    curves = redundancy_curve(p.redundancies, shared_noise=shared, seed=cfg.seed)
    effect_plots.plot_redundancy(p.redundancies, curves, ax=ax)
    ax.set_title("shared noise" if shared else "every voxel's noise its own")
axes[0].get_legend().remove()
# %% [markdown]
# Without shared noise, redundancy hides little: with 30 voxels per source, effects and refits still find the tuned ones.
# With shared noise, one voxel per source is found by every statistic, too. But the more voxels know the same, the less a
# decoder needs any one of them, and the noise of empty ones remains useful: effects end below guessing. What a voxel
# *carries* is not hidden.
#
# *Shapley values* share the accuracy among groups: the mean gain when a group joins, over all orders of joining. Here
# the groups are the streams of the visual system, with what is lost when only one of them is left out. Intervals are
# over test images, standard errors over halves of the training images.

# %%
names = ["early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal"]
streams = nsd.available(areas, names)
shapley = visual_areas.shapley_by_trial(encoder, pattern, truth, streams)
single = [decoder for pair in half_decoders for decoder in pair]
others = [visual_areas.shapley_by_trial(x, pattern, truth, streams) for x in single]
for name, value in shapley.items():
    left = visual_areas.group_embedding(encoder, pattern, streams[name], "leave_out")
    lost = whole - (encoders.unit(left) * truth).sum(1)
    error = np.std([other[name].mean() for other in others], ddof=1)
    print(f"{name:12s} Shapley {bootstrap(value, rng=rng)}, SE {error:.3f}", end=" | ")
    print("lost without it", bootstrap(lost, rng=rng))

# %% [markdown]
# A loss is mostly smaller than the Shapley value. This alone does not show that other groups know the same: a cosine grows
# less and less as voxels are added, so it happens to groups that share nothing, too (notebook 06). Two groups whose
# intervals overlap widely cannot be put in an order. A group also has to be compared with other groups of its size,
# since any large set of voxels does well: notebook 06 does this with random and with contiguous groups.
#
# ## One voxel and the picture
#
# So far the effects are those on the encoder's prediction. The picture is drawn as in notebook 04: the prior turns
# the prediction into a condition, and the generator draws it. Here the voxels that move the first test image's
# embedding most are each set to 0 alone, with **the same z and the same noise buffers**; below, every voxel is in
# place and only the noise is drawn anew.

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
# The differences are scaled by the factor that each is labelled with. Is it only these voxels? The same comparison
# for many test images: the voxel that moves each image's embedding most against one new draw of the noise.

# %%
some = pattern[: p.n_images]
strongest = effect[: p.n_images].argmax(1)
noise = {"z": base_z, "other_z": other_z[:1], "batch_size": cfg.lafite.batch_size}
voxel_rms, noise_rms = perturbation.voxel_against_noise(draw, encoder, some, strongest, **noise)
print(f"median RMS: strongest voxel {np.median(voxel_rms):.4f}", end=", ")
print(f"new noise {np.median(noise_rms):.4f}")
print(f"images in which the noise changes more: {(noise_rms > voxel_rms).mean():.0%}")

# %% [markdown]
# Which of the two is larger has to be measured for each generator. The voxel that moves the embedding most is not
# always the one that changes the picture most. In the demo, the second voxel in the figure changes the picture more
# than any new draw of the noise does: without it the prior finds other scenes likelier. Noise decides what an
# embedding leaves open: here where things are, which way they turn and what else is there.
#
# The other way round: let an image's strongest voxel vary as it does from trial to trial, z and the noise buffers
# too, in all combinations. How much of the pictures' variance is due to each? The bars are means over images, the
# dots single images.

# %% alt="Bars and dots: shares of the pictures' variance that belong to the voxel, to z, to the noise buffers and to their interactions, mean and single images"
some_z = reconstruction.draw_z(generator, p.n_z, cfg.seed + 2)
levels = {"z": some_z, "n_noise": p.n_buffers, "seed": cfg.seed, "psi": psi}
quarters = [-1.15, -0.32, 0.32, 1.15]  # middles of the quarters of a normal distribution
each = [
    perturbation.crossed_pictures(generator, encoder, one, int(voxel), quarters, **levels)
    for one, voxel in zip(pattern[: p.n_shares], strongest, strict=False)
]
each = [perturbation.variance_shares(pictures) for pictures in each]
shares = {name: np.array([share[name] for share in each]) for name in each[0]}
fig, ax = plt.subplots(figsize=(7, 2.6), layout="constrained")
_ = effect_plots.plot_shares(shares, ax=ax)
# %% [markdown]
# In the demo, z accounts for nearly all of the variance (98 % on average, 91 to 100 % in single images) and the noise
# buffers for none. This generator was trained to redraw pictures without a discriminator, and that training has no
# use for random texture.
#
# ## All voxels and the picture
#
# A picture for every voxel and image would take days on real data. But a voxel reaches the picture only through the
# predicted embedding, so to first order one *Jacobian* J of prior and generator serves all voxels: voxel v changes
# the picture by J w, with w the derivative of the embedding. First the range in which that holds.

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
# In double precision first order and finite differences agree to rounding until the step is large enough to switch
# some of the generator's leaky ReLUs. In single precision, which pictures are drawn in, small steps drown in
# rounding.
#
# Now all voxels: for many images by *random projections* (a few random pictures, each one backward pass), for some
# exactly, with a map of where in the picture the effect falls. What is finished is kept, so a run that is killed goes
# on.

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
# Is a voxel's effect on the picture more than the size of its weights? The *voxel-label* null compares each voxel
# with the hundred others whose weights are most like its own in size.

# %%
sensitivity = many.typical()
label_p = perturbation.matched_rank(sensitivity, size, n_matched=min(100, len(size)))
print(f"rank correlation of picture effect and size: {spearmanr(sensitivity, size).statistic:.3f}")
print(f"voxels in the top 5 % of their like: {(label_p <= 0.05).mean():.1%}")

# %% [markdown]
# The second number is near 5 % whenever effects vary freely among voxels of like size: by itself it is no evidence
# for labels. The square of the first is the share of the ranking that goes with the length of a voxel's row of
# weights: about two thirds in the demo. The rest is mostly direction.
#
# ### Where in the picture
#
# Every voxel has a map: the share of its effect that falls into each cell. Three voxels of V1, three of the face
# areas, and the mean over all voxels.

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
# The maps look alike: any voxel changes what is easy to change. Dividing by the mean map leaves what is a voxel's
# own. Does it lie where the voxel looks? We correlate the ranks of its centroid and of the planted centre of the
# receptive field over the voxels of V1 to V3, right-left and up-down apart. Neighbouring voxels are alike in both, so
# they are no independent evidence: the intervals come from resampling patches of neighbours.

# %%
if planted is not None:
    places = planted.voxels[["i", "j", "k"]].to_numpy()
    early = planted.voxels["stage"].isin(["V1", "V2", "V3"]).to_numpy() & ~null
    field = planted.voxels.loc[early, ["prf_x", "prf_y"]].to_numpy()
    for name, measured in (("centroid", centroid), ("own place", own_place)):
        found = against_truth.alignment(field, measured[early], places[early], rng=rng)
        print(name, dict(zip(("right-left", "up-down"), map(str, found), strict=False)))

# %% [markdown]
# In the demo no relation is seen right-left (centroid -0.02, own place 0.00), and a weak one up-down (0.18, 0.12). Up
# and down is what scenes have in common: the sky is above, the ground below. Whatever V1 knows about places reaches
# the generator through one CLIP vector, which says what is there far better than where. So a voxel of V1 hardly draws
# at its own place: it moves the whole picture towards other scenes.
#
# ### Towards which concept
#
# A concept is a direction: the mean of the captions that use a word minus the mean of the others. The four concepts
# of the localizer areas were fixed in the profile before anybody looked. Here each voxel is stimulated alone, by one
# standard deviation; notebook 06 stimulates whole areas. Then the whole vocabulary of the captions:

# %%
known = np.isin(clip["nsd_id"], nsd_id[train])
captions, caption_embeddings = stimuli["captions"][known, 0], clip["first_caption"][known]
concepts = perturbation.parse_concepts(p.concepts)
directions = perturbation.concept_directions(concepts, captions, caption_embeddings)

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
    found = against_truth.alignment(selective[~null], shift[~null], places[~null], rng=rng)
    print("planted selectivity and shift:", dict(zip(concepts, map(str, found), strict=False)))

# %% [markdown]
# A single voxel follows its planted selectivity weakly at best (in the demo, correlations of 0.06 to 0.10): its
# weight depends on what its neighbours leave over. The words of single voxels are a caution rather than a result:
# every direction has a nearest word.
#
# ## Are the p values right?
#
# `make study` repeats the test as it is done here, with the same folds, blocks and number of pairings, on subjects in
# whom no voxel carries anything: trials are drawn anew without signal, at the times of the real ones. How often is
# any voxel called significant at .05, family-wise? It should be one run in twenty, or less. It also compares the maps
# of contrastive encoders that differ in their seed only.

# %%
study = open_study(cfg, "perturbation")
if study:
    c, s = study["calibration"], study["seeds"]["rank_correlation"]
    low, high = c["low"], c["high"]
    print(f"family-wise error: {c['rate']:.3f} [{low:.3f}, {high:.3f}] over {c['n_runs']} runs")
    single = {"share": "voxels with p <= .05", "z": "mean z"}
    if found := {what: round(c[key], 3) for key, what in single.items() if key in c}:
        print(found)
    seeds = {name: round(value["mean"], 2) for name, value in s.items()}
    print(f"maps of {study['seeds']['n_seeds']} training seeds, mean rank correlation: {seeds}")
else:
    print("not available: run `make study`")

# %% [markdown]
# ## What leaving one voxel out can and cannot show
#
# * It shows what *this decoder* does with a voxel. That is a fact, exact to rounding, and cheap for all voxels at
#   once.
# * It does not show what a voxel *carries*. Redundancy hides carriers, and a voxel without any signal can matter
#   because its noise is subtracted. Ask a forward model, or the correlation of repeats.
# * Its map belongs to one decoder. Other training images give another map.
# * It does not show what a voxel *does for the person*. Nothing was switched off in a brain.
# * A changed picture proves nothing unless z and noise were held still and the change is compared with what they do
#   on their own.
# * Places in the picture are the generator's more than the voxel's.
#
# ## Exercises
#
# Write down what you expect before you unfold a solution.
#
# ### Exercise 1: two voxels at once
#
# Of the 50 strongest voxels take the two whose rows of weights are most parallel, or most opposed. They are left out
# together. Is the effect the sum of both effects, more, or less? What decides?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
top = np.argsort(-mean_effect)[:50]
rows_of = encoders.unit(encoder.weights[top])
cosines = np.triu(rows_of @ rows_of.T, 1)
most = np.unravel_index(np.abs(cosines).argmax(), cosines.shape)
first, second = top[list(most)]
left = visual_areas.group_embedding(encoder, pattern, np.array([first, second]), "leave_out")
together = 1 - (before * encoders.unit(left)).sum(1)
alike = pattern[:, first] * pattern[:, second] * cosines[most] > 0
print(f"cosine of the weights: {cosines[most]:+.2f}")
for name, chosen in {"the same direction": alike, "opposite directions": ~alike}.items():
    total = effect[chosen][:, [first, second]].sum()
    print(f"shifts in {name}: together {together[chosen].sum() / total:.2f} of the sum")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# The directions decide. 1 - cosine grows with the *square* of a shift. Shifts at right angles add like the sides of a
# right-angled triangle, so the effects add. Two shifts in the same direction give more than the sum, up to twice the
# sum; opposite shifts give less. The direction of a shift turns around with the sign of the voxel's activity, so one
# pair of voxels does both, in different images. Effects of groups can therefore not be added up from effects of
# voxels.
#
# </details>
#
# ### Exercise 2: no picture needed
#
# How well can the effect of a voxel on the first test image be guessed from two numbers: its activity, and the length
# of its row of weights? Give a rank correlation.

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
guessed = np.abs(pattern[0]) * size
for name, values in {"activity x length": guessed, "length alone": size}.items():
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
# One of the wrong pairings is taken for the data, so that no voxel carries anything. How many voxels are significant
# at .05, each alone? And after correcting for all of them?

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
#
# ## What is kept
#
# The maps of single voxels are also volumes in the subject's own space; any viewer opens them over the mean volume.

# %%
maps = {"embedding_effect": mean_effect, "image_effect": sensitivity, "contribution": gain}
maps |= {"refit_effect": refit_effect, "forward_model": carried, "reliability": tested.z}
maps |= {"reliability_p_corrected": tested.p_corrected, "reliability_q": tested.q}
maps |= {"centroid_right": centroid[:, 0], "centroid_up": centroid[:, 1], "spread": spread}
maps |= {f"shift_{name}": shift[:, i] for i, name in enumerate(concepts)}

# %%
results |= {**maps, "voxels": voxels, "label_p": label_p, "reliability_p": tested.p}
results |= {"strongest_rms": voxel_rms, "one_noise_rms": noise_rms, "floor": result.floor}
results |= {"maps": exact.maps, "words": words, "word_shift": word_shift, "steps": steps}
results |= {"share_names": list(shares), "shares": np.stack(list(shares.values()))}
results |= {f"step_error_{kind}": values for kind, values in step_errors.items()}
results |= {"auroc_names": list(auroc), "auroc": [v.value for v in auroc.values()]}
results |= {"auroc_low": [v.low for v in auroc.values()]}
results |= {"auroc_high": [v.high for v in auroc.values()]}

# %% alt="Reliability and effect on the picture of every voxel, on brain slices"
volume = {name: nsd.to_volume(v, brain["mask"], brain["affine"]) for name, v in maps.items()}
fig, axes = plt.subplots(2, 1, figsize=(10, 5), layout="constrained")
top = dict(vmin=0, n_cuts=8)
plots.plot_volume(volume["reliability"], background, title="reliability", ax=axes[0], **top)
_ = plots.plot_volume(volume["image_effect"], background, title="image effect", ax=axes[1], **top)

# %%
if INTERACTIVE:
    look = {"cmap": "inferno", "symmetric_cmap": False, "threshold": 1e-12}
    look |= {"bg_img": background, "resampling_interpolation": "nearest"}
    display(plotting.view_img(volume["image_effect"], **look))

# %% [markdown]
# ## Answer
#
# What does a single voxel contribute to the picture, and is what we see the voxel or the generator's own noise?

# %%
ratio, noisier = np.median(voxel_rms / noise_rms), (noise_rms > voxel_rms).mean()
display(
    Markdown(
        f"Leaving out the voxel that moves an image's embedding most changes the picture by "
        f"**{ratio:.2f}** of what a new draw of the noise changes (median over images). In "
        f"**{noisier:.0%}** of the images the noise changes the picture more than this voxel does. Maps "
        f"of the voxels' effects from two decoders, each fitted to another half of the training images, have a rank "
        f"correlation of **{agreement['effect'].mean:.2f}**, where 1 would be a map of the voxels alone."
    )
)

# %%
files.save("effects", results)
where = brain["mask"], brain["affine"]
files.written += perturbation.save_maps(cfg.derived, maps, *where, **files.origin)
files.finish("06_visual_areas")
