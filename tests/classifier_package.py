"""A package with classifiers, installed for the tests: a folder of a module and its `dist-info`, as pip leaves them."""

import importlib
import textwrap

PACKAGE = "toy-classifiers"
MODULE = '''
import hashlib
from pathlib import Path

import numpy as np


class Words:
    """By the share of a pair's captions that hold a word. Notes each pair that it is shown, if told where."""

    version, reads_images = "words 1", False

    def __init__(self, word, notes=None):
        self._word, self._notes = word, notes

    def __call__(self, pairs):
        assert pairs.column_names == ["captions", "url"]
        scores = [sum(self._word in text for text in texts) / len(texts) for texts in pairs["captions"].to_pylist()]
        if self._notes:
            with Path(self._notes).open("a") as file:
                file.writelines(f"{url}\\n" for url in pairs["url"].to_pylist())
        return scores


class Bytes:
    """By the first byte of an image's SHA-256; nothing for images below a number of bytes."""

    version, reads_images = "bytes 1", True

    def __init__(self, min_bytes=0):
        self._min_bytes = min_bytes

    def __call__(self, pairs):
        assert pairs.column_names == ["captions", "url", "image"]
        images = pairs["image"].to_pylist()
        scores = np.array([hashlib.sha256(image).digest()[0] / 255 for image in images], np.float32)
        scores[[len(image) < self._min_bytes for image in images]] = np.nan
        return scores


class Faulty:
    """Wrong in the way that it is told."""

    version, reads_images = "faulty 1", False

    def __init__(self, fault):
        if fault == "init":
            raise FileNotFoundError("no weights\\nat all")
        self._fault = fault

    def __call__(self, pairs):
        if self._fault == "raises":
            raise KeyError("nsfw")
        return {"short": [0.5], "text": ["high"] * len(pairs), "logits": [3.2] * len(pairs), "none": None}[self._fault]


class Unversioned:
    reads_images = False


raise_on = {}["import"] if __name__ == "toy_broken" else None
'''
ENTRY_POINTS = """
[metaclip.classifiers]
words = toy_classifiers:Words
bytes = toy_classifiers:Bytes
faulty = toy_classifiers:Faulty
unversioned = toy_classifiers:Unversioned
gone = toy_classifiers:Gone
broken = toy_broken

[other.group]
stranger = toy_classifiers:Words
"""


def install(folder, *, name=PACKAGE, entry_points=ENTRY_POINTS):
    """Write the package into a folder that is, or will be, on Python's path."""
    for module in ("toy_classifiers", "toy_broken"):
        (folder / f"{module}.py").write_text(MODULE)
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(textwrap.dedent(entry_points))
    importlib.invalidate_caches()
