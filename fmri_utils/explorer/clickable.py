"""A picture that says where it was clicked, which ipywidgets has none of."""

import anywidget
import traitlets

# Nothing is fetched: the picture is in the message.
_SCRIPT = """
function render({ model, el }) {
  const image = document.createElement("img");
  image.style.cssText = "cursor: crosshair; max-width: 100%; display: block";
  let url;
  const show = () => {
    const old = url;
    url = URL.createObjectURL(new Blob([model.get("value")], { type: "image/png" }));
    image.src = url;
    image.alt = model.get("alt");
    if (old) URL.revokeObjectURL(old);
  };
  image.addEventListener("click", (event) => {
    const box = image.getBoundingClientRect();
    const x = (event.clientX - box.left) * image.naturalWidth / box.width;
    const y = (event.clientY - box.top) * image.naturalHeight / box.height;
    model.set("clicked", [x, y, Date.now()]);  // the time: the same place twice is two clicks
    model.save_changes();
  });
  model.on("change:value", show);
  show();
  el.appendChild(image);
  return () => { model.off("change:value", show); URL.revokeObjectURL(url); };
}
export default { render };
"""


class ClickableImage(anywidget.AnyWidget):
    """A PNG picture with clicks.

    Attributes
    ----------
    value : bytes
        The picture.
    alt : str
        What it shows, for who cannot see it.
    clicked : list of float
        Pixels from the upper left corner of the picture to the right and down, and when (ms).
    """

    _esm = _SCRIPT
    value = traitlets.Bytes(b"").tag(sync=True)
    alt = traitlets.Unicode("").tag(sync=True)
    clicked = traitlets.List(trait=traitlets.Float()).tag(sync=True)
