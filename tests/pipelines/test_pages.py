import pytest

from pipelines.pages import redact, without_secrets


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://user:s3cret@host/x", "https://host/x"),
        ("postgresql://user:s3/cr@et@host/db", "postgresql://host/db"),
        ("https://s3cret@host:5000", "https://host:5000"),
        ("postgresql://host/db?user=u&password=s3cret&a=b", "postgresql://host/db?user=u&password=***&a=b"),
        ("https://host:5000/a?b=c", "https://host:5000/a?b=c"),
    ],
)
def test_secrets_of_a_uri_are_not_shown_wherever_it_stands(uri, shown):
    assert redact(uri) == shown
    assert without_secrets({"a": [uri, 1], "b": {"c": uri}}) == {"a": [shown, 1], "b": {"c": shown}}
