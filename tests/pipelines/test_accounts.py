"""The shared server with accounts, started as its definition says: strangers and other names are refused."""

import configparser
import secrets
from pathlib import Path

import pytest
import requests
import yaml

from pipelines.config import build_config
from pipelines.errors import UserError
from pipelines.tracking import start_record
from tests.tracking_servers import running_tracking_server

DEFINITION = Path(__file__).parents[2] / "cluster" / "mlflow" / "kubernetes.yaml"
PASSWORD = secrets.token_hex(16)
SEARCH = "api/2.0/mlflow/experiments/search"
OWN = ("--app-name", "--allowed-hosts")  # what of the definition's command does not name its place


def options_of_definition():
    """What the definition says of accounts and names; of its places, none is on this machine."""
    [deployment] = [one for one in yaml.safe_load_all(DEFINITION.read_text()) if one["kind"] == "Deployment"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    told = [argument for argument in container["args"] if argument.partition("=")[0] in OWN]
    assert len(told) == len(OWN)
    return told


def environment_of(folder, password):
    """The secrets; the accounts' file is the definition's, with a database that is here."""
    accounts = configparser.ConfigParser()
    accounts.read(DEFINITION.with_name("accounts.ini"))
    accounts["mlflow"]["database_uri"] = f"sqlite:///{folder / 'accounts.db'}"
    with (folder / "basic_auth.ini").open("w") as file:
        accounts.write(file)
    return {
        "MLFLOW_AUTH_ADMIN_PASSWORD": password,
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "basic_auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Its second start, with another password to begin with: accounts outlive a server."""
    folder = tmp_path_factory.mktemp("accounts")
    places = {"backend": f"sqlite:///{folder / 'mlflow.db'}", "artifacts": str(folder / "artifacts")}
    options = [one.replace("127.0.0.1:5000", "127.0.0.1:*") for one in options_of_definition()]
    for number, password in enumerate([PASSWORD, secrets.token_hex(16)]):
        environment = environment_of(folder, password)
        with running_tracking_server(
            folder / str(number), **places, environment=environment, options=options
        ) as running:
            if number:
                yield running


@pytest.fixture
def ask(server):
    def ask(**options):
        return requests.post(f"{server.uri}/{SEARCH}", json={"max_results": 5}, timeout=30, **options)

    return ask


def test_stranger_is_refused(ask):
    assert ask().status_code == 401
    assert ask(auth=("admin", "password1234")).status_code == 401


def test_account_is_let_in_and_under_an_allowed_name_alone(ask):
    account = ("admin", PASSWORD)
    assert ask(auth=account).status_code == 200
    assert ask(auth=account, headers={"Host": "evil.example.com"}).status_code == 403


def test_training_takes_its_account_from_the_environment(server, monkeypatch):
    config = build_config({"recipe": "test", "tracking": {"uri": server.uri, "experiment": "accounts"}})
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    record = start_record(config, name="run", place="run", tags={})
    record.log_metrics({"train/loss": 1.0}, step=0)
    record.finish("FINISHED")


def test_refusal_is_a_sentence_without_the_password(server, monkeypatch):
    config = build_config({"recipe": "test", "tracking": {"uri": server.uri, "experiment": "accounts"}})
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong-password")
    with pytest.raises(UserError) as refused:
        start_record(config, name="run", place="run", tags={})
    assert "wrong-password" not in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
