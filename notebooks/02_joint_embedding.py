# %% [markdown]
# # 02 · One space for pictures, words and brains
#
# **Question.** What does it take to put two kinds of things into one space, and why does the space
# collapse when nothing is pushed apart?
#
# | | |
# |---|---|
# | you learn | what an embedding is, what a contrastive loss does, why a joint space collapses without negatives, what the temperature is for |
# | you need | notebook 01; what a neural network and a gradient step are |
# | reads | `betas.h5`, `stimuli.h5` (notebook 01) |
# | writes | `embeddings.h5`, `joint.h5` |
# | minutes | to run: smoke 0.2 · demo 0.7 · nsd not measured; to work through: about 45 |
#
# An *embedding* is a list of numbers that a network makes of something. Similar things get similar numbers; one
# may think of a point in a space of many dimensions. CLIP (Radford et al. 2021) is a pair of networks, one for
# images and one for text. They were trained together on pictures with their captions: an image and its caption
# must land close to each other, and far from the captions of other images. No one labelled anything. The result
# is a point on a sphere that says what a picture shows, and words can be compared with it. So all notebooks meet
# in this space. The released CLIP learned from 400 million pairs; the demo's is a small one trained on simulated
# scenes.

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
from scipy import stats

from fmri_utils import nsd, plots
from fmri_utils.clip import joint
from fmri_utils.clip.space import open_clip_space
from fmri_utils.encoders import unit
from fmri_utils.metrics import retrieval
from fmri_utils.metrics.identification import find_places
from fmri_utils.project.devices import choose_device
from fmri_utils.project.notebook_files import open_inputs
from fmri_utils.project.profiles import PROJECT_ROOT, load_profile

# %%
cfg = load_profile(PROFILE, subject=SUBJECT, seed=SEED, device=DEVICE, overrides=OVERRIDES)
device = choose_device(cfg.device)
rng = np.random.default_rng(cfg.seed)
plt.style.use(plots.STYLE)
print(cfg.name, "|", cfg.dataset_label, "|", device)

# %%
files = open_inputs(cfg, "betas", "stimuli")
brain, stimuli = files.values()
ids, images, captions = stimuli["nsd_id"], stimuli["images"], stimuli["captions"]
print("(n_images, height, width, 3) =", images.shape)

# %% [markdown]
# ## Embeddings of images and captions
#
# One vector per image; one per caption, of which the five of an image are averaged.

# %%
clip = open_clip_space(cfg.clip.model, cfg.clip.pretrained, device=device, root=PROJECT_ROOT)
image = clip.encode_images(images, batch_size=cfg.clip.batch_size, progress=True)
each = clip.encode_texts(captions.ravel().tolist(), progress=True).reshape(*captions.shape, -1)
caption = unit(each.mean(1))
print("(n_images, n_dimensions) =", image.shape, "|", clip.name)

# %% [markdown]
# Does the space do what it promises? Among all test images, the caption closest to an image should be its
# own. The printed chance is one divided by the number of images.

# %%
test = np.isin(ids, brain["nsd_id"][brain["is_test"]])
scores = retrieval(image[test], each[test, 0], rng=rng)
asked = {"image_to_brain": "image to caption", "brain_to_image": "caption to image"}
for direction, name in asked.items():
    found = scores[direction]
    print(f"{name}: top-1 {found['top1']:.2f}, chance {found['chance']:.2f}")

# %% [markdown]
# ## Matching and non-matching pairs
#
# The same three images with their own caption, and with the caption of another image. Training
# pulls the first kind together and pushes the second apart.

# %% alt="Three images with their own caption, framed green, and with that of another image, framed orange; the cosine of each pair above it"
shown = np.flatnonzero(test)[:3]
other = np.roll(shown, 1)
left, right = np.concatenate([shown, shown]), np.concatenate([shown, other])
cosines = (image[left] * each[right, 0]).sum(1)
matching = left == right
fig, axes = plt.subplots(1, 6, figsize=(10.5, 3.2), layout="constrained")
_ = plots.plot_caption_pairs(images[left], captions[right, 0], cosines, matching, axes=axes)

