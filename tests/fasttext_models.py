"""Small fastText classifiers, written byte by byte: a word says its label, and nothing else does."""

import struct

import numpy as np

MAGIC, VERSION, SUPERVISED, SOFTMAX = 793712314, 12, 3, 3


def model_bytes(words_by_label, *, num_ngrams=0, weight=6.0):
    """A dense model with a dimension for each label. Text without its words, or blank, gets no prediction."""
    labels = list(words_by_label)
    words = [(word, index) for index, label in enumerate(labels) for word in words_by_label[label]]
    max_chars = 2 if num_ngrams else 0
    arguments = (len(labels), 5, 5, 1, 5, 1, SOFTMAX, SUPERVISED, num_ngrams, max_chars, max_chars, 100, 1e-4)
    entries = [(word, 0) for word, _ in words] + [(f"__label__{label}", 1) for label in labels]
    inputs = np.zeros((len(words) + num_ngrams, len(labels)), np.float32)
    inputs[range(len(words)), [index for _, index in words]] = weight
    outputs = np.eye(len(labels), dtype=np.float32)
    return b"".join(
        [
            struct.pack("<2i", MAGIC, VERSION),
            struct.pack("<12id", *arguments),
            struct.pack("<3i2q", len(entries), len(words), len(labels), 100, -1),
            *(text.encode() + b"\0" + struct.pack("<qb", 10, kind) for text, kind in entries),
            struct.pack("<b2q", 0, *inputs.shape) + inputs.tobytes(),
            struct.pack("<b2q", 0, *outputs.shape) + outputs.tobytes(),
        ]
    )


WITH_SCRIPTS = {"eng_Latn": ["house"], "als_Latn": ["shtëpi"], "nan_Hant": ["厝"], "tlh_Latn": ["juH"]}
"""As GlotLID and NLLB name them; the last is no metadata language."""
