# %% [markdown]
# # 04 · From CLIP space to a picture
#
# **Question.** What did the person see? How good could this generator be at best, and what is gained by
# searching for its noise, or by teaching it how a brain errs?
#
# | | |
# |---|---|
# | you learn | what a conditional GAN does with z and with the condition, why pictures need a judge that took no part in making them, what a ceiling is |
# | you need | notebooks 01 to 03 |
# | reads | `betas.h5`, `stimuli.h5`, `embeddings.h5`, `predictions.h5`; the weights of generator, CLIP and judge; `study_generator.json`, if it is there |
# | writes | `reconstructions.h5`, `picture_scores.json` |
# | minutes | to run: smoke 0.4 · demo 1.2 · nsd not measured; to work through: about 60 |
#
# A *generative adversarial network* (GAN) is two networks in a contest: a *generator* draws pictures
# from random numbers, a *discriminator* tries to tell them from real ones. What fools it is kept, so the
# pictures come to look real without anybody saying what is wrong with them. LAFITE (Zhou et al. 2022) is
# such a network, built on StyleGAN2, and told what to draw: every layer is steered by a noise
# vector *z* and by the *condition*, a CLIP embedding. It has learned to draw from the embeddings of
# images, so it can be fed with embeddings read from a brain. What the condition leaves open, z decides.

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

from fmri_utils import encoders, metrics, plots
from fmri_utils.clip.space import open_clip_space
from fmri_utils.lafite import load_generator
from fmri_utils.metrics.judge import load_judge
from fmri_utils.pictures import finetuning, reconstruction, search, strategies
from fmri_utils.project.devices import choose_device
from fmri_utils.project.notebook_files import open_inputs, open_study
from fmri_utils.project.profiles import PROJECT_ROOT, load_profile

# %%
cfg = load_profile(PROFILE, subject=SUBJECT, seed=SEED, device=DEVICE, overrides=OVERRIDES)
device = choose_device(cfg.device)
rng = np.random.default_rng(cfg.seed)
plt.style.use(plots.STYLE)
print(cfg.name, "|", cfg.dataset_label, "|", device)

# %%
files = open_inputs(cfg, "betas", "stimuli", "embeddings", "predictions", "generator")
brain, stimuli, clip, predicted, weights = files.values()

# %%
generator = load_generator(weights, device=device)
space = open_clip_space(cfg.clip.model, cfg.clip.pretrained, device=device, root=PROJECT_ROOT)
judge = load_judge(cfg.path(cfg.lafite.judge)) if cfg.lafite.judge else None
n_parameters = sum(p.numel() for p in generator.parameters())
print(f"generator: {n_parameters / 1e6:.1f} M parameters, {generator.config.resolution} px")

# %% [markdown]
# ## The embedding that the generator gets
#
# The ridge prediction, its spread matched to that of real embeddings, and then what the prior makes of it
# (notebook 03): the mean of the embeddings that it can stand for.

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
# Several noise vectors z for each image, the same for all images; the *ceiling*, the generator fed with
# the true embedding; and a *random baseline*, fed with the embedding of another training image.

# %%
n, n_z = len(test_ids), cfg.reconstruction.n_z
z = reconstruction.draw_z(generator, n_z, cfg.seed)
draw = dict(truncation_psi=cfg.lafite.truncation_psi, batch_size=cfg.lafite.batch_size)
samples = np.stack(
    [reconstruction.draw(generator, one.expand(n, -1), condition, **draw) for one in z], axis=1
)
ceiling = reconstruction.draw(generator, z[0].expand(n, -1), truth, **draw)
print("(n_test, n_z, height, width, 3) =", samples.shape)

# %%
others = rng.permutation(predicted["other_embeddings"])[:n]
random = reconstruction.draw(generator, z[0].expand(n, -1), others, **draw)

# %% [markdown]
# The first twelve test images, not picked:

# %% alt="Rows of pictures: twelve test images, drawn from their true embeddings, and drawn from the brain with several noise vectors"
m = cfg.reconstruction.n_shown
_ = plots.fig_reconstructions(seen[:m], ceiling[:m], samples[:m], label=cfg.dataset_label)
# %% [markdown]
# How much is z's doing? The rows from the third on differ in z only. The demo's generator is small, and was
# not trained in a contest but to redraw scenes, each from its embedding and a z that stands for what
# the embedding leaves open (`data/pretrained/lafite-card.json`). So another z moves and turns things, and
# changes what is behind them.

# %%
over_z, over_images = samples.std(1).mean(), samples[:, 0].std(0).mean()
print(f"SD of a pixel over z {over_z:.3f}, over images {over_images:.3f}")