# %% [markdown]
# The same for all pairs of test images. Even matching pairs have a cosine below one, for two reasons. A caption
# leaves out most of what is in a picture, and each of the two networks keeps to its own region of the sphere (the
# *modality gap*).

# %% alt="Histograms of the cosine of image and caption, for matching and for non-matching pairs"
cross = image[test] @ each[test, 0].T
own = np.eye(len(cross), dtype=bool)
gap = np.linalg.norm(image[test].mean(0) - caption[test].mean(0))
fig, ax = plt.subplots(figsize=(6, 2.6), layout="constrained")
for values, name in ((cross[own], "matching"), (cross[~own], "non-matching")):
    ax.hist(values, bins=np.linspace(-1, 1, 81), density=True, alpha=0.6, label=name)
ax.set(xlabel="cosine of image and caption", ylabel="density", title=f"modality gap {gap:.2f}")
_ = ax.legend()
# %% [markdown]
# ## Captions for a picture
#
# A shared space lets one ask in either direction. Here we look for the nearest captions of four test images, among
# those of all images that are *not* in the test set. In italics stands a caption that a person gave to the picture
# itself. Both sides are centred first, which takes the modality gap away.

# %% alt="Four images with their own caption above and the three nearest captions of other images below"
library = np.flatnonzero(~test)
asked = np.flatnonzero(test)[:4]
cosine = unit(image - image.mean(0)) @ unit(each[:, 0] - each[:, 0].mean(0)).T
found = library[np.argsort(-cosine[asked][:, library], axis=1)[:, :3]]
fig, axes = plt.subplots(1, 4, figsize=(10.5, 4.6), layout="constrained")
_ = plots.plot_nearest_captions(images[asked], captions[asked, 0], captions[found, 0], axes=axes)

# %% [markdown]
# ## A joint space for brains and pictures, and its collapse
#
# Now the same idea with brain patterns in the place of captions. Two small networks, one for voxels and
# one for image embeddings, are trained from scratch. We compare four objectives:
#
# * **InfoNCE** (van den Oord et al. 2018): matching pairs together, all other pairs of the batch apart;
# * **matching pairs only**: the same without the second half;
# * **variance kept** (VICReg, Bardes et al. 2022): no negatives, but every dimension must vary;
# * **stop-gradient** (SimSiam, Chen & He 2021): no negatives, but only one side moves at a time.
#
# *Spread* is 1 when directions cancel out and 0 when everything sits at one point. Every training is repeated with
# several *seeds*: different training images, initial weights and batches. Besides the last step, we look at a step
# that was chosen on *validation* images, which are neither trained on nor tested on. The best step on the test
# images themselves would look too good.

# %%
pattern, pattern_ids, _ = nsd.average_repeats(brain["betas"], brain["nsd_id"])
assert (pattern_ids == ids).all()
e, held, pool = cfg.embedding, np.flatnonzero(test), np.flatnonzero(~test)
n_train = min(e.n_images, int(0.8 * len(pool)))
orders = [np.random.default_rng([cfg.seed, k]).permutation(pool) for k in range(e.n_seeds)]
drawn = [(order[:n_train], order[n_train:][: len(held)]) for order in orders]
print("images: train, validation, test =", *map(len, drawn[0]), len(held))

# %%
settings = dict(n_steps=e.n_steps, batch_size=e.batch_size, dim=e.dim, progress=True)
settings |= dict(temperature=e.temperature)
tested = dict(held_brain=pattern[held], held_image=image[held])
cases = [
    dict(
        brain=pattern[rows], image=image[rows], validation=(pattern[v], image[v]), seed=cfg.seed + k
    )
    for k, (rows, v) in enumerate(drawn)
]

# %%
runs = {name: [] for name in joint.OBJECTIVES}
for name, records in runs.items():
    records += [joint.train_joint(**case, **tested, name=name, **settings) for case in cases]

