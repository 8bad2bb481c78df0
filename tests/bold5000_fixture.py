"""A very small BOLD5000, in the formats of OpenNeuro's ds001499 and of Release 2.0.

Independent of the package's reader. ``bold5000`` is a factory: subject, names of the areas' files
and types are what tests change.
"""

import io
import zipfile
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from fmri_utils.nsd.bold5000 import RUNS

SHAPE, SIDE = (12, 9, 8), 20
SMALL_RUNS = (2, 1, 2)  # of each session
AREAS = ("EarlyVis", "LOC", "OPA", "PPA", "RSC")
COLUMNS = "onset duration Subj Sess Run Trial ImgName ImgType StimOn(s) StimOff(s) Response RT"
BETAS = "CSI{}_GLMbetas-TYPED-FITHRF-GLMDENOISE-RR_allses_{}.npy"
NUMBERS = "\t6.0\t1.0\t"


def as_bytes(save, *arguments, **named):
    buffer = io.BytesIO()
    save(buffer, *arguments, **named)
    return buffer.getvalue()


def picture(name, size=(SIDE, SIDE)):
    """A flat colour that no other name has."""
    colour = tuple(np.random.default_rng(list(name.encode())).integers(0, 256, 3).tolist())
    return as_bytes(Image.new("RGB", size, colour).save, "PNG")


def images_of_trials(rng, n_trials):
    """Names: one shown four times, one three times, one twice, the others once."""
    again = ["COCO_train2014_000000000007.jpg"] * 4 + ["n01440764_1.JPEG"] * 3 + ["cave.jpg"] * 2
    kinds = ("COCO_train2014_{:012d}.jpg", "n{:08d}_22.JPEG", "Cave{}.jpg")
    once = [kinds[i % 3].format(100 + i) for i in range(n_trials - len(again))]
    return rng.permutation(again + once)


def event_file(subject, session, run, names, repeated):
    lines = [f"{COLUMNS} stim_file".replace(" ", "\t")]
    for trial, name in enumerate(names, start=1):
        kind = "coco" if name.startswith("COCO") else "imagenet" if name[0] == "n" else "scenes"
        kind = f"rep_{kind}" if name in repeated else kind
        cells = [6, 1, subject, session, run, trial, name, kind, 6, 7, 2, 1.25, name]
        lines.append("\t".join(map(str, cells)))
    return "\n".join(lines) + "\n"


def masks_of(rng):
    """Blobs, left ones with a low first index; LOC and OPA of each side overlap."""
    masks = {}
    for number, area in enumerate(AREAS):
        for side, half in (("LH", slice(0, 6)), ("RH", slice(6, 12))):
            field = gaussian_filter(rng.standard_normal(SHAPE), 1)
            mask = np.zeros(SHAPE, bool)
            depth = slice(max(0, number - 1), number + 3)
            mask[half, :, depth] = field[half, :, depth] > 0
            masks[side + area] = mask
    return masks


def nifti(mask, dtype):
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = -10, -9, -8
    volume = mask * (0.125 if np.dtype(dtype).kind == "f" else 1)
    image = nib.Nifti1Image(volume.astype(dtype), affine)
    return image.to_bytes()


@pytest.fixture
def bold5000(tmp_path, monkeypatch):
    """Write a folder; returns it with what is true of it."""
    import gzip

    def write(
        subject=1, spelled=None, dtype=np.float32, order="C", zipped=True, folder="b5k", seed=0
    ):
        rng, spelled = np.random.default_rng(seed), spelled or {}
        monkeypatch.setitem(RUNS, subject, SMALL_RUNS)
        root = tmp_path / folder
        n_trials = 37 * sum(SMALL_RUNS)
        names = images_of_trials(rng, n_trials)
        counts = dict(zip(*np.unique(names, return_counts=True), strict=True))
        repeated = {name for name, n in counts.items() if n > 1}
        events, start = root / "ds001499" / f"sub-CSI{subject}", 0
        for session, n_runs in enumerate(SMALL_RUNS, start=1):
            for run in range(1, n_runs + 1):
                name = f"sub-CSI{subject}_ses-{session:02d}_task-5000scenes_run-{run:02d}_events"
                path = events / f"ses-{session:02d}" / "func" / f"{name}.tsv"
                path.parent.mkdir(parents=True, exist_ok=True)
                shown = names[start : start + 37]
                path.write_text(event_file(subject, session, run, shown, repeated))
                start += 37
        masks = masks_of(rng)
        noise = rng.standard_normal((n_trials, *SHAPE))
        volumes = np.stack([gaussian_filter(one, 1) for one in noise]) * 5
        folder = root / "ds001499" / "derivatives" / "spm" / f"sub-CSI{subject}"
        folder.mkdir(parents=True)
        members = {"../../outside.txt": b"out", "__MACOSX/BOLD/._x.npy": b"notes", "py/": b""}
        for number, (area, mask) in enumerate(masks.items()):
            name = spelled.get(area, area)
            data = nifti(mask, (np.uint8, np.float32)[number % 2])
            path = folder / f"sub-CSI{subject}_mask-{name}.nii.gz"
            path.write_bytes(gzip.compress(data))
            columns = volumes[:, mask] if order == "C" else volumes.transpose(0, 3, 2, 1)[:, mask.T]
            file = BETAS.format(subject, name)
            members[f"BOLD/BOLD/py/{file}"] = as_bytes(np.save, columns.astype(dtype))
        archive = root / "BOLD5000_GLMsingle_ROI_betas.zip"
        if zipped:
            with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
                for name, data in members.items():
                    file.writestr(name, data)
        shown = {f"presented_stimuli/x/{name}": picture(name) for name in counts}
        with zipfile.ZipFile(root / "presented_stimuli.zip", "w") as file:
            for name, data in shown.items():
                file.writestr(name, data)
        return SimpleNamespace(
            root=root, subject=subject, names=names, counts=counts, masks=masks, volumes=volumes,
            members=members, archive=archive, events=events, mask_folder=folder,
        )  # fmt: skip

    return write
