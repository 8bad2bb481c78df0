# %% [markdown]
# # 05 · Leave one voxel out
#
# **Question.** What does a single voxel contribute to the picture, and is what we see the voxel or the
# generator's own noise?
#
# | | |
# |---|---|
# | reads | `betas.h5`, `embeddings.h5`, `predictions.h5`, `matched.safetensors`, `reconstructions.h5` |
# | writes | `effects.h5`, `embedding_effect.nii.gz` |
# | minutes | smoke 0.2 · demo 0.5 · nsd not measured |
#
# It is tempting to switch off one voxel, draw the picture again and wonder at the difference. But a
# generator has noise of its own, and may draw another picture whenever that is drawn anew. Here the noise
# is held fixed while the voxel changes, and the voxel is held fixed while the noise changes.
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
import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
from nilearn import plotting
from sklearn.metrics import roc_auc_score

from fmri_utils import artifacts, encoders, nsd, perturbation, plots, reconstruction
from fmri_utils.devices import choose_device
from fmri_utils.lafite import load_generator
from fmri_utils.profiles import PROJECT_ROOT, load_profile
from fmri_utils.simulation.on_demand import planted_nulls

# %%
cfg = load_profile(PROFILE, subject=SUBJECT, seed=SEED, device=DEVICE, overrides=OVERRIDES)
device = choose_device(cfg.device)
print(cfg.name, "|", cfg.dataset_label, "|", device)

# %%
names = ("betas.h5", "embeddings.h5", "predictions.h5", "matched.safetensors", "reconstructions.h5")
files = [cfg.derived / name for name in names]
brain = artifacts.load_arrays(files[0], remedy="Run `make 01`.")
clip = artifacts.load_arrays(files[1], remedy="Run `make 02`.")
predicted = artifacts.load_arrays(files[2], remedy="Run `make 03`.")
encoder = encoders.load_encoder(files[3], remedy="Run `make 03`.")
pictures = artifacts.load_arrays(files[4], remedy="Run `make 04`.", names=("seen", "z"))
pattern, truth = predicted["pattern"], predicted["truth"]
print("(n_test, n_voxels) =", pattern.shape)

# %% [markdown]
# ## Every voxel's effect on the embedding
#
# The encoder is linear, so leaving voxel v out (setting it to 0, its mean) moves the predicted embedding
# along row v of the weights. How far the direction turns, 1 - cosine, follows in closed form for all
# voxels and all test images at once.

# %%
effect = perturbation.embedding_effect(encoder, pattern.astype(np.float64))
mean_effect = effect.mean(0)
print("(n_test, n_voxels) =", effect.shape, "| median of 1 - cosine:", f"{np.median(effect):.1e}")

# %%
areas = dict(zip(brain["area_names"], brain["areas"], strict=True))
fig, ax = plt.subplots(figsize=(9, 3.4), layout="constrained")
_ = plots.plot_area_effects(mean_effect, nsd.main_areas(areas), ax=ax)
# %% [markdown]
# A large effect only says that the decoder *uses* the voxel. Two other questions need other numbers:
# does the voxel help (*contribution*: how much closer to the true embedding the prediction is with it), and
# does it carry anything about the image at all (*encoding pattern*: its correlation with the true
# embeddings over the training trials, Haufe et al. 2014)?

# %%
gain = perturbation.contribution(encoder, pattern, truth).mean(0)
row = np.searchsorted(clip["nsd_id"], brain["nsd_id"])
train = brain["is_train"]
carried = perturbation.encoding_pattern(brain["betas"][train], clip["image"][row[train]])
print("voxels that help on average:", f"{(gain > 0).mean():.0%}")

# %% [markdown]
# ## Against the planted truth
#
# Of a simulated subject we know which voxels carry nothing. How well does each number tell the tuned voxels
# from these? AUROC is 0.5 for guessing and 1 for a perfect answer. For real data there is no such list and
# the cell says so.

# %%
null = planted_nulls(cfg.data_root, cfg.simulation, cfg.subject, brain["mask"])
statistics = {"effect": mean_effect, "contribution": gain, "encoding pattern": carried}
auroc = {}
if null is not None:
    auroc = {name: roc_auc_score(~null, score) for name, score in statistics.items()}
print({name: round(value, 3) for name, value in auroc.items()} or "not available: real data")

