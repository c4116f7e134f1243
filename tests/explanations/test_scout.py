"""Closed-form maps against a plain Grad-CAM by autograd; discriminants against loops."""

import pytest
import torch
from torch import nn

from models.resnet import Outputs, build
from utils.explanations.scout import EPS, Maps, discriminant, explanation_maps, normalise


def plain_normalise(raw):
    raw = raw.clamp(min=0) - raw.clamp(min=0).min()
    raw = raw / (raw.max() if raw.max() > 0 else 1)
    raw[raw == 0] = EPS
    return raw


def plain_gradcam(network, image, score):
    """Grad-CAM of one image (3, h, w) and one scalar score, by a backward pass to the feature map."""
    feature_map = network.feature_map(image[None]).detach().requires_grad_()
    logits = network.fc(feature_map.mean((2, 3)))[0]
    gradient = torch.autograd.grad(score(logits), feature_map)[0]
    weighted = zip(gradient.mean((2, 3))[0], feature_map.detach()[0], strict=True)
    return plain_normalise(sum(weight * channel for weight, channel in weighted))


@pytest.mark.parametrize("bias", [True, False])
def test_maps_equal_autograd_gradcam(bias):
    torch.manual_seed(0)
    network, images = build("resnet18", 5, bias=bias).eval(), torch.rand(3, 3, 96, 96)
    with torch.no_grad():
        maps = explanation_maps(network(images), network.fc)
    for n, image in enumerate(images):
        for c in range(5):
            own = plain_gradcam(network, image, lambda z, c=c: z[c])
            torch.testing.assert_close(maps.attribution[n, c], own, atol=1e-5, rtol=0)
        confidence = plain_gradcam(network, image, lambda z: z.softmax(0).max())
        torch.testing.assert_close(maps.confidence[n], confidence, atol=1e-5, rtol=0)


def test_a_very_sure_network_keeps_a_meaningful_confidence_map():
    torch.manual_seed(0)
    feature_map = torch.rand(1, 512, 4, 4, dtype=torch.float64)
    head = nn.Linear(512, 3, bias=False).double()
    head.weight.data[1] += 0.2  # margins near 50: p_m is 1 in float32
    features = feature_map.mean((2, 3))
    exact = explanation_maps(Outputs(head(features), features, feature_map), head)
    head, feature_map, features = head.float(), feature_map.float(), features.float()
    logits = head(features)
    assert logits.softmax(1).max() == 1
    single = explanation_maps(Outputs(logits, features, feature_map), head)
    torch.testing.assert_close(single.confidence.double(), exact.confidence, atol=1e-4, rtol=0)


def test_normalise_by_hand():
    raw = torch.tensor([[[-1.0, 1.0], [3.0, 2.0]], [[-2.0, -3.0], [-1.0, 0.0]], [[5.0, 5.0], [5.0, 5.0]]])
    expected = torch.tensor([[[EPS, 1 / 3], [1.0, 2 / 3]], [[EPS] * 2] * 2, [[EPS] * 2] * 2])
    torch.testing.assert_close(normalise(raw), expected)


def random_maps(images=3, classes=4, side=5, seed=0):
    maps = normalise(torch.randn(images, classes + 1, side, side, generator=torch.Generator().manual_seed(seed)))
    return Maps(maps[:, :classes], maps[:, classes])


def test_discriminant_against_loops():
    maps, label = random_maps(), torch.tensor([0, 3, 2])
    counter = torch.tensor([[1, 2, 3], [0, 1, 2], [0, 1, 3]])
    d = discriminant(maps, label, counter)
    for n in range(3):
        for column, b in enumerate(counter[n].tolist()):
            for y in range(5):
                for x in range(5):
                    own, other = maps.attribution[n, label[n]], maps.attribution[n, b]
                    expected = maps.confidence[n, y, x] * (other.max() - other[y, x]) * own[y, x]
                    assert d[n, column, y, x] == pytest.approx(expected.item())


def test_discriminant_without_evidence_for_the_counter_class():
    maps = random_maps()
    maps.attribution[0, 1] = EPS
    d = discriminant(maps, torch.tensor([0, 0, 0]), torch.tensor([[1]] * 3))
    torch.testing.assert_close(d[0, 0], maps.confidence[0] * maps.attribution[0, 0])
