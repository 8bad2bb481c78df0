"""Betas of the voxels of some ROIs, session by session, out of the files on the server."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
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
from fmri_utils.project.artifacts import sha256_file
from fmri_utils.project.errors import DataError

from .answers import Changed, Remote
from .client import Client
from .download_log import Records, finished_file
from .plan import check_space
from .ranges import Traffic, read_voxels
from .settings import Request, sessions_text
from .transfer import N_VERSIONS

LARGE_SHARE = 0.15  # of the volume; the index and the gaps then cost as much as the rest


def fetch_sessions(
    request: Request,
    layout: NSDLayout,
    remotes: dict[int, Remote],
    client: Client,
    records: Records,
    *,
    say: Callable[[str], None],
    progress: bool = True,
) -> Traffic:
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
    say : callable
        Shows a line of text.
    progress : bool
        Show a bar over sessions.

    Returns
    -------
    Traffic
        Of all sessions together.
    """
    mask = roi_mask(layout, request.roi)
    voxels = np.sort(flat_voxels(mask))
    wholes = [s for s in remotes if _whole_file(layout, s)]
    if wholes:
        say(f"Sessions {sessions_text(wholes)} are here as whole files; no voxels are fetched.")
    todo = [s for s in remotes if s not in wholes and not _has(layout, s, records, voxels)]
    check_space(layout.root, len(todo) * voxels.size * 1500)
    if todo and voxels.size > LARGE_SHARE * mask.size:
        say(
            f"{request.roi} has {voxels.size} of the {mask.size} voxels of the volume. Whole files "
            "(BETAS=nifti) may come faster."
        )
    all_traffic = []
    with tqdm(unit="B", unit_scale=True, disable=not progress) as bar:
        for i, session in enumerate(todo, start=1):
            bar.set_description(f"betas, session {i} of {len(todo)}")
            target = (layout.betas_roi(session), request.roi, voxels, mask.shape)
            all_traffic.append(_fetch(client, remotes[session], *target, records, bar.update))
    return Traffic(
        sum(t.n_bytes for t in all_traffic),
        sum(t.n_requests for t in all_traffic),
        sum(t.n_rounds for t in all_traffic),
    )


def _whole_file(layout: NSDLayout, session: int) -> bool:
    return layout.betas_hdf5(session).is_file() or layout.betas_nifti(session).is_file()


def _here(path: Path, records: Records) -> RoiBetas | None:
    """What an earlier call fetched, if it is unchanged since."""
    return load_roi_betas(path) if records.is_whole(path) else None


def _has(layout: NSDLayout, session: int, records: Records, voxels: np.ndarray) -> bool:
    path = layout.betas_roi(session)
    return records.is_whole(path) and bool(np.isin(voxels, load_voxels(path)).all())


def _fetch(
    client: Client,
    remote: Remote,
    path: Path,
    roi: str,
    voxels: np.ndarray,
    grid: tuple[int, int, int],
    records: Records,
    on_bytes: Callable[[int], None],
) -> Traffic:
    """Fetch one session, add what is here of it, and write both."""
    here = _here(path, records)
    for _ in range(N_VERSIONS):
        # Voxels of two versions of the file never go together: another version is fetched anew.
        keep = here if here is not None and here.etag == remote.validator else None
        new = _all_voxels(here, voxels)
        if keep is not None:
            new = np.setdiff1d(new, keep.voxels)
        try:
            stored, traffic = read_voxels(client, remote, new, grid, on_bytes)
            break
        except Changed as err:
            last = err
            remote = client.head(remote.url)
    else:
        raise DataError(f"{remote.url} changed {N_VERSIONS} times while it was read. {last}")
    names = roi if here is None or here.rois == roi else f"{here.rois}+{roi}"
    session = RoiBetas(stored, new, grid, names, remote.url, remote.validator, remote.size)
    if keep is not None:
        session = _joined(keep, session)
    with finished_file(path) as part:
        save_roi_betas(part, session)
    records.add(path, remote, sha256_file(path))
    return traffic


def _all_voxels(here: RoiBetas | None, voxels: np.ndarray) -> np.ndarray:
    return voxels if here is None else np.union1d(here.voxels, voxels)


def _joined(old: RoiBetas, new: RoiBetas) -> RoiBetas:
    voxels = np.concatenate([old.voxels, new.voxels])
    order = np.argsort(voxels)
    stored = np.concatenate([old.stored, new.stored], axis=1)[:, order]
    return dataclasses.replace(new, stored=stored, voxels=voxels[order])
