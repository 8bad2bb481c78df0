# %% [markdown]
# # 08 · All figures, from the files that the others wrote
#
# **Question.** What would we show in a lab meeting?
#
# | | |
# |---|---|
# | you learn | to read the figures of the collection, to give every score its chance and its ceiling, to trace a figure back to its inputs |
# | you need | notebooks 01 to 07 have run |
# | reads | of all before: `betas.h5`, `stimuli.h5`, `joint.h5`, `predictions.h5`, `matched.safetensors`, `encoder_scores.json`, `reconstructions.h5`, `picture_scores.json`, `effects.h5`, `areas.h5`, `student_teacher.h5` |
# | writes | figures 1 to 7 (PNG and PDF; 5 also as an animated GIF), `results.md`, `results.json`, `provenance.json` and `inputs.json` |
# | minutes | to run: smoke 0.3 · demo 0.7 · nsd not measured; to work through: about 20 |

# %% tags=["parameters"]
PROFILE = "demo"
SUBJECT = 1
SEED = 0
DEVICE = "auto"
OVERRIDES = []
INTERACTIVE = True

# %%
import nibabel as nib
import numpy as np
from IPython.display import Markdown
from sklearn.decomposition import PCA

from fmri_utils import encoders, metrics, nsd, plots
from fmri_utils.lafite import load_generator
from fmri_utils.pictures import reconstruction
from fmri_utils.plots.results import results_page, results_record, save_results
from fmri_utils.project.notebook_files import open_inputs
from fmri_utils.project.profiles import load_profile

# %%
cfg = load_profile(PROFILE, subject=SUBJECT, seed=SEED, device=DEVICE, overrides=OVERRIDES)
print(cfg.name, "|", cfg.dataset_label)

# %%
names = "betas", "stimuli", "joint", "predictions", "reconstructions", "effects", "areas"
data = open_inputs(cfg, *names, "student_teacher", "matched", "encoder_scores", "picture_scores")
about = data.about_figures("08_figures")
drawn, fresh = [], cfg.runs / "figures-drawn"

# %% [markdown]
# ## Figure 1: the model
#
# One test image on its way: its betas, a part of the encoder's weights, CLIP space seen along the two
# directions in which the test images differ most, and the picture at each resolution of the generator.

# %%
brain, predicted = data["betas"], data["predictions"]
background = nib.Nifti1Image(brain["background"], brain["affine"])
generator = load_generator(cfg.path(cfg.lafite.weights))
matched = encoders.load_encoder(data["matched"])
z = reconstruction.draw_z(generator, 1, cfg.seed)
plane = PCA(2, random_state=0).fit(predicted["truth"])
guess = plane.transform(encoders.unit(predicted["condition"]))
true = plane.transform(predicted["truth"])

# %% [markdown]
# The figure shows the 60 voxels with the largest encoder weights, and the brain slice that contains most voxels. The
# test image is the first one and was not picked. Where its prediction and its truth lie far apart, it is read worse
# than most.

# %% alt="Figure 1, from left to right: a scene, its betas on a brain slice, encoder weights, the embedding in CLIP space, and the picture from 4 to 64 pixels"
strong = np.argsort(-np.linalg.norm(matched.weights, axis=1))[:60]
figure = plots.fig_model(
    stimulus=data["reconstructions"]["seen"][0],
    pattern=nsd.to_volume(predicted["pattern"][0], brain["mask"], brain["affine"]),
    background=background,
    weights=matched.weights[np.sort(strong), :40],
    embeddings=true,
    predicted=guess[0],
    truth=true[0],
    stages=reconstruction.growing_pictures(generator, z, predicted["condition"][:1]),
    label=cfg.dataset_label,
)

# %%
drawn += plots.save_figure(figure, fresh, "fig1_model", about=about)

# %% [markdown]
# ## Figure 2: ground truth beside samples

# %% alt="Figure 2: rows of twelve pictures, seen, from the true embedding, and from the brain with several noise vectors"
r, m = data["reconstructions"], cfg.reconstruction.n_shown
figure = plots.fig_reconstructions(
    r["seen"][:m], r["ceiling"][:m], r["samples"][:m], label=cfg.dataset_label
)

