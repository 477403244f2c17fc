"""Small annotated pools of chance: what counts, samples and draws are tested on."""

import hashlib

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from metaclip_core.counting import PoolCounts, tally
from metaclip_core.records import ANNOTATED

NUM_ENTRIES = {"aa": 3, "de": 9, "en": 30, "ja": 5, "sw": 4}
LANGUAGES = [*NUM_ENTRIES, "other"]  # that has no entries


def pool_of(captions, *, salt=0):
    """A table of ANNOTATED from lists of (language, entry ids), one list for each pair; `salt` makes the ids new."""
    records = [
        {
            "pair_id": hashlib.sha224(f"{salt}/{row}".encode()).hexdigest()[:24],
            "shard": 0,
            "row": row,
            "captions": [
                {"kind": "alt", "text": f"{row}/{i}", "language": language, "language_score": 1.0, "entry_ids": ids}
                for i, (language, ids) in enumerate(of_pair)
            ],
            "image_offset": 0,
            "image_length": 0,
        }
        for row, of_pair in enumerate(captions)
    ]
    return pa.Table.from_pylist(records, ANNOTATED)


def salted(pool, salt):
    """The same pool with new pair ids, and therefore with other samples and draws."""
    ids = [hashlib.sha224(f"{salt}/{row}".encode()).hexdigest()[:24] for row in range(pool.num_rows)]
    return pool.set_column(pool.schema.get_field_index("pair_id"), "pair_id", pa.array(ids))


def uneven_pool(num_pairs, *, seed=0):
    """A pool of up to three captions a pair, in languages that halve, mentioning entries of the Zipf kind."""
    rng = np.random.default_rng(seed)
    names = ["en", "de", "ja", "sw", "other", "aa"]
    shares = np.array([0.5, 0.25, 0.12, 0.08, 0.04, 0.01])
    pairs = []
    for _ in range(num_pairs):
        pair = []
        for language in rng.choice(names, rng.integers(1, 4), p=shares):
            ids = np.minimum(rng.zipf(1.5, rng.integers(0, 4)), NUM_ENTRIES.get(language, 0)) - 1
            pair.append((str(language), sorted({int(entry_id) for entry_id in ids if entry_id >= 0})))
        pairs.append(pair)
    return pool_of(pairs)


def counts_of(pool):
    """The counts of a pool."""
    counts = PoolCounts.zero(NUM_ENTRIES)
    counts.add(tally(pool))
    return counts


@st.composite
def captions(draw):
    """(language, entry ids) of a caption."""
    language = draw(st.sampled_from(LANGUAGES))
    size = NUM_ENTRIES.get(language, 0)
    return language, sorted(draw(st.sets(st.integers(0, size - 1), max_size=5))) if size else []


pools = st.lists(st.lists(captions(), max_size=4), max_size=25).map(pool_of)
