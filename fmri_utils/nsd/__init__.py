"""Read the Natural Scenes Dataset (NSD) as it lies on disk, or a simulated folder like it.

A path through it::

    layout = NSDLayout("data/nsd", subject=1)
    print(session_coverage(layout))                 # "37 of 40 sessions"
    table = trial_table(layout)                     # one row per trial
    check_design(layout)                            # all sources agree on it
    mask = roi_mask(layout, "nsdgeneral+floc-faces")  # (X, Y, Z)
    betas = read_betas(layout, mask)                # (n_trials, n_voxels)
    split = split_by_image(table)                   # shared images are the test set
    fit = ~table["shared"].to_numpy()
    betas = zscore_sessions(betas, table["session"], fit)
    score = score_voxels(betas, table, split, rng)  # from training trials only
    ceiling = noise_ceiling(read_ncsnr(layout, mask), split.test_repeats(table["nsd_id"]))

Images and trials count from 0, sessions and subjects from 1, as in their file names.
"""

from .area_masks import (
    NAMED_AREAS,
    Areas,
    atlas_areas,
    available,
    main_areas,
    not_available,
    visual_areas,
    voxel_names,
)
from .betas import beta_file, read_betas
from .captions import read_captions
from .design import Design, read_design, read_responses, read_stim_info, trial_table
from .maps import noise_ceiling, read_brainmask, read_mean_volume, read_ncsnr, read_prf
from .paths import PSC_SCALE, TRIALS_PER_SESSION, NSDLayout, available_sessions, require
from .preprocessing import average_repeats, voxel_report, zscore_sessions
from .published import SHARED_COUNTS, SharedCounts, check_published, is_nsd
from .regions import FIELD_NAMES, region
from .rois import LabelTable, available_rois, read_labels, read_roi, roi_mask
from .selection import (
    estimate_ncsnr,
    score_voxels,
    select_by_ncsnr,
    select_voxels,
    split_half_reliability,
)
from .sessions import SessionCoverage, first_sessions, session_coverage
from .splits import Split, hold_out_images, leave_cluster_out, split_by_image, split_from_ids
from .stimuli import check_shared_pictures, read_images
from .trial_sources import check_design
from .volumes import to_volume

__all__ = [
    "FIELD_NAMES",
    "NAMED_AREAS",
    "PSC_SCALE",
    "SHARED_COUNTS",
    "TRIALS_PER_SESSION",
    "Areas",
    "Design",
    "LabelTable",
    "NSDLayout",
    "SessionCoverage",
    "SharedCounts",
    "Split",
    "atlas_areas",
    "available",
    "available_rois",
    "available_sessions",
    "average_repeats",
    "beta_file",
    "check_design",
    "check_published",
    "check_shared_pictures",
    "estimate_ncsnr",
    "first_sessions",
    "hold_out_images",
    "is_nsd",
    "leave_cluster_out",
    "main_areas",
    "noise_ceiling",
    "not_available",
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
    "region",
    "require",
    "roi_mask",
    "score_voxels",
    "select_by_ncsnr",
    "select_voxels",
    "session_coverage",
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
