"""Margin explanations against a plain implementation: autograd, one image, class and channel at a time."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

from models.resnet import IMAGENET_MEAN, IMAGENET_STD, STRIDES, build
from tests.helpers.noise import settled
from utils.explanations import margin
from utils.explanations.explainers import chosen_counters
from utils.explanations.margin import Margin, class_maps, main_parts
from utils.explanations.masks import masks

LAYER = pytest.mark.parametrize("layer", STRIDES)


def drawn(arch, num_classes=4, **options):
    torch.manual_seed(0)
    return settled(build(arch, num_classes, **options))


def plain_class_map(network, image, c, layer):
    """H_c of one image (3, h, w) by docs/method.md, in float64, from torchvision's parts."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1).double() for values in (IMAGENET_MEAN, IMAGENET_STD))
    x = (image.double()[None] - mean) / std
    for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
        x = getattr(network, name)(x)
        if name == layer:
            at_layer = x = x.detach().requires_grad_()
    logit = network.fc(x.mean((2, 3)))[0, c]
    (gradient,) = torch.autograd.grad(logit, at_layer)
    total = torch.zeros(at_layer.shape[2:], dtype=torch.float64)
    for k in range(at_layer.shape[1]):
        total += gradient[0, k] * at_layer.detach()[0, k]
    return total


def explain(network, images, label, layer="layer1", counters=3, focus=0.0):
    with torch.no_grad():
        return Margin(layer, focus)(network, images, label, partial(chosen_counters, label, counters))


@LAYER
@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_class_maps_equal_a_plain_hirescam(arch, layer):
    network, images, label = drawn(arch), torch.rand(2, 3, 64, 64), torch.tensor([2, 0])
    explained = explain(network.folded(), images, label, layer)
    assert explained.counter.tolist() == [[0, 1, 3], [1, 2, 3]]
    with torch.no_grad():
        torch.testing.assert_close(explained.logits, network(images).logits, atol=1e-3, rtol=1e-3)
    network = network.double()
    plain = torch.stack([plain_class_map(network, image, c, layer) for image in images for c in range(4)])
    plain = plain.unflatten(0, (2, 4))
    scale = plain.abs().max().item()
    assert plain.min() < 0 < plain.max()
    for n, a in enumerate(label.tolist()):
        for column, b in enumerate(explained.counter[n].tolist()):
            expected = (plain[n, a] - plain[n, b]).clamp(min=0)
            torch.testing.assert_close(explained.relevance[n, column].double(), expected, atol=1e-4 * scale, rtol=0)
    stored = explained.maps["class_maps"]
    assert stored.dtype == torch.float16 and stored.shape == (2, 4, network.grid(64, layer), network.grid(64, layer))
    torch.testing.assert_close(stored.double(), plain, atol=1e-3 * scale, rtol=2e-3)


