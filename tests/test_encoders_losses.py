"""Every loss against a slow reference written from its definition, and at values known by hand."""

import numpy as np
import pytest
import torch
from open_clip import ClipLoss
from refusals import refused
from scipy.special import log_softmax, softmax
from sklearn.metrics.pairwise import cosine_similarity
from torch.nn import functional

from fmri_utils.encoders import embedding_losses as losses

B, C = 9, 5


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(B, C, generator=generator, dtype=torch.float64) for _ in range(2)]


def cosines(a, b):
    return cosine_similarity(a.numpy(), b.numpy())


def test_mse_and_cosine_equal_their_definitions(pair):
    p, t = (a.numpy() for a in pair)
    assert losses.mse(*pair).item() == pytest.approx(((p - t) ** 2).sum() / (B * C))
    expected = 1 - np.diag(cosines(*pair)).mean()
    assert losses.cosine_loss(*pair).item() == pytest.approx(expected)
    assert losses.cosine_loss(pair[0], 3 * pair[0]).item() == pytest.approx(0)


def test_info_nce_is_open_clips_loss(pair):
    expected = ClipLoss()(*(functional.normalize(a, dim=1) for a in pair), 1 / 0.2)
    assert losses.info_nce(*pair, 0.2).item() == pytest.approx(expected.item())


def test_bimixco_equals_its_sums_over_both_images_of_a_mixture(pair):
    partner = torch.tensor([3, 0, 2, 1, 1, 8, 7, 4, 5])  # 2 is mixed with itself, 1 twice taken
    weight = torch.linspace(0.1, 0.9, B, dtype=torch.float64)
    logits = cosines(*pair) / 0.2
    share = np.diag(weight.numpy())  # of image j in mixture i
    np.add.at(share, (np.arange(B), partner.numpy()), 1 - weight.numpy())
    total = sum((share * log_softmax(logits, axis=axis)).sum() for axis in (0, 1))
    found = losses.bimixco(*pair, 0.2, partner=partner, weight=weight)
    assert found.item() == pytest.approx(-total / (2 * B))


def test_soft_clip_equals_its_sums_and_becomes_info_nce_when_cold(pair):
    prediction, target = pair
    logits, own = cosines(prediction, target) / 0.3, cosines(target, target) / 0.3
    both = log_softmax(logits, axis=1) + log_softmax(logits.T, axis=1)
    total = (softmax(own, axis=1) * both).sum()
    assert losses.soft_clip(*pair, 0.3).item() == pytest.approx(-total / (2 * B))
    cold = losses.info_nce(*pair, 1e-3).item()
    assert losses.soft_clip(*pair, 1e-3).item() == pytest.approx(cold, rel=1e-6)


def test_mixing_keeps_some_trials_and_mixes_the_others_by_their_weights():
    torch.manual_seed(0)
    betas = torch.randn(400, 6)
    mixed, partner, weight = losses.mix_betas(betas)
    kept = weight == 1
    assert 0.4 < kept.float().mean() < 0.6
    torch.testing.assert_close(mixed[kept], betas[kept])
    i = int(torch.nonzero(~kept)[0])
    torch.testing.assert_close(mixed[i], weight[i] * betas[i] + (1 - weight[i]) * betas[partner[i]])
    ends = (weight[~kept] < 0.05) | (weight[~kept] > 0.95)
    assert ends.float().mean() > 0.5  # Beta(.15, .15) has two horns


def test_mind_reader_loss_is_the_published_mixture(pair):
    mse, cosine = losses.mse(*pair), losses.cosine_loss(*pair)
    plain = 0.4 * mse + 0.6 * cosine
    torch.testing.assert_close(losses.mind_reader_loss(*pair), plain)
    target = losses.mind_reader_target(torch.tensor([[3.0, 4.0, 0.0]]))
    torch.testing.assert_close(target, torch.tensor([[0.5**0.5, 0.5**0.5, 0.0]]))


def test_stacked_targets_are_scored_block_by_block(pair):
    p, t = (torch.cat([a, a.flip(0)], 1) for a in pair)
    loss = losses.per_target(losses.info_nce, 2)
    expected = (losses.info_nce(*pair, 0.1) + losses.info_nce(p[:, C:], t[:, C:], 0.1)) / 2
    torch.testing.assert_close(loss(p, t, 0.1), expected)
    refused("cannot be 3 targets", losses.per_target(losses.mse, 3), p, t)


def test_contrastive_losses_refuse_a_temperature_of_zero(pair):
    for loss in (losses.info_nce, losses.soft_clip):
        refused("temperature is 0", loss, *pair, 0)
