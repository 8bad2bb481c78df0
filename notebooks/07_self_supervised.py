# %% [markdown]
# # 07 · Learning without labels: a student and a teacher
#
# **Question.** What can a network learn from pictures, or from brain activity, when nobody says what
# they show? And is it worth the trouble?
#
# | | |
# |---|---|
# | you learn | self-distillation with a student and a teacher, how it collapses and what prevents that, to report a result that came out negative |
# | you need | notebooks 01 to 03; cross-entropy |
# | reads | `betas.h5`, `stimuli.h5`, `embeddings.h5` (notebooks 01, 02) |
# | writes | `student_teacher.h5`, `selfsupervised_scores.json` |
# | minutes | to run: smoke 0.2 · demo 1.3 · nsd not measured; to work through: about 60 |
#
# In DINO (Caron et al. 2021) two networks of one build look at different *views* of the same picture.
# The *student* is trained to answer as the *teacher* does. The teacher is never trained: it is a moving
# average of what the student was before. Answers are probabilities over outputs that mean nothing at
# first.

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

from fmri_utils import dino, encoders, metrics, plots
from fmri_utils.project.notebook_files import open_inputs, open_study
from fmri_utils.project.profiles import load_profile
from simulated_nsd.on_demand import draw_labelled

# %%
cfg = load_profile(PROFILE, subject=SUBJECT, seed=SEED, device=DEVICE, overrides=OVERRIDES)
rng = np.random.default_rng(cfg.seed)
plt.style.use(plots.STYLE)
print(cfg.name, "|", cfg.dataset_label)

# %%
files = open_inputs(cfg, "betas", "stimuli", "embeddings")
brain, stimuli, clip = files.values()
is_test = np.isin(stimuli["nsd_id"], brain["nsd_id"][brain["is_test"]])

# %% [markdown]
# ## Views
#
# Labels are set aside: they score what was learned, and nothing else. Each picture is cut into two large
# views, which both networks see, and several small ones, which only the student sees. So the student
# has to tell from a part what the teacher says about the whole. Colours are shifted at random.

# %%
labelled = {"seed": cfg.seed, "draw": draw_labelled}
pictures = dino.pictures_for(cfg.dino, stimuli["images"], clip["caption"], is_test, **labelled)
settings = dino.live_settings(cfg.dino)
some = dino.as_tensor(pictures.test[:8], settings.size)
views = dino.multi_crop(some, torch.Generator().manual_seed(cfg.seed), n_local=settings.n_local)
print("(n_pictures, height, width, 3) =", pictures.train.shape, "| held out:", len(pictures.test))

# %% alt="A picture, its two large views and its small ones, cut out at random places and with shifted colours"
shown = [some, *views.shared, *views.own]
titles = ["picture"] + ["large"] * len(views.shared) + ["small"] * len(views.own)
fig, axes = plt.subplots(1, len(shown), figsize=(11, 2.4), layout="constrained")
for ax, view, title in zip(axes, shown, titles, strict=True):
    plots.plot_picture(view[0].permute(1, 2, 0).numpy(), title=title, ax=ax)

# %% [markdown]
# ## The loss, and what is not in it
#
# $$ H(P_t(x), P_s(x')) = - \sum_k P_t(x)_k \log P_s(x')_k $$
#
# A cross-entropy between the teacher's answer to one view and the student's answer to another view of
# the *same* picture. No other picture takes part: there are **no negatives**. The contrastive loss of
# notebook 02 pushed non-matching pairs apart, and collapsed without that. What keeps DINO
# from collapsing is done to the teacher's answer:
#
# * **centring** takes the running mean of the answers away, so that no output can win everywhere;
# * **sharpening** divides by a small temperature, so that not all outputs can be alike.
#
# A short live training, to see it move. The network is a small vision transformer: the picture is cut into
# patches, and a *class token* gathers from them what it attends to. It is given the edges of a picture, not
# its colours, which would tell two views of one picture from all others without a look at any shape.

# %%
live, live_record = dino.train_images(
    pictures.train,
    settings,
    shown=pictures.test[:8],
    labelled=pictures.first(300, 150) if len(pictures.train) >= 300 else pictures,
    seed=cfg.seed,
    n_checks=cfg.dino.n_checks,
    progress=True,
)
pd.DataFrame({k: live_record[k] for k in ("step", "loss", "entropy", "kl", "momentum")}).round(3)

# %% [markdown]
# The *momentum* is the share of the old teacher that is kept at a step. It rises to one: at the end the
# teacher stands still.
#
# ## Two ways to collapse
#
# Three still smaller networks: complete, without centring, and without sharpening (the teacher has the
# student's temperature). The paper's measure is the entropy of the teacher's answers. It falls to 0 when
# one output wins everywhere, and rises to log K when all K outputs are alike. In both cases the
# Kullback-Leibler divergence (KL) goes to 0: the student has nothing left to learn.

# %%
variants = dino.collapse_settings(cfg.dino)
collapse = {}
for name, variant in variants.items():
    _, collapse[name] = dino.train_images(
        pictures.train, variant, shown=pictures.test[:1], seed=cfg.seed, progress=True
    )

