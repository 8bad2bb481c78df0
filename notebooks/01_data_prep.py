# %% [markdown]
# # 01 · From NSD files to betas one can trust
#
# **Question.** What did the scanner measure while a person looked at natural scenes, which voxels
# carry a repeatable signal, and which images may train a model and which only test it?
#
# | | |
# |---|---|
# | you learn | how fMRI is measured and filed, which checks catch mispaired trials and drifting sessions, what a noise ceiling is, how to divide images so that nothing leaks |
# | you need | Python and numpy; mean, variance, correlation. No neuroscience |
# | reads | an NSD folder: design, betas, ROIs, noise ceilings, receptive fields, stimuli, captions (simulated first, if the profile says so) |
# | writes | `betas.h5`, `stimuli.h5` |
# | minutes | to run: smoke 0.4 · demo 1 · nsd not measured; to work through: about 60 |
#
# Functional magnetic resonance imaging (fMRI) takes a picture of the whole brain every one or two
# seconds. Such a picture is made of *voxels*, small cubes of brain, here 1.8 mm wide, with hundreds of
# thousands of neurons in each. fMRI does not see neurons. Where neurons are active, fresh blood flows
# in. Blood that carries oxygen disturbs the magnetic field less than blood that does not, so the
# signal rises by about one percent, about five seconds later. This is the *BOLD* response
# (blood-oxygen-level dependent). A *beta* is the height of this response to one trial, in percent of
# the voxel's mean signal. The [Natural Scenes Dataset](https://naturalscenesdataset.org) (NSD, Allen
# et al. 2022) holds eight people's betas for up to 30,000 trials each. These and other terms are in
# the [glossary](glossary.md).
#
# Most errors that ruin a decoding study leave no trace in its code: trials paired with the wrong
# images, a mirrored mask, a session that differs from the others. So we look at the data first. At
# the end we put what we measured beside what is published.

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
from IPython.display import Markdown
from nilearn import plotting

from fmri_utils import nsd, plots
from fmri_utils.nsd import quality, realism
from fmri_utils.project.notebook_files import open_inputs
from fmri_utils.project.profiles import load_profile
from simulated_nsd.on_demand import prepare

# %%
cfg = load_profile(PROFILE, subject=SUBJECT, seed=SEED, device=DEVICE, overrides=OVERRIDES)
rng = np.random.default_rng(cfg.seed)
plt.style.use(plots.STYLE)
print(cfg.name, "|", cfg.dataset_label)

# %% [markdown]
# ## The folder
#
# The real data may not be passed on, so the demo simulates a subject **in NSD's own layout**: the same
# files, byte conventions and indices. Everything below this line reads files and does not know which
# it got. With real data, put the folder where the profile says and nothing is simulated.

# %%
prepare(cfg.data_root, cfg.simulation, cfg.subject, progress=True)
layout = nsd.NSDLayout(cfg.data_root, cfg.subject, beta_version=cfg.data.beta_version)
sessions = nsd.first_sessions(layout, cfg.data.n_sessions)
print(nsd.session_coverage(layout), "| read here:", sessions)

# %% [markdown]
# ## Which image was shown when
#
# The design is stored several times over, with ids that count from 1 in some files and from 0 in
# others. An error of one here pairs every brain pattern with the wrong picture and still *runs*, so
# all sources are compared first.

# %%
print("trials compared, by source:", nsd.check_design(layout, sessions))
table = nsd.trial_table(layout, sessions)
print("(n_trials, n_images) =", (len(table), table["nsd_id"].nunique()))
table.head()

# %% [markdown]
# The sources agree, or the cell above would have stopped. `repeat` counts an image's showings from 0.
# Every session should hold trials of *shared* images, which all eight subjects see, and of the
# subject's own; and first showings should become rarer from session to session:

# %%
table.groupby(["session", "shared", "repeat"]).size().unstack(fill_value=0)

# %% [markdown]
# ## The brain
#
# The mean of the functional volumes, as the scanner saw it. A brain that lies on its side, or one cut
# off where the areas of interest are, shows here. NSD's functional space is each subject's own, not a
# standard brain.

