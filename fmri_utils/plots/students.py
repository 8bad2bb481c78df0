"""Student-teacher learning: views, outputs, collapse, label budgets, and the animation."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch, FancyBboxPatch, Rectangle
from PIL import Image

from ..project.artifacts import atomic_path
from .style import COLOURS, draw_chance, draw_frame, styled

FRAME_MS, LAST_FRAME_MS, N_COLOURS = 220, 2500, 96  # of the animation
N_SHOWN = 40  # outputs that are drawn: those that the teacher uses most over the training
GREY = "#666666"
STUDENT, TEACHER = COLOURS["image"], COLOURS["brain"]
LINES = {"student-teacher": (COLOURS["brain"], "o"), "supervised only": (COLOURS["ink"], "s")}
LINES |= {"PCA of repeat averages": (COLOURS["ceiling"], "^")}
LINES |= {"denoising autoencoder": (COLOURS["noise"], "v")}
LINES |= {"untrained network": (COLOURS["chance"], "x")}
VARIANTS = {"both": (COLOURS["brain"], "-"), "no centring": (COLOURS["image"], "--")}
VARIANTS |= {"no sharpening": (COLOURS["ceiling"], "-.")}


@styled
def plot_attention(images: np.ndarray, maps: np.ndarray, *, axes: Sequence[Axes]) -> None:
    """Pictures with where a head of the class token looks, as a map of brightness.

    Parameters
    ----------
    images : numpy.ndarray, (n, H, W, 3)
    maps : numpy.ndarray, (n, h, w)
        Attention; each map is scaled to its own maximum.
    axes : sequence of Axes, 2 n
        The pictures, then the maps.
    """
    n = len(images)
    for ax, shown, image, weights in zip(axes[:n], axes[n:], images, maps, strict=True):
        ax.imshow(image)
        ax.set_axis_off()
        shown.imshow(_lit(image, weights))
        shown.set_axis_off()


def _lit(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The picture, dark where no attention goes."""
    weights = np.nan_to_num(np.asarray(weights, float))
    light = weights / max(weights.max(), 1e-12)
    small = Image.fromarray(light.astype(np.float32))
    smooth = np.asarray(small.resize(image.shape[1::-1], Image.Resampling.BILINEAR))
    return (np.asarray(image, float) * (0.15 + 0.85 * smooth[..., None])).astype(np.uint8)


@styled
def plot_teacher_collapse(
    records: Mapping[str, Mapping[str, np.ndarray]], n_outputs: int, *, axes: Sequence[Axes]
) -> None:
    """Teacher entropy, and KL of teacher and student, over training (Caron et al. 2021, fig. 7).

    Parameters
    ----------
    records : mapping
        "both", "no centring", "no sharpening", or another name: ``step``, ``entropy``, ``kl``, and
        with a third pair of axes ``information``.
    n_outputs : int
        K; the largest possible entropy is log K.
    axes : two or three Axes
    """
    for name, record in records.items():
        colour, style = VARIANTS.get(name, VARIANTS["both"])
        for ax, key in zip(axes, ("entropy", "kl", "information"), strict=False):
            ax.plot(record["step"], record[key], style, color=colour, label=name)
    axes[0].axhline(np.log(n_outputs), color=COLOURS["chance"], lw=1.2, ls=":")
    axes[0].annotate(
        "log K", (1, np.log(n_outputs)), (2, -3), textcoords="offset points",
        xycoords=("axes fraction", "data"), color=GREY, fontsize=9,
    )  # fmt: skip
    most = 1.06 * np.log(n_outputs)
    axes[0].set(xlabel="step", ylabel="teacher entropy (nats)", ylim=(-0.2, most))
    labels = ("KL, teacher to student (nats)", "information (nats)")
    for ax, text in zip(axes[1:], labels, strict=False):
        ax.set(xlabel="step", ylabel=text, ylim=(0, None))


@styled
def plot_label_budgets(
    rows: Sequence[Mapping], score: str, *, chance: float | None = None, ax: Axes | None = None
) -> Axes:
    """A score of linear probes against the share of images whose embedding is known.

    Parameters
    ----------
    rows : sequence of mapping
        ``method``, ``score``, ``share`` (percent), ``value``, ``low``, ``high``: lists.
    """
    for row in (r for r in rows if r["score"] == score):
        colour, marker = LINES[row["method"]]
        ax.fill_between(row["share"], row["low"], row["high"], color=colour, alpha=0.1, lw=0)
        ax.plot(row["share"], row["value"], marker=marker, ms=5, color=colour, label=row["method"])
    draw_chance(ax, chance, label="chance")
    ax.set(xscale="log", xlabel="images with a known embedding (%)", ylabel=score)
    ax.set_xticks([5, 10, 25, 50, 100], ["5", "10", "25", "50", "100"])
    ax.minorticks_off()
    return ax


def _framed(ax: Axes, image: np.ndarray, colour: str, title: str) -> None:
    ax.imshow(image)
    draw_frame(ax, colour, 3)
    ax.set_title(title, fontsize=11, color=colour, loc="center")