# %% alt="Entropy of the teacher and KL of teacher and student over training: complete, without centring, and without sharpening"
n_outputs = variants["both"].n_outputs
fig, axes = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
plots.plot_teacher_collapse(collapse, n_outputs, axes=axes)
axes[1].legend()
for name, record in collapse.items():
    print(f"{name:14s} entropy {record['entropy'][-1]:.2f} of {np.log(n_outputs):.2f}", end="")
    print(f"  KL {record['kl'][-1]:.3f}")

# %% [markdown]
# Look for the dashed line near 0 and the dash-dotted one at log K. The complete training of so small a network
# stays below log K, but not by much, and its KL above both. `make study` follows them for longer, and there (last
# figure) the complete one too ends just below log K with a KL near 0: centring and sharpening work against the two
# collapses, but are no guarantee. The live training above shows the same danger. Its loss, which is entropy plus
# KL, rises because the teacher's entropy does; so few steps are not enough to come down again.
#
# ## What was learned from pictures
#
# A minute does not suffice for good features. Where the profile names shipped weights, they take over
# here; they were trained longer (`make pretrain`) on other scenes, also without labels. Their teacher answers
# with little entropy, but other pictures otherwise: sharp is not collapsed. Each held-out picture is
# given the label that most of its nearest neighbours have.

# %%
teacher, trained, training = live.teacher, settings, live_record
if cfg.dino.weights:
    teacher, trained, training = dino.load_teacher(cfg.path(cfg.dino.weights))
torch.manual_seed(cfg.seed)
networks = {"student-teacher": teacher.backbone, "random weights": trained.learner().backbone}
networks |= {"live training": live.teacher.backbone}
both = [dino.as_tensor(x, trained.size) for x in (pictures.train, pictures.test)]

# %%
features = {"pixels": [x.flatten(1).numpy() for x in both]}
for name, network in networks.items():
    features[name] = [dino.features_of(network, x.numpy()) for x in both]
labels = pictures.train_labels, pictures.test_labels
hits = {
    name: dino.knn_hits(f[0], labels[0], f[1], labels[1], n_neighbours=cfg.dino.n_neighbours)
    for name, f in features.items()
}

# %% alt="Share of held-out pictures with the right label for features of student-teacher, random weights, live training and pixels, with intervals, beside chance"
boot = dict(rng=rng, n_resamples=cfg.encoder.n_bootstrap)
bars = {name: metrics.bootstrap(h, **boot) for name, h in hits.items()}
chance = np.unique(labels[1], return_counts=True)[1].max() / len(labels[1])
fig, ax = plt.subplots(figsize=(7, 2.6), layout="constrained")
plots.plot_scores(bars, chance=chance, xlabel="held-out pictures with the right label", ax=ax)
for name in ("random weights", "pixels"):
    gain = metrics.paired_difference(hits["student-teacher"], hits[name], **boot)
    print(f"student-teacher - {name}: {gain}")

# %% [markdown]
# Features are better than pixels, or than a network with random weights, only if the interval of the
# difference leaves 0 out. Chance is the share of the most frequent label; the ceiling is 1.
#
# ## Where the class token looks
#
# Attention in the last layer, averaged over heads. Bright patches are those that the teacher's class token
# looks at most, which is not the same as deciding its answer. In the demo many of them lie beside the main thing, on
# plain background: this small network does not outline objects as the published DINO does.

# %% alt="Six pictures, and below each the same picture lit where the class token looks"
maps = teacher.backbone.attention(both[1][:6]).mean(1).numpy()
fig, axes = plt.subplots(2, 6, figsize=(11, 3.8), layout="constrained")
plots.plot_attention(pictures.test[:6], maps, axes=axes.ravel())

# %% [markdown]
# ## The same on brain activity
#
# What is a view of a brain pattern? NSD shows each image up to three times. Two *repeats* of an
# image are two noisy looks at the same thing: the large views. The small ones are some of the areas of a
# repeat, with voxels silenced. Student and teacher are MLPs. Repeats of test images are left out of
# everything, also of what is learned without labels; the package refuses them.

# %%
data = dino.VoxelData.of(brain, clip)
voxel_settings = dino.voxel_settings(cfg.dino)
functions, monitor = dino.representations(data, voxel_settings, seed=cfg.seed, progress=True)
columns = ("step", "entropy", "kl", "spread", "rank")
pd.DataFrame({name: monitor[name] for name in columns}).iloc[::5].round(3)

# %% [markdown]
# *Spread* would be near 0, and the *effective rank* near 1, had the features collapsed.
#
# ## Is it worth it when labels are few?
#
# Suppose the embedding is known of only 5 % of the training images. A ridge probe is fitted to the
# features of those, and tested on the test images. What could be gained is knowledge from the other 95 %.
# PCA and a *denoising autoencoder*, which says one repeat from another, see the same unlabelled data.

# %%
mappers = encoders.MapperSettings.of(cfg.encoder)
runs = dino.compare(
    data,
    functions,
    shares=cfg.dino.shares,
    alphas=mappers.alphas,
    n_folds=mappers.n_folds,
    seed=cfg.seed,
)
table = dino.summarise([runs], **boot)

