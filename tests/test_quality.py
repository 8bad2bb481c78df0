"""Checks of the data: each finds what was planted, and nothing where nothing was."""

import nibabel as nib
import numpy as np
import pytest
from refusals import refused

from fmri_utils import nsd, plots
from fmri_utils.nsd import quality
from fmri_utils.nsd.realism import CHOSEN, NOT_PUBLISHED, realism_table
from fmri_utils.nsd.reliability import NoiseLikeSignal, noise_like_signal
from fmri_utils.plots.fields import plot_field_coverage
from fmri_utils.project.errors import DataError

pytestmark = pytest.mark.usefixtures("close_figures")
AFFINE = np.diag([1.8, 1.8, 1.8, 1.0])
N_IMAGES, N_REPEATS = 200, 3


def planted(rng, ncsnr, *, noise=None):
    """Trials of images shown three times in random order: betas (600, V), ids (600,)."""
    ids = rng.permutation(np.repeat(np.arange(N_IMAGES), N_REPEATS))
    signal = rng.standard_normal((N_IMAGES, len(ncsnr)))
    signal = (signal - signal.mean(0)) / signal.std(0)
    if noise is None:
        noise = rng.standard_normal((ids.size, len(ncsnr)))
    return (signal[ids] * ncsnr + noise).astype(np.float32), ids


def test_without_repeats_there_is_no_noise_to_measure():
    with pytest.raises(DataError, match="none of the 4 images has two trials"):
        quality.noise_residuals(np.ones((4, 2), np.float32), np.arange(4))
    with pytest.raises(DataError, match="one to rank it, one to show"):
        quality.rank_images(np.ones(4), np.arange(4), np.random.default_rng(0))


# --- noise between voxels --------------------------------------------------------------------


def test_noise_correlation_falls_with_distance_as_planted(rng):
    mask = np.ones((60, 3, 4), bool)
    walk = rng.standard_normal((600, 61))
    along = (walk[:, :-1] + walk[:, 1:]) / np.sqrt(2)  # neighbours along x share half
    noise = np.repeat(along, 12, axis=1)  # and all voxels of one x share everything
    betas, ids = planted(rng, np.full(720, 0.5), noise=noise)
    residuals, _ = quality.noise_residuals(betas, ids)
    places = quality.voxel_coordinates(mask, AFFINE)
    table = quality.noise_correlation(residuals, places, rng, areas={}, n_pairs=2000)
    np.testing.assert_allclose(table["correlation"][table["distance_mm"] > 8], 0, atol=0.03)
    line = np.flatnonzero((places[:, 1] == 0) & (places[:, 2] == 0))
    near = quality.noise_correlation(residuals[:, line], places[line], rng, areas={}, n_pairs=500)
    np.testing.assert_allclose(near["correlation"][:3], [0.5, 0, 0], atol=0.05)
    assert near["distance_mm"].iloc[0] == pytest.approx(1.8)


def test_noise_correlation_by_area_keeps_to_the_area(rng):
    mask = np.ones((6, 6, 6), bool)
    places = quality.voxel_coordinates(mask, AFFINE)
    left = places[:, 0] < places[:, 0].mean()
    noise = rng.standard_normal((600, 216))
    noise[:, left] += 2 * rng.standard_normal((600, 1))
    noise[:, 3] = 0  # a voxel without data must not spoil the mean
    residuals, _ = quality.noise_residuals(*planted(rng, np.zeros(216), noise=noise))
    areas = {"left": left, "right": ~left}
    table = quality.noise_correlation(residuals, places, rng, areas=areas, n_pairs=2000)
    means = table.groupby("area")["correlation"].mean()
    np.testing.assert_allclose(means[["left", "right"]], [0.8, 0], atol=0.03)
    assert table["area"].iloc[0] == "all"
    with pytest.raises(DataError, match="same mask"):
        quality.noise_correlation(residuals, places[:10], rng, areas={}, n_pairs=9)


# --- noise over trials -----------------------------------------------------------------------


def test_autocorrelation_finds_what_follows_within_a_session_only(rng):
    noise = rng.standard_normal((600, 300))
    session = np.arange(600) // 20
    for t in range(1, 600):
        # Each session begins with the opposite of what the last one ended with.
        follows = 0.6 if session[t] == session[t - 1] else -0.6
        noise[t] = follows * noise[t - 1] + 0.8 * noise[t]
    betas, ids = planted(rng, np.zeros(300), noise=noise)
    residuals, rows = quality.noise_residuals(betas, ids)
    found = quality.noise_autocorrelation(residuals, rows, session[rows], ids[rows])
    np.testing.assert_allclose(found[:3], [0.6, 0.36, 0.216], atol=0.025)