# %% alt="Spread of the space and top-1 retrieval over training for four objectives: mean and range over seeds"
fig, axes = plt.subplots(1, 2, figsize=(11, 3.2), layout="constrained")
plots.plot_collapse(runs, "spread", ax=axes[0])
plots.plot_collapse(runs, "top1", chance=1 / len(held), ax=axes[1])
axes[0].set(ylim=(0, 1.05), ylabel="spread")
axes[1].set(ylabel="top-1 of test images")
_ = axes[1].legend(loc="center left", bbox_to_anchor=(1, 0.5))

# %%
last = {name: np.array([r["top1"][-1] for r in records]) for name, records in runs.items()}
best = {n: np.array([r["top1"][r["chosen"]] for r in records]) for n, records in runs.items()}
spread = {name: np.mean([r["spread"][-1] for r in records]) for name, records in runs.items()}
for name in runs:
    print(
        f"{name:14s} spread at the end {spread[name]:.2f}",
        end=" | top-1, mean and range of seeds: ",
    )
    for when, top1 in (("end", last[name]), ("chosen step", best[name])):
        print(f"{when} {top1.mean():.2f} ({top1.min():.2f} to {top1.max():.2f})", end="  ")
    print()

# %% [markdown]
# With matching pairs only, the spread falls with every seed, and everything gathers near one point. Some retrieval
# survives in the small directions that remain: a collapse is a matter of degree. In the demo, this objective finds
# the right image for 11 % of the patterns at the chosen steps; InfoNCE finds 31 %, and chance is 1 %.
#
# Both remedies keep the space open without negatives. An open space is not yet a good one: in the demo,
# stop-gradient finds 18 %. Keeping the variance finds 30 % at the chosen steps, and the ranges of the seeds do not
# tell it from InfoNCE. At the last step it even finds most. How can an objective without negatives end best?
# Negatives are only one way to keep points apart. Another way is to ask every dimension to vary, and dimensions to
# differ. InfoNCE, moreover, finds most after about 50 steps in the demo. Then it overfits these few hundred images,
# down to 26 %. So which objective is best depends on when one stops; notebook 03 stops early.
#
# ## The role of the temperature
#
# InfoNCE divides cosines by a *temperature* before it compares them. At a low temperature only the hardest
# negatives count, those that are nearly as close as the right answer. At a high temperature all negatives push
# alike, however far away they already are. We train once at each temperature.

# %% alt="Spread, cosines and top-1 at the end of training against temperature, on a logarithmic axis"
settings |= dict(name="infonce", **cases[0], **tested)
heat = {e.temperature: runs["infonce"][0]}
for t in set(e.temperatures) - set(heat):
    heat[t] = joint.train_joint(**settings | dict(temperature=t))
fig, ax = plt.subplots(figsize=(8, 3), layout="constrained")
_ = plots.plot_temperatures(dict(sorted(heat.items())), chance=1 / len(held), ax=ax)

# %% [markdown]
# In the demo, non-matching pairs keep a high cosine at the lowest temperature. Pairs that are far enough apart are
# left where they are, so the space is not used to the full. At high temperatures the space is open. At the highest
# the top-1 falls again, because neighbours are no longer told apart. These are the last steps of one seed. A part of
# the difference is how fast each temperature overfits, and another seed changes a top-1 as much as the ranges above.

# %% [markdown]
# ## Exercises
#
# Write down what you expect before you unfold a solution.
#
# ### Exercise 1: fewer candidates
#
# A paper reports a top-1 of 0.90 among 2 candidates, another one 0.45 among 20. Which one is better? Take the joint
# space of brains and images at the end of InfoNCE's training. Predict its top-1 among 2, 5, 20 and all candidates.

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
places = find_places(runs["infonce"][0]["similarity"].astype(float))
of_two = places.two_way.mean()
for n in (2, 5, 20, len(held)):
    # no rival that is nearer is among the n - 1 that are drawn
    top1 = stats.hypergeom.pmf(0, places.rivals, places.above, n - 1).mean()
    print(f"{n:3d} candidates: {top1:.2f}, chance {1 / n:.2f}, independent {of_two ** (n - 1):.2f}")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# The embeddings are the same in every line, and only the question became harder. A top-1 without its number of