# %% alt="Two-way identification and MRR against the share of images with a known embedding, for student-teacher and its baselines"
fig, axes = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
for ax, score in zip(axes, ("two-way", "MRR"), strict=True):
    chance_level = next(r["chance"] for r in table["scores"] if r["score"] == score)
    plots.plot_label_budgets(table["scores"], score, chance=chance_level, ax=ax)
_ = axes[1].legend()

# %%
rows = [r for r in table["differences"] if r["score"] == "two-way"]
print("difference in two-way identification; ceiling 1, chance 0.5")
for row in rows:
    ends = zip(row["share"], row["value"], row["low"], row["high"], strict=True)
    text = "  ".join(f"{s:.0f} %: {v:+.3f} [{a:+.3f}, {b:+.3f}]" for s, v, a, b in ends)
    print(f"{row['difference']:42s} {text}")

# %% [markdown]
# In the demo this is a negative result: raw voxels and PCA are better at every budget. Student and
# teacher beat only the untrained network, so that something was learned, but silencing
# areas and squeezing 2,500 voxels into an MLP costs more than it brings. With a linear
# brain, a few thousand trials and much noise, ridge is hard to beat.
#
# ## Five seeds
#
# `make study` trains for longer and with five seeds; intervals are over test images. In the demo that narrows
# the distance to raw voxels (two-way identification 0.08 lower with 5 % of the labels, 0.02 with all) and does not
# close it; the denoising autoencoder is passed from 25 % on, by 0.02.

# %% alt="From make study: two-way identification against the share of known embeddings, and entropy and KL of the three trainings"
study = open_study(cfg, "selfsupervised")
if study:
    fig, axes = plt.subplots(1, 3, figsize=(14, 3.6), layout="constrained")
    plots.plot_label_budgets(study["voxels"]["scores"], "two-way", chance=0.5, ax=axes[0])
    curves = {name: study["collapse"][name] for name in variants}
    plots.plot_teacher_collapse(curves, study["collapse"]["n_outputs"], axes=axes[1:])
else:
    print("not available: run `make study`")

# %% [markdown]
# ## Exercises
#
# Write down what you expect before you unfold a solution.
#
# ### Exercise 1: how far back does the teacher look?
#
# At every step the teacher keeps a share m of itself and takes 1 - m from the student. With m = 0.9, 0.996 and 0.9999:
# after how many steps is half of an old teacher forgotten?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
for kept_share in (0.9, 0.99, 0.996, 0.9999):
    half_life = np.log(0.5) / np.log(kept_share)
    print(f"m = {kept_share}: {half_life:.0f} steps")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# The number of steps n with m to the power of n equal to one half, about 0.7 / (1 - m). At 0.996 the teacher is a
# mean over hundreds of students, steadier than any of them. In a training of a few dozen steps such a
# teacher would still be mostly the random network that it began as, so short trainings need a smaller m.
#
# </details>
#
# ### Exercise 2: sharpening by hand
#
# Four outputs score 1.0, 0.9, 0.5 and 0.1. The softmax divides scores by a temperature. What probability has the
# first output at 1, at 0.1 and at 0.04? At which of these would you teach somebody?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
answers = torch.tensor([1.0, 0.9, 0.5, 0.1])
for temperature in (1.0, 0.1, 0.04):
    shares = torch.softmax(answers / temperature, 0)
    entropy = -(shares * shares.log()).sum()
    print(
        f"temperature {temperature}: {shares.numpy().round(2)}, entropy {entropy:.2f} of {np.log(4):.2f}"
    )

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# At 1 the answer is nearly "anything", and a student that always says so agrees well: the way to a uniform
# collapse. At 0.04 the teacher commits itself although it was almost undecided, and the student has
# something to learn. Sharpening alone would drive one output to win everywhere; centring is what prevents that.
#
# </details>
#
# ### Exercise 3: more neighbours
#
# Accuracy of the trained features with 1 nearest neighbour, with 5, and with all known pictures. Which is the last?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
train, held_out = features["student-teacher"]
for k in (1, 5, len(train)):
    right = dino.knn_hits(train, labels[0], held_out, labels[1], n_neighbours=k).mean()
    print(f"{k:4d} neighbours: {right:.2f}")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# If everybody voted with the same weight, the most frequent label would win whatever is asked: chance. Here votes are
# weighted by closeness, which keeps all neighbours above it. One neighbour is noisy, many ask strangers; which number
# is best depends on the features (in the demo it is one), and must be chosen on other pictures than the test's.
#
# </details>

# %% [markdown]
# ## What is kept
#
# The record of the training, from which notebook 08 makes the animation.

# %%
kept = dict(training) | {"row": 1, "pixels": hits["pixels"], "label": cfg.dataset_label}
files.save("student_teacher", kept)

# %%
pictures_table = {name: vars(bar) | {"chance": chance} for name, bar in bars.items()}
result = {"dataset": cfg.dataset_label, "pictures": pictures_table, "voxels": table}
files.save("selfsupervised_scores", result)
files.finish("08_figures")
