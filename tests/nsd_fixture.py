"""A very small NSD folder, written byte by byte in NSD's conventions, and what is true of it.

Independent of the package's reader and of its simulator, so that neither can hide an error of the
other. ``nsd`` is shared and must not be changed, ``nsd_copy`` is a fresh copy to damage; ``layout``
and ``damaged`` are their paths.
"""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scipy.io

from fmri_utils.nsd.paths import NSDLayout

SHAPE = (7, 5, 6)
N_SHARED, N_OWN, N_SUBJECTS = 10, 490, 3
SESSIONS = {1: 2, 2: 1}
VERSION = "betas_fithrf_GLMdenoise_RR"
VISUAL = ["V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"]
STREAMS = ["early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal"]


def save_nifti(path, volume, tr=4 / 3):
    """Write a volume with the header that NSD's MATLAB tools write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([1.8, 1.8, 1.8, 1])
    affine[:3, 3] = -1.8 * (np.array(volume.shape[:3]) - 1) / 2
    image = nib.Nifti1Image(volume, affine)
    image.set_sform(affine, code=1)
    image.set_qform(None, code=0)
    image.header["pixdim"][4] = tr
    nib.save(image, path)


def save_betas(folder, session, stored):
    """Write one session, (X, Y, Z, 750) int16, in both formats."""
    save_nifti(folder / f"betas_session{session:02d}.nii.gz", stored)
    with h5py.File(folder / f"betas_session{session:02d}.hdf5", "w") as file:
        data = np.ascontiguousarray(stored.transpose(3, 2, 1, 0))
        file.create_dataset("betas", data=data, chunks=(750, 1, 1, 1))


def any_order(rng):
    """Draw masterordering: trial -> image from 1, each three times."""
    return rng.permutation(np.repeat(np.arange(1, N_SHARED + N_OWN + 1), 3))


def write_design(
    root, truth, rng, *, sizes=(N_SHARED, N_OWN, N_SUBJECTS), sessions=SESSIONS, order=any_order
):
    """Write the three files that say which image was shown when, all counting as NSD does."""
    folder = root / "nsddata" / "experiments" / "nsd"
    folder.mkdir(parents=True)
    n_shared, n_own, n_subjects = sizes
    ids = rng.permutation(n_shared + n_subjects * n_own) + 1
    shared, own = np.sort(ids[:n_shared]), ids[n_shared:].reshape(n_subjects, n_own)
    subjectim = np.column_stack([np.tile(shared, (n_subjects, 1)), own])
    order = truth.order = order(rng)
    pattern = np.zeros((order.size // 750, 12, 75), np.uint8)
    pattern[:, ::2, 3:66] = 1
    pattern[:, 1::2, 3:65] = 1
    truth.expdesign = {
        "masterordering": order[None].astype(np.uint16),
        "subjectim": subjectim.astype(np.int32),
        "sharedix": shared[None].astype(np.int32),
        "stimpattern": pattern,
    }
    scipy.io.savemat(folder / "nsd_expdesign.mat", truth.expdesign)
    truth.nsd_id = {s: images[order - 1] - 1 for s, images in enumerate(subjectim, start=1)}
    truth.shared_ids, truth.n_all = shared - 1, ids.size
    index = np.arange(ids.size)
    info = pd.DataFrame({"cocoId": 1000 + 7 * index, "cropBox": "(0, 0, 0.1, 0.1)", "nsdId": index})
    info["cocoSplit"] = np.where(index % 3 == 0, "val2017", "train2017")
    info["shared1000"] = np.isin(index, shared - 1)
    for subject, images in enumerate(subjectim, start=1):
        reps = np.zeros((ids.size, 3), int)
        reps[images - 1] = np.argsort(order, kind="stable").reshape(-1, 3) + 1
        info[f"subject{subject}"] = (reps[:, 0] > 0).astype(int)
        for i in range(3):
            info[f"subject{subject}_rep{i}"] = reps[:, i]
    info.to_csv(folder / "nsd_stim_info_merged.csv")
    for subject, n_sessions in sessions.items():
        write_responses(root, subject, n_sessions, truth.nsd_id[subject], order)


def write_responses(root, subject, n_sessions, nsd_id, order):
    """Write ``responses.tsv`` of the acquired sessions."""
    n = 750 * n_sessions
    columns = {"SUBJECT": subject, "SESSION": np.arange(n) // 750 + 1, "73KID": nsd_id[:n] + 1}
    table = pd.DataFrame({**columns, "10KID": order[:n]})
    path = root / "nsddata" / "ppdata" / f"subj{subject:02d}" / "behav" / "responses.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, sep="\t", index=False, na_rep="NaN")


def label_volumes(rng):
    """Draw label volumes: -1 outside cortex, 0 without a label, then the labels."""
    cortex = np.zeros(SHAPE, bool)
    cortex[1:6, 1:4, 1:5] = True
    volumes = {}
    for name, n in (("prf-visualrois", 7), ("floc-faces", 5), ("streams", 7), ("nsdgeneral", 1)):
        volumes[name] = np.where(cortex, rng.integers(0, n + 1, SHAPE), -1).astype(np.float64)
    volumes["floc-faces"][volumes["floc-faces"] == 4] = 0  # not every subject has every area
    return cortex, volumes


def write_subject(root, subject, truth, rng):
    """Write one subject's maps, ROIs and betas."""
    cortex, rois = label_volumes(rng)
    ppdata = root / "nsddata" / "ppdata" / f"subj{subject:02d}" / "func1pt8mm"
    labels = root / "nsddata" / "freesurfer" / f"subj{subject:02d}" / "label"
    labels.mkdir(parents=True)
    left = np.indices(SHAPE)[0] < 4
    for name, volume in rois.items():
        save_nifti(ppdata / "roi" / f"{name}.nii.gz", volume, tr=1)
        for side, where in (("lh", left), ("rh", ~left)):
            one = np.where(where, volume, -1)
            save_nifti(ppdata / "roi" / f"{side}.{name}.nii.gz", one, tr=1)
    for atlas, names, end in (("prf-visualrois", VISUAL, "\t  \n"), ("streams", STREAMS, "\n")):
        text = "".join(f"{i} {name}{end}" for i, name in enumerate(["Unknown", *names]))
        (labels / f"{atlas}.mgz.ctab").write_text(text)  # with white space, as real ones
    brain = np.zeros(SHAPE, bool)
    brain[:, :4] = True
    save_nifti(ppdata / "brainmask.nii.gz", brain.astype(np.int16))
    save_nifti(ppdata / "mean.nii.gz", (1000 * brain).astype(np.float32))
    maps = {"angle": (0, 360), "eccentricity": (0, 8), "size": (0.2, 5), "R2": (-10, 90)}
    prf = {k: rng.uniform(*v, SHAPE).astype(np.float32) for k, v in maps.items()}
    fovea = np.argwhere(cortex)[0]
    prf["eccentricity"][tuple(fovea)], prf["angle"][tuple(fovea)] = 0, np.nan
    for name, volume in prf.items():
        prf[name] = np.where(brain, volume, np.nan).astype(np.float32)
        save_nifti(ppdata / f"prf_{name}.nii.gz", prf[name])
    folder = root / "nsddata_betas" / "ppdata" / f"subj{subject:02d}" / "func1pt8mm" / VERSION
    ncsnr = np.where(brain, rng.uniform(0, 0.6, SHAPE), np.nan).astype(np.float32)
    save_nifti(folder / "ncsnr.nii.gz", ncsnr)
    stored = []
    for session in range(1, SESSIONS[subject] + 1):
        psc = rng.normal(2, 3, (*SHAPE, 750)) * brain[..., None]
        stored.append(np.clip(np.round(psc * 300), -32768, 32767).astype(np.int16))
        save_betas(folder, session, stored[-1])
    truth.subjects[subject] = SimpleNamespace(
        stored=stored, rois=rois, prf=prf, ncsnr=ncsnr, brain=brain, cortex=cortex, left=left
    )