# %% [markdown]
# ## Searching for the noise
#
# The embedding does not say everything, and z decides the rest. Four ways to choose it, for the same
# images: draw many and keep the picture whose own CLIP embedding is closest to the predicted one (*best
# of n*); follow the gradient of that closeness with respect to z, with a prior that keeps |z|² where that of a
# normal vector is, near its number of dimensions; the same with respect to the noise images that every
# layer adds; and the gradient with respect to z of closeness in CLIP space *and* to a blurred colour picture, which
# another ridge reads from V1 to V3: early visual cortex knows where things are. A gradient step costs
# about three drawings, so all get the same number of *generator passes*.

# %%
e, r = cfg.encoder, cfg.reconstruction
alphas = np.logspace(e.log10_alpha_min, e.log10_alpha_max, e.n_alphas)
low_level = dict(size=r.low_level_size, weight=r.low_level_weight, n_folds=e.n_folds)
blurred = search.read_blurred(brain, stimuli, predicted["pattern"][:m], alphas=alphas, **low_level)
if blurred is not None:
    print("(n_shown, size, size, 3) =", blurred.picture.shape)

# %%
objective = search.Objective(search.clip_encoder(space))
searches = strategies.compare_searches(
    generator,
    condition[:m],
    objective,
    passes=cfg.reconstruction.n_passes,
    rng=torch.Generator().manual_seed(cfg.seed),
    blurred=blurred,
    progress=True,
    **draw,
)
print("generator passes per picture:", searches.passes)

# %% alt="Rows of pictures: seen, a plain random z, and the results of four searches for the noise"
plain = searches.draws[strategies.PLAIN][0]
found = {name: searches.draws[name][0] for name in searches.trajectories}
rows = [seen[:m], plain, *found.values()]
_ = plots.plot_picture_grid(rows, ["seen", strategies.PLAIN, *found])

# %% [markdown]
# What the searches maximised, and what it is for the image that was really seen. The seen image is *less*
# like the prediction than the picture before any search: a prediction has errors, and whoever comes closer
# to it than the truth does is fitting these.

# %% alt="Best cosine with the prediction against generator passes for four searches, with that of the seen image as a dotted line"
fig, ax = plt.subplots(figsize=(6, 2.6), layout="constrained")
for name, recorded in searches.trajectories.items():
    best = np.maximum.accumulate(recorded["cosine"], axis=0).mean(1)
    ax.plot(np.linspace(0, searches.passes[name], len(best)), best, label=name)
ax.axhline(cosine[:m].mean(), color="0.5", ls=":", label="the seen image")
ax.set(xlabel="generator passes", ylabel="best cosine\nwith the prediction")
_ = ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))

# %%
squared = searches.trajectories[strategies.BY_Z]["prior"]
low, high = search.typical_range(generator.config.z_dim)
print(f"99 % of normal z have |z|² from {low:.0f} to {high:.0f}")
print(
    f"prior of z, nats above the likeliest length: {squared[0].mean():.2f} at the start,", end=" "
)
print(f"{squared[-1].mean():.2f} at the end")

# %% [markdown]
# ## Scores
#
# Two kinds. *PixCorr* and *SSIM* compare pixels. The *judge* is a separate network that took no part in
# training or searching anything here: it says what main thing it sees, and two-way identification compares its
# features. The CLIP model that the generator was trained with, and the searches aimed at, cannot be the
# judge: it can be pleased by shapeless blobs. The judge knows only simulated scenes; scores whose network is not
# on the machine say "not available".

# %%
pictures = {"random embedding": random, "from the brain": samples[:, 0], "ceiling": ceiling}
scores = metrics.picture_scores(seen, pictures, judge=judge, device=device)
about = {"dataset": cfg.dataset_name, "simulated": cfg.simulation is not None}
about |= {"subject": cfg.subject, "split": "shared images", "clip_model": cfg.clip.model}
about |= {"repeats": int(predicted["repeats"].max())}

# %%
table = metrics.score_table(
    scores,
    about=about,
    baseline="random embedding",
    ceiling="ceiling",
    rng=rng,
    n_resamples=cfg.encoder.n_bootstrap,
)
Markdown(metrics.table_markdown(table))

# %% [markdown]
# Read each row from left to right: chance, without the right embedding, from the brain, and at best. In the
# demo the judge tells two images apart by their reconstructions in more than nine of ten cases, but names the
# right main thing, of twenty kinds, in about half of them. The distance to the ceiling is what the brain reading
# loses; the distance from the ceiling to 1 is what the embedding leaves out and what this small generator loses,
# together.
#
# ## What the prior gains
#
# The same z and the same images, drawn from the embedding before and after each step of notebook 03. The
# differences are between pairs of pictures of one image.