# candidates says nothing. To be first of 20 is to win against 19. If the wins were independent, 0.90 against one
# would give 0.90 to the power of 19, or 0.14. They are not independent: a prediction that is near its own match wins
# against most rivals. So the top-1 falls more slowly than the last column. With normally distributed scores 0.90 of 2
# goes with about 0.49 of 20. So the two papers are nearly equal, and only their full rankings could tell them apart.
#
# </details>
#
# ### Exercise 2: closing the modality gap
#
# Subtract from images the mean image, from captions the mean caption, and bring both back to unit length. What
# becomes of the gap, of the cosine of matching pairs, and of retrieval?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
sides = {"as they are": (image[test], each[test, 0])}
means = image[~test].mean(0), each[~test, 0].mean(0)
sides["centred"] = (unit(image[test] - means[0]), unit(each[test, 0] - means[1]))
for name, (pictures, texts) in sides.items():
    top1 = retrieval(pictures, texts, rng=np.random.default_rng(0))["brain_to_image"]["top1"]
    distance = np.linalg.norm(pictures.mean(0) - texts.mean(0))
    matched = (pictures * texts).sum(1).mean()
    print(f"{name:12s} gap {distance:.2f}, matching {matched:.2f}, top-1 {top1:.2f}")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# The gap closes, since it is hardly more than one vector that all images share and one that all captions share.
# Matching pairs come closer or drift apart depending on how much of their cosine was that common part. Retrieval
# hardly notices: what is common to all candidates cannot tell them apart. Had the means been taken from the *test*
# images, their content would have leaked into the score.
#
# </details>
#
# ### Exercise 3: three negatives
#
# InfoNCE again, in batches of 4: each pattern has three wrong answers instead of a whole batch. What
# happens to top-1? And which other thing has changed with the batch?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
few = joint.train_joint(**settings | dict(batch_size=4))
for name, record in {"whole batch": runs["infonce"][0], "batch of 4": few}.items():
    top1 = record["top1"][record["chosen"]]
    print(f"{name:11s} top-1 at the chosen step {top1:.2f}, spread {record['spread'][-1]:.2f}")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# In the demo, batches of 4 find 14 % at the chosen step, and whole batches 29 %. Two reasons are possible. With three
# random negatives the task is easy after a few steps: it is enough to tell a beach from a street, and little is
# learned about which beach. But every step also saw fewer images, so part of the difference may simply be less
# training. A fair comparison holds the number of *images* seen fixed. The spread stays open: a few negatives suffice
# against collapse.
#
# </details>

# %% [markdown]
# ## Answer
#
# What does it take to put two kinds of things into one space, and why does the space collapse when nothing is
# pushed apart?

# %%
display(
    Markdown(f"""
* It takes matching pairs and something that keeps the points apart: with negatives, the spread of the joint space \
ends at **{spread["infonce"]:.2f}**.
* With matching pairs only it ends at **{spread["positive_only"]:.2f}**, because one point for everything already \
satisfies this loss.
* With negatives, the test image that was seen comes first for a share of **{best["infonce"].mean():.2f}** of the \
patterns, at steps that validation images chose.
""")
)

# %% [markdown]
# ## What is kept

# %%
arrays = {"nsd_id": ids, "image": image, "caption": caption, "first_caption": each[:, 0]}
files.save("embeddings", arrays)
first = {name: records[0] for name, records in runs.items()}
flat = {f"{name}/{key}": value for name, record in first.items() for key, value in record.items()}
flat |= {"pair_image": left, "pair_caption": right, "pair_cosine": cosines, "chance": 1 / len(held)}
files.save("joint", flat)
files.finish("03_encoder_training")
