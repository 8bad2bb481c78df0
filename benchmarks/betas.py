"""Reading one real-size session of betas: time and memory, ours against the plain way.

Run with ``make bench``. Makes a session of subject 1's size (81 x 104 x 83 voxels x 750 trials,
int16) in both of NSD's formats in a temporary folder (about 1.6 GB), reads nsdgeneral's number of
voxels from each in a process of its own, and writes ``betas.json`` beside this file. All times are
of one run on one machine, so only their ratios mean anything elsewhere.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
from tqdm import tqdm

from fmri_utils.nsd.betas import read_session
from fmri_utils.project.artifacts import atomic_path

GRID, N_TRIALS, N_VOXELS = (81, 104, 83), 750, 15_724
PSC_SCALE = 300


def make_masks() -> tuple[np.ndarray, np.ndarray]:
    """A brain (ellipsoid) and, at its back, a folded sheet with nsdgeneral's number of voxels."""
    axes = [np.linspace(-1, 1, n) for n in GRID]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt((x / 0.85) ** 2 + (y / 0.9) ** 2 + (z / 0.85) ** 2)
    fold = 0.78 + 0.12 * np.sin(14 * x) * np.cos(13 * z)  # depth of the sheet
    score = np.abs(radius - fold) + 10 * (y > -0.1)
    sheet = np.zeros(GRID, bool)
    sheet.ravel()[np.argsort(score, axis=None, kind="stable")[:N_VOXELS]] = True
    return radius < 1, sheet


def session_files(folder: Path) -> tuple[Path, Path]:
    """Where the session's NIfTI and HDF5 file are."""
    betas = folder / "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"
    return betas / "betas_session01.nii.gz", betas / "betas_session01.hdf5"


def make_session(folder: Path) -> None:
    """Write the session as NIfTI and as HDF5 with NSD's chunks, and the mask."""
    brain, mask = make_masks()
    nifti, hdf5 = session_files(folder)
    nifti.parent.mkdir(parents=True)
    (folder / "nsddata").mkdir()
    rng = np.random.default_rng(0)
    betas = np.zeros((N_TRIALS, *GRID[::-1]), np.int16)  # (trial, Z, Y, X)
    inside = brain.transpose(2, 1, 0)
    for trial in tqdm(range(N_TRIALS), desc="drawing"):
        noise = 2.3 * PSC_SCALE * rng.standard_normal(np.count_nonzero(inside), dtype=np.float32)
        betas[trial][inside] = np.rint(noise).astype(np.int16)
    image = nib.Nifti1Image(betas.transpose(3, 2, 1, 0), np.diag([1.8, 1.8, 1.8, 1]))
    nib.save(image, nifti)
    with h5py.File(hdf5, "w") as file:
        stored = file.create_dataset("betas", betas.shape, "int16", chunks=(N_TRIALS, 1, 1, 1))
        for z in tqdm(range(GRID[2]), desc="writing HDF5"):
            stored[:, z] = betas[:, z]
    np.save(folder / "mask.npy", mask)


def ours(path: str, mask: np.ndarray) -> np.ndarray:
    """The package's reader."""
    return read_session(Path(path), mask)


def plain_nifti(path: str, mask: np.ndarray) -> np.ndarray:
    """nibabel's whole volume as floats, then the mask."""
    return nib.load(path).get_fdata()[mask].T / PSC_SCALE


def plain_hdf5(path: str, mask: np.ndarray) -> np.ndarray:
    """The whole dataset, its axes reversed to nibabel's order, then the mask."""
    with h5py.File(path) as file:
        return file["betas"][:].T[mask].T.astype(np.float32) / PSC_SCALE


WAYS = {f.__name__: f for f in (ours, plain_nifti, plain_hdf5)}


def child(way: str, path: str, mask_file: str) -> None:
    """Measure one way in this process, which has done nothing else; print JSON."""
    mask = np.load(mask_file)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    betas = WAYS[way](path, mask)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    probe = [float(betas[t, v]) for t, v in ((0, 0), (10, 100), (749, N_VOXELS - 1))]
    print(json.dumps({"seconds": seconds, "megabytes": (peak - before) / 1024, "probe": probe}))


def measure(way: str, path: Path, folder: Path) -> dict:
    """Run :func:`child` in a new interpreter."""
    command = [sys.executable, __file__, way, str(path), str(folder / "mask.npy")]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(result.stdout.splitlines()[-1])


def main() -> None:
    """Make the files, measure every way, write the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Made in a process of its own: a large parent would count as its children's peak.
        subprocess.run([sys.executable, __file__, "make", name], check=True)
        nifti, hdf5 = session_files(folder)
        start = time.perf_counter()
        with open(os.devnull, "wb") as sink:
            subprocess.run(["gzip", "-dc", str(nifti)], stdout=sink, check=True)
        gzip_seconds = time.perf_counter() - start
        runs = {
            "NIfTI, nibabel get_fdata then mask": measure("plain_nifti", nifti, folder),
            "NIfTI, streamed": measure("ours", nifti, folder),
            "HDF5, whole then mask": measure("plain_hdf5", hdf5, folder),
            "HDF5, only the voxels' chunks": measure("ours", hdf5, folder),
        }
        sizes = {"nifti_bytes": nifti.stat().st_size, "hdf5_bytes": hdf5.stat().st_size}
    probes = [run.pop("probe") for run in runs.values()]
    if not all(np.allclose(probes[0], probe) for probe in probes):
        raise SystemExit(f"the ways of reading disagree: {probes}")
    for run in runs.values():
        run["times_gzip_dc"] = run["seconds"] / gzip_seconds
        print(f"{run['times_gzip_dc']:6.2f} x gzip -dc  {run['megabytes']:7.0f} MB", end="  ")
        print(next(k for k, v in runs.items() if v is run))
    machine = {"cpu": platform.machine(), "cores": os.cpu_count(), "python": sys.version.split()[0]}
    report = {"gzip_dc_seconds": gzip_seconds, **sizes, "machine": machine, "runs": runs}
    with atomic_path(Path(__file__).with_name("betas.json")) as tmp:
        tmp.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["make"]:
        make_session(Path(sys.argv[2]))
    elif len(sys.argv) > 1:
        child(*sys.argv[1:])
    else:
        main()
