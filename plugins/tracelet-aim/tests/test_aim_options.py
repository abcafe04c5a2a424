"""Options: where the repository is, and what is said where Aim can't be used."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tracelet_aim import Options
from tracelet_aim import _options as module


def test_the_nearest_repository_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for Aim: above the working directory, else in it."""
    monkeypatch.delenv("AIM_REPO", raising=False)
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert Options().path == str(below)
    (tmp_path / "a" / ".aim").mkdir()
    assert Options().path == str(tmp_path / "a")
    monkeypatch.setenv("AIM_REPO", str(tmp_path))
    assert Options().path == str(tmp_path)
    assert Options(repo="c").path == str(below / "c")


def test_the_folder_may_be_the_repository_itself(tmp_path: Path) -> None:
    """`…/.aim` is the same as `…`."""
    assert Options(repo=str(tmp_path / ".aim")).path == str(tmp_path)
    assert Options(repo="~/x").path == str(Path.home() / "x")


def test_artifacts_have_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the repository, unless it is a server's."""
    monkeypatch.delenv("AIM_ARTIFACTS_URI", raising=False)
    assert Options(repo=str(tmp_path)).artifacts_uri == (tmp_path / ".aim" / "artifacts").as_uri()
    assert Options(repo="aim://host:1/").artifacts_uri is None
    assert Options(repo="aim://host:1/", artifacts_uri="s3://bucket/x/").artifacts_uri == "s3://bucket/x"
    monkeypatch.chdir(tmp_path)
    assert Options(repo="aim://host:1", artifacts_uri="files").artifacts_uri == (tmp_path / "files").as_uri()
    monkeypatch.setenv("AIM_ARTIFACTS_URI", "s3://bucket")
    assert Options(repo="aim://host:1").artifacts_uri == "s3://bucket"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"repo": "aim://"}, "aim://host:53800"),
        ({"repo": "http://host"}, "neither a folder nor a tracking server"),
        ({"repo": "x", "artifacts_uri": "gs://bucket"}, "file:/// or s3://"),
    ],
)
def test_what_can_not_be_delivered_to_is_said(options: dict[str, str], expected: str) -> None:
    """At once, in the training process."""
    with pytest.raises(ValueError, match=expected):
        Options(**options)


@pytest.mark.parametrize(
    ("version", "expected"), [((3, 13, 0), "Python 3.12 or older"), ((3, 12, 0), "pip install 'aim>=3.29,<4'")]
)
def test_a_python_without_aim(monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int], expected: str) -> None:
    """Choosing the backend says what is missing, and how it can be had."""
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "version_info", version)
    with pytest.raises(ValueError, match=expected):
        Options()


def test_the_message_reaches_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As an error of the options, before anything is started."""
    import tracelet
    from tracelet.errors import InvalidOptions

    monkeypatch.setattr(module, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "version_info", (3, 13, 1))
    with pytest.raises(InvalidOptions, match=r"no release for Python 3\.13"):
        tracelet.start_logging(backend="aim", exp_name="x", project="y", directory=str(tmp_path))