# %%
drawn += plots.save_figure(figure, fresh, "fig2_reconstructions", about=about)

# %% [markdown]
# ## Figure 3: the joint embedding

# %% alt="Figure 3: matching and non-matching pairs with their cosines, matrices of cosines, and spread and retrieval over training for four objectives"
joint, stimuli = data["joint"], data["stimuli"]
figure = plots.fig_joint_embedding(
    pictures=stimuli["images"][joint["pair_image"]],
    captions=stimuli["captions"][joint["pair_caption"], 0],
    cosines=joint["pair_cosine"],
    matching=joint["pair_image"] == joint["pair_caption"],
    records={
        name: joint[name] for name in ("infonce", "positive_only", "variance", "stop_gradient")
    },
    chance=float(joint["chance"]),
    label=cfg.dataset_label,
)

# %%
drawn += plots.save_figure(figure, fresh, "fig3_joint_embedding", about=about)

# %% [markdown]
# ## Figure 4: leave one voxel out

# %% alt="Figure 4: pictures without one voxel, scaled differences, new noise only, and the effect of every voxel on the brain and by area"
effects = data["effects"]
areas = dict(zip(brain["area_names"], brain["areas"], strict=True))
figure = plots.fig_leave_one_out(
    effects,
    effect_map=nsd.to_volume(effects["effect"], brain["mask"], brain["affine"]),
    background=background,
    areas=nsd.main_areas(areas),
    label=cfg.dataset_label,
)

# %%
drawn += plots.save_figure(figure, fresh, "fig4_leave_one_out", about=about)

# %% [markdown]
# ## Figure 5: a student and a teacher
#
# The last moment of the training as a still picture, and the whole of it as an animation. The dotted lines beside the
# right neighbours are of pixels and of histograms of edges (HOG), which learn nothing. They are from notebook 07, on
# all its labelled pictures, while the curve was measured during training on fewer.

# %% alt="Figure 5: views of a scene, a student and a teacher network, their outputs, where they look, and curves of the training at its end"
training = data["student_teacher"]
lines = {"pixels": float(training["pixels"].mean()), "HOG": float(training["hog"].mean())}
show = dict(row=int(training["row"]), label=str(training["label"]), lines=lines)
figure = next(plots.student_teacher_frames(training, n_frames=1, **show))

# %%
drawn += plots.save_figure(figure, fresh, "fig5_student_teacher", about=about)
frames = plots.student_teacher_frames(training, n_frames=cfg.dino.n_frames, **show)
drawn.append(plots.save_animation(frames, fresh, "fig5_student_teacher", about=about))

# %% [markdown]
# ## Figure 6: visual areas
#
# One group of voxels kept alone or left out: pictures, accuracy, and where stimulating it leads.

# %% alt="Figure 6: pictures from one area only and from all others, gain and loss by area, and shifts towards four concepts"
figure = plots.fig_visual_areas(data["areas"], label=cfg.dataset_label)

# %%
drawn += plots.save_figure(figure, fresh, "fig6_visual_areas", about=about)

# %% [markdown]
# ## Figure 7: scores between no brain and ceiling
#
# Embeddings at the left, pictures at the right. The grey bar goes from what needs no brain (chance, or the mean
# embedding or picture where that is better) to the ceiling. A score has no bar where another picture reaches
# what the true embedding gives: then there is no ceiling to compare with.

# %% alt="Figure 7: scores of embeddings and of pictures with intervals, most on a bar from what needs no brain to the ceiling"
tables = data["encoder_scores"]["table"], data["picture_scores"]["table"]
figure = plots.fig_scores(*tables, label=cfg.dataset_label)

# %%
drawn += plots.save_figure(figure, fresh, "fig7_scores", about=about)

# %% [markdown]
# ## The table
#
# Every score beside chance, a baseline that needs no brain, and the ceiling. The last columns of the second table are
# paired differences, image by image.

