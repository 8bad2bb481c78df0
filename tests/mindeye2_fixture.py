"""A MindEye2 folder, written in its format from the experiment of ``nsd_fixture``.

Tests get it with ``pytest_plugins = ["nsd_fixture", "mindeye2_fixture"]``: ``me2`` is a copy of
their own, with the functions that wrote it.
"""

import io
import shutil
import tarfile
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from fmri_utils.nsd import NSDLayout
from fmri_utils.nsd.mindeye2 import MindEye2Layout

N_TRIALS = 1500


def npy(array):
    """Bytes of a ``.npy`` file; of objects too, which only a hostile archive holds."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def add(archive, name, data):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def write_archive(path, rows, offset=0):
    """Write one archive of webdataset samples; ``rows`` has 17 columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for i, row in enumerate(rows):
            key = f"sample{offset + i:09d}"
            add(archive, f"{key}.behav.npy", npy(row[None]))
            others = {"past_behav": 15, "future_behav": 15, "olds_behav": 3}
            for name, n in others.items() if i % 50 == 0 else ():
                add(archive, f"{key}.{name}.npy", npy(np.full((n, 17), -1.0)))


def behaviour(truth, rng):
    """Rows of all trials, in the order of the files."""
    trial = np.arange(N_TRIALS)
    nsd_id = truth.nsd_id[1][:N_TRIALS]
    rows = np.where(rng.random((N_TRIALS, 17)) < 0.1, -1.0, rng.integers(0, 3, (N_TRIALS, 17)))
    rows[:, 0], rows[:, 1], rows[:, 2] = nsd_id, 1, trial // 750 + 1
    rows[:, 3], rows[:, 4], rows[:, 5] = 1, trial % 750, trial
    rows[:, 16] = np.isin(nsd_id, truth.shared_ids)
    return rows


def rewrite(path, key, change):
    with h5py.File(path, "r+") as file:
        data = change(file[key][()])
        del file[key]
        file[key] = data


@pytest.fixture(scope="module")
def written(nsd, tmp_path_factory):
    """A MindEye2 folder of subject 1, and what is true of it."""
    tmp_path = tmp_path_factory.mktemp("mindeye2")
    rng = np.random.default_rng(4)
    n_voxels = int((nsd.subjects[1].rois["nsdgeneral"] == 1).sum())
    betas = rng.normal(size=(N_TRIALS, n_voxels)).astype(np.float32)
    with h5py.File(tmp_path / "betas_all_subj01_fp32_renorm.hdf5", "w") as file:
        file["betas"] = betas
    with h5py.File(tmp_path / "betas_all_subj01.hdf5", "w") as file:
        file["betas"] = betas[:750].astype(np.float16)
    with h5py.File(tmp_path / "COCO_73k_subj_indices.hdf5", "w") as file:
        for subject, nsd_id in nsd.nsd_id.items():
            file[f"subj{subject:02d}"] = nsd_id[:N_TRIALS]
    shared = np.isin(np.arange(nsd.n_all), nsd.shared_ids)
    np.save(tmp_path / "shared1000.npy", shared)
    images = rng.random((nsd.n_all, 3, 6, 6)).astype(np.float16)
    with h5py.File(tmp_path / "coco_images_224_float16.hdf5", "w") as file:
        file["images"] = images
    rows = behaviour(nsd, rng)
    wds, is_test = tmp_path / "wds" / "subj01", rows[:, 16] == 1
    for session in (0, 1):
        chosen = rng.permutation(np.flatnonzero(~is_test & (rows[:, 2] == session + 1)))
        write_archive(wds / "train" / f"{session}.tar", rows[chosen])
    write_archive(wds / "new_test" / "0.tar", rows[is_test])
    write_archive(wds / "test" / "0.tar", rows[is_test & (rows[:, 2] == 1)])
    return SimpleNamespace(root=tmp_path, betas=betas, images=images, rows=rows, shared=shared)


@pytest.fixture
def me2(nsd, written, tmp_path):
    """A copy of it that the test may damage."""
    root = tmp_path / "mindeye2"
    shutil.copytree(written.root, root)
    extra = {"layout": MindEye2Layout(root, 1), "nsd": NSDLayout(nsd.root, 1)}
    extra |= {"npy": npy, "add": add, "write_archive": write_archive, "rewrite": rewrite}
    return SimpleNamespace(
        **{**vars(written), "root": root, "wds": root / "wds" / "subj01", **extra}
    )