def test_autocorrelation_is_not_fooled_by_repeats_that_follow_each_other(rng):
    ids = np.repeat(np.arange(300), 2)  # each image twice in a row: residuals are opposed
    residuals, rows = quality.noise_residuals(rng.standard_normal((600, 80)).astype("f4"), ids)
    session = np.ones(600, int)
    found = quality.noise_autocorrelation(residuals, rows, session, ids)
    np.testing.assert_allclose(found[:2], 0, atol=0.02)
    assert np.mean(residuals[:-1:2] * residuals[1::2]) < -0.9  # the naive way


# --- drift -----------------------------------------------------------------------------------


def test_drift_is_the_share_between_sessions_and_goes_with_z_scoring(rng):
    session = np.repeat([1, 2, 3, 4], 500)
    still = rng.standard_normal((2000, 200)).astype(np.float32)
    direction = rng.choice([-1.0, 1.0], 200)  # up in one voxel, down in another
    moved = (still + np.sign(session - 2.5)[:, None] * direction).astype(np.float32)
    assert np.median(quality.session_drift(moved, session)) == pytest.approx(0.5, abs=0.02)
    chance = quality.drift_by_chance(session)
    assert quality.session_drift(still, session).mean() == pytest.approx(chance, rel=0.3)
    after = quality.session_drift(nsd.zscore_sessions(moved, session, np.ones(2000, bool)), session)
    assert after.max() < chance / 100
    moved[:, 0] = 3
    assert np.isnan(quality.session_drift(moved, session)[0])
    assert np.isnan(quality.session_drift(moved, np.ones(2000, int))).all()


# --- voxels and images -----------------------------------------------------------------------


def test_noise_has_no_favourite_images_in_new_trials(rng):
    betas, ids = planted(rng, np.array([0.0, 1.5]))
    noise, signal = (quality.rank_images(b, ids, rng) for b in betas.T)
    assert (np.diff(noise["ranked_by"]) <= 0).all()
    assert noise["ranked_by"].head(20).mean() > 1  # chosen by luck
    assert abs(noise["held_out"].head(20).mean()) < 0.5  # and gone in the other trials
    assert signal["held_out"].head(20).mean() > 1
    assert signal["held_out"].tail(20).mean() < -1
    # No trial is used twice, and none is lost: two of three rank, one is shown.
    mean = betas[:, 1][ids == signal["nsd_id"][0]].mean()
    both = 2 * signal["ranked_by"][0] + signal["held_out"][0]
    assert both / 3 == pytest.approx(mean, abs=1e-5)


def test_quantiles_leave_out_voxels_without_a_value():
    ncsnr = np.array([0.0, 0.1, 0.2, 0.3, 0.4, np.nan])
    table = quality.ncsnr_quantiles(ncsnr, {"V1": np.arange(6) > 2, "none": np.arange(6) > 4})
    assert list(table.index) == ["all", "V1"]
    assert table.loc["all", ["n_voxels", "50%"]].tolist() == [5, 0.2]
    assert table.loc["V1", "50%"] == pytest.approx(0.35)


# --- the table -------------------------------------------------------------------------------


@pytest.fixture
def table(rng):
    """Make the table of small made-up data, with anything replaced."""
    betas, ids = planted(rng, np.full(50, 0.4))
    session = np.repeat([1, 2], 300)
    residuals, rows = quality.noise_residuals(betas, ids)
    places = quality.voxel_coordinates(np.ones((5, 5, 2), bool), AFFINE)
    given = {"subject": 1, "betas": betas, "session": session, "reliability": np.full(50, 0.14)}
    given |= {
        "ncsnr": np.append(np.full(49, 0.4), np.nan),
        "noise": quality.noise_correlation(residuals, places, rng, areas={}, n_pairs=2000),
        "autocorrelation": quality.noise_autocorrelation(residuals, rows, session, ids),
        "drift": (quality.session_drift(betas, session),) * 2,
        "like_signal": NoiseLikeSignal(2.5, 0.4),
        "areas": {"V1": np.arange(50) < 10},
    }
    return lambda **change: realism_table(**(given | change)).set_index("quantity")


