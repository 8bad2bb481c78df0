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
    score = split_half_reliability(betas[fit], table["nsd_id"][fit], rng)  # (n_voxels,)
    ceiling = noise_ceiling(read_ncsnr(layout, mask), 3)  # percent of variance

Images and trials count from 0, sessions and subjects from 1, as in their file names.
"""

from .area_masks import NAMED_AREAS, available, main_areas, visual_areas, voxel_names
from .betas import read_betas
from .design import trial_table
from .maps import noise_ceiling, read_brainmask, read_mean_volume, read_ncsnr, read_prf, to_volume
from .paths import NSDLayout
from .preprocessing import average_repeats, voxel_report, zscore_sessions
from .reliability import estimate_ncsnr, noise_like_signal, split_half_reliability
from .rois import FIELD_NAMES, region, roi_mask
from .sessions import first_sessions, session_coverage
from .splits import split_by_image
from .stimuli import read_captions, read_images
from .trial_sources import check_design
