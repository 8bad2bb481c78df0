"""Malformed NSD folders are refused, every one, by DataError: through the functions notebooks use.

Files of every kind are cut off, swapped, overwritten, removed, have bits flipped, or are whole but
say something wrong. A flipped bit that changes nothing of what is read is not counted.
"""

import functools
import json
import shutil
from types import SimpleNamespace

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scipy.io
from hypothesis import strategies as st
from malformed import HarmlessError, flipped, refuse_all, replaced

from fmri_utils import nsd as reader
from fmri_utils.nsd import rois
from fmri_utils.nsd.betas import read_session
from fmri_utils.nsd.roi_betas import RoiBetas, flat_voxels, save_roi_betas


@pytest.fixture(scope="module")
def folder(nsd, tmp_path_factory):
    """A folder of its own, with some voxels' betas and design tables, and what is true of it."""
    root = tmp_path_factory.mktemp("malformed") / "nsd"
    shutil.copytree(nsd.root, root)
    truth = SimpleNamespace(**{**vars(nsd), "root": root})
    truth.write_design_tables(truth)
    layout = reader.NSDLayout(root, 1)
    truth.layout, truth.mask = layout, reader.roi_mask(layout)
    truth.ids = np.arange(6)
    stored, voxels = truth.subjects[1].stored[0][truth.mask].T, flat_voxels(truth.mask)
    order = np.argsort(voxels)
    roi = RoiBetas(stored[:, order], voxels[order], truth.shape, "nsdgeneral", "u", "e", 1)
    save_roi_betas(layout.betas_roi(1), roi)
    return truth


def files(folder):
    """Kind of file to its path and to the reading of it."""
    layout, mask, ids = folder.layout, folder.mask, folder.ids

    def betas(path):
        return path, lambda: read_session(path, mask)

    def design(*reads):
        return lambda: (reader.check_design(layout), *(read() for read in reads))

    def captions():
        return reader.read_captions(layout, ids)

    return {
        "expdesign": (layout.expdesign, lambda: reader.trial_table(layout)),
        "stim_info": (layout.stim_info, design(captions)),
        "responses": (layout.responses, design(lambda: reader.session_coverage(layout))),
        "design table": (layout.design_tables(1)[2], design()),
        "nsdgeneral": (layout.roi("nsdgeneral"), lambda: reader.roi_mask(layout)),
        "visual": (layout.roi("prf-visualrois"), lambda: reader.visual_areas(layout, mask)),
        "left": (layout.roi("nsdgeneral", "lh"), lambda: reader.visual_areas(layout, mask)),
        "ctab": (layout.ctab("prf-visualrois"), lambda: rois.read_roi(layout, "prf-visualrois")),
        "brainmask": (layout.brainmask, lambda: reader.read_brainmask(layout)),
        "mean": (layout.mean_volume, lambda: reader.read_mean_volume(layout).get_fdata()),
        "prf": (layout.prf("angle"), lambda: reader.read_prf(layout, mask)),
        "ncsnr": (layout.ncsnr(), lambda: reader.read_ncsnr(layout, mask)),
        "nifti": betas(layout.betas_nifti(1)),
        "hdf5": betas(layout.betas_hdf5(1)),
        "roi hdf5": betas(layout.betas_roi(1)),
        "stimuli": (layout.stimuli, lambda: reader.read_images(layout, ids, progress=False)),
        "captions": (layout.captions("train2017"), captions),
    }


OPTIONAL = {"responses", "design table", "ctab", "visual", "left"}  # what is not there is told
# What a file is overwritten with, always of another format or of other contents.
SWAPS = [
    *(("expdesign", "hdf5"), ("stim_info", "responses"), ("responses", "ctab"), ("visual", "mean")),
    *(("nsdgeneral", "ncsnr"), ("left", "nifti"), ("ctab", "captions"), ("brainmask", "ncsnr")),
    *(("mean", "nifti"), ("prf", "nifti"), ("ncsnr", "stimuli"), ("nifti", "hdf5")),
    *(("nifti", "ncsnr"), ("hdf5", "stimuli"), ("hdf5", "roi hdf5"), ("roi hdf5", "hdf5")),
    *(("stimuli", "captions"), ("captions", "stim_info"), ("design table", "responses")),
]


