# %% [markdown]
# # 04 · From CLIP space to a picture
#
# **Question.** What did the person see? And how good could this generator be at best, if the embedding
# were read without error?
#
# | | |
# |---|---|
# | reads | `stimuli.h5`, `predictions.h5`, `ridge.safetensors`; the generator's and the judge's weights |
# | writes | `reconstructions.h5`, `picture_scores.json` |
# | minutes | smoke 0.2 · demo 0.6 · nsd not measured |
#
# LAFITE (Zhou et al. 2022) is a *generative adversarial network* (GAN): a generator draws pictures, a
# discriminator tries to tell them from real ones, and both learn from the contest. It is built on
# StyleGAN2; every layer is steered by a latent noise vector *z* and by the *condition*, a CLIP embedding.
# It has learned to draw from the embeddings of images, so it can be fed with embeddings read from a brain.

# %% tags=["parameters"]
PROFILE = "demo"
SUBJECT = 1
SEED = 0
DEVICE = "auto"
OVERRIDES = []
INTERACTIVE = True

# %%
import numpy as np

from fmri_utils import artifacts, encoders, metrics, plots, reconstruction
from fmri_utils.devices import choose_device
from fmri_utils.judge import load_judge
from fmri_utils.lafite import load_generator
from fmri_utils.profiles import PROJECT_ROOT, load_profile

# %%
cfg = load_profile(PROFILE, subject=SUBJECT, seed=SEED, device=DEVICE, overrides=OVERRIDES)
device = choose_device(cfg.device)
rng = np.random.default_rng(cfg.seed)
print(cfg.name, "|", cfg.dataset_label, "|", device)

# %%
files = [cfg.derived / "stimuli.h5", cfg.derived / "predictions.h5"]
stimuli = artifacts.load_arrays(files[0], remedy="Run `make 01`.")
predicted = artifacts.load_arrays(files[1], remedy="Run `make 03`.")
generator = load_generator(cfg.path(cfg.lafite.weights), device=device)
n_parameters = sum(p.numel() for p in generator.parameters())
print(f"generator: {n_parameters / 1e6:.1f} M parameters, {generator.config.resolution} px")

# %% [markdown]
# ## The embedding that the generator gets
#
# The ridge prediction, its spread matched to that of real embeddings (notebook 03).

# %%
test_ids, truth = predicted["test_ids"], predicted["truth"]
seen = stimuli["images"][np.searchsorted(stimuli["nsd_id"], test_ids)] / 255.0
condition = predicted["condition"]
print("(n_test, n_dimensions) =", condition.shape)

# %%
cosine = (encoders.unit(condition) * truth).sum(1)
print(f"cosine with the true embedding: {cosine.mean():.2f}")
print(f"of another image: {(encoders.unit(condition) * np.roll(truth, 1, 0)).sum(1).mean():.2f}")

# %% [markdown]
# ## Pictures
#
# Several latent vectors z for each image, the same for all images; the *ceiling*, the generator fed with
# the true embedding; and a *random baseline*, fed with the embedding of another training image.

# %%
n, n_z = len(test_ids), cfg.reconstruction.n_z
z = reconstruction.draw_z(generator, n_z, cfg.seed)
draw = dict(truncation_psi=cfg.lafite.truncation_psi, batch_size=cfg.lafite.batch_size)
samples = np.stack(
    [
        reconstruction.generate(generator, z[k].expand(n, -1), condition, progress=True, **draw)
        for k in range(n_z)
    ],
    axis=1,
)
ceiling = reconstruction.generate(generator, z[0].expand(n, -1), truth, **draw)
print("(n_test, n_z, height, width, 3) =", samples.shape)

# %%
others = rng.permutation(predicted["other_embeddings"])[:n]
random = reconstruction.generate(generator, z[0].expand(n, -1), others, **draw)

# %% [markdown]
# The first twelve test images, not picked:

# %%
m = cfg.reconstruction.n_shown
_ = plots.fig_reconstructions(seen[:m], ceiling[:m], samples[:m], label=cfg.dataset_label)
# %% [markdown]
# ## Scores
#
# Two kinds. *PixCorr* and *SSIM* compare pixels. The *judge* is a separate network that took no part in
# training anything here: it says what main thing it sees, and two-way identification compares its features.
# The CLIP model that the generator was trained with cannot be the judge: it can be pleased by shapeless
# blobs. The judge knows only simulated scenes; without a judge its rows say "not available".

# %%
judge = load_judge(cfg.path(cfg.lafite.judge)) if cfg.lafite.judge else None
pictures = {"random embedding": random, "from the brain": samples[:, 0], "ceiling": ceiling}
per_image = {
    name: {
        "PixCorr": metrics.pixcorr_scores(seen, p),
        "SSIM": metrics.ssim_scores(seen, p),
    }
    for name, p in pictures.items()
}

# %%
if judge is not None:
    saw = judge.look(seen.astype(np.float32))
    for name, p in pictures.items():
        sees = judge.look(p)
        scores = per_image[name]
        scores["judge two-way"] = metrics.two_way_scores(saw["features"], sees["features"])
        scores["judge kind"] = reconstruction.agreement(saw, sees, "kind")
        scores["judge background"] = reconstruction.agreement(saw, sees, "background")
        scores["judge colour"] = reconstruction.agreement(saw, sees, "colour")

# %%
names = ["PixCorr", "SSIM", "judge two-way", "judge kind", "judge background", "judge colour"]
table = {
    score: {
        name: metrics.bootstrap(values[score], rng=rng, n_resamples=cfg.encoder.n_bootstrap)
        if score in values
        else None
        for name, values in per_image.items()
    }
    for score in names
}
for score, row in table.items():
    print(f"{score:17s}", {k: str(v) if v else "not available" for k, v in row.items()})

# %% [markdown]
# Read each row from left to right: without the right embedding, from the brain, and at best. In the demo the
# judge tells two images apart by their reconstructions in more than nine of ten cases, but names the right
# main thing, of twenty kinds, in one of three. The distance to the ceiling is what the brain reading loses;
# the distance from the ceiling to 1 is what this small generator loses.
#
# ## Best and worst
#
# The four images whose pictures the pixels agree with most, and the four with the least, by PixCorr.

# %%
order = np.argsort(-per_image["from the brain"]["PixCorr"])
picked = np.concatenate([order[:4], order[-4:]])
rows = [seen[picked], ceiling[picked], samples[picked, 0]]
_ = plots.plot_picture_grid(rows, ["seen", "ceiling", "from the brain"])
# %% [markdown]
# ## What is kept

# %%
inputs = {p.name: artifacts.sha256_file(p) for p in [*files, cfg.path(cfg.lafite.weights)]}
config = cfg.as_dict()
pictures_file, scores_file = cfg.derived / "reconstructions.h5", cfg.derived / "picture_scores.json"
arrays = {"test_ids": test_ids, "seen": (255 * seen).round().astype(np.uint8)}
arrays |= {"ceiling": ceiling, "samples": samples, "random": random, "z": z.numpy()}
arrays |= {"stage_condition": condition[:1]}
artifacts.save_arrays(pictures_file, arrays, config=config, inputs=inputs)
kept = {s: {k: vars(v) if v else None for k, v in row.items()} for s, row in table.items()}
artifacts.save_json(scores_file, {"n_images": n, "scores": kept}, config=config, inputs=inputs)
artifacts.list_outputs(
    [pictures_file, scores_file], root=PROJECT_ROOT, next_notebook="05_leave_one_out"
)
