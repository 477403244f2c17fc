"""What tests of the stream and of the training share: the sample, curated once."""

import pytest

from pipelines.config import build_config
from pipelines.curate import curate
from pipelines.metadata import import_metadata


@pytest.fixture(scope="session")
def curated(cluster, sample, tmp_path_factory):
    """The recipe of a curation of the sample, and what it found."""
    recipe = {
        "root": str(tmp_path_factory.mktemp("curated") / "root"),
        "pool": {"name": "numbers", "uri": str(sample)},
        "metadata": {"name": "numbers"},
        "curation": {"p": 0.3},
    }
    config = build_config(recipe)
    import_metadata(str(sample / "metadata"), config)
    return recipe, curate(config, progress=lambda *_: None).curated
