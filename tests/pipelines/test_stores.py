"""Storage on a real S3 server, on good days and on bad ones."""

import contextlib
import pickle

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from pipelines import storage, stores
from pipelines.config import build_config
from pipelines.errors import UserError
from pipelines.steady import SteadyFile, StoreError
from tests.faults import Fault, Weather, evenly, faulty
from tests.stores import BUCKET

ROOT = f"s3://{BUCKET}/storage"


@pytest.fixture
def unpatient(monkeypatch):
    """Give up soon."""
    monkeypatch.setattr(stores, "MAX_ATTEMPTS", 2)
    monkeypatch.setattr(stores, "STALL_TIMEOUT_S", 1.0)


@contextlib.contextmanager
def bad_day(in_store, monkeypatch, weather):
    """The program's store, seen through a proxy in this weather."""
    with faulty(in_store.endpoint, weather) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        yield weather


@pytest.mark.parametrize("name", ["plain", "with blank", "ünïcødé 日本", "per%20cent", "ha#sh", "quest?ion", "plus+"])
def test_a_file_of_any_name_is_written_and_read_back(in_store, name):
    uri = storage.join(ROOT, "names", name, "file.bin")
    assert not storage.exists(uri)
    storage.write_bytes(uri, b"content")
    assert storage.exists(uri)
    assert storage.read_bytes(uri) == b"content"
    assert storage.list_names(storage.join(ROOT, "names", name)) == {"file.bin"}
    assert storage.stamp(uri).size == 7


def test_what_is_not_there_is_told_as_on_a_disk(in_store):
    assert not storage.exists(f"{ROOT}/none")
    assert storage.list_names(f"{ROOT}/none") == set()
    for read in (storage.read_bytes, storage.read_json, storage.read_table):
        with pytest.raises(FileNotFoundError):
            read(f"{ROOT}/none")
    with pytest.raises(UserError, match="there is no file"):
        storage.stamp(f"{ROOT}/none")
    with pytest.raises(FileNotFoundError), storage.local_copy(f"{ROOT}/none"):
        pass


def break_down_in(publishing):
    table = pa.table({"x": [1, 2, 3]})
    with publishing as (filesystem, path), pq.ParquetWriter(path, table.schema, filesystem=filesystem) as writer:
        writer.write_table(table)
        raise ZeroDivisionError


@pytest.mark.parametrize("before", [None, b"old"])
def test_publishing_that_is_interrupted_leaves_what_was_there_and_nothing_else(in_store, before):
    uri = f"{ROOT}/interrupted-{before}/file"
    if before is not None:
        storage.write_bytes(uri, before)
    expected = in_store.files(f"{ROOT}/interrupted-{before}")
    with pytest.raises(ZeroDivisionError):
        break_down_in(storage.publishing(uri))
    assert in_store.files(f"{ROOT}/interrupted-{before}") == expected


def test_publishing_replaces_what_stands_under_the_name(in_store):
    for content in (b"one", b"two"):
        storage.write_bytes(f"{ROOT}/replaced", content)
        assert storage.read_bytes(f"{ROOT}/replaced") == content


def test_folder_that_was_uploaded_is_the_same_in_a_local_copy(in_store, tmp_path):
    contents = {"a.txt": b"a", "empty": b"", "deep/deeper/b 日.bin": bytes(range(256)) * 100}
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    storage.upload_folder(tmp_path, f"{ROOT}/folder")
    assert in_store.files(f"{ROOT}/folder") == contents
    with storage.local_copy(f"{ROOT}/folder") as folder:
        found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        assert {name: path.read_bytes() for name, path in found.items()} == contents
    with storage.local_file(f"{ROOT}/folder/a.txt") as path:
        assert path.read_bytes() == b"a"


CONTENT = bytes(range(256)) * 5_000


@pytest.mark.parametrize("fault", Fault)
def test_every_kind_of_fault_is_outlasted_by_reads_and_writes(in_store, monkeypatch, fault):
    uri = f"{ROOT}/faults/{fault.name}"
    with bad_day(in_store, monkeypatch, Weather({fault: 0.25})) as weather:
        written = {}
        while weather.came[fault] < 2:
            written[str(len(written))] = CONTENT
            storage.write_bytes(f"{uri}/{len(written) - 1}", CONTENT)
            assert storage.list_names(uri) == set(written)
            assert storage.read_bytes(f"{uri}/{len(written) - 1}") == CONTENT
    assert in_store.files(uri) == written


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.RESET, Fault.CUT])
def test_a_store_that_keeps_failing_is_an_error_and_not_an_empty_file(in_store, monkeypatch, unpatient, fault):
    storage.write_bytes(f"{ROOT}/steady", CONTENT)
    with bad_day(in_store, monkeypatch, Weather({})) as weather:
        file = SteadyFile(*storage.resolve(f"{ROOT}/steady"))
        weather.rates[fault] = 1.0
        with pytest.raises(StoreError, match="steady"):
            file.read_at(1_000, 0)
        assert isinstance(file.failure, StoreError)


def test_a_store_that_keeps_failing_is_no_missing_file(in_store, monkeypatch, unpatient):
    with bad_day(in_store, monkeypatch, Weather({Fault.UNAVAILABLE: 1.0})):
        with pytest.raises(UserError, match="does not answer"):
            storage.exists(f"{ROOT}/steady")
        for call in (storage.list_names, storage.read_bytes):
            with pytest.raises(OSError, match="AWS Error") as caught:
                call(f"{ROOT}/steady")
            assert not isinstance(caught.value, FileNotFoundError)
        with pytest.raises(OSError, match="AWS Error"):
            storage.write_bytes(f"{ROOT}/steady", b"new")


