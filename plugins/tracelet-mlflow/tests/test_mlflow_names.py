"""Names: what MLflow takes stays, anything else is changed and never collides."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
from tracelet_mlflow._names import artifact_path, key, key_in_context, text_path

from tracelet.events import Context, Scalar

GOOD_KEYS = ["loss", "train/loss", "a b", "a:b", "Größe", "学習率", "v1.5", ".hidden", "x-y_z", "k" * 250]
BAD_KEYS = ["", "acc@5", "acc#5", "acc%5", "/abs", "a//b", "a/", "..", "../x", "..x", ".", "a/./b", "a/../b", "a\nb"]
BAD_KEYS += ["a\n", "a\0b", "x" * 251, "x" * 10_000, "🙂", "/", "@", "a/" * 200, "loss subset:val"]


@pytest.mark.parametrize("name", GOOD_KEYS)
def test_a_name_that_mlflow_takes_is_kept(name: str) -> None:
    """Nothing happens to a name within MLflow's rules."""
    assert key(name) == (name, False)


@pytest.mark.parametrize("name", BAD_KEYS)
def test_a_name_that_mlflow_refuses_becomes_one_that_it_takes(name: str) -> None:
    """MLflow's own validation accepts the changed name, and the change is known."""
    from mlflow.utils.validation import _validate_length_limit, _validate_metric_name

    text, altered = key(name)
    assert altered
    _validate_metric_name(text)
    _validate_length_limit("key", 250, text)


def test_changed_names_stay_apart_and_are_the_same_every_time() -> None:
    """Names that differ only in what MLflow refuses have different keys, in every process the same."""
    assert key("acc@5").text == "acc_5-1fec5474"
    keys = [key(name).text for name in GOOD_KEYS + BAD_KEYS + ["acc_5", "acc$5", "acc@@5", "x" * 9_999]]
    assert len(set(keys)) == len(keys)


def test_a_plain_context_reads_well() -> None:
    """A context of simple words and numbers is a readable suffix, and loses nothing."""
    context: Context = (("rank", 0), ("subset", "val"))
    assert key_in_context("loss", context) == ("loss rank:0 subset:val", False)
    assert key_in_context("loss", ()) == ("loss", False)


def test_contexts_never_collide() -> None:
    """Every name in every context has a key of its own, whatever the types, separators and look-alikes."""
    values: list[Scalar] = ["1", 1, True, 1.0, "True", None, "None", "nan", math.nan, math.inf, 10**400, "0.5", 0.5]
    values += ["a b:c", "a", "", "a/b"]
    contexts: list[Context] = [(), (("k", "a"), ("b", "c"))]
    contexts += [(("k", value),) for value in values]
    names = ["loss", "loss k:a", "loss k:1", "loss k:a b:c", "acc@5", ""]
    keys = [key_in_context(name, context).text for name in names for context in contexts]
    assert len(set(keys)) == len(keys)


BAD_PATHS = ["../../etc/passwd", "/etc/passwd", "a/../b", "..", ".", "", "a\0b", "a\\b", "C:\\x", "a%2e%2e"]
BAD_PATHS += ["a#b", "a?b", "x" * 5_000, "d/" * 900 + "f", "a\nb", "é" * 300 + ".png", "file:///etc/passwd"]


@pytest.mark.parametrize("name", BAD_PATHS)
def test_a_path_that_would_escape_or_break_is_changed(name: str) -> None:
    """The path is one that MLflow's own check accepts, relative, and of sizes that file systems take."""
    from mlflow.utils.uri import validate_path_is_safe

    text, altered = artifact_path(name)
    assert altered
    assert validate_path_is_safe(text) == text
    assert all(0 < len(part.encode()) <= 255 for part in text.split("/"))
    assert len(text.encode()) < 1_000


@pytest.mark.parametrize("name", ["model.pt", "checkpoints/epoch 1/model.pt", "Größe.png", ".gitignore"])
def test_a_good_path_is_kept(name: str) -> None:
    """Nothing happens to a relative path."""
    assert artifact_path(name) == (name, False)


@pytest.mark.parametrize(
    ("name", "step", "context", "path"),
    [
        ("note", None, (), "note.txt"),
        ("note", 7, (), "note/step_7.txt"),
        ("report.md", None, (), "report.md"),
        ("report.md", -1, (), "report/step_-1.md"),
        ("v1.5", None, (), "v1.5.txt"),
        ("samples/text", 3, (("subset", "val"),), "samples/text subset=val/step_3.txt"),
        ("note", None, (("rank", 0),), "note rank=0.txt"),
    ],
)
def test_a_text_has_a_path_that_depends_on_nothing_else(
    name: str, step: int | None, context: Context, path: str
) -> None:
    """A text's path comes from its name, step and context alone, so that a replay writes the same file."""
    assert text_path(name, step, context) == (path, False)


def test_texts_with_awkward_names_stay_apart() -> None:
    """Names and contexts that need changing do not overwrite one another."""
    names = ["a?b", "a#b", "../a", "a", "", "x" * 900, "x" * 901, "a k=v"]
    contexts: list[Context] = [(), (("k", "v"),), (("k", "1"),), (("k", 1),)]
    paths = [text_path(name, 1, context).text for name in names for context in contexts]
    assert not [pair for pair in combinations(paths, 2) if pair[0] == pair[1]]
