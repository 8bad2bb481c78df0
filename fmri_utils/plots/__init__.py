"""Figures: ``plot_*`` draw into given axes, ``fig_*`` compose whole figures; none shows one."""

from .area_figure import fig_visual_areas
from .brain_maps import plot_area_effects, plot_areas, plot_volume
from .curves import (
    plot_collapse,
    plot_ncsnr,
    plot_ridge_path,
    plot_scores,
    plot_session_drift,
    plot_temperatures,
)
from .fields import plot_area_fields, plot_prf_angle
from .figures import (
    fig_joint_embedding,
    fig_leave_one_out,
    fig_model,
    fig_reconstructions,
    fig_scores,
    plot_score_rows,
)
from .gan_progress import plot_losses, save_progress
from .noise import (
    plot_drift_share,
    plot_ncsnr_histogram,
    plot_noise_correlation,
    plot_ranked_images,
    plot_repeat_reliability,
)
from .over_subjects import plot_study_curves, plot_study_differences
from .pictures import plot_caption_pairs, plot_nearest_captions, plot_picture, plot_picture_grid
from .students import (
    plot_attention,
    plot_label_budgets,
    plot_teacher_collapse,
    save_animation,
    student_teacher_frames,
)
from .style import COLOURS, STYLE, save_figure
