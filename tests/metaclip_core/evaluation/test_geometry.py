import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from metaclip_core.evaluation.geometry import geometry


def unit(rows, seed):
    return functional.normalize(torch.from_numpy(np.random.default_rng(seed).standard_normal((rows, 7))), dim=1)


def test_geometry_is_the_definition_with_alpha_and_t_of_two():
    images, texts = unit(40, 1), unit(40, 2)
    found = geometry(images, texts)
    assert found.alignment == pytest.approx(np.mean([math.dist(i, t) ** 2 for i, t in zip(images, texts, strict=True)]))
    for measured, embedded in [(found.uniformity_images, images), (found.uniformity_texts, texts)]:
        pairs = [math.exp(-2 * math.dist(embedded[i], embedded[j]) ** 2) for i in range(40) for j in range(i)]
        assert measured == pytest.approx(math.log(np.mean(pairs)))


def test_pairs_that_agree_are_aligned_and_a_collapsed_model_is_not_uniform():
    same = torch.ones(5, 4) / 2
    found = geometry(same, same)
    assert (found.alignment, found.uniformity_images, found.uniformity_texts) == (0, 0, 0)
    assert geometry(unit(50, 1), unit(50, 1)).uniformity_images < -1


def test_one_pair_is_refused():
    with pytest.raises(ValueError, match="two pairs"):
        geometry(unit(1, 0), unit(1, 0))
