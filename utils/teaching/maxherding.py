"""MaxHerding (Bae, Noh & Sutherland, ECCV 2024): the images that cover their class best, classes in turn."""

import torch
from torch import Tensor
from torch.nn import functional as F

from utils.teaching.selector import Choice, Selector, Survey, best_of_each_class, next_classes

BLOCK = 2_048  # rows of the kernel matrix in memory at a time
SAMPLED = 2_000  # images per class for the median distance


def coverage(features: Tensor, shown: Tensor) -> Tensor:
    """How well each image covers its class together with the images already shown.

    Takes the features of a class, (n, d), and which of its images were shown, bool (n,). Returns the mean over x of the
    class of max over x' (shown images and the image itself) of k(x, x'), float64 (n,). k = exp(-||u - u'||^2 / median)
    with unit features u and the median over all pairs of the class.
    """
    unit = F.normalize(features.double(), dim=1)
    width = _median_distance(unit)

    def kernel(block: Tensor) -> Tensor:
        return torch.exp(-_distances(block, unit) / width)  # (b, n)

    covered = torch.zeros(len(unit), dtype=torch.float64)  # by the shown images
    for block in unit[shown].split(BLOCK) if shown.any() else ():
        covered = torch.maximum(covered, kernel(block).amax(0))
    return torch.cat([torch.maximum(kernel(block), covered).mean(1) for block in unit.split(BLOCK)])


def _distances(one: Tensor, other: Tensor) -> Tensor:
    """||u - u'||^2 of unit vectors, (n, n')."""
    return (2 - 2 * one @ other.T).clamp(min=0)


def _median_distance(unit: Tensor) -> float:
    """Median squared distance of two different images; 1 if all are equal."""
    sample = unit[:: -(-len(unit) // SAMPLED)]
    rows, columns = torch.triu_indices(len(sample), len(sample), offset=1)
    distances = _distances(sample, sample)[rows, columns]
    return distances.median().item() or 1.0 if len(distances) else 1.0


class MaxHerding(Selector):
    """The image that covers its class best, for each of the two classes that were shown least."""

    def choose(self, survey: Survey, remaining: Tensor) -> Choice:
        values = torch.zeros(len(remaining), dtype=torch.float64)
        for c in survey.labels.unique().tolist():
            members = survey.labels == c
            values[members] = coverage(survey.seen.features[members], ~remaining[members])
        own, counter = next_classes(survey.labels, remaining)
        partners = best_of_each_class(values, survey.labels, remaining)
        image = partners.pop(own)
        return Choice(image, partners[counter], counter, partners, values[image].item())