# %%
steps = {name: e for name, e in predicted["conditions"].items() if name != "prior"}
first_z = z[0].expand(n, -1)
drawn = {name: reconstruction.draw(generator, first_z, e, **draw) for name, e in steps.items()}
before = metrics.picture_scores(seen, drawn, judge=judge, pixels=["PixCorr"], device=device)
before["prior"] = {row: scores["from the brain"][row] for row in before["none"]}
boot = dict(rng=rng, n_resamples=cfg.encoder.n_bootstrap)
pd.DataFrame({name: metrics.differences(before, "prior", name, **boot) for name in steps}).map(
    str
).add_prefix("prior - ")

# %% [markdown]
# ## What searching gains
#
# Each search against the plain random z on the twelve images above, by scores that it did not see. An interval
# around 0 means: no difference can be seen, and with twelve images it is wide. The noise images change nothing
# at all in the demo, whose generator has not learned to use them.

# %%
searched = strategies.mean_scores(seen[:m], searches.draws, judge=judge)
gains = {
    n: metrics.differences(searched, n, strategies.PLAIN, **boot) for n in searches.trajectories
}
pd.DataFrame(gains).map(str)

# %% [markdown]
# The same on all test images, with more passes and several seeds, is what `make study` computes, from the
# predictions before the prior. Of the plain random z the scores themselves, of the others the difference from it, with 95 % intervals over images
# and seeds. The blurred picture alone, which no generator drew, shows what pixels reward:

# %%
study = open_study(cfg, "generator")
remark = strategies.study_remark(study, files.hashes[weights.name])
print(remark)
if study:
    display(Markdown(strategies.gains_markdown(study["searches"]["rows"], strategies.PLAIN)))

# %% [markdown]
# In the demo the searches for z raise the cosine with the prediction, which is above that of the seen image from
# the start, and the judge sees no gain in any. Only the blurred picture adds something, a little PixCorr: it says where things
# are, which the prediction in CLIP space does not. What limits the pictures is the prediction, not z.
#
# ## Teaching the generator how a brain errs
#
# The generator has learned from embeddings without error, and takes every error of a predicted one for
# content. The prior is one remedy. Another is to train it further on predictions: of the *training* images, each
# from encoders that had not seen that image, so that they err as they do at test. Here it gets them without
# the prior.

# %%
train = brain["is_train"]
betas, groups = brain["betas"][train], brain["nsd_id"][train]
target = clip["image"][np.searchsorted(clip["nsd_id"], groups)]
folds = dict(n_folds=e.n_folds, basis=encoders.ridge_basis(betas))

# %%
_, report = encoders.fit_ridge(betas, target, groups, alphas=alphas, **folds)
best = report["best_alphas"]
held = finetuning.predict_held_out(betas, target, groups, alphas=best, **folds)
matched_cosine = (encoders.unit(predicted["conditions"]["spread matched"]) * truth).sum(1).mean()
print("(n_train_images, n_variants, n_dimensions) =", held.predicted.shape)
print(f"cosine with the truth: {held.cosine.mean():.2f}; of test images {matched_cosine:.2f}")

# %% [markdown]
# A small live version: a few steps of redrawing the training images from these predictions.

# %%
own = np.searchsorted(stimuli["nsd_id"], held.ids)
shown = stimuli["images"][own], clip["image"][np.searchsorted(clip["nsd_id"], held.ids)]
tuning = finetuning.fine_tuning_config(
    generator.config,
    n_images=cfg.reconstruction.tuning_images,
    rest_images=0,
    clip_size=space.image_size,
)

# %% alt="Losses of the short fine-tuning against the number of images shown"
run = finetuning.fine_tune(
    generator,
    *shown,
    held.predicted,
    search.clip_encoder(space),
    config=tuning,
    option=finetuning.FineTuning(reconstruction_only=True),
    device=device,
    progress=True,
)
axes = plots.plot_losses(run.history)

# %% alt="Rows of pictures: seen, reconstructions before and after fine-tuning on a few training images"
read = "spread matched"
after = reconstruction.draw(run.generator, first_z, predicted["conditions"][read], **draw)
rows = [seen[:m], drawn[read][:m], after[:m]]
_ = plots.plot_picture_grid(rows, ["seen", "before", f"after {tuning.n_images} images"])

# %%
both = {"before": before[read]}
both |= metrics.picture_scores(
    seen, {"after": after}, judge=judge, pixels=["PixCorr"], device=device
)
gains = metrics.differences(both, "after", "before", **boot)
pd.DataFrame({"after - before": gains}).map(str)

# %% [markdown]
# Longer, with a discriminator, and with the other ways of doing it, from `make study`. The control goes on
# training as long with the *true* embeddings of the same images: what it gains is owed to more training, not
# to the brain.

# %%
print(remark)
if study:
    display(Markdown(strategies.gains_markdown(study["fine_tuning"]["rows"]["brain"], "before")))

