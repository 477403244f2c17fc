from metaclip_core.languages import metadata_language
from metaclip_core.sample.words import number_words


def read_entries(path):
    return [line.split("\t") for line in path.read_text().splitlines()]


def test_metadata_lines_are_unique_entries_with_a_source(sample_path):
    files = sorted((sample_path / "metadata").iterdir())
    assert len(files) > 45
    for path in files:
        entries = read_entries(path)
        assert {source for _, source in entries} <= {"wordfreq", "title"}
        names = [entry for entry, _ in entries]
        assert len(set(names)) == len(names)
        assert all(name == name.strip() and name and not name.isdecimal() for name in names)


def test_metadata_hold_the_cardinals_small_and_capitalised(sample_path):
    for code, words in number_words().items():
        path = sample_path / "metadata" / f"{metadata_language(code, namespace='num2words')}.txt"
        assert set(words) <= {entry for entry, _ in read_entries(path)}, code
    english = dict(read_entries(sample_path / "metadata" / "en.txt"))
    assert english["the"] == "wordfreq"
    assert english["forty-two"] == english["Forty-two"] == "title"


def test_metadata_of_languages_with_word_lists_hold_about_two_thousand(sample_path):
    sources = [source for _, source in read_entries(sample_path / "metadata" / "ja.txt")]
    assert 1900 <= sources.count("wordfreq") <= 2000
