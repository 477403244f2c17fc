import pytest

from tests import wiki_dumps


@pytest.fixture
def make_page():
    return wiki_dumps.page_xml


@pytest.fixture
def make_dump():
    return wiki_dumps.make_dump
