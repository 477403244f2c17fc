import sys

import pyarrow as pa
import pytest

from pipelines.classifiers import find_classifier
from pipelines.config.curation import ClassifierConfig
from pipelines.errors import UserError
from tests import classifier_package


def found(name):
    return find_classifier(ClassifierConfig(name=name, drop_above=0.5))


def test_installed_classifier_is_found_by_the_name_of_its_entry_point(classifiers):
    installed = found("words")
    assert (installed.package, installed.version, installed.reads_images) == ("toy-classifiers", "words 1", False)
    pairs = pa.table({"captions": [["a dog", "a cat"]], "url": ["http://a.example/"]})
    assert installed.make({"word": "dog"})(pairs) == [0.5]


@pytest.mark.parametrize("name", ["nsfw", "Words", "toy_classifiers:Words", "stranger", ""])
def test_name_of_no_classifier_is_refused_with_those_that_are_installed(classifiers, name):
    with pytest.raises(UserError, match=r"only broken, bytes, faulty, gone, unversioned, words$"):
        found(name)


def test_recipe_where_no_classifier_is_installed_is_told_so(classifiers, monkeypatch):
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(classifiers)])
    with pytest.raises(UserError, match=r"no classifier is installed here$"):
        found("words")


def test_name_that_two_packages_announce_is_refused_with_both(classifiers, tmp_path, monkeypatch):
    classifier_package.install(tmp_path, name="other-classifiers")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="several packages: other-classifiers, toy-classifiers"):
        found("words")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone", "classifier 'gone' of package toy-classifiers can't be imported: AttributeError: .*Gone"),
        ("broken", "classifier 'broken' of package toy-classifiers can't be imported: KeyError: 'import'"),
        ("unversioned", "classifier 'unversioned' of package toy-classifiers must be callable, with a version"),
    ],
)
def test_classifier_that_can_not_be_used_is_told_by_name(classifiers, name, message):
    with pytest.raises(UserError, match=message):
        found(name)


@pytest.mark.parametrize("options", [{}, {"word": "dog", "colour": "red"}])
def test_options_that_a_classifier_does_not_take_are_told(classifiers, options):
    with pytest.raises(UserError, match=r"classifier 'words' can't be made with the options \{.*TypeError"):
        found("words").make(options)