def write_stimuli(root, truth, rng):
    """Write images (each of one colour and some noise) and captions."""
    folder = root / "nsddata_stimuli" / "stimuli" / "nsd"
    (folder / "annotations").mkdir(parents=True)
    colour = rng.integers(20, 230, (truth.n_all, 1, 1, 3))
    truth.images = (colour + rng.integers(0, 20, (truth.n_all, 8, 8, 3))).astype(np.uint8)
    with h5py.File(folder / "nsd_stimuli.hdf5", "w") as file:
        file.create_dataset("imgBrick", data=truth.images)
    for name in ("train2017", "val2017"):
        chosen = [i for i in range(truth.n_all) if (i % 3 == 0) == (name == "val2017")]
        annotations = [
            {"id": 10 * i + k, "image_id": 1000 + 7 * i, "caption": f"image {i},  text {k}\n"}
            for k in range(5)
            for i in chosen
        ]
        text = json.dumps({"annotations": annotations})
        (folder / "annotations" / f"captions_{name}.json").write_text(text)


def write_design_tables(truth, sessions=(1, 2), rest=()):
    """Write the design matrices of subject 1's time series; runs of ``rest`` show nothing.

    Returns their folder.
    """
    folder = truth.root / "nsddata_timeseries/ppdata/subj01/func1pt8mm/design"
    folder.mkdir(parents=True)
    for session in sessions:
        ids = truth.nsd_id[1][750 * (session - 1) : 750 * session] + 1
        runs = [*rest, *np.split(ids, np.cumsum([63, 62] * 6)[:-1]), *rest]
        for run, shown in enumerate(runs, start=1):
            onsets = np.zeros(225, int)
            onsets[9 : 9 + 3 * len(shown) : 3] = shown
            np.savetxt(folder / f"design_session{session:02d}_run{run:02d}.tsv", onsets, fmt="%d")
    return folder


def write_nsd(root):
    """Write the whole folder; returns its truth."""
    rng = np.random.default_rng(7)
    truth = SimpleNamespace(root=Path(root), subjects={}, shape=SHAPE, save_nifti=save_nifti)
    truth.save_betas, truth.write_design_tables = save_betas, write_design_tables
    write_design(truth.root, truth, rng)
    write_stimuli(truth.root, truth, rng)
    for subject in SESSIONS:
        write_subject(truth.root, subject, truth, rng)
    return truth


@pytest.fixture(scope="session")
def nsd(tmp_path_factory):
    """Truth of a folder that no test may change; ``nsd.root`` is its place."""
    return write_nsd(tmp_path_factory.mktemp("nsd"))


@pytest.fixture
def nsd_copy(nsd, tmp_path):
    """Truth of a copy of the folder that the test may damage."""
    root = tmp_path / "nsd"
    shutil.copytree(nsd.root, root)
    return SimpleNamespace(**{**vars(nsd), "root": root})


@pytest.fixture
def layout(nsd):
    """Paths of subject 1 in the shared folder."""
    return NSDLayout(nsd.root, 1)


@pytest.fixture
def damaged(nsd_copy):
    """Paths of subject 1 in the copy."""
    return NSDLayout(nsd_copy.root, 1)
