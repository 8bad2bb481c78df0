"""Read the Natural Scenes Dataset (NSD) as it lies on disk, or a simulated folder like it.

A path through it::

    layout = NSDLayout("data/nsd", subject=1)
    table = trial_table(layout)                     # one row per trial
    check_design(layout)                            # all sources agree on it
    mask = roi_mask(layout, "nsdgeneral")           # (X, Y, Z)
    betas = read_betas(layout, mask)                # (n_trials, n_voxels)
    split = split_by_image(table)                   # shared images are the test set
    fit = ~table["shared"].to_numpy()
    betas = zscore_sessions(betas, table["session"], fit)

Images and trials count from 0, sessions and subjects from 1, as in their file names.
"""

from .betas import beta_file, betas_to_file, read_betas
from .captions import read_captions
from .design import Design, check_design, read_design, read_responses, read_stim_info, trial_table
from .layout import PSC_SCALE, TRIALS_PER_SESSION, NSDLayout, available_sessions, require
from .maps import noise_ceiling, read_brainmask, read_mean_volume, read_ncsnr, read_prf
from .preprocessing import (
    average_repeats,
    estimate_ncsnr,
    select_by_ncsnr,
    select_voxels,
    split_half_reliability,
    voxel_report,
    zscore_sessions,
)
from .rois import (
    Areas,
    LabelTable,
    main_areas,
    read_labels,
    read_roi,
    roi_mask,
    visual_areas,
    voxel_names,
)
from .splits import Split, hold_out_images, leave_cluster_out, split_by_image, split_from_ids
from .stimuli import read_images
from .volumes import to_volume

__all__ = [
    "PSC_SCALE",
    "TRIALS_PER_SESSION",
    "Areas",
    "Design",
    "LabelTable",
    "NSDLayout",
    "Split",
    "available_sessions",
    "average_repeats",
    "beta_file",
    "betas_to_file",
    "check_design",
    "estimate_ncsnr",
    "hold_out_images",
    "leave_cluster_out",
    "main_areas",
    "noise_ceiling",
    "read_betas",
    "read_brainmask",
    "read_captions",
    "read_design",
    "read_images",
    "read_labels",
    "read_mean_volume",
    "read_ncsnr",
    "read_prf",
    "read_responses",
    "read_roi",
    "read_stim_info",
    "require",
    "roi_mask",
    "select_by_ncsnr",
    "select_voxels",
    "split_by_image",
    "split_from_ids",
    "split_half_reliability",
    "to_volume",
    "trial_table",
    "visual_areas",
    "voxel_names",
    "voxel_report",
    "zscore_sessions",
]