@pytest.mark.filterwarnings("ignore:loadtxt. input contained no data")
def test_files_cut_off_overwritten_swapped_or_missing(folder):
    known = files(folder)
    for _, read in known.values():
        read()  # whole, it is read
    whole = {kind: path.read_bytes() for kind, (path, _) in known.items()}
    kinds = st.sampled_from(list(known))
    cases = st.one_of(
        st.tuples(st.just("cut"), kinds, st.floats(0, 0.6)),
        st.tuples(st.just("bytes"), kinds, st.binary(min_size=1, max_size=300)),
        st.tuples(st.just("swap"), st.sampled_from(SWAPS)),
        st.tuples(st.just("removed"), st.sampled_from(sorted(set(known) - OPTIONAL))),
    )

    def attempt(case):
        if case[0] == "cut":
            kind, data = case[1], whole[case[1]][: int(case[2] * len(whole[case[1]]))]
        elif case[0] == "bytes":
            kind, data = case[1:]
        elif case[0] == "swap":
            kind, data = case[1][0], whole[case[1][1]]
        else:
            kind, data = case[1], None
        with replaced(known[kind][0], data):
            return known[kind][1]()

    refuse_all("nsd: damages", cases, attempt, more=30)


def same(a, b):
    if isinstance(a, pd.DataFrame):
        return a.equals(b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    return a == b


# Text and HDF5 have no checksum, so that only their structure can be checked: HDF5's first bytes.
CHECKED = {"nsdgeneral": 1.0, "brainmask": 1.0, "mean": 1.0, "prf": 1.0, "ncsnr": 1.0}
CHECKED |= {"nifti": 1.0, "hdf5": 0.002, "stimuli": 0.004, "roi hdf5": 0.01}


def test_flipped_bits(folder):
    known = files(folder)
    whole = {kind: known[kind][0].read_bytes() for kind in CHECKED}
    truth = {kind: known[kind][1]() for kind in CHECKED}
    places = st.floats(0, 1, exclude_max=True)
    cases = st.tuples(st.sampled_from(sorted(CHECKED)), places, st.integers(1, 255))

    def attempt(case):
        kind, where, bits = case
        with replaced(known[kind][0], flipped(whole[kind], where * CHECKED[kind], bits)):
            found = known[kind][1]()
        if same(found, truth[kind]):
            raise HarmlessError
        return kind

    refuse_all("nsd: flips", cases, attempt, more=100)


def mat(**changes):
    """Save the design with some variables changed, or left out (None)."""

    def write(path):
        design = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
        for name, change in changes.items():
            value = design.pop(name)
            design |= {} if change is None else {name: change(value)}
        scipy.io.savemat(path, design)

    return "expdesign", write


def put(where, value):
    def change(array):
        array = array.astype(np.result_type(array, type(value)))
        array.flat[where] = value
        return array

    return change


def table(kind, change, sep=","):
    """Save a table with something changed."""

    def write(path):
        kept = pd.read_csv(path, sep=sep, index_col=0 if sep == "," else None)
        change(kept).to_csv(path, sep=sep, index=sep == ",", na_rep="NaN")

    return kind, write


def column(name, values):
    return lambda kept: kept.assign(**{name: values(kept[name])})


tsv = functools.partial(table, "responses", sep="\t")


def some(value, row=100):
    return lambda s: s.astype(object).where(np.arange(len(s)) != row, value)


def volume(kind, change, affine=None):
    """Save a volume with something changed."""

    def write(path):
        image = nib.load(path)
        data = change(np.asarray(image.dataobj))
        path.unlink()
        new = image.affine if affine is None else affine(image.affine)
        out = nib.Nifti1Image(data, new)
        out.set_sform(new, code=1)
        nib.save(out, path)

    return kind, write


def hdf5(kind, change):
    def write(path):
        with h5py.File(path, "r+") as file:
            change(file)

    return kind, write


def renew(name, change):
    def write(file):
        data = change(file[name][()])
        del file[name]
        file[name] = data

    return write


def captions(change):
    def write(path):
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return "captions", write


def each(**entries):
    return lambda content: {"annotations": [{**a, **entries} for a in content["annotations"]]}


def design_table(text):
    return "design table", lambda path: path.write_text(text)


def mirrored(affine):
    return affine @ np.diag([-1, 1, 1, 1])


WRONG = {
    "order: half a trial": mat(masterordering=put(5, 2.5)),
    "order: from 0": mat(masterordering=lambda a: a - 1),
    "order: beyond the images": mat(masterordering=put(0, 501)),
    "order: 1499 trials": mat(masterordering=lambda a: a[:, :-1]),
    "order: text": mat(masterordering=lambda a: "ordering"),
    "order: absent": mat(masterordering=None),
    "images: turned": mat(subjectim=lambda a: a.T),
    "images: twice the same": mat(subjectim=lambda a: put(20, a[0, 21])(a)),
    "images: id 0": mat(subjectim=put(20, 0)),
    "shared: backwards": mat(sharedix=lambda a: a[:, ::-1]),
    "shared: others": mat(sharedix=lambda a: a + 1),
    "pattern: a trial less": mat(stimpattern=put(3, 0)),
    "info: ids from 1": table("stim_info", column("nsdId", lambda s: s + 1)),
    "info: no COCO id": table("stim_info", lambda kept: kept.drop(columns="cocoId")),
    "info: COCO id a word": table("stim_info", column("cocoId", some("dog"))),
    "info: no split": table("stim_info", column("cocoSplit", some(np.nan))),
    "info: another split": table("stim_info", column("cocoSplit", lambda s: "test2017")),
    "info: shared flipped": table("stim_info", column("shared1000", lambda s: ~s)),
    "info: shared unknown": table("stim_info", column("shared1000", some(np.nan))),
    "info: trials shifted": table("stim_info", column("subject1_rep0", lambda s: s + (s > 0))),
    "info: half trials": table("stim_info", column("subject1_rep1", lambda s: s + 0.5)),
    "responses: ids from 0": tsv(column("73KID", lambda s: s - 1)),
    "responses: images from 0": tsv(column("10KID", lambda s: s - 1)),
    "responses: subject 2": tsv(column("SUBJECT", lambda s: 2)),
    "responses: sessions from 0": tsv(column("SESSION", lambda s: s - 1)),
    "responses: id unknown": tsv(column("73KID", some(np.nan))),
    "responses: no ids": tsv(lambda kept: kept.drop(columns="73KID")),
    "responses: a row less": tsv(lambda kept: kept.drop(index=7)),
    "design: words": design_table("one\ntwo\n"),
    "design: nothing shown": design_table("0\n" * 225),
    "design: huge": design_table("9" * 40 + "\n"),
    "roi: fractions": volume("nsdgeneral", lambda d: d * 0.5),
    "roi: below -1": volume("nsdgeneral", lambda d: d - 3),
    "roi: unknown label": volume("visual", put(40, 99)),
    "roi: 4-D": volume("nsdgeneral", lambda d: d[..., None].repeat(2, -1)),
    "roi: mirrored": volume("nsdgeneral", np.array, mirrored),
    "roi: other grid": volume("visual", lambda d: d[:-1]),
    "betas: floats": volume("nifti", lambda d: d.astype(np.float32)),
    "betas: 749 trials": volume("nifti", lambda d: d[..., :-1]),
    "betas: mirrored": volume("nifti", np.array, mirrored),
    "betas: other grid": volume("nifti", lambda d: d[:-1]),
    "hdf5: floats": hdf5("hdf5", renew("betas", lambda d: d / 300)),
    "hdf5: 749 trials": hdf5("hdf5", renew("betas", lambda d: d[:-1])),
    "hdf5: turned": hdf5("hdf5", renew("betas", lambda d: d.transpose(0, 3, 2, 1))),
    "hdf5: other name": hdf5("hdf5", lambda file: file.move("betas", "beta")),
    "some voxels: fewer": hdf5("roi hdf5", renew("roi_betas", lambda d: d[:, :-1])),
    "some voxels: unsorted": hdf5("roi hdf5", renew("voxels", lambda d: d[::-1])),
    "some voxels: outside": hdf5("roi hdf5", renew("voxels", lambda d: d + 10_000)),
    "some voxels: no grid": hdf5("roi hdf5", lambda file: file.attrs.__delitem__("grid")),
    "ncsnr: negative": volume("ncsnr", lambda d: -d),
    "ncsnr: infinite": volume("ncsnr", lambda d: d * np.inf),
    "ncsnr: unknown": volume("ncsnr", lambda d: d * np.nan),
    "ncsnr: other grid": volume("ncsnr", lambda d: d.transpose(1, 0, 2)),
    "brain mask: labels": volume("brainmask", lambda d: d * 7),
    "brain mask: empty": volume("brainmask", lambda d: d * 0),
    "mean: 2-D": volume("mean", lambda d: d[0]),
    "pRF: other grid": volume("prf", lambda d: d[:, :-1]),
    "stimuli: floats": hdf5("stimuli", renew("imgBrick", lambda d: d / 255)),
    "stimuli: not square": hdf5("stimuli", renew("imgBrick", lambda d: d[:, :-1])),
    "stimuli: too few": hdf5("stimuli", renew("imgBrick", lambda d: d[:3])),
    "stimuli: other name": hdf5("stimuli", lambda file: file.move("imgBrick", "images")),
    "captions: other key": captions(lambda content: {"captions": []}),
    "captions: other images": captions(each(image_id=-1)),
    "captions: images in lists": captions(each(image_id=[1])),
    "captions: blank": captions(each(caption="  \n")),
}


def test_whole_files_that_say_something_wrong(folder):
    known = files(folder)

    def attempt(name):
        kind, write = WRONG[name]
        path, read = known[kind]
        with replaced(path, path.read_bytes()):
            write(path)
            return read()

    refuse_all("nsd: wrong", st.sampled_from(sorted(WRONG)), attempt, more=2 * len(WRONG))