# %% [markdown]
# Mind Reader gives the generator *two conditions*, the predicted embeddings of the image and of its caption, and
# z = 0. In the demo the judge sees no gain in any of these either, and the two conditions cost some. A gain in
# pixels goes to training without a discriminator, and more of it to the control than to the predictions: it is
# the longer training that helps. What it costs, with the same generators fed with the true embeddings:

# %%
if study:
    ceilings = study["fine_tuning"]["rows"]["ceiling"]
    display(Markdown(strategies.gains_markdown(ceilings, "before")))
# %% [markdown]
# ## Best and worst
#
# Named as such: the four reconstructions whose own image the judge prefers most clearly to all others, and
# the four where it does so least (by PixCorr where there is no judge).

# %% alt="The four best and the four worst reconstructions: seen, ceiling, and from the brain"
by = "judge two-way" if judge is not None else "PixCorr"
chosen = scores["from the brain"]
order = np.lexsort((-chosen["PixCorr"].per_image, -chosen[by].per_image))
picked = np.concatenate([order[:4], order[-4:]])
rows = [seen[picked], ceiling[picked], samples[picked, 0]]
axes = plots.plot_picture_grid(rows, ["seen", "ceiling", "from the brain"])
axes[0, 0].set_title(f"best by {by}", loc="left").set_in_layout(False)
_ = axes[0, 4].set_title("worst", loc="left")

# %% [markdown]
# ## Exercises
#
# Write down what you expect before you unfold a solution.
#
# ### Exercise 1: half-way between two pictures
#
# Seven embeddings on the way from one test image to another, all drawn with the same z. Will the middle be a cross-fade
# of the two, or something else?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"] alt="Seven generated pictures on the way from the embedding of one test image to that of another"
steps = np.linspace(0, 1, 7)[:, None]
path = encoders.unit((1 - steps) * truth[0] + steps * truth[1])
between = reconstruction.draw(generator, z[0].expand(7, -1), path, **draw)
_ = plots.plot_picture_grid([between], ["from one to\nthe other"])

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# A cross-fade would show both things half transparent. A generator draws a picture for every condition, so
# things change shape, colour or place, or one gives way to the other at some point. A good one stays among
# pictures that could be real all the way; where this small one blurs, it has no picture for that condition.
#
# </details>
#
# ### Exercise 2: truncation
#
# *Truncation* pulls the inner latent w, made from z, towards its mean: psi = 1 leaves it, psi = 0 gives the mean to
# every z. What remains at 0 of the SD over z, and of the SD over images?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
for psi in (0.0, 0.5, 1.0):
    kept = draw | dict(truncation_psi=psi)
    drawn = [reconstruction.draw(generator, o.expand(8, -1), truth[:8], **kept) for o in z[:2]]
    both = np.stack(drawn)
    print(f"psi {psi}: SD over z {both.std(0).mean():.3f}, over images {both[0].std(0).mean():.3f}")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# At 0 all z give one picture, so the first number is 0; the second hardly falls, for what the picture shows
# comes by the condition, which is not truncated. Truncation trades variety for typical pictures. In an analysis of
# voxels it takes out a source of noise that has nothing to do with the brain.
#
# </details>
#
# ### Exercise 3: a grey haze
#
# Hand in one and the same picture for every test image, the mean of all training images, and score it for the first
# thirty. How does it do in PixCorr and SSIM beside our reconstructions, and how with the judge?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
known = ~np.isin(stimuli["nsd_id"], test_ids)
haze = np.repeat(stimuli["images"][known].mean(0, keepdims=True) / 255.0, 30, 0)
of_haze = metrics.picture_scores(seen[:30], {"haze": haze}, judge=judge, device=device)["haze"]
for row, score in of_haze.items():
    if score.per_image is not None:
        ours = scores["from the brain"][row].per_image[:30].mean()
        print(f"{row:16s} haze {score.per_image.mean():.2f}, ours {ours:.2f}")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# The haze tells nothing about any image, and yet its PixCorr and SSIM come close to ours or exceed them: scenes
# resemble each other in being bright above and dark below, and a smooth picture offends neither measure. The judge is
# not taken in. Pixel scores are needed, but never alone, and a baseline without any brain belongs beside them.
#
# </details>

# %% [markdown]
# ## What is kept

# %%
arrays = {"test_ids": test_ids, "seen": (255 * seen).round().astype(np.uint8)}
arrays |= {"ceiling": ceiling, "samples": samples, "random": random, "z": z.numpy()}
arrays |= {f"searched/{name}": p for name, p in {strategies.PLAIN: plain, **found}.items()}
files.save("reconstructions", arrays)

# %%
content = {"n_images": n, "table": table}
content["per_image"] = {k: v.tolist() for k, v in metrics.per_image_arrays(scores).items()}
files.save("picture_scores", content)
files.finish("05_leave_one_out")
