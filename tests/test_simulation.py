"""The simulated brain: anatomy, areas, receptive fields, tuning, design, noise."""

import dataclasses

import numpy as np
import pytest
from refusals import refused

from fmri_utils.nsd import estimate_ncsnr
from fmri_utils.nsd.reliability import noise_like_signal
from fmri_utils.project.errors import ProfileError
from fmri_utils.project.settings import checked
from fmri_utils.project.simulation_config import BETA_VERSIONS, SimulationConfig
from simulated_nsd import measurement
from simulated_nsd.brain import STAGES, make_brain, prf_maps
from simulated_nsd.cortical_areas import ATLASES, VISUAL
from simulated_nsd.experiment import design_tables, make_design, make_responses, run_and_trial
from simulated_nsd.pixel_features import CHANNELS, ORIENTATIONS_DEG, feature_maps, receptive_fields
from simulated_nsd.scenes import GROUPS, KINDS, Scene, Thing
from simulated_nsd.tuning import CATEGORY, make_tuning, true_signals

SMALL = SimulationConfig(
    n_shared=20, n_own=230, sessions=(1,) * 8, grid=(26, 32, 22), n_nsdgeneral=700, n_null=80
)


@pytest.fixture(scope="module")
def brain():
    return make_brain(SMALL, 1)


@pytest.fixture(scope="module")
def tuning(brain):
    return make_tuning(brain, SMALL, np.random.default_rng(0))


def scene(kind, *, x=0.5, y=0.5, width=0.6, colour="red", background="grass"):
    return Scene(background, (Thing(kind, colour, x, y, width),))


def blank_maps(n):
    return np.ones((n, len(CHANNELS), 40, 40), np.float32)


# --- settings --------------------------------------------------------------------------------


def test_settings_out_of_range_are_refused():  # single numbers: test_malformed_profiles.py
    for change in (
        *({"n_shared": 101}, {"n_shared": 0, "n_own": 1000}, {"sessions": (5,) * 8}),
        *({"grid": (40, 40, 34)}, {"n_null": 2000}, {"write_nifti": False, "write_hdf5": False}),
        *({"beta_versions": versions} for versions in ((), BETA_VERSIONS[:1] * 2, ("betas_b4",))),
    ):
        how = change, "the simulation"
        refused(r"[Ee]xpected|false", checked, SimulationConfig, *how, error=ProfileError)


# --- anatomy and areas -----------------------------------------------------------------------


def test_areas_follow_nsd_conventions(brain):
    labels, cortex = brain.areas.labels, brain.anatomy.cortex
    assert (labels["nsdgeneral"] == 1).sum() == SMALL.n_nsdgeneral
    for atlas, names in ATLASES.items():
        assert labels[atlas].min() == -1 and labels[atlas].max() <= len(names)
        np.testing.assert_array_equal(labels[atlas] >= 0, cortex)
    visual = labels["prf-visualrois"] > 0
    general = labels["nsdgeneral"] == 1
    assert 0.7 < general[visual].mean() < 1  # most of it, and not all
    np.testing.assert_array_equal(labels["prf-eccrois"] > 0, visual)
    assert set(np.unique(labels["prf-visualrois"][visual])) == set(range(1, len(VISUAL) + 1))
    outside = brain.anatomy.brainmask & ~cortex
    assert outside.sum() > 0  # brain that is no cortex
    assert not (cortex & ~brain.anatomy.brainmask).any()


def test_a_grid_that_cannot_hold_the_voxels_is_refused():
    config = dataclasses.replace(SMALL, n_nsdgeneral=5000)
    refused("cortex", make_brain, config, 1)


# --- receptive fields ------------------------------------------------------------------------


def test_each_hemisphere_sees_the_other_side(brain):
    assert (np.sign(brain.voxels.x) == -brain.voxels.side).all()


def test_ventral_areas_see_the_upper_field(brain):
    visual = brain.areas.labels["prf-visualrois"].ravel()[brain.voxels.index]
    y = brain.voxels.y
    for label, name in enumerate(VISUAL[:6], start=1):
        upper = np.mean(y[visual == label] > 0)
        assert upper > 0.85 if name.endswith("v") else upper < 0.15


