import numpy as np
import pytest
import torch
from torchmetrics.functional.retrieval import retrieval_hit_rate

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
        assert recall.image_to_text[k].share == pytest.approx(image_to_text)
        assert recall.text_to_image[k].share == pytest.approx(text_to_images)


def test_recall_is_the_same_in_one_piece_and_in_many():
    images, texts = embedded(1500, 1), embedded(1500, 2)
    recall = recall_at_k(images, texts, torch.arange(1500), ks=(10,))
    assert (recall.image_to_text[10].share, recall.text_to_image[10].share) == pytest.approx(
        naive(images, texts, torch.arange(1500), 10)
    )


def test_recall_is_the_hit_rate_of_torchmetrics():
    images = embedded(25, 1)
    text_to_image = torch.cat([torch.arange(25), torch.arange(25)])
    texts = images[text_to_image] + 2 * embedded(50, 2)
    recall = recall_at_k(images, texts, text_to_image, ks=(1, 5, 10))
    similarity, right = images @ texts.T, torch.arange(25)[:, None] == text_to_image[None, :]
    for k in (1, 5, 10):
        to_text = [retrieval_hit_rate(s, r, top_k=k).item() for s, r in zip(similarity, right, strict=True)]
        to_image = [retrieval_hit_rate(s, r, top_k=k).item() for s, r in zip(similarity.T, right.T, strict=True)]
        assert recall.image_to_text[k].share == np.mean(to_text)
        assert recall.text_to_image[k].share == np.mean(to_image)


def test_a_collapsed_model_is_right_as_often_as_a_guess():
    recall = recall_at_k(torch.ones(4, 3), torch.ones(4, 3), torch.arange(4), ks=(1,))
    assert recall.image_to_text[1].share == recall.text_to_image[1].share == 0.25


def test_an_image_that_did_not_decode_finds_nothing_and_is_not_found():
    images = torch.tensor([[-1.0, 0.0], [0.0, 0.0], [0.0, -1.0]])  # zeros: nearer to both other texts than their images
    texts = torch.tensor([[1.0, 0.1], [0.5, 0.5], [0.1, 1.0]])
    decoded = torch.tensor([True, False, True])
    recall = recall_at_k(images, texts, torch.arange(3), ks=(1, 3), decoded=decoded)
    assert recall.image_to_text[3].right.tolist() == [1, 0, 1]
    assert recall.text_to_image[3].right.tolist() == [1, 0, 1]
    assert recall.text_to_image[1].right.tolist() == [0, 0, 0]
    assert recall.text_to_image[3].asked.tolist() == [1, 1, 1]


def test_an_image_without_captions_is_refused():
    with pytest.raises(ValueError, match="every image needs a caption"):
        recall_at_k(embedded(3, 0), embedded(2, 1), torch.tensor([0, 1]), ks=(1,))


def test_a_caption_of_an_unknown_image_is_refused():
    with pytest.raises(ValueError, match="every image needs a caption"):
        recall_at_k(embedded(2, 0), embedded(3, 1), torch.tensor([0, 1, 2]), ks=(1,))
