"""What is published about the real experiment, to recognise a folder of it and to check that.

None of this is asserted of any other data: a simulated or cut-down experiment has other numbers.
"""

import numpy as np
import pandas as pd

from ..project.errors import DataError
from .design import Design
from .paths import NSDLayout
from .rois import roi_mask

# Shared images in the first n sessions of the real experiment, the same for all subjects: how many
# were shown at least once (the usual test set), in how many trials, and where it is published how
# many were shown 3, 2 and 1 times (NSD Data Manual, technical notes; Allen et al., 2022). 40, 32
# and 30 are all that subjects took part in. Older papers used 37, because the last three sessions
# were withheld until August 2023: 982 images, not all of them shown three times.
SHARED_COUNTS = {
    40: (1000, 3000, 1000, 0, 0),
    37: (982, 2770),
    32: (930, 2371, 614, 213, 103),
    30: (907, 2188, 515, 251, 141),
}

# Voxels of each subject's nsdgeneral at 1.8 mm.
NSDGENERAL_VOXELS = dict(
    enumerate((15724, 14278, 15226, 13153, 13039, 17907, 12682, 14386), start=1)
)

SHARED_SPAN = (2950, 72948)  # first and last NSD id (from 0) of the shared images
FIRST_IMAGE_OF_SUBJECT_1 = 46002


def is_nsd(design: Design) -> bool:
    """Whether a design is that of the real experiment, by its sizes and the shared images' ids."""
    sizes = (design.n_sessions, design.nsd_id_of_image.size, design.shared_ids.size)
    span = (int(design.shared_ids.min()), int(design.shared_ids.max()))
    return sizes == (40, 10_000, 1000) and span == SHARED_SPAN


def check_published(layout: NSDLayout, design: Design, table: pd.DataFrame) -> dict[str, int]:
    """Compare a folder of the real data with what is published; anything else passes unlooked at.

    Parameters
    ----------
    layout : NSDLayout
        The subject.
    design : Design
        From :func:`read_design`.
    table : pandas.DataFrame
        From :func:`trial_table`, of the sessions analysed.

    Returns
    -------
    dict of str to int
        The numbers that were found and agree; empty if the design is not NSD's own, or nothing is
        published for these sessions.

    Raises
    ------
    DataError
        If a number differs.
    """
    if not is_nsd(design):
        return {}
    found = {}
    if layout.subject == 1:
        first = int(design.nsd_id_of_image[design.image_of_trial[0]])
        found["first image"] = (first, FIRST_IMAGE_OF_SUBJECT_1, layout.expdesign)
    found |= _shared_counts(layout, table)
    if layout.space == "func1pt8mm" and layout.roi("nsdgeneral").is_file():
        n_voxels = np.count_nonzero(roi_mask(layout, "nsdgeneral"))
        expected = NSDGENERAL_VOXELS[layout.subject]
        found["nsdgeneral voxels"] = (n_voxels, expected, layout.roi("nsdgeneral"))
    for name, (value, expected, path) in found.items():
        if value != expected:
            raise DataError(
                f"{name} of {layout.subject_name}: {value} in {path}, but NSD's own is {expected}. "
                "The file was changed, or is another subject's. Fetch it again."
            )
    return {name: value for name, (value, _, _) in found.items()}


def _shared_counts(layout: NSDLayout, table: pd.DataFrame) -> dict[str, tuple]:
    sessions = table["session"].unique().tolist()
    if sessions != list(range(1, len(sessions) + 1)):
        return {}
    repeats = table.loc[table["shared"], "nsd_id"].value_counts()
    found = {
        "shared images shown": repeats.size,
        "trials of shared images": int(repeats.sum()),
        **{f"shared images shown {n} times": int((repeats == n).sum()) for n in (3, 2, 1)},
    }
    published = SHARED_COUNTS.get(len(sessions), ())
    return {
        name: (value, expected, layout.expdesign)
        for (name, value), expected in zip(found.items(), published, strict=False)
    }
