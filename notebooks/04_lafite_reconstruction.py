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
# | minutes | to run: smoke 0.4 · demo 1.3 · nsd not measured; to work through: about 60 |
#
# A *generative adversarial network* (GAN) consists of two networks that are trained against each other. A *generator*
# draws pictures from random numbers. A *discriminator* learns to tell them from real ones, and the generator learns to
# make that hard. So the pictures come to look real without anybody saying what is wrong with them. LAFITE (Zhou et
# al. 2022) is such a network, built on StyleGAN2. Every layer gets a noise vector *z* and the *condition*, a CLIP
# embedding that says what to draw. LAFITE has learned to draw from the embeddings of images, so it can also draw from
# embeddings read from a brain. What the condition leaves open, z decides.

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
# the true embedding; and a *random baseline*, fed with the embedding of another training image. One more
# picture needs neither brain nor generator: the *mean training image*, the same for every test image.

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
known = np.isin(stimuli["nsd_id"], brain["nsd_id"][brain["is_train"]])
mean_image = reconstruction.mean_picture(stimuli["images"], np.flatnonzero(known))

# %% [markdown]
# The first twelve test images, not picked:

# %% alt="Rows of pictures: twelve test images, drawn from their true embeddings, and drawn from the brain with several noise vectors"
m = cfg.reconstruction.n_shown
_ = plots.fig_reconstructions(seen[:m], ceiling[:m], samples[:m], label=cfg.dataset_label)
# %% [markdown]
# How much is z's doing? The rows from the third on differ in z only. The demo's generator is small, and was
# not trained against a discriminator but to redraw scenes, each from its embedding and a z that stands for what
# the embedding leaves open (`data/pretrained/lafite-card.json`). So another z moves and turns things, and
# changes what is behind them.

# %%
over_z, over_images = samples.std(1).mean(), samples[:, 0].std(0).mean()
print(f"SD of a pixel over z {over_z:.3f}, over images {over_images:.3f}")

# %% [markdown]
# ## Searching for the noise
#
# The embedding does not say everything, and z decides the rest. We compare four ways to choose it, for the same images:
#
# * *best of n*: draw many pictures and keep the one whose own CLIP embedding is closest to the predicted one;
# * *z optimised*: follow the gradient of that closeness with respect to z. A prior keeps |z|² where that of a normal
#   vector is, near its number of dimensions;
# * *noise optimised*: do the same with respect to the noise images that every layer adds;
# * *with blurred picture*: follow the gradient of closeness in CLIP space *and* of closeness to a blurred colour
#   picture. Another ridge reads that picture from V1 to V3, because early visual cortex knows where things are.
#
# A gradient step costs about three drawings, so all four get the same number of *generator passes*.

# %%
e, r = cfg.encoder, cfg.reconstruction
alphas = np.logspace(e.log10_alpha_min, e.log10_alpha_max, e.n_alphas)
low_level = dict(size=r.low_level_size, weight=r.low_level_weight, n_folds=e.n_folds)
blurred = search.read_blurred(brain, stimuli, predicted["pattern"], alphas=alphas, **low_level)
if blurred is not None:
    print("(n_test, size, size, 3) =", blurred.picture.shape)