def test_at_the_last_layer_it_is_the_class_activation_map_and_sums_to_the_margin():
    """There, H_a is W_a F / (H W), and its sum over the positions is z_a without the bias."""
    network, images = drawn("resnet18", bias=False), torch.rand(3, 3, 96, 96)
    with torch.no_grad():
        whole = network(images)
        outputs, _, maps = class_maps(network, whole.feature_map, "layer4", lambda _: torch.arange(4).expand(3, -1))
        expected = torch.einsum("ck,nkhw->nchw", network.fc.weight, whole.feature_map) / 9
    torch.testing.assert_close(maps, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(maps.sum((2, 3)), outputs.logits, atol=1e-5, rtol=1e-4)


def test_the_focus_weighs_by_the_evidence_of_the_last_layer():
    network, images, label = drawn("resnet18", bias=False), torch.rand(3, 3, 96, 96), torch.tensor([2, 0, 1])
    network.fc.weight.data[1] = -1.0  # no evidence for class 1 anywhere
    plain, focused = (explain(network, images, label, focus=focus) for focus in (0.0, 0.7))
    with torch.no_grad():
        last = network(images).feature_map
    for n, a in enumerate(label.tolist()):
        own = torch.stack([(network.fc.weight[a] @ last[n].flatten(1)).clamp(min=0)]).view(1, 1, 3, 3)
        weight = F.interpolate(own / own.max(), (24, 24), mode="bilinear")[0, 0] ** 0.7 if a != 1 else 1.0
        torch.testing.assert_close(focused.relevance[n], plain.relevance[n] * weight, atol=1e-4, rtol=2e-3)
    stored = {name: values[:2] for name, values in focused.maps.items()}
    again = Margin("layer1", 0.7).relevance(stored, label[:2], focused.counter[:2])
    torch.testing.assert_close(again, focused.relevance[:2], atol=1e-3, rtol=1e-2)
    assert "evidence" not in plain.maps


def test_only_chosen_classes_have_maps_and_cost_a_backward_pass_each(monkeypatch):
    network, images, label = drawn("resnet18", num_classes=9), torch.rand(3, 3, 64, 64), torch.tensor([8, 0, 4])
    backward = torch.func.vjp
    passes = []

    def counting(*given, **options):
        logits, one, *rest = backward(*given, **options)
        return logits, lambda cotangent: (passes.append(1), one(cotangent))[1], *rest

    monkeypatch.setattr(torch.func, "vjp", counting)
    monkeypatch.setattr(margin, "GRADIENTS", 3)  # a class of three images at a time
    everything = explain(network, images, label, counters=8)
    all_passes = len(passes)
    some = explain(network, images, label, counters=2)
    assert (all_passes, len(passes) - all_passes) == (9, 3)
    for n, a in enumerate(label.tolist()):
        strongest = sorted((b for b in range(9) if b != a), key=lambda b: -everything.logits[n, b])[:2]
        assert some.counter[n].tolist() == sorted(strongest)
        made, expected = some.maps["class_maps"][n], everything.maps["class_maps"][n]
        chosen = sorted([a, *strongest])
        assert torch.equal(made[chosen], expected[chosen]) and made.isnan().sum() == 6 * made[0].numel()
        places = [everything.counter[n].tolist().index(b) for b in sorted(strongest)]
        assert torch.equal(some.relevance[n], everything.relevance[n, places])


def test_one_forward_pass_and_backward_passes_down_to_the_layer_only():
    """Of a frozen backbone, like that of a probe."""
    network = drawn("resnet18").freeze_backbone()
    calls, gradients = [], []
    for name in STRIDES:
        getattr(network, name).register_forward_hook(lambda *_, name=name: calls.append(name))
    network.layer1.register_full_backward_hook(lambda *_: gradients.append("layer1"))
    explained = explain(network, torch.rand(2, 3, 64, 64), torch.tensor([0, 1]))
    assert calls == list(STRIDES) and gradients == []
    assert explained.relevance.amax() > 0 and not explained.relevance.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize(("grid", "size"), [(56, 224), (7, 224), (16, 64), (25, 97)])
def test_upsampling_is_bilinear_then_scipys_gaussian(grid, size):
    maps = torch.rand(2, 3, grid, grid, generator=torch.Generator().manual_seed(0)).relu()
    ours = Margin("layer1", 0).upsample(maps[0], size)
    large = F.interpolate(maps[:1].double(), (size, size), mode="bilinear", align_corners=False)[0].numpy()
    for one, other in zip(ours, large, strict=True):
        smooth = gaussian_filter(other, 5 * size / 224, mode="reflect", truncate=4.0)
        np.testing.assert_allclose(one.numpy(), smooth, atol=1e-6)


def test_specks_are_removed_and_pixels_do_not_connect_by_corners():
    mask = np.zeros((30, 30), dtype=bool)
    mask[:8, :10] = True  # 80 pixels
    mask[20:24, 20:24] = True  # 16 pixels
    mask[29, 0:4] = True  # 4 of 100 pixels: a speck
    kept = main_parts(mask, np.ones(mask.shape))
    assert kept.sum() == 96 and not kept[29].any()
    mask[29, 4] = mask[28, 5] = True  # 5 in a row and one that touches them by a corner: 5 of 102 are still a speck
    assert not main_parts(mask, np.ones(mask.shape))[28:].any()
    mask[29, 5] = True  # now 7 of 103
    assert main_parts(mask, np.ones(mask.shape))[28:].sum() == 7


def test_the_four_parts_of_largest_weight_remain():
    weight = np.array([[3, 3, 0, 1, 1, 0, 4, 4, 0, 2, 2, 0, 5, 1, 0, 9, 9]], dtype=float)  # six parts of one size
    kept = main_parts(weight > 0, weight)
    assert kept[0].nonzero()[0].tolist() == [0, 1, 6, 7, 12, 13, 15, 16]


def test_if_all_parts_are_specks_the_heaviest_remains():
    mask = np.zeros((9, 9), dtype=bool)
    mask[::2, ::2] = True  # 25 pixels, each a part and 4 % of the mask
    weight = np.ones((9, 9))
    weight[4, 6] = 2
    kept = main_parts(mask, weight)
    assert np.argwhere(kept).tolist() == [[4, 6]]


def test_masks_contain_no_pixel_without_evidence():
    """One position has evidence; after smoothing it covers less than 30 % of the image."""
    relevance = torch.zeros(1, 16, 16)
    relevance[0, 3, 4] = 1
    upsampled = Margin("layer1", 0).upsample(relevance, 64)
    cut = masks(upsampled, (0.30,))
    kept = Margin("layer1", 0).clean(cut, upsampled)[0, 0]
    assert torch.equal(kept, upsampled[0] > 0) and 0 < kept.sum() < 0.30 * 64 * 64


def test_masks_of_a_map_of_zeros_have_the_requested_size():
    upsampled = torch.zeros(2, 32, 32)
    upsampled[1, 8:16, 8:16] = 1
    kept = Margin("layer1", 0).clean(masks(upsampled, (0.05, 0.10)), upsampled)
    assert kept[0].sum((1, 2)).tolist() == [51, 102]  # 5 and 10 % of 32 x 32
    assert kept[1].any() and not kept[1].any(0).all()


def test_logits_beyond_half_precision_are_stored_as_its_largest_number():
    network = drawn("resnet18", bias=False)
    network.fc.weight.data *= 1e9
    explained = explain(network, torch.rand(1, 3, 64, 64), torch.tensor([0]), "layer2")
    assert explained.maps["class_maps"].abs().amax() == torch.finfo(torch.float16).max
    assert explained.relevance.isfinite().all() and len(explained.relevance.unique()) > 30
