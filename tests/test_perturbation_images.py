"""First-order image effects against recomputation, finite differences and each other."""

import copy

import nibabel as nib
import numpy as np
import pytest
import torch
from refusals import refused
from small_lafite import drawing_generator, seeded

from fmri_utils import perturbation
from fmri_utils.encoders import LinearEncoder, unit
from fmri_utils.perturbation.jacobian import picture_jacobian
from fmri_utils.perturbation.picture_locations import cell_grams, effect_maps

C, V = 12, 30


@pytest.fixture(scope="module")
def generator():
    return drawing_generator().double().requires_grad_()


@pytest.fixture(scope="module")
def z():
    return torch.randn(2, 6, generator=seeded(1), dtype=torch.float64)


@pytest.fixture(scope="module")
def encoder():
    rng = np.random.default_rng(0)
    return LinearEncoder(rng.standard_normal((V, C)), 3 * rng.standard_normal(C), "ridge")


@pytest.fixture(scope="module")
def betas():
    return np.random.default_rng(1).standard_normal((3, V))


@pytest.fixture(scope="module")
def draw(generator, z):
    return perturbation.picture_function(generator, z[:1])


@pytest.fixture(scope="module")
def condition(encoder, betas):
    return torch.as_tensor(unit(encoder.predict(betas[:1]))[0])


@pytest.fixture(scope="module")
def jacobian(draw, condition):
    return picture_jacobian(draw, condition, batch_size=5)


def test_pictures_are_those_of_the_generator(generator, z, draw, condition):
    image = generator(z[:1], condition[None])[0].detach()
    assert image.abs().max() > 1  # clipping matters here
    expected = image.clamp(-1, 1) / 2 + 0.5
    torch.testing.assert_close(draw(condition[None])[0], expected)
    assert all(p.grad is None and p.requires_grad for p in generator.parameters())


def test_forward_products_equal_autograd(draw, condition, jacobian):
    reverse = torch.func.jacrev(lambda c: draw(c[None])[0])(condition).detach()
    torch.testing.assert_close(jacobian, reverse.permute(3, 0, 1, 2), atol=1e-12, rtol=1e-9)


def test_sketch_is_the_projection_of_the_jacobian(draw, condition, jacobian):
    sketch = perturbation.picture_sketch(draw, condition, n_probes=7, rng=seeded(3), batch_size=7)
    signs = torch.randint(0, 2, (7, 3, 16, 16), generator=seeded(3))
    flat = jacobian.flatten(1)
    expected = (signs.double() * 2 - 1).flatten(1) @ flat.T / (7 * flat.shape[1]) ** 0.5
    torch.testing.assert_close(sketch, expected, atol=1e-12, rtol=1e-9)


def rms_of(rows, jacobian):
    """Pixel RMS of every voxel by the whole Jacobian."""
    return (torch.as_tensor(rows) @ jacobian.flatten(1)).square().mean(1).sqrt()


def test_first_order_equals_finite_differences(generator, z, encoder, betas, draw):
    curve = perturbation.eps_curve(draw, encoder, betas[0], [0, 7, 20], [1e-6, 1e-5, 10.0], like=z)
    assert curve.shape == (3, 3)
    assert curve[:2].min(0).max() < 1e-6
    assert curve[2].min() > 0.05  # far from linear
    single = copy.deepcopy(generator).float()
    coarse = perturbation.picture_function(single, z[:1].float())
    rounded = perturbation.eps_curve(coarse, encoder, betas[0], [0, 7, 20], [1e-6], like=z.float())
    assert rounded.min() > 1e-3  # float32 cannot see so small a step


def test_cells_add_up_to_the_whole_picture(encoder, betas, jacobian):
    rows = perturbation.condition_jacobian(encoder, betas[0])
    maps = effect_maps(rows, cell_grams(jacobian, 4))
    torch.testing.assert_close(maps.sum(1), rms_of(rows, jacobian).square())
    picture = torch.einsum("c,cxhw->xhw", torch.as_tensor(rows[5]), jacobian).square()
    corner = picture[:, :4, 4:8].sum() / picture.numel()
    torch.testing.assert_close(maps[5, 1], corner)
    refused("cannot be cut into 3 x 3", cell_grams, jacobian, 3)


def test_centroid_is_where_the_effect_falls_right_and_up_positive():
    jacobian = torch.zeros(2, 3, 8, 8)
    jacobian[0, :, 0, 7] = 1  # upper right corner
    jacobian[1, :, 7, 0] = 1  # lower left corner
    grams = cell_grams(jacobian, 8)
    rows = torch.tensor([[1.0, 0], [0, 1], [1, 1], [0, 0]])
    maps = effect_maps(rows, grams).numpy()
    centroid, spread = perturbation.centroid_and_spread(maps, width_deg=8.0)
    np.testing.assert_allclose(centroid[:3], [[3.5, 3.5], [-3.5, -3.5], [0, 0]], atol=1e-6)
    np.testing.assert_allclose(spread[:3], [0, 0, 3.5 * 2**0.5], atol=1e-6)
    assert np.isnan(centroid[3]).all()
    relative = perturbation.relative_maps(maps[:2])
    assert relative.argmax(1).tolist() == [7, 56]


