import base64
import io
import json
import tarfile

import pytest
from PIL import Image

from metaclip_core.card.examples import Example
from metaclip_core.funnel import Funnel
from metaclip_core.records import DropReason
from pipelines.config import build_config
from pipelines.manifest import Manifest
from pipelines.pictures import read_pictures
from pipelines.sources.base import open_source

COLOURS = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]


def encoded(colour):
    buffer = io.BytesIO()
    Image.new("RGB", (50, 40), colour).save(buffer, "PNG")
    return buffer.getvalue()


def write_shard(path, images):
    with tarfile.open(path, "w") as archive:
        for number, image in enumerate(images):
            content = json.dumps({"url": f"http://{path.stem}/{number}", "texts": [["alt", "text"]]}).encode()
            for suffix, data in (("png", image), ("json", content)):
                header = tarfile.TarInfo(f"{number}.{suffix}")
                header.size = len(data)
                archive.addfile(header, io.BytesIO(data))


@pytest.fixture
def pool(tmp_path):
    """Two shards, and an example for each of their pairs."""
    write_shard(tmp_path / "a.tar", [encoded(COLOURS[0]), b"<svg onload=alert(1)>", encoded(COLOURS[1])])
    write_shard(tmp_path / "b.tar", [encoded(COLOURS[2])])
    config = build_config({"pool": {"uri": str(tmp_path)}, "feed": {"max_pixels": 2_000}})
    manifest = Manifest(open_source(config).list_shards())
    examples = []
    for shard, name in enumerate(("a.tar", "b.tar")):
        tables = open_source(config).read_captions(name, shard=shard, batch_rows=9, funnel=Funnel())
        for pair in next(tables).to_pylist():
            caption = pair.pop("captions")[0]
            examples.append(
                Example(**pair, **caption, language="en", score=1.0, entry_ids=[], probability=0.0, reason=None)
            )
    return tmp_path, config, manifest, examples


def colour_of(picture):
    data = base64.b64decode(picture.uri.removeprefix("data:image/jpeg;base64,"))
    return Image.open(io.BytesIO(data)).getpixel((9, 9))


def test_pictures_are_those_of_the_pairs_in_whatever_order_they_are_asked_for(pool):
    _, config, manifest, examples = pool
    pictures = read_pictures(config, manifest, examples[::-1])
    assert set(pictures) == {example.pair_id for example in examples}
    for example, colour in zip([examples[0], examples[2], examples[3]], COLOURS, strict=True):
        assert colour_of(pictures[example.pair_id]) == pytest.approx(colour, abs=12)


def test_picture_of_what_is_no_image_or_too_large_is_its_reason(pool):
    _, config, manifest, examples = pool
    assert read_pictures(config, manifest, examples[1:2])[examples[1].pair_id].reason == DropReason.IMAGE_BROKEN
    small = config.model_copy(update={"feed": config.feed.model_copy(update={"max_pixels": 1_999})})
    pictures = read_pictures(small, manifest, examples[:1])
    assert pictures[examples[0].pair_id].reason == DropReason.IMAGE_PIXELS_OVER_LIMIT


def test_pictures_of_a_shard_that_is_gone_say_so_and_the_others_are_there(pool):
    folder, config, manifest, examples = pool
    (folder / "b.tar").unlink()
    pictures = read_pictures(config, manifest, examples)
    assert "b.tar" in pictures[examples[3].pair_id].reason
    assert colour_of(pictures[examples[0].pair_id]) == pytest.approx(COLOURS[0], abs=12)


def test_no_pairs_have_no_pictures(pool):
    _, config, manifest, _ = pool
    assert read_pictures(config, manifest, []) == {}
