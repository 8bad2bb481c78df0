"""Betas of the voxels of some ROIs, session by session, out of the files on the server."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from fmri_utils.nsd.paths import NSDLayout
from fmri_utils.nsd.roi_betas import (
    RoiBetas,
    flat_voxels,
    load_roi_betas,
    load_voxels,
    save_roi_betas,
)
from fmri_utils.nsd.rois import roi_mask
from fmri_utils.project.artifacts import atomic_path

from .asking import say
from .client import Client, Remote
from .download_log import Records
from .plan import check_space, gigabytes
from .ranges import read_voxels
from .settings import Request, sessions_text


def fetch_sessions(
    request: Request,
    layout: NSDLayout,
    remotes: dict[int, Remote],
    client: Client,
    records: Records,
) -> None:
    """Bring the voxels of the ROIs of all sessions that do not have them yet.

    A session whose whole file is here is passed over. Voxels that were fetched earlier stay.

    Parameters
    ----------
    request : Request
        Its sessions and ROIs.
    layout : NSDLayout
        The folder, with the ROI files.
    remotes : dict of int to Remote
        Each session's whole file on the server.
    client, records
        Connections, and the list of finished files.
    """
    mask = roi_mask(layout, request.roi)
    voxels = np.sort(flat_voxels(mask))
    wholes = [
        s for s in remotes if layout.betas_hdf5(s).is_file() or layout.betas_nifti(s).is_file()
    ]
    if wholes:
        say(f"Sessions {sessions_text(wholes)} are here as whole files; no voxels are fetched.")
    todo = [
        s for s in remotes if s not in wholes and not _has(layout.betas_roi(s), records, voxels)
    ]
    check_space(layout.root, len(todo) * voxels.size * 1500)
    traffic = Counter()
    with tqdm(unit="B", unit_scale=True, disable=None) as bar:
        for i, session in enumerate(todo, start=1):
            bar.set_description(f"betas, session {i} of {len(todo)}")
            path, remote = layout.betas_roi(session), remotes[session]
            # Voxels of two versions of the file never go together: another is fetched anew.
            here = load_roi_betas(path) if records.is_whole(path) else None
            names, new, keep = request.roi, voxels, None
            if here is not None:
                names = names if here.rois == names else f"{here.rois}+{names}"
                keep = here if here.etag == remote.etag else None
                new = np.setdiff1d(voxels, keep.voxels) if keep else np.union1d(here.voxels, voxels)
            stored, cost = read_voxels(client, remote, new, mask.shape, bar.update)
            got = RoiBetas(stored, new, mask.shape, names, remote.url, remote.etag, remote.size)
            with atomic_path(path) as part:
                save_roi_betas(part, _joined(keep, got) if keep else got)
            records.add(path, remote)
            traffic += cost
    if traffic:
        say(
            f"Voxels of {request.roi}: {gigabytes(traffic['n_bytes'])} in {traffic['n_requests']} "
            f"requests and {traffic['n_rounds']} rounds."
        )


def _has(path: Path, records: Records, voxels: np.ndarray) -> bool:
    return records.is_whole(path) and bool(np.isin(voxels, load_voxels(path)).all())


def _joined(old: RoiBetas, new: RoiBetas) -> RoiBetas:
    voxels = np.concatenate([old.voxels, new.voxels])
    order = np.argsort(voxels)
    stored = np.concatenate([old.stored, new.stored], axis=1)[:, order]
    return dataclasses.replace(new, stored=stored, voxels=voxels[order])
