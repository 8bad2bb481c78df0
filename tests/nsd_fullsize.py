"""The whole experiment, 8 subjects x 30,000 trials of 73,000 images, with betas of a tiny grid.

The design has NSD's structure and, for the shared images, NSD's published counts at 30, 32, 37 and
40 sessions; its image ids are drawn. A beta says which image was shown, so that every pairing error
is seen. Tests get it with ``pytest_plugins = ["nsd_fullsize"]`` and must not change it.
"""

from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
from nsd_fixture import VERSION, save_nifti, write_responses

SHAPE = (4, 3, 5)
ACQUIRED = {1: 40, 2: 40, 3: 32, 4: 30, 5: 40, 6: 32, 7: 40, 8: 30}
WRITTEN = {1: ("nii.gz", "hdf5"), 8: ()}
BLOCKS = {"to 30": (0, 30), "to 32": (30, 32), "to 37": (32, 37), "to 40": (37, 40)}

# (number of shared images, their showings in each block): the one division of 1,000 images that was
# tried which gives all published counts, e.g. 515 + 99 = 614 seen three times in 32 sessions.
SPREAD = (
    (515, (3, 0, 0, 0)),
    (99, (2, 1, 0, 0)),
    (152, (2, 0, 1, 0)),
    (61, (1, 1, 1, 0)),
    (67, (1, 0, 2, 0)),
    (13, (1, 0, 0, 2)),
    (23, (0, 1, 0, 2)),
    (52, (0, 0, 1, 2)),
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


def write_full(root):
    """Write the folder; returns its truth."""
    rng = np.random.default_rng(11)
    folder = root / "nsddata" / "experiments" / "nsd"
    folder.mkdir(parents=True)
    ids = rng.permutation(73_000) + 1
    shared, own = np.sort(ids[:1000]), ids[1000:].reshape(8, 9000)
    subjectim = np.column_stack([np.tile(shared, (8, 1)), own])
    order = make_order(rng)
    mat = {
        "masterordering": order[None].astype(np.uint16),
        "subjectim": subjectim.astype(np.int32),
        "sharedix": shared[None].astype(np.int32),
    }
    scipy.io.savemat(folder / "nsd_expdesign.mat", mat)
    truth = SimpleNamespace(
        root=root, order=order, shared_ids=shared - 1, expdesign=mat, shape=SHAPE
    )
    truth.stored_betas = stored_betas
    truth.nsd_id = {s: subjectim[s - 1, order - 1] - 1 for s in ACQUIRED}
    write_table(folder, shared, subjectim, order)
    for subject, formats in WRITTEN.items():
        n = ACQUIRED[subject]
        write_responses(root, subject, n, truth.nsd_id[subject], order)
        write_betas(root, subject, truth.nsd_id[subject][: 750 * n].reshape(n, 750), formats)
    return truth


def write_table(folder, shared, subjectim, order):
    """Write the table of stimuli, with the trials of the whole plan for every subject."""
    index = np.arange(73_000)
    info = pd.DataFrame({"cocoId": index, "cocoSplit": "train2017", "nsdId": index})
    info["shared1000"] = np.isin(index, shared - 1)
    trials = np.argsort(order, kind="stable").reshape(-1, 3) + 1
    for subject, images in enumerate(subjectim, start=1):
        for i in range(3):
            column = np.zeros(73_000, int)
            column[images - 1] = trials[:, i]
            info[f"subject{subject}_rep{i}"] = column
    info.to_csv(folder / "nsd_stim_info_merged.csv")


def write_betas(root, subject, nsd_id, formats):
    """Write the betas of all sessions of a subject, and a mask."""
    name = f"subj{subject:02d}"
    folder = root / "nsddata_betas" / "ppdata" / name / "func1pt8mm" / VERSION
    roi = root / "nsddata" / "ppdata" / name / "func1pt8mm" / "roi"
    folder.mkdir(parents=True)
    labels = np.where(np.indices(SHAPE)[1] > 0, 1.0, -1.0)
    labels[0] = 0
    save_nifti(roi / "nsdgeneral.nii.gz", labels, tr=1)
    for session, shown in enumerate(nsd_id, start=1):
        stored, stem = stored_betas(shown), folder / f"betas_session{session:02d}"
        if "nii.gz" in formats:
            save_nifti(stem.with_suffix(".nii.gz"), stored)
        if "hdf5" in formats:
            with h5py.File(stem.with_suffix(".hdf5"), "w") as file:
                data = np.ascontiguousarray(stored.T)
                file.create_dataset("betas", data=data, chunks=(750, 1, 1, 1))


@pytest.fixture(scope="session")
def full_nsd(tmp_path_factory):
    """Truth of the full-size folder."""
    return write_full(tmp_path_factory.mktemp("full_nsd"))