def test_the_table_puts_published_values_beside_what_was_measured(table):
    full = table()
    assert full.loc["ncsnr, median"].tolist()[:2] == [0.4, 0.361]
    assert full.loc["voxels", "published"] == 15724
    ceiling = "noise ceiling of three trials, median, % of variance"
    assert full.loc[ceiling].tolist()[:2] == [pytest.approx(32.4, abs=0.1), 28.1]
    assert full.loc["repeat reliability of single trials, median r", "published"] == 0.115
    assert full.loc["betas in V1, session 1, SD, % signal change", "published"] == 3.3
    assert full["measured"].notna().all()
    assert full.loc["noise along the signal's patterns, % of the noise variance", "measured"] == 40
    free = full["in the simulator"].str.startswith(CHOSEN)
    assert not free[full["published"] != NOT_PUBLISHED].drop("voxels").any()
    assert free.filter(like="signal's patterns").all()
    given = full["published"] != NOT_PUBLISHED
    assert given.sum() == 6
    assert (full["source"] != "").eq(given).all()  # a number has a source, and only a number
    stored = np.array([32767, 32766, -32767, -32768, 0, 300], np.int16) / np.float32(300)
    edges = table(betas=np.tile(stored[:, None], (100, 50)))
    assert edges.loc["betas at the limits of int16, %", "measured"] == 50
    worst = table(subject=8)["published"]
    assert worst["ncsnr, median"] == 0.226
    assert worst["betas in V1, session 1, SD, % signal change"] == NOT_PUBLISHED


def test_numbers_of_other_data_are_not_put_beside_these(table):
    best, other = "betas_fithrf_GLMdenoise_RR", "betas_assumehrf"
    for region, version in (("V1", best), ("nsdgeneral", other)):
        published = table(made_of=(region, "func1pt8mm", version))["published"]
        assert (published == NOT_PUBLISHED).all()
    refused("expected 1 to 8", table, subject=9)


def test_one_session_says_so_and_an_atlas_without_v1_has_no_levels(table):
    out = table(session=np.ones(600, int), drift=(np.full(50, np.nan),) * 2, areas={})
    row = "variance between session means, as read, median, %"
    assert out.loc[row, "measured"] == "needs two sessions"
    assert not out.index.str.contains("V1").any()


@pytest.mark.parametrize("ratio", [0.0, 2.0])
def test_noise_along_the_signals_patterns_is_told_from_what_neighbours_share(ratio, rng):
    mask = np.ones((40, 3, 4), bool)
    axes = rng.standard_normal((4, 480))  # four patterns that all images and trials mix
    ids = rng.permutation(np.repeat(np.arange(N_IMAGES), N_REPEATS))
    signal, along = rng.standard_normal((N_IMAGES, 4)) @ axes, rng.standard_normal((600, 4)) @ axes
    local = np.repeat(rng.standard_normal((600, 40)), 12, axis=1)
    betas = (signal[ids] + np.sqrt(ratio) * along + 3 * local).astype(np.float32)
    betas[ids < 5, :3] = np.nan  # a session that misses three voxels
    places = quality.voxel_coordinates(mask, AFFINE)
    found = noise_like_signal(betas, ids, places, rng)
    assert found.ratio == pytest.approx(ratio, abs=0.1 + 0.05 * ratio)
    assert found.share == pytest.approx(4 * ratio / (4 * ratio + 9), abs=0.03)
    assert np.isnan(noise_like_signal(betas, ids, 0 * places, rng).ratio)  # nothing is distant
    refused("0 images have two trials", noise_like_signal, betas[:4], np.arange(4), places, rng)


# --- figures ---------------------------------------------------------------------------------


def test_the_reliability_figure_draws_the_relation_and_skips_nan(rng):
    ncsnr = np.append(rng.random(50), np.nan)
    ax = plots.plot_repeat_reliability(ncsnr, np.zeros(51))
    points, line = ax.lines[:2]
    assert len(points.get_xdata()) == 50
    x, y = line.get_data()
    np.testing.assert_allclose(y, x**2 / (1 + x**2))


def test_an_angle_of_zero_is_drawn():
    volume = np.full((8, 9, 7), np.nan, np.float32)
    volume[2:5, 3:6, 2:5] = 0.0  # right horizontal meridian, not "nothing here"
    background = nib.Nifti1Image(np.ones((8, 9, 7), np.float32), AFFINE)
    ax = plots.plot_prf_angle(nib.Nifti1Image(volume, AFFINE), background, title="polar angle")
    ax.figure.canvas.draw()
    drawn = [i for a in ax.figure.axes for i in a.images if i.get_cmap().name == "polar angle"]
    assert any(np.ma.count(i.get_array()) >= 9 for i in drawn)


def test_coverage_draws_a_circle_per_field_and_the_picture():
    x = np.array([1.0, -2.0, np.nan])
    ax = plot_field_coverage(x, x, np.array([0.5, 1.0, 1.0]), title="V1")
    circles = ax.collections[0]
    np.testing.assert_allclose(circles.get_offsets(), [[1, 1], [-2, -2]])
    np.testing.assert_allclose(circles.get_widths(), [1.0, 2.0])  # degrees: twice the SD
    square = ax.patches[0]
    assert (square.get_width(), square.get_x()) == (8.4, -4.2)
    assert "deg" in ax.get_xlabel()
