"""The explorer's widgets. What they show is computed in :mod:`fmri_utils.explorer.view`."""

import contextlib
import functools
import html
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import ipywidgets as widgets

from .. import nsd
from ..project.artifacts import atomic_path
from ..project.errors import FmriUtilsError
from .clickable import ClickableImage
from .composite import compose, png, stack
from .slices import BrainSlices
from .view import K_MAX, KINDS, Explorer, State

N_LISTED = 40
"""Voxels in the list; any other can be chosen by its number or on the brain."""
EVERYWHERE = "all areas"
LOG = logging.getLogger(__name__)
HINT = "Click on a slice to choose a voxel."
ABOUT_KIND = {
    "voxel": "z-scored activity of one voxel",
    "area": "every voxel of an area together",
    "concept": "the embedding itself, along a direction from captions",
}


class ExplorerApp:
    """Controls, pictures and brain.

    Parameters
    ----------
    explorer : Explorer
    folder : pathlib.Path
        Where saved views go.

    Attributes
    ----------
    layout : ipywidgets.Widget
        To be displayed.
    picture : ipywidgets.Image
        The composed view; its ``value`` is replaced after every event.
    brain : ClickableImage
    """

    def __init__(self, explorer: Explorer, *, folder: Path):
        self.explorer, self.folder = explorer, Path(folder)
        m = explorer.material
        self.slices = BrainSlices(m.mask, m.background, m.areas)
        self._quiet = False
        self._brain_shown: tuple | None = None
        self._make_widgets()
        self.layout = self._arrange()
        self.reset()
        self._observe()

    @property
    def state(self) -> State:
        """What the controls say."""
        kind = self.kind.value
        which = {"area": self.area.value, "concept": self.concept.value}.get(kind)
        which = self.number.value if which is None else which
        fresh = self.noise.value == "fresh"
        return State(self.image.value, kind, which, self.k.value, fresh, self._seed)

    def update(self) -> None:
        """Draw what the controls say. If that fails the picture stays and the message says why."""
        state, m = self.state, self.explorer.material
        with self._errors_said():
            view = self.explorer.view(state)
            self._main = compose(view, label=m.label, new_noise_rms=m.new_noise_rms)
            self.picture.value = png(self._main)
            self._draw_brain(state)
            self._drawn = state

    def _draw_brain(self, state: State) -> None:
        """Slices through the voxel, or through the area; a concept has no place."""
        m = self.explorer.material
        area = state.which if state.kind == "area" else None
        voxel = self.number.value if area is None else self.slices.best_view(area)
        shown = voxel, area, state.kind == "voxel"
        if shown == self._brain_shown:
            return
        self._slices = self.slices.draw(voxel, area=area, crosshair=shown[2])
        self._brain_shown = shown
        what = f"area {area}" if area else nsd.voxel_names(m.areas, [voxel])[0]
        self.brain.alt = f"Three slices of the brain through {what}; areas in colours."
        self.brain.value = png(self._slices)

    def reset(self) -> None:
        """Go back to the view of the beginning."""
        start = self.explorer.default_state()
        self._seed = 0
        with self._hushed():
            self.image.value, self.kind.value, self.k.value = start.image, start.kind, start.k
            self.noise.value, self.within.value = "fixed", EVERYWHERE
            self.area.value, self.concept.value = self.area.options[0], self.concept.options[0]
            self.number.value = start.which
            self._list_voxels()
            self._show_controls()
        self._say(HINT)
        self.update()

    def choose_at(self, x: float, y: float) -> None:
        """Choose the voxel under a pixel of the brain picture."""
        voxel = self.slices.voxel_at(x, y, self._brain_shown[0])
        if voxel is None:
            self._say("That is beside the slices. Click on one of the three.")
            return
        with self._hushed():
            self.kind.value, self.within.value = "voxel", EVERYWHERE
            self.number.value = voxel
            self._list_voxels()
            self._show_controls()
        self._next(f"{nsd.voxel_names(self.explorer.material.areas, [voxel])[0]} chosen.")

    def save(self) -> Path:
        """Write the view and the brain as one PNG; the name says what is shown."""
        state = self._drawn  # after an error not what the controls say
        which = re.sub(r"[^A-Za-z0-9]+", "-", str(state.which))
        noise = f"noise{state.seed}" if state.fresh else "same-noise"
        name = f"image{state.image:03d}_{state.kind}-{which}_{state.k:+g}SD_{noise}.png"
        path = self.folder / name
        with atomic_path(path) as tmp:
            tmp.write_bytes(png(stack(self._main, self._slices)))
        self._say(f"Saved: {'/'.join(path.parts[-5:])}")  # runs/demo/subj01/explore/...
        return path

    def _make_widgets(self) -> None:
        m = self.explorer.material
        style = {"description_width": "76px"}
        wide = {"layout": widgets.Layout(width="99%"), "style": style}
        pictures = [(f"{i}: {text}", i) for i, text in enumerate(m.captions)]
        areas, concepts = list(m.areas), m.concepts.names
        last = m.pattern.shape[1] - 1
        self.image = widgets.Dropdown(options=pictures, description="image", **wide)
        self.kind = widgets.ToggleButtons(
            options=KINDS,
            description="move",
            tooltips=[ABOUT_KIND[kind] for kind in KINDS],
            style={**style, "button_width": "88px"},
        )
        self.k = widgets.FloatSlider(
            min=-K_MAX, max=K_MAX, step=0.25, description="by (SD)", readout_format="+.2f",
            continuous_update=False, **wide,
        )  # fmt: skip
        self.within = widgets.Dropdown(options=[EVERYWHERE, *areas], description="in", **wide)
        self.voxels = widgets.Select(description="strongest", rows=6, **wide)
        self.number = widgets.BoundedIntText(min=0, max=last, description="voxel no.", **wide)
        self.area = widgets.Select(options=areas, description="area", rows=9, **wide)
        rows = len(concepts)
        self.concept = widgets.Select(options=concepts, description="concept", rows=rows, **wide)
        self.noise = widgets.ToggleButtons(
            options=["fixed", "fresh"],
            description="noise",
            tooltips=["the same z and noise buffers", "new z and noise buffers after the change"],
            style={**style, "button_width": "80px"},
        )
        self.reset_button = widgets.Button(description="Reset", icon="undo")
        self.save_button = widgets.Button(description="Save as PNG", icon="save")
        self.message = widgets.HTML(layout=widgets.Layout(margin="0 4px"))
        self.picture = widgets.Image(format="png", layout=widgets.Layout(max_width="100%"))
        self.brain = ClickableImage(layout=widgets.Layout(max_width="100%"))

    def _arrange(self) -> widgets.Widget:
        # A class of its own for each control, so that a test in a browser finds it.
        for name, widget in vars(self).items():
            if isinstance(widget, widgets.DOMWidget):
                widget.add_class(f"fmri-utils-{name}")
        for buttons in (self.kind, self.noise):
            buttons.add_class("widget-inline-hbox")  # the description at the left, as elsewhere
        self._groups = {
            "voxel": widgets.VBox([self.within, self.voxels, self.number]),
            "area": widgets.VBox([self.area]),
            "concept": widgets.VBox([self.concept]),
        }
        controls = widgets.VBox(
            [self.image, self.kind, self.k, self.noise, *self._groups.values()],
            layout=widgets.Layout(width="360px", flex="0 0 360px"),
        )
        buttons = widgets.HBox([self.reset_button, self.save_button])
        right = widgets.VBox(
            [self.brain, self.message, buttons],
            layout=widgets.Layout(min_width="0", justify_content="space-between"),
        )
        # As high as the tallest group, so that the picture stays in its place.
        upper = widgets.HBox([controls, right], layout=widgets.Layout(min_height="304px"))
        return widgets.VBox([upper, self.picture])

    def _observe(self) -> None:
        """Connect every control with what is to be done before the picture is drawn anew."""
        for control, steps in (
            (self.image, [self._list_voxels]),
            (self.kind, [self._show_controls]),
            (self.within, [self._list_voxels, self._take_strongest]),
            (self.number, [self._mark_listed]),
            *((control, []) for control in (self.k, self.area, self.concept, self.noise)),
        ):
            control.observe(self._callback(functools.partial(self._changed, steps)), "value")
        self.voxels.observe(self._callback(self._on_listed), "value")
        click = self._callback(lambda change: self.choose_at(*change["new"][:2]))
        self.brain.observe(click, "clicked")
        self.reset_button.on_click(self._callback(lambda _: self.reset()))
        self.save_button.on_click(self._callback(lambda _: self.save()))

    def _callback(self, function: Callable) -> Callable:
        """What a control calls: the function, with its errors in the message line."""

        def callback(change) -> None:
            if not self._quiet:
                with self._errors_said():
                    function(change)

        return callback

    @contextlib.contextmanager
    def _errors_said(self) -> Iterator[None]:
        """Say an error in the message line. Jupyter shows nobody what a control's callback raises.

        An error that is not the user's is also logged, with its place in the code.
        """
        try:
            yield
        except FmriUtilsError as err:
            self._say(f"{err}")
        except Exception as err:
            LOG.exception("a callback of the explorer failed")
            self._say(f"This failed: {type(err).__name__}: {err}. Reset, or run the cell again.")

    @contextlib.contextmanager
    def _hushed(self) -> Iterator[None]:
        """Change controls without an update for each."""
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    def _next(self, message: str = HINT) -> None:
        """Update after an event, each with noise of its own where it is fresh."""
        if self.noise.value == "fresh":
            self._seed += 1
        self._say(message)
        self.update()

    def _changed(self, steps: Sequence[Callable], _change) -> None:
        """Do these steps without an update for each, then update."""
        with self._hushed():
            for step in steps:
                step()
        self._next()

    def _on_listed(self, change) -> None:
        if change["new"] is not None:
            self.number.value = change["new"]

    def _take_strongest(self) -> None:
        """Another area to search: its strongest voxel is chosen."""
        self.number.value = self.voxels.options[0][1]
        self._mark_listed()

    def _list_voxels(self) -> None:
        """Fill the list with the strongest voxels of the area for the image."""
        area = None if self.within.value == EVERYWHERE else self.within.value
        best = self.explorer.ranking(self.image.value, area)[:N_LISTED].tolist()
        effect = self.explorer.effect(self.image.value)[best]
        names = nsd.voxel_names(self.explorer.material.areas, best)
        labels = [f"{name}:  {value:.2g}" for name, value in zip(names, effect, strict=True)]
        self.voxels.options = list(zip(labels, best, strict=True))
        self._mark_listed()

    def _mark_listed(self) -> None:
        listed = [number for _, number in self.voxels.options]
        self.voxels.value = self.number.value if self.number.value in listed else None

    def _show_controls(self) -> None:
        for kind, group in self._groups.items():
            group.layout.display = "flex" if kind == self.kind.value else "none"

    def _say(self, text: str) -> None:
        self.message.value = html.escape(text)
