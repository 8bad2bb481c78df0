"""The whole experiment, 8 subjects x 30,000 trials of 73,000 images, with betas of a tiny grid.

The design has NSD's structure and, for the shared images, NSD's published counts at 30, 32, 37 and
40 sessions; its image ids are drawn. A beta says which image was shown, so that every pairing error
is seen. Tests get it as ``full_nsd`` and must not change it.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from nsd_fixture import VERSION, save_betas, save_nifti, write_design

SHAPE = (4, 3, 5)
ACQUIRED = {1: 40, 2: 40, 3: 32, 4: 30, 5: 40, 6: 32, 7: 40, 8: 30}
WRITTEN = (1, 8)  # the betas of subject 1 only
BLOCKS = {"to 30": (0, 30), "to 32": (30, 32), "to 37": (32, 37), "to 40": (37, 40)}

# (number of shared images, their showings in each block): the one division of 1,000 images that was
# tried which gives all published counts, e.g. 515 + 99 = 614 seen three times in 32 sessions.
SPREAD = (
    *((515, (3, 0, 0, 0)), (99, (2, 1, 0, 0)), (152, (2, 0, 1, 0)), (61, (1, 1, 1, 0))),
    *((67, (1, 0, 2, 0)), (13, (1, 0, 0, 2)), (23, (0, 1, 0, 2)), (52, (0, 0, 1, 2))),
    (18, (0, 0, 0, 3)),
)


def make_order(rng):
    """Draw masterordering: trial -> image from 1, the first 1,000 shared, each three times."""
    order = np.zeros(30_000, int)
    shared = rng.permutation(np.arange(1, 1001))
    showings = np.repeat([s for _, s in SPREAD], [n for n, _ in SPREAD], axis=0)
    for (first, last), counts in zip(BLOCKS.values(), showings.T, strict=True):
        places = 750 * first + rng.permutation(750 * (last - first))[: counts.sum()]
        order[places] = np.repeat(shared, counts)
    order[order == 0] = rng.permutation(np.repeat(np.arange(1001, 10_001), 3))
    return order


def stored_betas(nsd_id):
    """Betas that name their image: (..., n_trials) int16, of an SD as in real files."""
    voxel = np.arange(np.prod(SHAPE)).reshape(*SHAPE, 1)
    return ((nsd_id * 7919 + voxel * 104_729) % 3001 - 1500).astype(np.int16)


@pytest.fixture(scope="session")
def full_nsd(tmp_path_factory):
    """Truth of the full-size folder."""
    root = tmp_path_factory.mktemp("full_nsd")
    rng, sizes = np.random.default_rng(11), (1000, 9000, 8)
    truth = SimpleNamespace(root=root, shape=SHAPE, stored_betas=stored_betas)
    acquired = {subject: ACQUIRED[subject] for subject in WRITTEN}
    write_design(root, truth, rng, sizes=sizes, sessions=acquired, order=make_order)
    labels = np.where(np.indices(SHAPE)[1] > 0, 1.0, -1.0)
    labels[0] = 0
    for subject in WRITTEN:
        roi = root / f"nsddata/ppdata/subj{subject:02d}/func1pt8mm/roi"
        save_nifti(roi / "nsdgeneral.nii.gz", labels, tr=1)
    folder = root / "nsddata_betas/ppdata/subj01/func1pt8mm" / VERSION
    for session, shown in enumerate(truth.nsd_id[1].reshape(40, 750), start=1):
        save_betas(folder, session, stored_betas(shown))
    return truth
