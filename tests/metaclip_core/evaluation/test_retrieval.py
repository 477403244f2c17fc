import numpy as np
import pytest
import torch

from metaclip_core.evaluation.retrieval import recall_at_k


def embedded(rows, seed):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((rows, 6)))


def naive(images, texts, text_to_image, k):
    similarity = images.numpy() @ texts.numpy().T
    owner = text_to_image.numpy()
    texts_found = np.argsort(-similarity, axis=1)[:, :k]
    images_found = np.argsort(-similarity.T, axis=1)[:, :k]
    image_to_text = [image in owner[found] for image, found in enumerate(texts_found)]
    text_to_image = [owner[text] in found for text, found in enumerate(images_found)]
    return np.mean(image_to_text), np.mean(text_to_image)


@pytest.mark.parametrize("seed", range(3))
def test_recall_agrees_with_a_naive_search_where_images_have_several_captions(seed):
    images = embedded(30, seed)
    text_to_image = torch.cat([torch.arange(30), torch.randint(0, 30, (41,), generator=torch.Generator())])
    texts = images[text_to_image] + 2 * embedded(71, seed + 10)
    recall = recall_at_k(images, texts, text_to_image, ks=(1, 5, 100))
    for k in (1, 5, 100):
        image_to_text, text_to_images = naive(images, texts, text_to_image, k)
        assert recall.image_to_text[k] == pytest.approx(image_to_text)
        assert recall.text_to_image[k] == pytest.approx(text_to_images)


def test_recall_is_the_same_in_one_piece_and_in_many():
    images, texts = embedded(1500, 1), embedded(1500, 2)
    recall = recall_at_k(images, texts, torch.arange(1500), ks=(10,))
    assert (recall.image_to_text[10], recall.text_to_image[10]) == pytest.approx(
        naive(images, texts, torch.arange(1500), 10)
    )


def test_a_collapsed_model_earns_nothing_from_ties():
    recall = recall_at_k(torch.ones(4, 3), torch.ones(4, 3), torch.arange(4), ks=(1,))
    assert recall.image_to_text == recall.text_to_image == {1: 0.0}


def test_an_image_without_captions_is_refused():
    with pytest.raises(ValueError, match="every image needs a caption"):
        recall_at_k(embedded(3, 0), embedded(2, 1), torch.tensor([0, 1]), ks=(1,))


def test_a_caption_of_an_unknown_image_is_refused():
    with pytest.raises(ValueError, match="every image needs a caption"):
        recall_at_k(embedded(2, 0), embedded(3, 1), torch.tensor([0, 1, 2]), ks=(1,))