# %%
auroc = dict(zip(effects["auroc_names"], effects["auroc"].tolist(), strict=True))
text = results_page(cfg.as_dict(), cfg.dataset_label, *tables, auroc)
Markdown(text)

# %% [markdown]
# The same numbers unrounded, for programs: to gather runs over subjects and seeds, or to compare two
# of them (`python -m pipeline.compare`).

# %%
record = results_record(cfg.as_dict(), *tables, auroc)
drawn += save_results(fresh, record, text)
print("rows of results.json:", len(record["rows"]))

# %% [markdown]
# ## Where all this comes from
#
# Every figure carries in its own metadata which notebook, settings and seed made it. `provenance.json` keeps the
# same in full, with a hash of each figure. `inputs.json` has the hashes of the derived files. From both, `make
# verify` can say what was changed by hand or is out of date.
#
# Another processor adds up in another order, so its numbers differ in the last digits. Some trainings amplify this
# until their curves look different. Figures that are in the folder already therefore stay if the same code made
# them and no score has changed, or if the new ones show the same.

# %%
data.publish(drawn, made_by="08_figures")

# %% [markdown]
# ## Exercises
#
# Write down what you expect before you unfold a solution.
#
# ### Exercise 1: what is left to gain?
#
# Say a ridge has 0.95 in two-way identification and 0.39 in top-1: which is further from its ceiling? Put every score
# on one scale, 0 at chance and 1 at the ceiling, and guess the order first.

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
for name, row in tables[0]["rows"].items():
    if row["better"] == "higher":
        ridge, best = (row["scores"][who]["value"] for who in ("ridge", "oracle"))
        chance = row["scores"]["ridge"]["chance"]
        print(f"{name:40s} {(ridge - chance) / (best - chance):.2f}")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# The same predictions look better by two-way identification, which compares with one other image at a time, than by
# top-1, which compares with all others at once. Neither is wrong. A paper that reports only the first has chosen the
# easier question.
#
# </details>
#
# ### Exercise 2: more test images
#
# How wide would the interval of ridge's top-1 be with ten times as many test images? How many are needed to tell
# two decoders apart that differ by 0.02?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
n_test = data["encoder_scores"]["n_images"]
row = next(r for n, r in tables[0]["rows"].items() if "brain_to_image top-1" in n)
width = row["scores"]["ridge"]["high"] - row["scores"]["ridge"]["low"]
print(f"{n_test} images: {width:.3f} wide; {10 * n_test} images: {width / np.sqrt(10):.3f}")
print(f"about {n_test * (width / 0.04) ** 2:.0f} images for an interval of +- 0.02")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# Intervals shrink with the square root: ten times the images, a third of the width (candidates would grow as well,
# and top-1 fall). Telling 0.02 apart takes thousands of images: the last line is for one decoder, and two with
# intervals of their own need twice as many. Comparing them *image by image*, as notebook 03 does, needs fewer, since
# an easy image is easy for both; but top-1 is all or nothing, and still takes thousands. MRR is kinder.
#
# </details>

# %% [markdown]
# ## Answer
#
# What would we show in a lab meeting? The twelve pictures of figure 2, which nobody picked, and beside them what they
# are worth: each score with chance, with the mean that needs no brain, and with the true embedding.

# %%
top1 = next(name for name in tables[0]["rows"] if "brain_to_image top-1" in name)
picked = [(tables[0], top1, "ridge")]
picked += [(tables[1], name, "from the brain") for name in ("PixCorr", "SSIM", "judge kind")]
lines = []
for table, name, method in picked:
    cells, ends = table["rows"][name]["scores"], (table["baseline"], method, table["ceiling"])
    if "value" in cells[method]:
        levels = [cells[method]["chance"], *(cells[end]["value"] for end in ends)]
        lines.append([name, *(f"{level:.3f}" for level in levels)])
header = ["score", "chance", "without a brain", "from the brain", "with the true embedding"]
Markdown(metrics.markdown_table(header, lines))

# %%
data.finish("the figures folder")