def _network(ax: Axes, name: str, note: str, colour: str) -> None:
    """A box with a network's name."""
    ax.set_axis_off()
    ax.set(xlim=(0, 1), ylim=(0, 1))
    look = {"boxstyle": "round,pad=0.04", "fc": colour, "ec": "none"}
    ax.add_patch(FancyBboxPatch((0.08, 0.22), 0.84, 0.56, **look))
    style = {"ha": "center", "va": "center", "color": "white"}
    ax.text(0.5, 0.6, name, fontsize=15, weight="bold", **style)
    ax.text(0.5, 0.37, note, fontsize=10, **style)


def _outputs(ax: Axes, p: np.ndarray, colour: str, top: float, title: str) -> None:
    ax.bar(np.arange(len(p)), p, width=0.85, color=colour)
    ax.set(xticks=[], ylim=(0, top), yticks=[0, top], yticklabels=["0", f"{top:.1g}"])
    ax.set_title(title, fontsize=11, color=colour)


def _level(ax: Axes, right: float, value: float, text: str) -> None:
    """A dotted line at some height, with what it means at its right end."""
    ax.axhline(value, color=COLOURS["chance"], ls=":", lw=1.5)
    ax.text(right, value, text, ha="right", va="bottom", fontsize=9, color=GREY)


def _curve(ax: Axes, steps: np.ndarray, values: np.ndarray, now: int, colour: str) -> None:
    """A curve up to now, the rest pale."""
    ax.plot(steps, values, color=colour, alpha=0.18)
    ax.plot(steps[: now + 1], values[: now + 1], color=colour)
    ax.plot(steps[now], values[now], "o", ms=8, color=colour)


@styled
def _moment(
    arrays: Mapping[str, np.ndarray],
    crops: Sequence[np.ndarray],
    *,
    row: int,
    now: int,
    label: str,
    lines: Mapping[str, float],
) -> Figure:
    """One moment of a training: what the student sees, what the teacher sees, what both say.

    Parameters
    ----------
    arrays, row, label, lines
        As for :func:`student_teacher_frames`.
    crops : sequence of numpy.ndarray, (h, w, 3)
        Views of the scene; the first two are global.
    now : int
        Which check.
    """
    student, teacher = (np.asarray(arrays[n][:, row], float) for n in ("student", "teacher"))
    used = np.argsort(-teacher.mean((0, 1)))[:N_SHOWN]
    top = float(np.ceil(10 * max(teacher[..., used].max(), 0.1)) / 10)
    figure = plt.figure(figsize=(10.24, 5.76), dpi=100)
    ends = {"left": 0.03, "right": 0.975}
    n_own = len(crops) - 2
    widths = (1, 1, *[0.7] * n_own, 1.6, 2.9)
    place = {"top": 0.83, "bottom": 0.44, "hspace": 0.5, "wspace": 0.18, **ends}
    upper = figure.add_gridspec(2, 4 + n_own, width_ratios=widths, **place)
    place = {"top": 0.33, "bottom": 0.115, "wspace": 0.32, **ends}
    lower = figure.add_gridspec(1, 4, width_ratios=(0.62, 0.62, 1.4, 1.4), **place)
    _draw_views(figure, upper, crops)
    networks = [figure.add_subplot(upper[i, -2]) for i in range(2)]
    _network(networks[0], "student", "learns by gradient", STUDENT)
    _network(networks[1], "teacher", "follows the student", TEACHER)
    _follow(figure, networks, float(arrays["momentum"][now]))
    answers = [(student[now, 2], STUDENT, "small view")]
    answers += [(teacher[now].mean(0), TEACHER, "large views")]
    for i, (p, colour, views) in enumerate(answers):
        title = f"answer to the {'first ' if i == 0 else ''}{views}"
        _outputs(figure.add_subplot(upper[i, -1]), p[used], colour, top, title)
    _draw_state(figure, lower, arrays, row, now, lines)
    steps = arrays["step"]
    title = f"Learning without labels: step {int(steps[now])} of {int(steps[-1])}"
    figure.suptitle(title, x=0.03, y=0.97, ha="left", fontsize=17, weight="bold")
    figure.text(0.975, 0.965, label, ha="right", va="top", fontsize=11, color=GREY)
    return figure


def _draw_views(figure: Figure, grid, crops: Sequence[np.ndarray]) -> None:
    for column, crop in enumerate(crops):
        own = column >= 2
        title = "" if column not in (0, 2) else ("small views" if own else "large views")
        _framed(figure.add_subplot(grid[0, column]), crop, STUDENT, title)
        if not own:
            _framed(figure.add_subplot(grid[1, column]), crop, TEACHER, title)
    hidden = figure.add_subplot(grid[1, 2:-2])
    hidden.set_axis_off()
    text = "small views are\nnever shown\nto the teacher"
    hidden.text(0.5, 0.5, text, ha="center", va="center", fontsize=11, color=GREY)