# %%
background = nsd.read_mean_volume(layout)
brain = nsd.read_brainmask(layout)
inside = nsd.to_volume(background.get_fdata(dtype=np.float32)[brain], brain, background.affine)
print("(X, Y, Z) =", brain.shape, "of which in the brain:", brain.sum())

# %% alt="Six slices of the mean functional volume, grey: the shape of a brain with its eyes-to-back axis upright"
fig, ax = plt.subplots(figsize=(10, 2.2))
title = "mean functional volume"
_ = plots.plot_volume(inside, background, title=title, cmap="gray", vmin=0, colorbar=False, ax=ax)

# %% [markdown]
# An *ROI* (region of interest) is a set of voxels with a name: V1 by its map of the visual field, a
# face area by its preference for faces. `nsdgeneral` is the region in the back of the brain that
# responded to the images; everything from here on is about its voxels, in the order of `volume[mask]`.

# %%
mask = nsd.roi_mask(layout, cfg.data.roi)
areas = nsd.visual_areas(layout, mask)
main = nsd.main_areas(areas)
print("n_voxels =", mask.sum())
print({name: int(where.sum()) for name, where in main.items()})
print("families of areas that are not in the folder:", areas.missing or "none")

# %%
named = [name for name in main if name != "unassigned"]
label = np.zeros(mask.sum())
for number, name in enumerate(named, start=1):
    label[main[name]] = number
label_map = nsd.to_volume(label, mask, background.affine)

# %% alt="Brain slices with V1, V2, V3, hV4, faces, bodies, places and words in colours of their own, around the back of both hemispheres"
fig, ax = plt.subplots(figsize=(10, 2.4))
_ = plots.plot_areas(label_map, named, background, title="areas within the region", ax=ax)

# %% [markdown]
# What to look for: V1 to V3 lie around the back of both hemispheres, the other areas in front of
# them. A transposed or mirrored mask would scatter them over the brain or put them in its front.
#
# ## The split
#
# Images, not trials, are divided: a test image never has a repeat in the training set. As usual for
# NSD, the images that all eight subjects saw are the test set.

# %%
split = nsd.split_by_image(table, min_repeats=cfg.data.min_repeats)
is_train = np.isin(np.arange(len(table)), split.train_trials)
is_test = np.isin(np.arange(len(table)), split.test_trials)
print(split.rule)
print("training: images, trials =", split.train_ids.size, is_train.sum())
print("test:     images, trials =", split.test_ids.size, is_test.sum())

# %% [markdown]
# ## Betas, and the drift between sessions
#
# A session's field of view can miss a few voxels: their betas are 0 throughout. The report counts
# them, so that nobody takes them for a signal.

# %%
session = table["session"].to_numpy()
nsd_id = table["nsd_id"].to_numpy()
raw = nsd.read_betas(layout, mask, sessions)
print("(n_trials, n_voxels) =", raw.shape, "percent signal change")
nsd.voxel_report(raw, session)

# %% [markdown]
# The scanner drifts and the person tires: sessions differ in level and gain. Each voxel is therefore
# z-scored within each session, with mean and SD from the training trials only, so that nothing of
# the test images leaks in.

# %%
betas = nsd.zscore_sessions(raw, session, is_train)
drift = [quality.session_drift(values, session) for values in (raw, betas)]
print(f"of a voxel's variance, without drift: {100 * quality.drift_by_chance(session):.2g} %")

# %% alt="Mean beta of every trial, raw and z-scored, with sessions shaded"
fig, ax = plt.subplots(figsize=(10, 2.6), layout="constrained")
plots.plot_session_drift(raw.mean(1), betas.mean(1), session, ax=ax)
_ = ax.legend(markerscale=5, loc="upper left", bbox_to_anchor=(1, 1))

# %% [markdown]
# The mean over voxels hides most of the drift, because one voxel goes up while another goes down. So
# here is the share of *each voxel's* variance that lies between the means of its sessions:

# %% alt="Histograms of the share of each voxel's variance between sessions, as read and after z-scoring, with the share expected by chance"
chance = quality.drift_by_chance(session)
_ = plots.plot_drift_share(*drift, chance=chance)

# %% [markdown]
# The dashed line is what independent trials would show. After z-scoring the voxels lie to its left,
# because the mean of every session has been taken out. (With one session there is nothing to compare.)
#
# ## Signal and noise
#
# *ncsnr* compares a voxel's signal (how its mean response differs between images) with its noise (how
# it differs between repeats of one image). It bounds what any model can explain, the *noise ceiling*.

# %%
ncsnr = nsd.read_ncsnr(layout, mask)
ceiling = nsd.noise_ceiling(ncsnr, 3)
print(f"noise ceiling of three repeats, median: {np.nanmedian(ceiling):.0f} % of variance")
quality.ncsnr_quantiles(ncsnr, main).round(2)

# %% alt="Histogram of ncsnr over voxels with its median, and ticks for the published medians of NSD's eight subjects"
published = realism.PUBLISHED_NCSNR
_ = plots.plot_ncsnr_histogram(ncsnr, published=published, subject=cfg.subject)

# %% [markdown]
# The ticks are the medians of NSD's eight subjects. In a median voxel even of the best of them, most of
# a single trial is noise: at an ncsnr of 0.4 the noise is two and a half times as large as the signal.
# The voxels at exactly 0 are those whose repeats differ as much as different images do.

# %% alt="ncsnr on brain slices, and its distribution in each area"
ncsnr_map = nsd.to_volume(ncsnr, mask, background.affine)
fig, axes = plt.subplots(2, 1, figsize=(10, 5.6), height_ratios=(1, 1.2))
plots.plot_volume(ncsnr_map, background, title="ncsnr", vmin=0, ax=axes[0])
_ = plots.plot_ncsnr(ncsnr, main, ax=axes[1])

# %% [markdown]
# With a person at the keyboard, turn the brain around instead:

# %%
if INTERACTIVE:
    display(
        plotting.view_img(
            ncsnr_map,
            bg_img=background,
            cmap="inferno",
            symmetric_cmap=False,
            threshold=1e-9,
            resampling_interpolation="nearest",
        )
    )

# %% [markdown]
# ## Does a voxel repeat itself?
#
# The shipped ncsnr map was computed from all trials, those of the test images included. Our own
# measure looks at training trials only: the correlation of the responses to the same images in two
# different trials. If files, trial order and mask are right, the two must agree.

# %%
train_betas, train_ids = betas[is_train], nsd_id[is_train]
reliability = nsd.split_half_reliability(train_betas, train_ids, rng)
print(f"correlation of two single trials, median voxel: {np.nanmedian(reliability):.3f}")

# %% alt="Correlation of two trials against ncsnr, a dot for each voxel, with the curve expected from ncsnr"
_ = plots.plot_repeat_reliability(ncsnr, reliability)

# %% [markdown]
# The line is no fit: if signal and noise add up, the correlation of two trials is the signal's share
# of the variance. Voxels well off the line deserve a look; those that lack a session should be on it,
# as that session's trials are left out. And this is what an error of one in the trial order would have looked like:

# %%
shifted = nsd.split_half_reliability(train_betas, np.roll(train_ids, 1), rng, n_splits=1)
print(f"the same with images shifted by one trial: {np.nanmedian(shifted):.3f}")

# %% [markdown]
# ## The noise
#
# What a trial has beside the mean of its image is noise. Noise that is independent in every voxel
# averages out over voxels; noise that voxels share does not.

# %%
some = np.sort(rng.permutation(mask.sum())[:2500])
residuals, rows = quality.noise_residuals(betas[:, some], nsd_id)
places = quality.voxel_coordinates(mask, background.affine)[some]
chosen = {name: main[name][some] for name in ("V1", "faces") if name in main}
noise = quality.noise_correlation(residuals, places, rng, areas=chosen, n_pairs=1000)

# %% alt="Noise correlation of two voxels against their distance in mm, for all voxels and within areas"
_ = plots.plot_noise_correlation(noise)