def test_a_store_that_stalls_is_asked_again(in_store, monkeypatch, unpatient):
    storage.write_bytes(f"{ROOT}/stalling", CONTENT)
    with bad_day(in_store, monkeypatch, Weather({}, pause_s=3.0)) as weather:
        file = SteadyFile(*storage.resolve(f"{ROOT}/stalling"))
        weather.rates[Fault.SLOW] = 1.0
        with pytest.raises(StoreError, match=r"too slow|Timeout"):
            file.read_at(1_000, 0)
        assert weather.came[Fault.SLOW] >= 2


class _Short:
    """Gives at most some bytes at once; none when `most` is 0."""

    def __init__(self, most):
        self.most = most

    def open_input_file(self, path):
        return _ShortFile(pafs.LocalFileSystem().open_input_file(path), self.most)


class _ShortFile:
    def __init__(self, file, most):
        self._file, self._most = file, most

    def size(self):
        return self._file.size()

    def read_at(self, length, offset):
        return self._file.read_at(min(length, self._most), offset)

    def close(self):
        self._file.close()


def test_a_body_that_is_cut_is_fetched_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.steady._FIRST_PAUSE_S", 0)
    (tmp_path / "file").write_bytes(CONTENT[:1_000])
    with SteadyFile(_Short(300), str(tmp_path / "file")) as file:
        assert file.read_at(950, 7) == CONTENT[7:957]
        assert file.read_at(5_000, 900) == CONTENT[900:1_000]
        assert file.read() == CONTENT[:1_000]
        assert file.read_at(10, 1_000) == b""


def test_a_body_that_never_comes_is_the_stores_failure(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.steady._FIRST_PAUSE_S", 0)
    (tmp_path / "file").write_bytes(CONTENT[:1_000])
    with (
        SteadyFile(_Short(0), str(tmp_path / "file")) as file,
        pytest.raises(StoreError, match="the store ended after 5 of 1000"),
    ):
        file.read_at(10, 5)


KEYS = [
    "s3://key:secret@bucket/pool",
    "s3://key:sec/ret@bucket/pool",
    "s3://key@bucket/pool",
    "https://user:secret@host/mlflow",
    "postgresql://user:secret@host:5432/mlflow",
    "postgresql://user:s3/cr@sec@host/mlflow",
    "postgresql://host/mlflow?user=u&password=secret",
    "https://sec-token@host/mlflow",
]
NO_KEYS = [
    "s3://bucket/a@b",
    "s3://bucket/a:b@c",
    "s3://bucket/a?b=c@d",
    "/home/a:b@c",
    "https://host:5000",
    "https://host:5000/a@b",
    "postgresql://user@host/x",
    "postgresql://user@host:5432/x?sslmode=require",
    "x",
]


@pytest.mark.parametrize("uri", KEYS)
def test_keys_in_a_uri_are_refused_and_not_repeated(uri):
    refusals = []
    for key in ("root", "pool.uri", "tracking.uri", "curation.identifier_uri"):
        identifier = ["curation.identifier=fasttext"]
        with pytest.raises(UserError, match="environment") as caught:
            build_config({}, overrides=[*identifier, f"{key}={uri}"])
        refusals.append(str(caught.value))
    with pytest.raises(UserError, match="environment") as caught:
        storage.resolve(uri)
    refusals.append(str(caught.value))
    assert not any("sec" in refusal for refusal in refusals)


@pytest.mark.parametrize("uri", NO_KEYS)
def test_uris_that_only_look_like_it_hold_no_keys(uri):
    assert not stores.holds_keys(uri)
    assert build_config({"root": uri, "tracking": {"uri": uri}}).root == uri


def test_a_wrong_key_is_told_without_the_key(in_store, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret-key")
    stores._open_s3.cache_clear()
    messages = []
    for call in (storage.exists, storage.read_bytes, storage.list_names, lambda uri: storage.write_bytes(uri, b"x")):
        with pytest.raises((UserError, OSError), match=r"ACCESS_DENIED|SIGNATURE") as caught:
            call(f"{ROOT}/steady")
        messages.append(repr(caught.value))
    stores._open_s3.cache_clear()
    assert not any("not-the-secret" in message or in_store.access_key in message for message in messages)


def test_a_store_of_faults_of_all_kinds_reads_what_was_written(in_store, monkeypatch):
    table = pa.table({"x": list(range(10_000)), "y": [str(number) for number in range(10_000)]})
    with bad_day(in_store, monkeypatch, evenly(0.2)) as weather:
        for number in range(5):
            storage.write_table(f"{ROOT}/mixed/{number}.parquet", table)
        for number in range(5):
            assert storage.read_table(f"{ROOT}/mixed/{number}.parquet").equals(table)
            assert storage.read_table(f"{ROOT}/mixed/{number}.parquet", columns=["y"]).equals(table.select(["y"]))
    assert len(weather.came) >= 3


def test_a_file_system_that_was_sent_is_as_patient_and_carries_no_key(in_store, monkeypatch, unpatient):
    with bad_day(in_store, monkeypatch, Weather({})) as weather:
        filesystem, path = storage.resolve(f"{ROOT}/sent")
        sent = pickle.dumps(filesystem)
        stores._open_s3.cache_clear()
        received = pickle.loads(sent)  # noqa: S301 - our own
        weather.rates, before = {Fault.UNAVAILABLE: 1.0}, weather.num_requests
        with pytest.raises(OSError, match="503"):
            received.open_input_file(path)
    assert weather.num_requests - before == stores.MAX_ATTEMPTS
    assert in_store.secret_key.encode() not in sent