# %%
objective = search.Objective(search.clip_encoder(space))
searches = strategies.compare_searches(
    generator,
    condition[:m],
    objective,
    passes=cfg.reconstruction.n_passes,
    rng=torch.Generator().manual_seed(cfg.seed),
    blurred=blurred.first(m) if blurred is not None else None,
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
# The curves show what the searches maximise. The dotted line is the same number for the image that was
# really seen. In the demo the seen image is *less* like the prediction than the picture before any search.
# A prediction has errors, and a picture that comes closer to it than the truth does is fitted to these errors.

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
# There are two kinds. *PixCorr* and *SSIM* compare pixels. The *judge* is a separate network that took no part in
# training or searching anything here. It says what main thing it sees, and two-way identification compares its
# features. The CLIP model cannot be the judge: the generator was trained with it and the searches aim at it, so
# shapeless blobs can please it. The judge knows only simulated scenes. Scores whose network is not on the machine
# say "not available".
#
# What would count as success? Three sets of pictures answer. The mean training image needs no brain at all. The
# random embedding gives real-looking pictures of something else. The blurred picture of V1 to V3 comes from the
# brain, but no generator drew it.

# %%
pictures = {"mean training image": np.repeat(mean_image[None], n, 0), "random embedding": random}
compared = [("from the brain", "mean training image")]
if blurred is not None:
    pictures["blurred picture"] = search.enlarge(blurred.picture, seen.shape[1])
    compared.append(("ceiling", "blurred picture"))
pictures |= {"from the brain": samples[:, 0], "ceiling": ceiling}
scores = metrics.picture_scores(seen, pictures, judge=judge, device=device)

# %%
about = {"dataset": cfg.dataset_name, "simulated": cfg.simulation is not None}
about |= {"subject": cfg.subject, "split": "shared images", "clip_model": cfg.clip.model}
about |= {"repeats": int(predicted["repeats"].max())}
ends = dict(baseline="mean training image", ceiling="ceiling", compared=compared)
boot = dict(rng=rng, n_resamples=cfg.encoder.n_bootstrap)

# %%
table = metrics.score_table(scores, about=about, **ends, **boot)
Markdown(metrics.table_markdown(table))

# %% [markdown]
# Read each row from left to right: chance, without a brain, from the brain, and with the true embedding. The last
# columns are paired differences, image by image.
#
# Start with the mean training image. In the demo it reaches a PixCorr of 0.33 and an SSIM of 0.80, above chance,
# because scenes are bright above and dark below. The reconstructions have 0.16 more PixCorr than the mean image. In
# SSIM the difference is -0.01 and its interval includes 0: by this score there is no sign of the brain. The blurred
# picture reaches 0.82, which is all that the true embedding gives. So SSIM has no *ceiling* here, and the distance
# to that column does not say what is left to gain. In PixCorr, too, the blurred picture is ahead of ours (0.55 and
# 0.48), although nobody could say what it shows.
#
# The judge sees more. In the demo it tells two images apart by their reconstructions in 94 of 100 cases, and
# names the right main thing, of twenty kinds, in 51 of 100. With the mean image or the blurred picture it names the
# kind no better than by chance. Here the distance to the ceiling is what the reading of the brain loses. The distance
# from the ceiling to 1 is what the embedding leaves out and what this small generator loses, together.
#
# ## What the prior gains
#
# The same z and the same images, drawn from the embedding before and after each step of notebook 03. The
# differences are between pairs of pictures of one image. Behind ± stands the smallest difference that could
# have been seen: half the width of the interval. Even a true difference of that size is told from 0 in only
# about half of such samples. So an interval around 0 excludes large effects, not small ones.

# %%
steps = {name: e for name, e in predicted["conditions"].items() if name != "prior"}
first_z = z[0].expand(n, -1)
drawn = {name: reconstruction.draw(generator, first_z, e, **draw) for name, e in steps.items()}
quick = dict(judge=judge, pixels=["PixCorr"], chance_pairs=0, device=device)
before = metrics.picture_scores(seen, drawn, **quick)
before["prior"] = {row: scores["from the brain"][row] for row in before["none"]}
gains = {f"prior - {name}": metrics.differences(before, "prior", name, **boot) for name in steps}
pd.DataFrame(gains).map(metrics.Interval.signed)

# %% [markdown]
# Each table here holds many intervals, and none is corrected for their number. One in twenty leaves out 0 by chance
# alone. So we count them, and name those that do:

# %%
print(metrics.excluding_zero(gains))

# %% [markdown]
# ## What searching gains
#
# Each search against the plain random z on the twelve images above, by scores that it did not see. With twelve
# images only large differences can be seen. Where all twelve score the same, there is no interval, which does not
# mean that there is no difference. The noise images change nothing at all in the demo, whose generator has not
# learned to use them.

# %%
searched = strategies.mean_scores(seen[:m], searches.draws, judge=judge, chance_pairs=0)
found_gains = {
    n: metrics.differences(searched, n, strategies.PLAIN, **boot) for n in searches.trajectories
}
pd.DataFrame(found_gains).map(metrics.Interval.signed)

# %% [markdown]
# The same on all test images, with more passes and several seeds, is what `make study` computes. It starts from
# the predictions before the prior. For the plain random z the table has the scores themselves, for the others the
# difference from it, with 95 % intervals over images and seeds. The last rows are no searches: the blurred picture
# alone shows what pixels reward, and the mean training image what they reward without a brain.

# %%
study = open_study(cfg, "generator")
remark = strategies.study_remark(study, files.hashes[weights.name])
print(remark)
if study:
    rows = study["searches"]["rows"]
    display(Markdown(strategies.gains_markdown(rows, strategies.PLAIN)))
    tested = strategies.gain_intervals(rows, strategies.PLAIN, list(searches.trajectories))
    print(metrics.excluding_zero(tested))

# %% [markdown]
# The count is of the searches alone: four searches and four scores make 16 intervals. In the demo one of the 16 leaves
# out 0, and barely: with the blurred picture, PixCorr is higher by 0.016 [0.001, 0.032]. About one such interval
# is expected if no search gains anything, so this is no evidence of a gain. For the judge's kind, a gain below
# about 0.06 could not have been seen. The searches do raise the cosine with the prediction. But before any search
# that cosine is already above the cosine of the seen image, so more of it need not be better.
#
# ## Teaching the generator how a brain errs
#
# The generator has learned from embeddings without error. So it draws every error of a predicted embedding as if the
# error were content. The prior is one remedy. Another is to train it further on predictions for the *training*
# images. Each prediction comes from encoders that had not seen that image, so these predictions err as they do at
# test. Here the generator gets them without the prior.

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
both |= metrics.picture_scores(seen, {"after": after}, **quick)
tuned = {"after - before": metrics.differences(both, "after", "before", **boot)}
pd.DataFrame(tuned).map(metrics.Interval.signed)

# %% [markdown]
# Longer, with a discriminator, and with the other ways of doing it, from `make study`. The control goes on
# training as long with the *true* embeddings of the same images: what it gains is owed to more training, not
# to the brain.

# %%
print(remark)
if study:
    rows = study["fine_tuning"]["rows"]["brain"]
    display(Markdown(strategies.gains_markdown(rows, "before")))
    names = [name for name in rows["PixCorr"] if name != "before"]
    print(metrics.excluding_zero(strategies.gain_intervals(rows, "before", names)))

# %% [markdown]
# Mind Reader gives the generator *two conditions*, the predicted embeddings of the image and of its caption, and
# z = 0. Look first at the judge's columns: a gain is an interval above 0 there. Then compare each row with its control.
# In the demo the judge sees no gain in any row, and ± says how large a gain would have had to be (0.04 to 0.09 in
# kind). Pixels gain where the training had no discriminator. The control, which never saw a prediction, gains at least
# as much, so longer training is enough to explain that gain. What fine-tuning costs is seen with the same
# generators fed with the true embeddings:

# %%
if study:
    ceilings = study["fine_tuning"]["rows"]["ceiling"]
    display(Markdown(strategies.gains_markdown(ceilings, "before")))
# %% [markdown]
# ## Best and worst
#
# The four best and the four worst reconstructions, chosen by how clearly the judge prefers the right image to
# all others (by PixCorr where there is no judge).

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
# ### Exercise 3: half a picture, half a haze
#
# Mix each of the first thirty reconstructions, half and half, with the mean training image. The mixture cannot tell
# more about the brain than the reconstruction does. Which scores rise, and which fall?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
ours = samples[:30, 0]
mixed = {"ours": ours, "mixed with the mean": (ours + mean_image) / 2}
of_mixed = metrics.picture_scores(seen[:30], mixed, judge=judge, networks=(), chance_pairs=0)
for row, score in of_mixed["ours"].items():
    if score.per_image is not None:
        other = of_mixed["mixed with the mean"][row].per_image.mean()
        print(f"{row:16s} ours {score.per_image.mean():.2f}, mixed {other:.2f}")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# In the demo PixCorr and SSIM rise, from 0.53 to 0.56 and from 0.80 to 0.83, while the judge names kind, background
# and colour less often. A detail in the wrong place costs twice in pixels: it is missing where it belongs, and it
# stands where it does not belong. A pale detail costs less, so a cautious picture wins. A decoder that is tuned by
# pixel scores alone is tuned towards the haze. Pixel scores are needed, but with the mean image beside them.
#
# </details>

# %% [markdown]
# ## Answer
#
# What did the person see, how good could this generator be at best, and what do searching for its noise and teaching
# it how a brain errs add?

# %%
cells = table["rows"]["PixCorr"]["scores"]
gain, best = cells[" - ".join(compared[0])]["value"], cells["ceiling"]["value"]
change = max(rows["PixCorr"].value for rows in [*found_gains.values(), *tuned.values()])
display(
    Markdown(f"""Pictures that are drawn from brain activity correlate with the seen ones by {gain:+.2f} relative to
the mean training image, which needs no brain. Fed with the true embedding instead of the predicted one, this generator
reaches a correlation of {best:.2f}. The best that any of the searches, or the short fine-tuning, does to the
correlation of the pictures from the brain is a change by {change:+.3f}.""")
)

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