# %% [markdown]
# Neighbours share most: blood vessels and the blur of the image do not end at a voxel's edge. Noise
# that even distant voxels share cannot be averaged away by adding voxels. V1's line may rise again at
# large distances: these pairs lie in the two occipital poles, which are far apart in the brain but see
# neighbouring parts of the visual field.
#
# The worst noise for a decoder looks like the signal itself: a pattern that another image would have
# evoked (Moreno-Bote et al. 2014). How much of the noise does? What the repeats of an image have in common is
# signal, what they differ by is noise. We project the covariance of the noise over distant voxels on
# that of the signal, with the two from different halves of the images.

# %%
few = np.random.default_rng(cfg.seed).permutation(mask.sum())[:1000]
coordinates = quality.voxel_coordinates(mask, background.affine)[few]
like_signal = nsd.noise_like_signal(betas[:, few], nsd_id, coordinates, rng.spawn(1)[0])
print(f"along the signal's patterns, noise / signal variance: {like_signal.ratio:.2f}")
print(f"as a share of the noise variance of all voxels: {like_signal.share:.0%}")

# %% [markdown]
# This share sets how hard decoding is. In the demo it was planted: 40 % of the noise of each voxel with a
# signal on average, which is about a third of the noise of all voxels. The estimate needs no planted truth, so
# it can be made for a real subject too. Do trials that follow each other share noise as well?

# %%
trial = table["trial"].to_numpy()[rows]
autocorrelation = quality.noise_autocorrelation(residuals, trial, session[rows], nsd_id[rows])
print("noise correlation of trials 1, 2, 3 ... apart:", autocorrelation[:5].round(3))

# %% [markdown]
# ## Stimuli and captions
#
# Each image comes with about five captions written by people (COCO). The first test images:

# %%
ids = np.unique(nsd_id)
images = nsd.read_images(layout, ids, size=cfg.clip.image_size)
captions = [five[:5] for five in nsd.read_captions(layout, ids)]
print("(n_images, height, width, 3) =", images.shape)

# %% alt="Sixteen test images in two rows: simulated scenes with animals, people, cars, houses and signs"
first = np.flatnonzero(np.isin(ids, split.test_ids))[:16]
plots.plot_picture_grid([images[first[:8]], images[first[8:]]], ["", ""])
print(captions[first[0]][0])

# %% [markdown]
# ## What one voxel likes
#
# The most reliable voxel, the training images that drove it most and least, and its response. Images
# are ranked by some of their trials and the response is shown from the others: even pure noise has
# favourite images in the trials that chose them, but not in new ones.

# %%
voxel = int(np.nanargmax(reliability))
ranked = quality.rank_images(train_betas[:, voxel], train_ids, rng)
best, worst = ranked.head(8), ranked.tail(8)[::-1]
held = ranked[["ranked_by", "held_out"]].corr().iloc[0, 1]
print(nsd.voxel_names(areas, [voxel])[0])
print(f"ranking and response in other trials, all training images: r = {held:.2f}")

# %% alt="The eight images with the strongest and the eight with the weakest responses of one voxel, with the response in other trials above each"
pictures = [images[np.searchsorted(ids, part["nsd_id"])] for part in (best, worst)]
_ = plots.plot_ranked_images(*pictures, best["held_out"].to_numpy(), worst["held_out"].to_numpy())

# %% [markdown]
# If the upper row has positive numbers and the lower one negative, the pairing of trials and images
# is right for this voxel. What the pictures of a row have in common is a guess at its tuning, no more.
#
# ## Where voxels look
#
# A *population receptive field* (pRF) is the part of the visual field that drives a voxel, from an
# experiment of its own. Voxels whose pRF explains less than 10 % of that experiment are left out.

# %%
prf = nsd.read_prf(layout, mask)
fits = (prf["R2"] > 10).to_numpy()
angle = nsd.to_volume(prf["angle"].where(fits), mask, background.affine)
eccentricity = nsd.to_volume(prf["eccentricity"].where(fits), mask, background.affine)
print(f"pRF explains more than 10 % in {fits.sum()} of {fits.size} voxels")