def test_atlas_equals_single_images_in_both_forms(generator, z, encoder, betas, tmp_path):
    options = {"folder": tmp_path, "key": {"test": 1}}
    exact = perturbation.image_effects(generator, encoder, betas, z, n_cells=4, **options)
    squared = 0
    for one in z:
        draw = perturbation.picture_function(generator, one[None])
        condition = torch.as_tensor(unit(encoder.predict(betas[1:2]))[0])
        rows = perturbation.condition_jacobian(encoder, betas[1])
        squared = squared + rms_of(rows, picture_jacobian(draw, condition)).square() / 2
    np.testing.assert_allclose(exact.sensitivity[1], squared.sqrt().numpy(), rtol=1e-5)
    np.testing.assert_allclose(exact.maps.sum(1), 1, rtol=1e-5)
    guess = perturbation.image_effects(generator, encoder, betas, z, n_probes=200, **options)
    assert np.median(np.abs(guess.typical() / exact.typical() - 1)) < 0.1
    assert guess.maps.shape == (V, 0)


def test_an_atlas_in_blocks_is_the_same(generator, z, encoder, betas, tmp_path):
    given = generator, encoder, betas, z
    run = dict(n_probes=8, key={"k": 1})
    serial = perturbation.image_effects(*given, folder=tmp_path / "serial", **run)
    run |= {"folder": tmp_path / "blocks"}
    for block in (1, 0):
        assert perturbation.image_effects(*given, only=range(block, len(betas), 2), **run) is None
    assert len([*(tmp_path / "blocks").rglob("part-*.h5")]) == len(betas)
    again = perturbation.image_effects(*given, **run)
    np.testing.assert_array_equal(again.sensitivity, serial.sensitivity)


def additive(rng, shape, sd):
    """Random pictures with known variances of the three factors and of all three together."""
    levels = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])  # on which axes each varies
    sizes = np.where(levels, shape, 1)
    return sum(s * rng.standard_normal((*size, 300)) for s, size in zip(sd, sizes, strict=True))


def test_variance_shares_recover_what_was_planted(rng):
    shares = perturbation.variance_shares(additive(rng, (4, 16, 5), (1, 2, 3, 1)))
    expected = {"voxel": 1 / 15, "z": 4 / 15, "noise": 9 / 15, "voxel x z x noise": 1 / 15}
    assert sum(shares.values()) == pytest.approx(1)
    for name, share in expected.items():
        assert shares[name] == pytest.approx(share, abs=0.05)
    assert max(shares[name] for name in ("voxel x z", "voxel x noise", "z x noise")) < 0.01
    # Nothing but noise between cells: a factor with few levels gets no share of it.
    empty = perturbation.variance_shares(additive(rng, (2, 16, 2), (0, 0, 0, 1)))
    assert empty["voxel x z x noise"] > 0.95


def test_crossed_pictures_change_one_thing_at_a_time(generator, z, encoder, betas):
    weights = encoder.weights.copy()
    weights[4] = 0
    idle = LinearEncoder(weights, encoder.intercept, "ridge")
    single = copy.deepcopy(generator).float()
    options = {"z": z.float(), "n_noise": 3, "seed": 0}
    pictures = perturbation.crossed_pictures(single, idle, betas[0], 2, [-1, 1], **options)
    assert pictures.shape == (2, 2, 3, 3, 16, 16)
    shares = perturbation.variance_shares(pictures)
    assert min(shares["voxel"], shares["z"], shares["noise"]) > 0
    still = perturbation.crossed_pictures(single, idle, betas[0], 4, [-1, 1], **options)
    np.testing.assert_array_equal(still[0], still[1])  # same z, same buffers, no weight
    value = betas[0].copy()
    value[2] = 1
    noise = single.synthesis.draw_noise(1, seeded(0))  # the first buffers
    draw = perturbation.picture_function(single, z[1:].float(), noise=noise)
    expected = draw(torch.as_tensor(unit(idle.predict(value[None]))).float())[0].detach().numpy()
    np.testing.assert_allclose(pictures[1, 1, 0], expected, atol=1e-5)


def test_maps_open_as_volumes_in_the_subjects_space(tmp_path):
    mask = np.zeros((3, 4, 5), bool)
    mask[1, 2, 3] = mask[2, 0, 1] = True
    affine = np.diag([1.8, 1.8, 1.8, 1])
    maps = {"effect": np.array([5.0, -2.0])}
    (path,) = perturbation.save_maps(tmp_path, maps, mask, affine, config={"seed": 0})
    image = nib.load(path)
    np.testing.assert_array_equal(image.get_fdata()[mask], maps["effect"])
    assert np.isnan(image.get_fdata()[~mask]).all()
    np.testing.assert_allclose(image.affine, affine)
    assert (tmp_path / "effect.nii.gz.json").is_file()
