# %% [markdown]
# # 08 · All figures, from the files that the others wrote
#
# **Question.** What would we show in a lab meeting?
#
# | | |
# |---|---|
# | reads | everything in the run's derived folder |
# | writes | figures 1 to 7 (PNG and PDF; 5 also as an animated GIF), `results.md`, `results.json` and `provenance.json` |
# | minutes | smoke 0.3 · demo 0.6 · nsd not measured |

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
from sklearn.decomposition import PCA

from fmri_utils import artifacts, encoders, nsd, plots, reconstruction
from fmri_utils.lafite import load_generator
from fmri_utils.profiles import PROJECT_ROOT, load_profile
from fmri_utils.results import results_page, results_record, results_text

# %%
cfg = load_profile(PROFILE, subject=SUBJECT, seed=SEED, device=DEVICE, overrides=OVERRIDES)
print(cfg.name, "|", cfg.dataset_label)

# %%
steps = {"betas": "01", "stimuli": "01", "embeddings": "02", "joint": "02", "predictions": "03"}
steps |= {"reconstructions": "04", "effects": "05", "areas": "06"}
steps |= {"student_teacher": "07"}
data = {
    name: artifacts.load_arrays(cfg.derived / f"{name}.h5", remedy=f"Run `make {number}`.")
    for name, number in steps.items()
}
about = {
    "notebook": "08_figures",
    "configuration": artifacts.sha256_json(cfg.as_dict())[:12],
    "seed": str(cfg.seed),
}
about |= {name: artifacts.sha256_file(cfg.derived / f"{name}.h5")[:12] for name in steps}
written = []

# %% [markdown]
# ## Figure 1: the model
#
# One test image on its way: its betas, a part of the encoder's weights, CLIP space seen along the two
# directions in which the test images differ most, and the picture at each resolution of the generator.

# %%
brain, predicted = data["betas"], data["predictions"]
background = nib.Nifti1Image(brain["background"], brain["affine"])
generator = load_generator(cfg.path(cfg.lafite.weights))
matched = encoders.load_encoder(cfg.derived / "matched.safetensors", remedy="Run `make 03`.")
z = reconstruction.draw_z(generator, 1, cfg.seed)
plane = PCA(2, random_state=0).fit(predicted["truth"])
guess = plane.transform(encoders.unit(predicted["condition"]))
true = plane.transform(predicted["truth"])

# %% [markdown]
# Of the encoder, the 60 voxels with the largest weights; of the brain, the slice with most voxels.

# %%
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
figure

# %%
written += plots.save_figure(figure, cfg.figures, "fig1_model", about=about)

# %% [markdown]
# ## Figure 2: ground truth beside samples

# %%
r, m = data["reconstructions"], cfg.reconstruction.n_shown
figure = plots.fig_reconstructions(
    r["seen"][:m], r["ceiling"][:m], r["samples"][:m], label=cfg.dataset_label
)
figure

# %%
written += plots.save_figure(figure, cfg.figures, "fig2_reconstructions", about=about)

# %% [markdown]
# ## Figure 3: the joint embedding

# %%
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
figure

# %%
written += plots.save_figure(figure, cfg.figures, "fig3_joint_embedding", about=about)

# %% [markdown]
# ## Figure 4: leave one voxel out

# %%
effects = data["effects"]
areas = dict(zip(brain["area_names"], brain["areas"], strict=True))
figure = plots.fig_leave_one_out(
    effects,
    effect_map=nsd.to_volume(effects["effect"], brain["mask"], brain["affine"]),
    background=background,
    areas=nsd.main_areas(areas),
    label=cfg.dataset_label,
)
figure

# %%
written += plots.save_figure(figure, cfg.figures, "fig4_leave_one_out", about=about)

# %% [markdown]
# ## Figure 5: a student and a teacher
#
# The last moment of the training as a still picture, and the whole of it as an animation.

# %%
training = data["student_teacher"]
lines = {"pixels": float(training["pixels"].mean())}
show = dict(row=int(training["row"]), label=str(training["label"]), lines=lines)
figure = next(plots.student_teacher_frames(training, n_frames=1, **show))
figure

# %%
written += plots.save_figure(figure, cfg.figures, "fig5_student_teacher", about=about)
frames = plots.student_teacher_frames(training, n_frames=cfg.dino.n_frames, **show)
written.append(plots.save_animation(frames, cfg.figures, "fig5_student_teacher", about=about))

# %% [markdown]
# ## Figure 6: visual areas
#
# One group of voxels kept alone or left out: pictures, accuracy, and where stimulating it leads.

# %%
figure = plots.fig_visual_areas(data["areas"], label=cfg.dataset_label)
figure

# %%
written += plots.save_figure(figure, cfg.figures, "fig6_visual_areas", about=about)

# %% [markdown]
# ## Figure 7: scores between chance and ceiling
#
# Embeddings at the left, pictures at the right. The grey bar goes from chance to the ceiling.

# %%
encoder_scores = artifacts.load_json(cfg.derived / "encoder_scores.json", remedy="Run `make 03`.")
picture_scores = artifacts.load_json(cfg.derived / "picture_scores.json", remedy="Run `make 04`.")
tables = encoder_scores["table"], picture_scores["table"]
figure = plots.fig_scores(*tables, label=cfg.dataset_label)
figure

# %%
written += plots.save_figure(figure, cfg.figures, "fig7_scores", about=about)

# %% [markdown]
# ## The table
#
# Every score beside chance, a baseline and the ceiling.

# %%
auroc = dict(zip(effects["auroc_names"], effects["auroc"].tolist(), strict=True))
text = results_page(cfg.as_dict(), cfg.dataset_label, *tables, auroc)
print(text)

# %% [markdown]
# The same numbers unrounded, for programs: to gather runs over subjects and seeds, or to compare two
# of them (`python -m fmri_utils.compare`).

# %%
record = results_record(cfg.as_dict(), *tables, auroc)
for name, content in {"results.md": text, "results.json": results_text(record)}.items():
    written.append(cfg.figures / name)
    with artifacts.atomic_path(written[-1]) as tmp:
        tmp.write_text(content)
print("rows of results.json:", len(record["rows"]))

# %% [markdown]
# ## Where all this comes from
#
# Every figure carries in its own metadata what made it. One file beside them keeps the same in full,
# with a hash of each file, so that `make verify` can say what was changed by hand or is out of date.

# %%
inputs = {f"{name}.h5": artifacts.sha256_file(cfg.derived / f"{name}.h5") for name in steps}
scores = [cfg.derived / f"{name}_scores.json" for name in ("encoder", "picture")]
inputs |= {p.name: artifacts.sha256_file(p) for p in (*scores, cfg.path(cfg.lafite.weights))}
provenance = cfg.figures / "provenance.json"
_ = artifacts.write_provenance(
    provenance, written, made_by=about["notebook"], config=cfg.as_dict(), inputs=inputs
)

# %%
artifacts.list_outputs(
    [*written, provenance], root=PROJECT_ROOT, next_notebook="the figures folder"
)
