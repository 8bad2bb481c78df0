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
from IPython.display import Markdown
from sklearn.decomposition import PCA

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
# The paper follows two numbers. The *entropy* of the teacher's answers falls to 0 when one output wins everywhere,
# and rises to log K when all K outputs are alike. The Kullback-Leibler divergence (*KL*) of the student's answers
# from the teacher's goes to 0 in both collapses: the student has nothing left to learn.
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
# The *momentum* is the share of the old teacher that is kept at a step. It rises to one, so at the end the teacher
# stands still. In the demo the entropy rises towards log K, which is 6.24, and the loss, which is entropy plus KL,
# rises with it. Is this training collapsing, or has it just begun?
#
# ## What was learned from pictures
#
# A minute does not suffice for good features. Where the profile names shipped weights, they take over here. They
# were trained longer (`make pretrain`) on other scenes, also without labels, with centring and sharpening. During
# training a third number was kept: the share of held-out pictures whose nearest neighbours have the right label.

# %%
teacher, trained, training = live.teacher, settings, live_record
if cfg.dino.weights:
    teacher, trained, training = dino.load_teacher(cfg.path(cfg.dino.weights))

# %% alt="Entropy, KL and right neighbours over the whole training of the features that are used from here on"
fig, axes = plt.subplots(1, 3, figsize=(11, 2.8), layout="constrained")
plots.plot_teacher_collapse({"training": training}, trained.n_outputs, axes=axes[:2])
axes[2].plot(training["step"], 100 * np.asarray(training["knn"]))
_ = axes[2].set(xlabel="step", ylabel="right neighbours (%)", ylim=(0, None))

# %% [markdown]
# In the demo the long training begins like the short one: after 125 steps the entropy is 5.97 of 6.24. But then it
# falls, while the KL grows and the neighbours become right more often, from 15 to 51 %. At the end the teacher's
# answers have little entropy, 0.35, but they differ from picture to picture: it is confident, not collapsed. So here
# centring and sharpening did their work, and it took some hundred steps to see it. What happens without them is shown
# below, on brain patterns.
#
# Are these features worth more than what needs no training? Each held-out picture is given the label that most
# of its nearest neighbours have. There are four baselines. *Random weights* are the same network before training.
# *Pixels* are the picture itself. But the network has a help that pixels lack: its first layer is not learned, it
# takes the edges of the picture. So the fair baseline starts from edges as well. *HOG* (histograms of oriented
# gradients, Dalal and Triggs 2005) counts the edges of eight directions in cells as large as the network's patches.
# Nothing in it is learned. PCA brings it to as many numbers as the network has features.

# %%
torch.manual_seed(cfg.seed)
networks = {"student-teacher": teacher.backbone, "random weights": trained.learner().backbone}
networks |= {"live training": live.teacher.backbone}
both = [dino.as_tensor(x, trained.size) for x in (pictures.train, pictures.test)]

# %%
features = {
    name: [dino.features_of(network, x.numpy()) for x in both] for name, network in networks.items()
}
features["pixels"] = [x.flatten(1).numpy() for x in both]
features["HOG"] = [dino.edge_histograms(x, trained.patch) for x in both]
pca = PCA(min(trained.width, *features["HOG"][0].shape), random_state=0).fit(features["HOG"][0])
small = f"HOG, {pca.n_components_} numbers"
features[small] = [pca.transform(x) for x in features["HOG"]]
print({name: f[0].shape[1] for name, f in features.items()})

# %%
labels = pictures.train_labels, pictures.test_labels
hits = {
    name: dino.knn_hits(f[0], labels[0], f[1], labels[1], n_neighbours=cfg.dino.n_neighbours)
    for name, f in features.items()
}