def _follow(figure: Figure, networks: Sequence[Axes], momentum: float) -> None:
    """The arrow from student to teacher: the moving average."""
    arrow = ConnectionPatch(
        (0.5, 0.16), (0.5, 0.86), "axes fraction", "axes fraction",
        axesA=networks[0], axesB=networks[1], arrowstyle="-|>", mutation_scale=18, lw=2.5,
        color=COLOURS["ink"],
    )  # fmt: skip
    figure.add_artist(arrow)
    style = {"fontsize": 11, "color": COLOURS["ink"], "va": "center", "ha": "right"}
    networks[1].text(0.46, 1.2, f"EMA\n{momentum:.3f}", **style)


def _draw_state(figure, grid, arrays, row, now, lines) -> None:
    """Lower row: the scene with its views, attention, entropy, and the score."""
    scene = arrays["shown"][row]
    axes = [figure.add_subplot(grid[i]) for i in range(4)]
    lit = _lit(scene, np.asarray(arrays["attention"][now, row], float).mean(0))
    for ax, picture, title in zip(axes, (scene, lit), ("the scene", "attention"), strict=False):
        ax.imshow(picture)
        ax.set(xticks=[], yticks=[])
        ax.set_title(title, fontsize=11)
    height, width = scene.shape[:2]
    for i, (x, y, w, h) in enumerate(arrays["boxes"][:, row]):  # centre, half width and height
        corner = ((x - w + 1) / 2 * width - 0.5, (y - h + 1) / 2 * height - 0.5)
        colour, style = (TEACHER, "-") if i < 2 else (STUDENT, "--")
        look = {"fill": False, "ec": colour, "ls": style, "lw": 2}
        axes[0].add_patch(Rectangle(corner, w * width, h * height, **look))
    steps, most = np.asarray(arrays["step"]), np.log(arrays["teacher"].shape[-1])
    _curve(axes[2], steps, np.asarray(arrays["entropy"]), now, TEACHER)
    _level(axes[2], steps[-1], most, "all outputs alike")
    axes[2].set(ylim=(0, 1.25 * most), xlabel="step")
    axes[2].set_title("teacher entropy (nats)", fontsize=11)
    _curve(axes[3], steps, 100 * np.asarray(arrays["knn"]), now, COLOURS["ceiling"])
    for text, value in lines.items():
        _level(axes[3], 0.8 * steps[-1], 100 * value, text)  # left of where the curve ends
    highest = 100 * max(np.max(arrays["knn"]), *lines.values(), 0.0)
    axes[3].set(xlabel="step", ylim=(0, 1.2 * highest))  # room for the names of the lines
    axes[3].set_title("right neighbours (%)", fontsize=11)


def student_teacher_frames(
    arrays: Mapping[str, np.ndarray],
    *,
    row: int,
    n_frames: int,
    label: str,
    lines: Mapping[str, float],
) -> Iterator[Figure]:
    """Figures of a training from its first check to its last, one at a time.

    Parameters
    ----------
    arrays : mapping
        From :func:`fmri_utils.dino.train_images` with labelled pictures: record with ``knn``,
        ``shown``, ``boxes`` and views.
    row : int
        Of the scene among those of the record's snapshots.
    lines : mapping of str to float
        Scores to compare the nearest neighbours with ("pixels": 0.37).
    n_frames : int
        At most so many.
    """
    n_checks, n_views = len(arrays["step"]), len(arrays["boxes"])
    views = [np.asarray(arrays[f"view{i}"][row], float).clip(0, 1) for i in range(n_views)]
    moments = np.linspace(n_checks - 1, 0, min(n_frames, n_checks)).round().astype(int)
    for now in np.unique(moments).tolist():
        yield _moment(arrays, views, row=row, now=now, label=label, lines=lines)


def save_animation(
    figures: Iterable[Figure], folder: Path, name: str, *, about: Mapping[str, str]
) -> Path:
    """Draw figures as frames of a GIF; the same figures give the same bytes.

    All frames share one palette, so that a colour does not flicker. Each figure is closed.

    Parameters
    ----------
    figures : iterable of Figure
        All of one size; made one at a time.

    Returns
    -------
    pathlib.Path
    """
    frames = []
    for figure in figures:
        figure.canvas.draw()
        frames.append(Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()))
        plt.close(figure)
    chosen = [frames[i] for i in sorted({0, len(frames) // 2, len(frames) - 1})]
    both = Image.new("RGB", (chosen[0].width, sum(f.height for f in chosen)))
    for i, frame in enumerate(chosen):
        both.paste(frame, (0, i * frame.height))
    palette = both.quantize(N_COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    indexed = [f.quantize(palette=palette, dither=Image.Dither.NONE) for f in frames]
    text = "; ".join(f"{key}={value}" for key, value in sorted(about.items()))
    path = Path(folder) / f"{name}.gif"
    with atomic_path(path) as tmp:
        durations = [FRAME_MS] * (len(indexed) - 1) + [LAST_FRAME_MS]
        how = {"loop": 0, "optimize": False, "comment": text.encode(), "duration": durations}
        indexed[0].save(tmp, save_all=True, append_images=indexed[1:], **how)
    return path
