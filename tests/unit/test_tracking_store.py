"""Where runs are kept: addresses without secrets, and servers that are away."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException, RestException
from requests import ConnectionError as NoConnection
from requests import HTTPError, Response
from sqlalchemy.exc import OperationalError, ProgrammingError

from tracking_results import make_results
from whatelse.cli import main
from whatelse.errors import UserError
from whatelse.records import write_json
from whatelse.tracking import command, store


def place_of(uri: str) -> store.Place:
    return store.find_place(uri, "results")


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://ann:s3cret@host:5000", "http://host:5000"),
        ("https://ann:s3%40cret@host/mlflow", "https://host/mlflow"),
        ("https://s3cret@host", "https://host"),
        ("postgresql://ann:s3cret@host:5432/runs", "postgresql://host:5432/runs"),
        ("postgresql+psycopg2://host/runs?user=ann&password=s3cret",
         "postgresql+psycopg2://host/runs"),
        ("http://[::1]:5000", "http://[::1]:5000"),
    ],
)  # fmt: skip
def test_what_is_shown_of_an_address_has_no_secret(uri: str, shown: str) -> None:
    place = place_of(uri)
    assert place.shown == shown
    assert "cret" not in repr(place)
    # MLflow brings them otherwise, so that no message of its own has them either
    assert ("cret" in place.uri) == uri.startswith("postgresql")


def test_login_of_an_address_is_kept_for_mlflow() -> None:
    assert place_of("https://ann:s3%40cret@host").login == ("ann", "s3@cret")
    assert place_of("https://host").login is None


def test_secret_of_a_bad_address_is_not_printed() -> None:
    with pytest.raises(UserError, match=r"ftp://host") as caught:
        place_of("ftp://ann:s3cret@host")
    assert "s3cret" not in str(caught.value)
    with pytest.raises(UserError, match="no address"):
        place_of("http://[::1")


def test_password_of_a_database_is_hushed_in_its_messages() -> None:
    place = place_of("postgresql://ann:s3%40cret@host/runs")
    error = MlflowException("no engine for ann:s3%40cret or s3@cret")
    with pytest.raises(store.Away) as caught, store.told(place):
        raise error
    assert str(caught.value).endswith("no engine for ann:*** or ***")


def http_error(status: int) -> HTTPError:
    response = Response()
    response.status_code = status
    return HTTPError(f"{status}", response=response)


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (MlflowException("API request to x failed with exception y"), True),
        (RestException({"error_code": "TEMPORARILY_UNAVAILABLE"}), True),
        (RestException({"error_code": "INTERNAL_ERROR"}), True),
        (RestException({"error_code": "REQUEST_LIMIT_EXCEEDED"}), True),
        (RestException({"error_code": "PERMISSION_DENIED"}), False),
        (RestException({"error_code": "INVALID_PARAMETER_VALUE"}), False),
        (NoConnection("reset"), True),
        (http_error(503), True),
        (http_error(403), False),
        (OperationalError("select", {}, Exception("gone")), True),
        (ProgrammingError("select", {}, Exception("no such table")), False),
    ],
    ids=str,
)
def test_which_errors_may_pass(error: Exception, away: bool) -> None:
    with pytest.raises(UserError) as caught, store.told(place_of("http://host")):
        raise error
    assert isinstance(caught.value, store.Away) == away
    # a file is never away
    with pytest.raises(UserError) as local, store.told(place_of("sqlite:///x.db")):
        raise error
    assert not isinstance(local.value, store.Away)


def test_nobody_at_the_door_is_found_out_in_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("http_proxy", raising=False)
    start = time.monotonic()
    with pytest.raises(store.Away, match=r"^http://127.0.0.1:9: no usable"):
        store.connect(place_of("http://ann:s3cret@127.0.0.1:9"))
    assert time.monotonic() - start < 5


def test_bad_port_is_one_line() -> None:
    with pytest.raises(UserError, match="[Pp]ort"):
        store.connect(place_of("http://host:99999"))


def test_behind_a_proxy_nobody_knocks(monkeypatch: pytest.MonkeyPatch) -> None:
    def knock(*_: object) -> None:
        pytest.fail("knocked at a server that only the proxy reaches")

    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setattr("socket.create_connection", knock)
    store._ring(place_of("http://elsewhere:5000"))


class Lost:
    """A client of a server that went away once it had let us in."""

    def __getattr__(self, name: str) -> Any:
        raise MlflowException("API request to x failed with exception refused")


def test_lost_in_the_middle_is_tried_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_results(tmp_path)
    tries: list[store.Place] = []

    def connect(place: store.Place) -> Any:
        tries.append(place)
        return Lost()

    monkeypatch.setattr(command, "connect", connect)
    monkeypatch.setattr(command, "_SECONDS_BETWEEN", 0.0)
    arguments = [f"{tmp_path}/tiny.yaml", "--results", f"{tmp_path}/results"]
    arguments += ["--uri", "http://host", "--out", f"{tmp_path}/out.json"]
    assert main(["track", *arguments]) == 2
    assert len(tries) == 2
    assert not (tmp_path / "out.json").exists()
    assert main(["track", *arguments, "--patient"]) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert set(found) == {"away", "experiment"}
    assert found["experiment"] is None


def test_is_away(tmp_path: Path) -> None:
    path = tmp_path / "tiny.json"
    assert not store.is_away(path)
    write_json(path, {"away": "refused", "experiment": None})
    assert store.is_away(path)
    write_json(path, {"state": "x", "experiment": {"id": "1"}})
    assert not store.is_away(path)
    path.write_text("")
    assert not store.is_away(path)


def test_an_index_that_says_away_is_not_up_to_date(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_results(tmp_path)
    arguments = [f"{tmp_path}/tiny.yaml", "--results", f"{tmp_path}/results"]
    arguments += ["--out", f"{tmp_path}/out.json"]
    assert main(["track", *arguments]) == 0
    write_json(tmp_path / "out.json", {"away": "refused", "experiment": None})
    assert main(["track", *arguments]) == 0
    assert not store.is_away(tmp_path / "out.json")
    assert "0 new" in capsys.readouterr().out


def test_settings_of_the_user_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in store._ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "99")
    store.connect(store.find_place(None, tmp_path / "results"))
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "99"
    # MLflow would make a run twice whose answer was lost
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