# %% [markdown]
# In the demo the encoding pattern separates tuned voxels from empty ones almost perfectly, leaving voxels
# out hardly better than guessing. A voxel that carries nothing can have a sizeable effect: the decoder may use it to cancel noise, or may
# simply have fitted noise. Its effect is real, but it is an effect on the model.
#
# ## One voxel and the picture
#
# The strongest voxels for the first test image, each set to 0 alone, with **the same z and the same noise
# buffers**; below, every voxel in place and only the noise drawn anew.

# %%
generator = load_generator(cfg.path(cfg.lafite.weights), device=device)
p = cfg.perturbation
image = 0
voxels = np.argsort(-effect[image])[: p.n_voxels]
base_z = reconstruction.draw_z(generator, 1, cfg.seed)
other_z = reconstruction.draw_z(generator, p.n_noise, cfg.seed + 1)

# %%
draw = perturbation.renderer(generator, psi=cfg.lafite.truncation_psi, seed=cfg.seed)
result = perturbation.picture_effect(
    draw, encoder, pattern[image], voxels, z=base_z, other_z=other_z
)
print("pixel RMS, one voxel left out:", np.round(result.rms(), 5))
print("pixel RMS, new noise only:    ", np.round(result.noise_rms(), 3))
print(f"rounding floor: {result.floor:.1e}")

# %%
results = {"seen": pictures["seen"][image], "baseline": result.baseline, "noise": result.noise}
results |= {"perturbed": result.perturbed, "names": nsd.voxel_names(areas, voxels)}
results |= {"rms": result.rms(), "new_noise_rms": result.noise_rms(), "effect": mean_effect}
results |= {"null": np.zeros(0, bool) if null is None else null}

# %%
background = nib.Nifti1Image(brain["background"], brain["affine"])
effect_map = nsd.to_volume(mean_effect, brain["mask"], brain["affine"])
volumes = {"effect_map": effect_map, "background": background}
_ = plots.fig_leave_one_out(
    results, areas=nsd.main_areas(areas), label=cfg.dataset_label, **volumes
)
# %% [markdown]
# The differences are enlarged by the factor that each is labelled with. Is it only these voxels? The same
# comparison for many test images: the strongest voxel of each image against one new draw of the noise.

# %%
ratios = []
for i in range(min(p.n_images, len(pattern))):
    strongest = np.argsort(-effect[i])[:1]
    one = perturbation.picture_effect(
        draw, encoder, pattern[i], strongest, z=base_z, other_z=other_z[:1]
    )
    ratios.append((one.rms()[0], one.noise_rms()[0]))
voxel_rms, noise_rms = np.array(ratios).T
print(
    f"median RMS: strongest voxel {np.median(voxel_rms):.4f}, new noise {np.median(noise_rms):.4f}"
)
print(f"images in which the noise changes more: {(noise_rms > voxel_rms).mean():.0%}")

# %% [markdown]
# Which of the two is larger has to be measured for each generator. One trained for long against a
# discriminator invents what an embedding leaves open, and its noise outweighs any voxel; the demo's short
# training was mostly redrawing, which teaches it to ignore z. So read the two numbers above before the
# picture of a single voxel, and remember that the strongest voxel of all was picked because it is the
# strongest.

# %%
if INTERACTIVE:
    display(
        plotting.view_img(
            effect_map,
            bg_img=background,
            cmap="inferno",
            symmetric_cmap=False,
            threshold=1e-12,
            resampling_interpolation="nearest",
        )
    )

# %% [markdown]
# ## What is kept

# %%
inputs = {path.name: artifacts.sha256_file(path) for path in files}
config = cfg.as_dict()
effects_file, map_file = cfg.derived / "effects.h5", cfg.derived / "embedding_effect.nii.gz"
results |= {"contribution": gain, "encoding_pattern": carried, "voxels": voxels}
results |= {"strongest_rms": voxel_rms, "one_noise_rms": noise_rms, "floor": result.floor}
results |= {"auroc_names": list(auroc), "auroc": list(auroc.values())}
_ = artifacts.save_arrays(effects_file, results, config=config, inputs=inputs)
# %%
with artifacts.atomic_path(map_file) as tmp:
    nib.save(effect_map, tmp)
artifacts.write_manifest(map_file, config=config, inputs=inputs)
artifacts.list_outputs([effects_file, map_file], root=PROJECT_ROOT, next_notebook="08_figures")