# %% alt="Polar angle of receptive fields on brain slices with a colour wheel, and their eccentricity in degrees"
fig, axes = plt.subplots(2, 1, figsize=(10, 4.6))
plots.plot_prf_angle(angle, background, title="polar angle", ax=axes[0])
title = "eccentricity (degrees)"
_ = plots.plot_volume(eccentricity, background, title=title, cmap="viridis", vmax=6, ax=axes[1])

# %% [markdown]
# Each hemisphere must see the opposite half of the visual field: the left one (left in these slices)
# has the colours of the wheel's right side. Where that is exchanged, left and right are exchanged in
# the files or in the reader.

# %% alt="Receptive fields of V1, V2, V3 and hV4 as circles in the visual field, over the square of the picture"
early = nsd.available(areas, ("V1", "V2", "V3", "hV4"))
_ = plots.plot_area_fields(prf, {name: where & fits for name, where in early.items()})

# %% [markdown]
# The square is the picture, 8.4 degrees wide, the cross where the person looks. A circle
# is one SD of a field, which does not end there; where none is near, this area's voxels see little. Fields far
# outside are extrapolated.
#
# ## Beside the published numbers
#
# The same function makes this table for real data. Where it says "not published", we know of no
# number, and none is made up. The last column says how a simulated subject got this number: it was set
# near the published value, it follows from another number, or it was *chosen freely*.

# %%
summary = realism.realism_table(
    subject=cfg.subject,
    ncsnr=ncsnr,
    reliability=reliability,
    noise=noise,
    like_signal=like_signal,
    autocorrelation=autocorrelation,
    drift=tuple(drift),
    betas=raw,
    session=session,
    areas=areas,
    made_of=(cfg.data.roi, layout.space, layout.beta_version),
)
summary.style.hide(axis="index").format(str)

# %% [markdown]
# In a real subject, a "measured" near the published value says that files, mask and trial order were
# read as their authors read them. In a simulated one it only says that the simulator got this number as
# its input. The median ncsnr is matched to NSD. All else about the noise is a free choice, and some
# choices decide the results. In the demo's study, at the same ncsnr, ridge finds 72 of 100 images if no
# noise lies along the signal's patterns, and 40 if 60 % of a voxel's noise does. Notebook 03 shows these
# numbers. Notebook 05 shows how the map of single voxels depends on the noise of empty voxels.

# %% [markdown]
# ## Exercises
#
# Write down what you expect before you unfold a solution.
#
# ### Exercise 1: how often must an image be shown?
#
# A voxel has an ncsnr of 0.4: the SD of its signal is 0.4 times that of its noise. Which share of the variance of a
# single trial is signal? And of how many trials must the mean be taken until it is one half?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
for n_repeats in (1, 3, 6, 10, 100):
    share = nsd.noise_ceiling(np.array([0.4]), n_repeats)[0]
    print(f"mean of {n_repeats:3d} trials: {share:.0f} % signal")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# Of a single trial 0.16 / (0.16 + 1) = 14 %. A mean of n trials has 1/n of the noise *variance*, so one half is