# %% alt="Share of held-out pictures with the right label for features of student-teacher, random weights, live training, pixels and histograms of edges, with intervals, beside chance"
boot = dict(rng=rng, n_resamples=cfg.encoder.n_bootstrap)
bars = {name: metrics.bootstrap(h, **boot) for name, h in hits.items()}
chance = np.unique(labels[1], return_counts=True)[1].max() / len(labels[1])
fig, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
_ = plots.plot_scores(bars, chance=chance, xlabel="held-out pictures with the right label", ax=ax)

# %%
against = ("random weights", "pixels", "HOG", small)
gains = {k: metrics.paired_difference(hits["student-teacher"], hits[k], **boot) for k in against}
for name, gain in gains.items():
    print(f"student-teacher - {name:16s} {gain.signed()}")

# %% [markdown]
# Features are better than a baseline only if the interval of the difference lies above 0. Behind ± is the smallest
# difference that could have been seen. Chance is the share of the most frequent label, the ceiling is 1.
#
# In the demo the training is worth much against random weights (+0.38) and something against pixels (+0.15). Against
# HOG it is worth less than nothing: -0.16, and -0.18 with 96 numbers each. So what the student and the teacher
# learned, without labels, is real, but counting edges does better without learning anything. This first half of
# the notebook ends with a negative result, which the comparison with pixels alone would have hidden.
#
# ## Where the class token looks
#
# The figure shows attention in the last layer, averaged over heads. The teacher's class token looks most at the bright
# patches. That does not mean that these patches decide its answer. In the demo many of them lie beside the main
# thing, on plain background: this small network does not outline objects as the published DINO does.

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
columns = ("step", "entropy", "kl", "information", "spread", "rank")
pd.DataFrame({name: monitor[name] for name in columns}).iloc[::5].round(3)

# %% [markdown]
# *Spread* would be near 0, and the *effective rank* near 1, had the features collapsed. *Information* is what an answer
# tells about its input: the entropy of the mean answer minus the mean entropy. It is 0 in both collapses, because
# then all inputs get the same answer, and at most log K.
#
# ## Two ways to collapse
#
# What do centring and sharpening do? We take one of them away, and keep everything else: the same patterns, the same
# seed, the same number of steps. Without sharpening the teacher has the student's temperature.

# %%
variants = dino.collapse_settings(voxel_settings)
collapse = {"both": monitor}
for name in ("no centring", "no sharpening"):
    how = dict(seed=cfg.seed, progress=True)
    _, collapse[name] = dino.train_patterns(data, variants[name], **how)

# %% alt="Entropy of the teacher, KL of teacher and student and information over training: complete, without centring, and without sharpening"
fig, axes = plt.subplots(1, 3, figsize=(12, 3.2), layout="constrained")
plots.plot_teacher_collapse(collapse, dino.N_OUTPUTS, axes=axes)
axes[1].legend()
for name, record in collapse.items():
    print(f"{name:14s} entropy {record['entropy'][-1]:.2f} of {np.log(dino.N_OUTPUTS):.2f}", end="")
    print(f"  KL {record['kl'][-1]:.3f}  information {record['information'][-1]:.2f}")

# %% [markdown]
# In the demo the entropy rises to log K without sharpening, and falls towards 0 without centring. The complete
# training stays between the two. Its answers tell more and more about the input, 1.03 nats at the end. Without
# centring they tell 0.64, as much as before the training, and without sharpening 0.04. So the two guards are seen at
# work, and not only their absence. They are no guarantee: with other settings a complete training can collapse too.
#
# ## Is it worth it when labels are few?
#
# Suppose the embedding is known of only 5 % of the training images. A ridge probe is fitted to the
# features of those, and tested on the test images. What could be gained is knowledge from the other 95 %.
# PCA and a *denoising autoencoder*, which predicts one repeat from another, are trained on the same unlabelled data.

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

# %% [markdown]
# The differences in two-way identification, with what could have been seen behind ±; chance is 0.5, the ceiling 1:

# %%
differences = dino.difference_table(table["differences"], "two-way")
print(metrics.excluding_zero(differences).splitlines()[0])
differences.map(metrics.Interval.signed)

