"""The explorer: pick an image, move a voxel, an area or a concept, and watch the picture.

::

    material = load_material(cfg, device=device)        # what notebooks 01 to 05 wrote
    explorer = Explorer(material)
    view = explorer.view(explorer.default_state())      # arrays and numbers
    picture = compose(view, label=..., new_noise_rms=...)
    app = ExplorerApp(explorer, folder=...)             # the same with widgets
    display(app.layout)
"""

from .app import ExplorerApp
from .composite import compose, png, stack
from .material import load_material
from .slices import BrainSlices
from .view import Explorer
