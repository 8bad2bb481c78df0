"""Figures: ``plot_*`` draw into given axes, ``fig_*`` compose whole figures; none shows one."""

from .brain import plot_area_effects, plot_areas, plot_volume
from .curves import (
    plot_collapse,
    plot_ncsnr,
    plot_ridge_path,
    plot_scores,
    plot_session_drift,
    plot_similarity,
)
from .figures import fig_joint_embedding, fig_leave_one_out, fig_model, fig_reconstructions
from .pictures import plot_caption_pairs, plot_picture, plot_picture_grid
from .style import COLOURS, save_figure, styled

__all__ = [
    "COLOURS",
    "fig_joint_embedding",
    "fig_leave_one_out",
    "fig_model",
    "fig_reconstructions",
    "plot_area_effects",
    "plot_areas",
    "plot_caption_pairs",
    "plot_collapse",
    "plot_ncsnr",
    "plot_picture",
    "plot_picture_grid",
    "plot_ridge_path",
    "plot_scores",
    "plot_session_drift",
    "plot_similarity",
    "plot_volume",
    "save_figure",
    "styled",
]