def test_size_grows_with_eccentricity_and_along_the_hierarchy(brain):
    v = brain.voxels
    ecc = np.hypot(v.x, v.y)
    first = v.stage == 0
    assert np.corrcoef(ecc[first], v.size[first])[0, 1] > 0.6
    near = (ecc > 1) & (ecc < 3)
    sizes = [np.median(v.size[near & (v.stage == STAGES.index(s))]) for s in STAGES[:4]]
    assert sizes == sorted(sizes)
    assert np.median(v.size[v.stage == STAGES.index("ventral")]) > sizes[-1]
    assert 0.2 <= v.size.min() <= v.size.max() <= 5


def test_estimated_maps_resemble_the_planted_fields(brain):
    maps = prf_maps(brain, np.random.default_rng(0))
    v = brain.voxels
    inside = brain.anatomy.brainmask
    for volume in maps.values():
        assert volume.dtype == np.float32
        np.testing.assert_array_equal(np.isfinite(volume), inside)
    good = (v.ncsnr > 0.3) & (v.stage < 3)
    angle = np.radians(maps["angle"].ravel()[v.index[good]])
    truth = np.arctan2(v.y, v.x)[good]
    assert np.median(np.abs(np.angle(np.exp(1j * (angle - truth))))) < np.radians(15)
    assert 0 <= maps["angle"][inside].min() <= maps["angle"][inside].max() < 360
    r2 = maps["R2"].ravel()[v.index]
    assert np.median(r2[good]) > 25 > 5 > np.median(r2[v.null])


# --- tuning ----------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", ORIENTATIONS_DEG)
def test_gabor_channels_prefer_their_orientation(orientation):
    rows, columns = np.mgrid[:160, :160]
    theta = np.radians(orientation)
    # Bars at this angle, counter-clockwise; rows run down.
    phase = 2 * np.pi * (columns * np.sin(theta) + rows * np.cos(theta)) / 16
    grating = (127 + 100 * np.sin(phase)).astype(np.uint8)[..., None].repeat(3, -1)
    best = int(feature_maps(grating).mean(axis=(1, 2))[:16].argmax())
    assert ORIENTATIONS_DEG[best % 4] == orientation
    assert best // 4 == 1  # 8 of the 80 pixels


def test_receptive_fields_lie_where_they_should():
    field = receptive_fields(np.array([2.0]), np.array([1.0]), np.array([0.5])).reshape(40, 40)
    row, column = np.unravel_index(field.argmax(), field.shape)
    assert field.sum() == pytest.approx(1, abs=1e-3)
    assert (column + 0.5) / 40 * 8.4 - 4.2 == pytest.approx(2.0, abs=0.12)
    assert 4.2 - (row + 0.5) / 40 * 8.4 == pytest.approx(1.0, abs=0.12)


def test_early_voxels_respond_to_what_is_in_their_field(brain, tuning):
    maps = blank_maps(2) * 0.1
    maps[0, :, :, 20:] += 1  # something in the right half of the picture
    maps[1, :, :, :20] += 1
    signal = true_signals(brain.voxels, tuning, [scene("ball")] * 2, maps)
    v = brain.voxels
    clear = (v.stage < 3) & ~v.null & (np.abs(v.x) > v.size)
    np.testing.assert_array_equal(np.sign(signal[0, clear]), np.sign(v.x[clear]))


def test_category_areas_prefer_their_category(brain, tuning):
    kinds = sorted(KINDS) * 3
    scenes = [scene(kind, x=0.4 + 0.05 * (i % 5)) for i, kind in enumerate(kinds)]
    signal = true_signals(brain.voxels, tuning, scenes, blank_maps(len(scenes)))
    v = brain.voxels
    groups = np.array([GROUPS[kind] for kind in kinds])
    for column, name in enumerate(CATEGORY):
        others = np.delete(v.category, column, axis=1).max(axis=1)
        area = (v.category[:, column] == 1) & (others < 0.5) & ~v.null
        response = signal[:, area].mean(axis=1)
        means = {g: response[groups == g].mean() for g in set(groups)}
        assert max(means, key=means.get) == name


