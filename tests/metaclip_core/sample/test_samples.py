from collections import Counter

from metaclip_core.sample.captions import Content
from metaclip_core.sample.furniture import SHARES, Furniture
from metaclip_core.sample.samples import SamplePool

POOL = SamplePool(num_images=3000, shard_rows=500, seed=1)


def test_sample_does_not_depend_on_samples_made_before():
    backwards = [POOL.sample(index) for index in reversed(range(20))]
    assert [POOL.sample(index) for index in range(20)] == backwards[::-1]


def test_sample_repeated_has_the_document_and_image_of_an_earlier_shard():
    furniture = {index: POOL._furniture(index) for index in range(POOL.num_images)}
    repeated = [(index, origin) for index, (kind, origin) in furniture.items() if kind is Furniture.REPEATED]
    recaptioned = [(index, origin) for index, (kind, origin) in furniture.items() if kind is Furniture.RECAPTIONED]
    assert repeated
    assert recaptioned
    for index, origin in repeated + recaptioned:
        again, first = POOL.sample(index), POOL.sample(origin)
        assert origin // 500 < index // 500
        assert first.furniture is Furniture.NONE
        assert (again.image, again.url, again.scans) == (first.image, first.url, first.scans)
        assert again.key != first.key
        assert (again.document == first.document) is (again.furniture is Furniture.REPEATED)


def test_furniture_occurs_in_its_shares_and_one_image_is_huge():
    counts = Counter(POOL._furniture(index)[0] for index in range(POOL.num_images))
    assert counts[Furniture.HUGE_IMAGE] == 1
    for furniture, share in SHARES.items():
        expected = share * POOL.num_images
        assert abs(counts[furniture] - expected) <= 4 * expected**0.5, furniture


def test_languages_and_numbers_are_skewed_as_stated():
    samples = [POOL.sample(index) for index in range(1000)]
    languages = Counter(x for s in samples for text in s.texts for x in text.languages)
    assert 0.38 <= languages["en"] / languages.total() <= 0.50
    numbers = Counter(s.number for s in samples)
    assert sum(numbers[n] for n in range(10)) > 4 * sum(numbers[n] for n in range(90, 100))
    saying = [text.content is Content.NUMBER for s in samples for text in s.texts]
    assert sum(saying) / len(saying) > 0.85
