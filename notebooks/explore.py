# %% [markdown]
# # Explore: move a voxel, watch the picture
#
# **Question.** What happens to the picture when the activity of one voxel, of a whole area, or the embedding
# itself is moved?
#
# | | |
# |---|---|
# | you learn | to see the size of one voxel's effect beside that of an area, of a concept and of noise |
# | you need | what voxel, beta and embedding mean ([glossary](glossary.md)) |
# | reads | `betas.h5`, `stimuli.h5`, `embeddings.h5`, `predictions.h5`, `matched.safetensors`, `reconstructions.h5`, `effects.h5`: what notebooks 01 to 05 wrote |
# | writes | the view at the start, and views that you save (PNG) |
# | minutes | to run: smoke 0.2 · demo 0.2 · nsd not measured; to work through: about 30 |
#
# Run all cells (menu *Run*, *Run All Cells*) and play. A test image was shown in the scanner; a linear decoder
# reads an embedding in CLIP space from the *betas*, the responses of all voxels; LAFITE, a generative
# network, draws a picture of it. You change the activity, and the last two steps are done again.
#
# Made for JupyterLab. In VS Code it is not tested.

# %% tags=["parameters"]
PROFILE = "demo"
SUBJECT = 1
SEED = 0
DEVICE = "auto"
OVERRIDES = []
INTERACTIVE = True

# %%
from PIL import Image

from fmri_utils import explorer
from fmri_utils.project import artifacts
from fmri_utils.project.devices import choose_device
from fmri_utils.project.profiles import PROJECT_ROOT, load_profile

# %%
cfg = load_profile(PROFILE, subject=SUBJECT, seed=SEED, device=DEVICE, overrides=OVERRIDES)
device = choose_device(cfg.device)
print(cfg.name, "|", cfg.dataset_label, "|", device)

# %%
material = explorer.load_material(cfg, device=device)
model = explorer.Explorer(material)
print("(n_images, n_voxels) =", material.pattern.shape, "| areas:", ", ".join(material.areas))

# %% [markdown]
# ## What is to be seen
#
# From left to right: the picture that was *seen*; what is *read from the brain*; the same *after the
# change*; and the *difference*, enlarged by the factor above it. Grey there means no change. The factor
# is chosen for each view, so look at it first: × 2 is a large change, × 200 one that nobody would see.
#
# Below: what a person wrote of the image, the captions of training images that are nearest to the embedding
# before and after (new ones in colour), and how far the embedding moves towards four concepts.
#
# **SD** is a standard deviation: of the voxel's activity over trials, or of the embeddings of
# training images along a concept. **Noise** is what the generator adds by itself, a vector *z* and noise
# images in every layer. *Fixed* keeps both. *Fresh* draws both anew at every event, for the picture after
# the change only.
#
# The view at the start, the voxel that turns the first image's embedding most:

# %%
start = model.default_state()
composed = explorer.compose(
    model.view(start), label=material.label, new_noise_rms=material.new_noise_rms
)
slices = explorer.BrainSlices(material.mask, material.background, material.areas)
figure = explorer.stack(composed, slices.draw(start.which))

# %% alt="The view at the start: what was seen, read from the brain, after the change and the difference, captions, shifts towards concepts, and the voxel on brain slices"
view_file = cfg.runs / "explore" / "start.png"
with artifacts.atomic_path(view_file) as tmp:
    tmp.write_bytes(explorer.png(figure))
if not INTERACTIVE:
    display(Image.open(view_file))

# %%
artifacts.list_outputs([view_file], root=PROJECT_ROOT, next_notebook="the explorer, below")

# %% [markdown]
# ## What to try
#
# 1. **Voxel or noise?** Take the first voxel of the list and move it to +5 SD. Note the RMS of the picture.
#    Now move it to 0 and set the noise to *fresh*. Which changes the picture more, and which do
#    you see without the enlarged difference?
# 2. **Faces.** Choose *area* and `faces`, and push it up slowly from 0 to +3 SD on an image without a face.
#    When does the first face stand in the captions, when in the picture? Does -3 SD on an image with a
#    face take it away?
# 3. **An area against its concept.** Push area `places` by +2 SD, then concept `places` by +2 SD. Compare the
#    four bars: which of the two moves along one concept only?
# 4. **Where it lies.** Click on the brain: a voxel in V1, its neighbour, one far outside of the named areas.
#    Do neighbours push the same way? Look at the signs of the bars.
# 5. **The same voxel, another picture.** Keep one voxel at +5 SD and go through ten images. Is the difference
#    in the same place? Is the shift along the concepts the same?
#
# ## What this cannot show
#
# You move numbers in a decoder, not cells in a brain. That a face appears does not mean that the person would
# have seen one, nor that the voxel knows about faces: a decoder also uses voxels to subtract the noise of
# others. A single image and a single draw of noise are an anecdote; notebook 05 has all voxels, tests and
# intervals, notebook 06 the areas against random groups of their size. Five standard deviations in a
# whole area is a pattern that no picture evokes, and what the generator draws then is its own affair.

# %% [markdown]
# ## Play
#
# The list holds the voxels whose activity, raised by 1 SD, turns this image's embedding most (the number
# behind them is 1 - cosine). Any voxel can be had by its number, or by a click on a slice of the brain.
# *Save as PNG* writes the view, and says where. In front of an audience, hide the list of files (Ctrl+B)
# and zoom with Ctrl and +.

# %%
if INTERACTIVE:
    app = explorer.ExplorerApp(model, folder=view_file.parent)
    display(app.layout)