def test_signals_are_standardised_and_null_voxels_silent(brain, tuning):
    rng = np.random.default_rng(1)
    scenes = [scene(KINDS[i % len(KINDS)], x=rng.uniform(0.3, 0.7)) for i in range(60)]
    maps = rng.random((60, len(CHANNELS), 40, 40), dtype=np.float32)
    signal = true_signals(brain.voxels, tuning, scenes, maps)
    tuned = ~brain.voxels.null
    np.testing.assert_allclose(signal[:, tuned].mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(signal[:, tuned].std(axis=0), 1, atol=1e-3)
    assert not signal[:, ~tuned].any()


# --- design ----------------------------------------------------------------------------------


def test_design_is_nsds(brain):
    config = SimulationConfig()
    design = make_design(config)
    order = design.masterordering[0]
    assert (np.bincount(order)[1:] == 3).all()
    assert (design.masterordering.dtype, design.subjectim.dtype) == (np.uint16, np.int32)
    assert (design.basiccnt.dtype, design.stimpattern.dtype) == (np.uint16, np.uint8)
    assert design.subjectim.shape == (8, 1000)
    shared = design.subjectim[:, :100]
    assert (shared == design.sharedix).all()
    assert (np.diff(design.sharedix[0]) > 0).all()
    np.testing.assert_array_equal(np.sort(np.unique(design.subjectim)), np.arange(1, 7301))
    weights = np.array([1, 2, 3]) @ design.basiccnt
    np.testing.assert_array_equal(weights, 750)
    np.testing.assert_array_equal(design.stimpattern.sum(axis=2)[:, ::2], 63)
    np.testing.assert_array_equal(design.stimpattern.sum(axis=2)[:, 1::2], 62)
    assert (order[1:] != order[:-1]).all() and (order[2:] != order[:-2]).all()


def test_behaviour_follows_the_design():
    design = make_design(SMALL)
    table = make_responses(design, 3, 1, np.random.default_rng(0))
    assert table.shape == (750, 19)
    np.testing.assert_array_equal(table["73KID"], design.trial_ids(3, 1))
    first = ~table["10KID"].duplicated()
    np.testing.assert_array_equal(table["ISOLD"] == 0, first)
    assert table["MEMORYRECENT"].isna().eq(first).all()
    assert table["ISCORRECT"].isna().any()
    assert 0.6 < table["ISCORRECT"].mean() < 0.95
    run, trial = run_and_trial(design.stimpattern[0])
    assert (run.max(), trial.max()) == (12, 63)
    shown = np.concatenate(design_tables(design.stimpattern[0], table["73KID"].to_numpy()))
    np.testing.assert_array_equal(shown[shown > 0], table["73KID"])


# --- measurement -----------------------------------------------------------------------------


def test_int16_rounds_half_away_from_zero_and_saturates():
    found = measurement.to_int16(np.array([300, 0.5, -0.5, 0.4, 60_000, -60_000]) / 300)
    assert found.tolist() == [300, 1, -1, 0, 32767, -32767]


def planted(n_images, n_voxels, snr, rng, *, grid=(10, 12, 8)):
    """A measurement of unrelated voxels, without missing ones."""
    inside = np.sort(rng.choice(np.prod(grid), n_voxels, replace=False))
    signal = rng.standard_normal((n_images, n_voxels)).astype(np.float32)
    signal = (signal - signal.mean(0)) / signal.std(0) * (snr > 0)
    noise = np.full(n_voxels, 2.0, np.float32)
    return measurement.Measurement(
        grid, inside, np.ones(n_voxels, np.float32), noise, np.arange(n_voxels), signal,
        (snr * noise).astype(np.float32),
        measurement.shared_share(snr, np.ones(n_voxels, bool), 0.3),
        measurement.noise_patterns(signal, snr == 0, np.array(np.unravel_index(inside, grid)).T),
        np.ones((2, n_voxels), bool),
    )  # fmt: skip


def test_ncsnr_recipe_recovers_what_was_planted_despite_drift(rng):
    config = SimulationConfig(n_shared=50, n_own=450, sessions=(2,) * 8, shared_noise=0.3)
    images = make_design(config).masterordering[0].astype(int) - 1
    snr = np.concatenate([np.zeros(40), rng.uniform(0.1, 1.0, 260)])
    m = planted(500, 300, snr, rng)
    sessions = enumerate(images.reshape(2, 750), start=1)
    betas = [measurement.measure_session(m, shown, s, config, rng) for s, shown in sessions]
    variance = measurement.repeat_variance((b.astype(np.float32) for b in betas), images, m.covered)
    assert variance.shape == (500, 300)
    found = measurement.noise_ceiling_snr(variance)
    assert np.corrcoef(found, snr)[0, 1] > 0.97
    assert np.abs(found - snr)[40:].mean() < 0.06
    # The reader's own estimate is the same recipe.
    rows = np.concatenate(betas).astype(np.float32) / 300
    other = estimate_ncsnr(rows, session=np.repeat([1, 2], 750), nsd_id=images)
    np.testing.assert_allclose(found, other, atol=1e-3)


def test_null_voxels_share_noise_with_tuned_ones_and_no_signal(brain, tuning, rng):
    null = brain.voxels.null
    signal = rng.standard_normal((250, 4)) @ rng.standard_normal((4, null.size))
    signal = ((signal - signal.mean(0)) / signal.std(0) * (brain.voxels.ncsnr > 0)).astype("f4")
    for share in (0.0, 0.4):
        config = dataclasses.replace(SMALL, null_shared_noise=share, drift_trend=0.0)
        m = measurement.make_measurement(brain, signal, config, 3)
        np.testing.assert_allclose(m.shared[null], share, rtol=1e-6)
        betas = measurement.measure_session(m, np.arange(750) % 250, 1, config, rng).astype("f4")
        betas = (betas - betas.mean(0))[:, m.responsive]
        # What repeats of an image share is nothing, what voxels share is the share asked for.
        repeats = betas.reshape(3, 250, -1)
        alike = (repeats[0] * repeats[1]).mean(0) / betas.var(0)
        assert abs(alike[null].mean()) < 0.02
        axes = np.linalg.svd(m.noise_patterns[:, ~null], full_matrices=False)[2][:4]
        z = betas / betas.std(0)
        common = z[:, ~null] @ axes.T  # the tuned voxels' common noise and signal
        explained = np.square(np.linalg.lstsq(common, z[:, null], rcond=None)[0])
        explained = (explained * common.var(0)[:, None]).sum(0).mean()
        assert explained == pytest.approx(share * 0.75, abs=0.25 * share + 0.03)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6])
