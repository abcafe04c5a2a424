"""Options: from arguments and W&B's own environment variables, resolved where the training runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from tracelet_wandb import Options

import tracelet


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """W&B's variables are the defaults, and arguments come before them; the folder becomes absolute."""
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "WANDB_MODE": "dryrun",
        "WANDB_ENTITY": "team",
        "WANDB_BASE_URL": "https://wandb.example/",
        "WANDB_DIR": "logs",
        "WANDB_RUN_GROUP": "group",
        "WANDB_JOB_TYPE": "train",
    }.items():
        monkeypatch.setenv(name, value)
    found = Options(entity="me")
    assert (found.mode, found.entity, found.base_url) == ("offline", "me", "https://wandb.example")
    assert (found.dir, found.group, found.job_type) == (str(tmp_path / "logs"), "group", "train")


def test_online_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a mode runs go to a server."""
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert Options().mode == "online"


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"base_url": "wandb.example"}, "is no address of a server"),
        ({"init_timeout": 0}, "greater than 0"),
        ({"finish_timeout": -1.0}, "greater than 0"),
    ],
)
def test_what_can_not_be_used_is_refused(given: dict[str, Any], complaint: str) -> None:
    """A wrong option is refused in the training process, with what is wrong."""
    with pytest.raises(ValueError, match=complaint):
        Options(**given)


def test_a_mode_that_is_none_of_ours_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B's `disabled` means that nothing arrives, which is not for a variable to say."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with pytest.raises(ValueError, match="use online or offline"):
        Options()


def test_unknown_options_are_refused() -> None:
    """A misspelt option is an error."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"entitty": "x"}, Options)


def test_the_key_is_a_secret(tmp_path: Path) -> None:
    """The API key never goes to disk."""
    run = tracelet.start_logging(
        {"wandb": {"mode": "offline", "api_key": "hidden-key"}}, "secret", "options", directory=tmp_path
    )
    run.finish()
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert written
    assert not any(b"hidden-key" in content for content in written)
