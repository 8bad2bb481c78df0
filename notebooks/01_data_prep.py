# %% [markdown]
# # 01 · From NSD files to betas one can trust
#
# **Question.** What did the scanner measure while a person looked at natural scenes, which voxels
# carry a repeatable signal, and which images may train a model and which only test it?
#
# | | |
# |---|---|
# | reads | an NSD folder: design, betas, ROIs, noise ceilings, stimuli, captions (simulated first, if the profile says so) |
# | writes | `betas.h5`, `stimuli.h5` |
# | minutes | smoke 0.3 · demo 1.2 · nsd not measured |
#
# In functional MRI (fMRI) a *voxel* is a small cube of brain, here 1.8 mm wide. When its neurons
# work, blood flow and thus the signal change a little and late (the BOLD response). A *beta* is the
# height of that response to one trial, in percent of the voxel's mean signal. The
# [Natural Scenes Dataset](https://naturalscenesdataset.org) (Allen et al. 2022) holds eight people's
# betas for up to 30,000 trials each.

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
from nilearn import plotting

from fmri_utils import nsd, plots
from fmri_utils.artifacts import list_outputs, save_arrays
from fmri_utils.profiles import PROJECT_ROOT, load_profile
from fmri_utils.simulation.on_demand import prepare

# %%
cfg = load_profile(PROFILE, subject=SUBJECT, seed=SEED, device=DEVICE, overrides=OVERRIDES)
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
sessions = nsd.available_sessions(layout)[: cfg.data.n_sessions or None]
print("sessions:", sessions)

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
# ## Betas
#
# `nsdgeneral` is the region in the back of the brain that responded to the images. Voxels come in the
# order of `volume[mask]`.

# %%
mask = nsd.roi_mask(layout, cfg.data.roi)
raw = nsd.read_betas(layout, mask, sessions)
print("(n_trials, n_voxels) =", raw.shape, "percent signal change")

# %% [markdown]
# The scanner drifts and the person tires: sessions differ in level and gain. Each voxel is therefore
# z-scored within each session, with mean and SD from the training trials only, so that nothing of
# the test images leaks in.

# %%
session = table["session"].to_numpy()
betas = nsd.zscore_sessions(raw, session, is_train)
nsd.voxel_report(raw, session)

# %%
fig, ax = plt.subplots(figsize=(10, 2.8), layout="constrained")
_ = plots.plot_session_drift(raw.mean(1), betas.mean(1), session, ax=ax)
# %% [markdown]
# ## Areas and their noise ceilings
#
# An *ROI* (region of interest) is a set of voxels with a name: V1 by its map of the visual field, a
# face area by its preference for faces. *ncsnr* compares a voxel's signal (how its mean response
# differs between images) with its noise (how it differs between repeats of one image).

# %%
areas = nsd.visual_areas(layout, mask)
ncsnr = nsd.read_ncsnr(layout, mask)
main = nsd.main_areas(areas)
ceiling = nsd.noise_ceiling(ncsnr, 3)
print(f"ncsnr, median over voxels: {np.nanmedian(ncsnr):.2f}")
print(f"noise ceiling of three repeats, median: {np.nanmedian(ceiling):.0f} % of variance")

# %%
fig, ax = plt.subplots(figsize=(8, 3), layout="constrained")
_ = plots.plot_ncsnr(ncsnr, main, ax=ax)
# %% [markdown]
# The same numbers where they are in the brain, over the subject's own mean volume. NSD's functional
# space is each subject's own, not a standard brain.

# %%
background = nsd.read_mean_volume(layout)
named = [name for name in main if name != "unassigned"]
label = np.zeros(mask.sum())
for number, name in enumerate(named, start=1):
    label[main[name]] = number
label_map = nsd.to_volume(label, mask, background.affine)
ncsnr_map = nsd.to_volume(ncsnr, mask, background.affine)

# %%
fig, axes = plt.subplots(2, 1, figsize=(10, 5), layout="constrained")
plots.plot_areas(label_map, named, background, title="areas", ax=axes[0])
_ = plots.plot_volume(ncsnr_map, background, title="ncsnr", vmin=0, ax=axes[1])

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
# ## Stimuli and captions
#
# Each image comes with about five captions written by people (COCO). The first test images:

# %%
ids = np.unique(table["nsd_id"])
images = nsd.read_images(layout, ids, size=cfg.clip.image_size)
captions = [five[:5] for five in nsd.read_captions(layout, ids)]
print("(n_images, height, width, 3) =", images.shape)

# %%
first = np.flatnonzero(np.isin(ids, split.test_ids))[:16]
plots.plot_picture_grid([images[first[:8]], images[first[8:]]], ["", ""])
print(captions[first[0]][0])

# %% [markdown]
# ## What is kept for the next notebooks

# %%
config = cfg.as_dict()
betas_file = cfg.derived / "betas.h5"
arrays = {"betas": betas, "session": session, "nsd_id": table["nsd_id"], "repeat": table["repeat"]}
arrays |= {"is_train": is_train, "is_test": is_test, "mask": mask, "affine": background.affine}
arrays |= {"background": background.get_fdata(dtype=np.float32), "ncsnr": ncsnr}
arrays |= {"area_names": list(areas), "areas": np.stack(list(areas.values()))}
manifest = save_arrays(betas_file, arrays, config=config)

# %%
stimuli_file = cfg.derived / "stimuli.h5"
captions = np.array([(five * 5)[:5] for five in captions])
save_arrays(stimuli_file, {"nsd_id": ids, "images": images, "captions": captions}, config=config)
list_outputs([betas_file, stimuli_file], root=PROJECT_ROOT, next_notebook="02_joint_embedding")