def test_the_planted_share_of_noise_is_measured_between_repeats(share, brain):
    rng = np.random.default_rng(1)
    signal = rng.standard_normal((250, 6)) @ rng.standard_normal((6, brain.voxels.null.size))
    signal = ((signal - signal.mean(0)) / signal.std(0) * (brain.voxels.ncsnr > 0)).astype("f4")
    config = dataclasses.replace(SMALL, shared_noise=share)
    m = measurement.make_measurement(brain, signal, config, 1)
    order = rng.permutation(np.repeat(np.arange(250), 3))
    betas = measurement.measure_session(m, order, 1, config, rng)[:, m.responsive].astype("f4")
    general = np.flatnonzero(brain.voxels.general & m.covered[0, m.responsive])
    z = (betas - betas.mean(0))[:, general] / betas.std(0)[general]
    places = 1.8 * np.stack(np.unravel_index(m.inside[m.responsive[general]], m.shape), axis=1)
    found = noise_like_signal(z, order, places, rng)
    ncsnr, noise = brain.voxels.ncsnr[general].astype(float), np.sqrt(m.shared[general])
    # Both covariances are products over the two voxels, up to the correlation of their signals.
    along, common = ((ncsnr * part / (1 + ncsnr**2)).sum() for part in (noise, ncsnr))
    assert found.ratio == pytest.approx((along / common) ** 2, rel=0.1, abs=0.2)
    assert found.share == pytest.approx(share * (ncsnr > 0).mean(), abs=0.08)


def test_one_session_misses_the_same_few_voxels(brain):
    signal = np.zeros((250, brain.voxels.index.size), np.float32)
    m = measurement.make_measurement(brain, signal, SMALL, 3)
    assert m.covered[[0, 2]].all() and not m.covered[1].all()
    general = brain.areas.labels["nsdgeneral"].ravel()[m.inside] == 1
    assert (~m.covered[1] & general).sum() == 4
    assert measurement.beyond_view(brain, 4).sum() == (~m.covered[1]).sum()
    betas = measurement.measure_session(m, np.arange(750) % 250, 2, SMALL, np.random.default_rng(0))
    assert betas.dtype == np.int16 and not betas[:, ~m.covered[1]].any()
    assert (betas[:, m.covered[1]].std(axis=0) > 0).all()


def test_levels_are_nsds():
    config = SimulationConfig()
    brain = make_brain(config, 1)
    v = brain.voxels
    assert np.median(v.ncsnr[v.general]) == pytest.approx(config.ncsnr)
    medians = [np.median(v.ncsnr[v.general & (v.stage == s)]) for s in (0, STAGES.index("ventral"))]
    assert medians[0] > 0.45 > medians[1]
    sd = brain.sd_psc.ravel()[v.index[v.stage == 0]]
    assert np.median(sd) == pytest.approx(3.3, abs=0.4)
    rim = brain.sd_psc[brain.anatomy.brainmask].max()
    assert rim > 40  # some voxels at the edge saturate int16