# reached where 1/n = 0.16, at six or seven trials. NSD stopped at three, so the same scanning time holds about
# twice as many images. In the demo's study (`make study`, four simulated brains, 900 training trials) this is a little
# better for a decoder. Ridge explains 27 % of the variance of new embeddings if each trial shows a different image, and
# 25 % if 300 images are shown three times each: a difference of 1.8 % [0.5, 3.0].
#
# </details>
#
# ### Exercise 2: one trial in ten is mislabelled
#
# Suppose the labels of a random tenth of the trials were exchanged. What becomes of the median correlation of two
# trials of the same image? Would you notice it in a new data set?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
own_rng = np.random.default_rng(cfg.seed)
wrong_ids = train_ids.copy()
lost = own_rng.random(len(train_ids)) < 0.1
wrong_ids[lost] = own_rng.permutation(train_ids[lost])
partly = nsd.split_half_reliability(train_betas, wrong_ids, own_rng)
print(f"median with a tenth mislabelled: {np.nanmedian(partly):.3f}")
print(f"as a share of the right one: {np.nanmedian(partly) / np.nanmedian(reliability):.2f}")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# A pair of trials is right only if both labels are: 0.9 x 0.9 = 0.81, so about a fifth should be lost (with few
# images the number above scatters around that). Everything still runs, and the subject merely looks a little
# noisier. That is why the sources of the design were compared first, and why it helps to know published numbers.
#
# </details>
#
# ### Exercise 3: dividing trials instead of images
#
# A colleague draws a tenth of all *trials* at random as the test set. For how many of these has the decoder seen
# another showing of the same image?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
drawn = np.random.default_rng(cfg.seed).random(len(table)) < 0.1
seen_before = np.isin(nsd_id[drawn], nsd_id[~drawn])
print(f"test trials whose image is also trained on: {seen_before.mean():.1%}")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# With three showings both others are test trials only once in a hundred: about 99 % have been seen, fewer where
# images were shown less often. Such a test measures memory for images, and any model that is large enough passes it.
#
# </details>

# %% [markdown]
# ## What these data can and cannot show
#
# The checks find errors that leave a trace in the data: wrong pairs of trials and images, mirrored
# masks, sessions out of line. An error that acts on all trials of an image alike leaves none.
#
# ncsnr, the noise ceiling and the correlation of repeats all rest on one assumption: the repeats of an
# image differ by noise only, and this noise is independent. In a simulated subject the assumption holds (up to a
# slow trend within sessions), because each repeat is the same signal plus new Gaussian noise. In a real brain it
# does not hold exactly:
#
# * an image is *new* once and *old* afterwards, and the response to it changes with repetition and memory;
# * attention, sleepiness, blinks and eye movements change from trial to trial, often for many trials in a row;
# * a few *outlier* trials, such as after a movement of the head, are far noisier than the others;
# * breathing and arousal act on the whole brain at once, so a few global patterns can make up much of the noise;
# * real noise has more extreme values than a Gaussian.
#
# None of these is simulated. A method that works in the demo has not been tested against them.
#
# The pictures of a simulated subject are drawings: 20 kinds of things before 8 backgrounds. The shipped CLIP was
# trained on drawings of the same kinds, so no test image is really new to it. A subject of the demo has 100
# test images, four sessions and 2500 voxels. For these reasons no score in these notebooks can be compared with a
# score on NSD, even where the ncsnr is the same.

# %% [markdown]
# ## What is kept for the next notebooks

# %%
arrays = {"betas": betas, "session": session, "nsd_id": table["nsd_id"], "repeat": table["repeat"]}
arrays |= {"is_train": is_train, "is_test": is_test, "mask": mask, "affine": background.affine}
arrays |= {"background": background.get_fdata(dtype=np.float32), "ncsnr": ncsnr}
arrays |= {"area_names": list(areas), "areas": np.stack(list(areas.values()))}
files = open_inputs(cfg)
files.save("betas", arrays)
captions = np.array([(five * 5)[:5] for five in captions])
files.save("stimuli", {"nsd_id": ids, "images": images, "captions": captions})

# %% [markdown]
# ## Answer
#
# What did the scanner measure, which voxels carry a repeatable signal, and which images may train a model?

# %%
twice = np.unique(train_ids, return_counts=True)[1] >= 2
limit = 1.64 / np.sqrt(twice.sum())  # one voxel in twenty without a signal is above it
display(
    Markdown(
        f"The scanner measured {betas.shape[0]} responses of {betas.shape[1]} voxels, and in the median "
        f"voxel {nsd.noise_ceiling(np.nanmedian(ncsnr), 1):.0f} % of the variance of a single trial is "
        f"signal. In {np.nanmean(reliability > limit):.0%} of the voxels two trials of an image correlate by "
        f"more than {limit:.3f}, as at most one of twenty voxels without a signal would. "
        f"{split.train_ids.size} images may train a model, and {split.test_ids.size} other images only "
        "test it."
    )
)

# %%
files.finish("02_joint_embedding")