# %% [markdown]
# In the demo this is a negative result too: raw voxels and PCA are better at every budget. The student and the teacher
# beat only the untrained network, so something was learned. Why is it not more? Nothing was varied here that could
# tell. The denoising autoencoder has the same network and also learns with silenced voxels, and it too stays below
# raw voxels. That fits a network with too few trials to learn from, but a test would have to vary the network,
# the views and the number of trials one by one.
#
# ## Five seeds
#
# `make study` trains for longer and with five seeds; intervals are over test images. Compare its differences with
# those above: does longer training close the distance to raw voxels?

# %% alt="From make study: two-way identification against the share of known embeddings, and entropy and KL of the three trainings"
study = open_study(cfg, "selfsupervised")
if study:
    fig, axes = plt.subplots(1, 3, figsize=(14, 3.6), layout="constrained")
    plots.plot_label_budgets(study["voxels"]["scores"], "two-way", chance=0.5, ax=axes[0])
    curves = {name: study["collapse"][name] for name in variants}
    plots.plot_teacher_collapse(curves, study["collapse"]["n_outputs"], axes=axes[1:])
    for name, record in curves.items():
        print({k: record[k][-1] for k in ("entropy", "kl", "information") if k in record}, name)
else:
    print("not available: run `make study`")

# %% [markdown]
# Entropy alone does not tell a collapse from confidence: in a longer complete training it may fall far, too. What
# counts is whether the answers still differ from input to input, which is what their information measures.

# %%
if study:
    longer = dino.difference_table(study["voxels"]["differences"], "two-way")
    display(longer.map(metrics.Interval.signed))

# %% [markdown]
# In the demo longer training narrows the distance to raw voxels and to PCA and does not close it.
#
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
# How many neighbours vote is a choice, and another choice could turn the comparison with HOG around. Accuracy of
# both with 1 nearest neighbour, with 5, and with all known pictures: which is the last, and does the order change?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
for k in (1, 5, len(labels[0])):
    for name in ("student-teacher", small):
        train, held_out = features[name]
        right = dino.knn_hits(train, labels[0], held_out, labels[1], n_neighbours=k).mean()
        print(f"{k:4d} neighbours: {name:16s} {right:.2f}")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# If everybody voted with the same weight, the most frequent label would win whatever is asked: chance. Here votes are
# weighted by closeness, which keeps all neighbours above it. One neighbour is noisy, many ask strangers. Which number
# is best depends on the features, and must be chosen on other pictures than the test's. In the demo HOG is ahead
# with one neighbour and with five (0.78 against 0.62 and 0.60), so its lead does not hang on the 20 above. With all
# known pictures both are at their worst, and the order turns around.
#
# </details>

# %% [markdown]
# ## Answer
#
# What can a network learn from pictures or from brain activity when nobody says what they show, and is it worth the
# trouble?

# %%
learned, worth, few = gains["random weights"], gains[small], differences.iloc[0, 0]
display(
    Markdown(f"""Learned from pictures without labels, the features change the share of held-out pictures with the
right label by {100 * learned.value:+.0f} points against the same network before training. Against counted edges, which
learn nothing, the difference is {100 * worth.value:+.0f} points. On brain activity with the fewest known embeddings, the
difference from a ridge on raw voxels is {100 * few.value:+.1f} points of two-way identification.""")
)

# %% [markdown]
# ## What is kept
#
# The record of the training, from which notebook 08 makes the animation.

# %%
kept = dict(training) | {"row": 1, "pixels": hits["pixels"], "hog": hits["HOG"]}
kept |= {"label": cfg.dataset_label}
files.save("student_teacher", kept)

# %%
pictures_table = {name: vars(bar) | {"chance": chance} for name, bar in bars.items()}
result = {"dataset": cfg.dataset_label, "pictures": pictures_table, "voxels": table}
files.save("selfsupervised_scores", result)
files.finish("08_figures")
