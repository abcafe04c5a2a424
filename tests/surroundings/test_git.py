"""The state of the code: commit, branch, remote, and what is not committed, for real repositories and odd ones."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tracelet
from tracelet._secrets import learn
from tracelet.capture import _commands, _facts, _git, _patches
from tracelet.capture._git import Git, GitFailed, Head, remote_url
from tracelet.events import ArtifactLogged, TagsSet

Said = Callable[..., list[Any]]


@pytest.fixture(autouse=True)
def _only_this_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gitconfig").write_text("[user]\n name = n\n email = e@x\n[init]\n defaultBranch = main\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    for name in _git._MISLEADING:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """With one commit, on the branch main."""
    place = tmp_path / "code"
    place.mkdir()
    git(place, "init", "-q")
    (place / "train.py").write_text("lr = 1\n")
    (place / "other.py").write_text("x = 1\n")
    git(place, "add", "-A")
    git(place, "commit", "-q", "-m", "first")
    return place


def git(place: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=place, stdout=subprocess.PIPE, check=True, timeout=30)
    return done.stdout.decode().strip()


def said_of(place: Path, run: tracelet.Run, said: Said, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The tags that a run gets in a folder."""
    monkeypatch.setattr(_facts, "folders_of_the_program", lambda: [place])
    _facts.say_git(run, lambda: False)
    return {name: value for event in said(TagsSet) for name, value in event.values.items()}


def patch_of(run: tracelet.Run, said: Said) -> str:
    (event,) = said(ArtifactLogged)
    assert event.name == "git/diff.patch"
    return Path(run.directory, event.path).read_text("utf-8", "surrogateescape")


def test_a_clean_repository(repository: Path, run: tracelet.Run, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit, branch, remote and root are tags; there is nothing to keep of what is committed."""
    git(repository, "remote", "add", "origin", "https://me:geheim@host/team/code.git")
    (repository / "sub").mkdir()
    tags = said_of(repository / "sub", run, said, monkeypatch)
    commit = git(repository, "rev-parse", "HEAD")
    assert tags == {
        "git.commit": commit,
        "git.branch": "main",
        "git.remote": "https://host/team/code.git",
        "git.root": str(repository),
        "git.dirty": "false",
    }
    assert said(ArtifactLogged) == []


def test_files_that_git_does_not_know_make_nothing_dirty(
    repository: Path, run: tracelet.Run, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with `git describe --dirty`; they are named all the same."""
    (repository / "notes.txt").write_text("x\n")
    assert said_of(repository, run, said, monkeypatch)["git.dirty"] == "false"
    assert "# Not known to git: 'notes.txt'" in patch_of(run, said)


def test_changes_are_kept_as_a_patch_that_applies(
    repository: Path, run: tracelet.Run, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not committed, staged or not, is in a patch; files that git does not know are named in it."""
    git(repository, "remote", "add", "upstream", "git@host:team/code.git")
    git(repository, "config", "branch.main.remote", "upstream")
    (repository / "train.py").write_text("lr = 2\n")
    (repository / "new.py").write_text("y = 1\n")
    git(repository, "add", "new.py")
    (repository / "data.csv").write_text("geheim\n")
    tags = said_of(repository, run, said, monkeypatch)
    assert (tags["git.dirty"], tags["git.remote"], tags.get("git.diff")) == ("true", "git@host:team/code.git", None)
    kept = patch_of(run, said)
    assert "# Not known to git: 'data.csv'" in kept
    assert "geheim" not in kept
    git(repository, "reset", "-q", "--hard")
    (repository / "kept.patch").write_text(kept)
    git(repository, "apply", "kept.patch")
    assert (repository / "train.py").read_text() == "lr = 2\n"
    assert (repository / "new.py").read_text() == "y = 1\n"


def test_a_commit_that_was_checked_out_by_itself(
    repository: Path, run: tracelet.Run, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a branch, that is said."""
    git(repository, "checkout", "-q", "--detach")
    assert said_of(repository, run, said, monkeypatch)["git.branch"] == "(detached)"


def test_a_repository_without_commits(
    tmp_path: Path, run: tracelet.Run, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is a branch and no commit, and its files are named."""
    place = tmp_path / "empty"
    place.mkdir()
    git(place, "init", "-q")
    (place / "train.py").write_text("lr = 1\n")
    tags = said_of(place, run, said, monkeypatch)
    assert "git.commit" not in tags
    assert (tags["git.branch"], tags["git.dirty"]) == ("main", "true")
    assert "'train.py'" in patch_of(run, said)


def test_a_folder_without_a_repository_says_nothing(
    tmp_path: Path, run: tracelet.Run, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does a machine without git, or a repository without a work tree."""
    assert said_of(tmp_path, run, said, monkeypatch) == {}
    git(tmp_path, "init", "-q", "--bare", "bare")
    assert said_of(tmp_path / "bare", run, said, monkeypatch) == {}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert said_of(tmp_path, run, said, monkeypatch) == {}


def test_secrets_stay_out_of_the_patch(
    repository: Path, run: tracelet.Run, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that are there for secrets are left out, and said to be; secrets in others are redacted."""
    (repository / ".env").write_text("A=geheim1\n")
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIgeheim2\n-----END RSA PRIVATE KEY-----\n"
    (repository / "train.py").write_text(
        f'api_key = "geheim3"\nos.environ["A_TOKEN"] = "geheim5"\ndb = "postgres://u:geheim4@h/d"\n{key}lr = 5\n'
    )
    git(repository, "add", "-A")
    tags = said_of(repository, run, said, monkeypatch)
    kept = patch_of(run, said)
    assert "geheim" not in kept
    assert "+lr = 5" in kept
    assert "# Left out: '.env': it may hold secrets" in kept
    assert tags["git.diff"] == "without 1 files: .env"


def test_a_key_on_one_line(repository: Path) -> None:
    """As in the file of a service's account: what follows it stays."""
    key = r"-----BEGIN PRIVATE KEY-----\nMIIgeheim\n-----END PRIVATE KEY-----\n"
    (repository / "account.json").write_text(f'{{"private_key": "{key}",\n"lr": 1}}\n')
    (repository / "train.py").write_text("lr = 5\n")
    lines = patch_within(repository, 1 << 20).content.decode().splitlines()
    assert r'+{"private_key": <redacted>,' in lines
    assert '+"lr": 1}' in lines
    assert "+lr = 5" in lines
    assert lines.count("diff --git a/train.py b/train.py") == 1


def test_a_very_long_line(repository: Path) -> None:
    """A picture in a notebook is kept as it is; what stands beside it is looked through."""
    picture = "iVBORw0KGgo" * 90_000
    (repository / "train.py").write_text(
        f'{{"api_key": "geheim123", "image/png": "{picture}", "token": "geheim456"}}\n'
    )
    content = patch_within(repository, 2 << 20).content.decode()
    assert f'+{{"api_key": <redacted>, "image/png": "{picture}", "token": <redacted>}}\n' in content


def test_a_secret_that_was_told_is_left_out(repository: Path) -> None:
    """Whatever it is called there."""
    learn("geheim-4711")
    (repository / "train.py").write_text("say geheim-4711 twice\n")
    assert b"+say <redacted> twice\n" in patch_within(repository, 1 << 20).content


def test_a_folder_whose_name_is_no_text(repository: Path, run: tracelet.Run, said: Said, monkeypatch: Any) -> None:
    """Its repository is asked all the same."""
    place = Path(os.fsdecode(os.fsencode(repository.parent) + b"/caf\xe9"))
    repository.rename(place)
    (place / "train.py").write_text("lr = 5\n")
    tags = said_of(place, run, said, monkeypatch)
    assert tags["git.root"] == rf"{repository.parent}/caf\xe9"
    assert tags["git.dirty"] == "true"
    assert "+lr = 5" in patch_of(run, said)


def test_git_asks_nobody_and_looks_where_it_is_told(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may not ask for a password or fetch what is missing, and a hook's variables don't lead it elsewhere."""
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    head = Git(lambda: False).head([repository])
    assert head is not None
    assert head.root == str(repository)
    _fake(tmp_path, monkeypatch, f"env > {tmp_path}/env; exit 1")
    with pytest.raises(GitFailed):
        Git(lambda: False).head([repository])
    given = (tmp_path / "env").read_text().splitlines()
    assert {"GIT_TERMINAL_PROMPT=0", "GIT_NO_LAZY_FETCH=1", "GIT_OPTIONAL_LOCKS=0", "LC_ALL=C"} <= {*given}
    assert not any(line.startswith("GIT_DIR=") for line in given)


@pytest.mark.parametrize("name", [".env", "a/.env.local", "x.pem", "deploy/id_rsa.pub", "Credentials.json", "my.key"])
def test_files_for_secrets(name: str) -> None:
    """They are known by their names."""
    assert _patches.is_secret(name)
    assert not any(
        map(_patches.is_secret, ("env.py", "keys.py", "tokenizer.json", "environment.yml", "secret_santa.py"))
    )


def patch_within(place: Path, most: int) -> _patches.Patch:
    """What is not committed in a repository."""
    git(place, "add", "-A")
    asked = Git(lambda: False)
    head = asked.head([place])
    assert head is not None
    return asked.diff(head, asked.changes(head.root), most=most)


def test_a_large_diff_is_left_out_alone(repository: Path) -> None:
    """A file with a diff that does not fit is left out, and named; those behind it are there, and the patch applies."""
    for name in "abc":
        (repository / f"{name}.txt").write_text(f"{name}\n" * 300)
    (repository / "?.txt").write_text("x\n" * 100_000)
    odd = Path(os.fsdecode(os.fsencode(repository) + b'/b*\n"\xe9'))
    odd.write_text("x\n" * 100_000)
    (repository / "b.pem").write_text("x\n" * 100_000)
    kept = patch_within(repository, 8_000)
    assert kept.left_out == {
        "?.txt": "it is too large",
        "b.pem": "it may hold secrets",
        'b*\n"\\xe9': "it is too large",
    }
    for name in kept.left_out:
        assert f"# Left out: {name!r}".encode() in kept.content
    git(repository, "reset", "-q", "--hard")
    (repository / "kept.patch").write_bytes(kept.content)
    git(repository, "apply", "kept.patch")
    assert {path.name for path in repository.glob("*.txt")} == {"a.txt", "b.txt", "c.txt"}


def test_a_diff_is_cut_between_files(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many files as many are kept as fit, git is asked no more often than that is worth it, and all are named."""
    monkeypatch.setattr(_git, "_MOST_LEFT_OUT", 1)
    for name in "abcdefgh":
        (repository / f"{name}.txt").write_text(f"{name}\n" * (540 if name == "d" else 500))
    kept = patch_within(repository, 3_332)  # git is ended in the beginning of e
    assert kept.content.count(b"diff --git") == 2
    late = dict.fromkeys((f"{name}.txt" for name in "efgh"), "the diff is too large")
    assert kept.left_out == {"c.txt": "it is too large", "d.txt": "it is too large", **late}


def test_wherever_a_diff_is_cut_whole_files_are_kept() -> None:
    """Names are right, and no part of a file is taken for all of it."""
    names = [b"a b/a", b"b", b'q"']
    files = [b"diff --git a/a b/a b/a b/a\n+x\n", b"diff --git a/b b/b\n", b'diff --git "a/q\\"" "b/q\\""\n+y\n']
    diff = b"".join(files)
    for end in range(len(diff)):
        found = _patches.sections(diff[:end], cut=True)
        assert [section.name for section in found] == names[: len(found)]
        kept, left_out = _patches.fitting(found, 1_000)
        assert [section.content for section in kept] == [files[0]][: len(kept)]
        assert left_out == {}
    kept, left_out = _patches.fitting(_patches.sections(diff, cut=False), 1_000)
    assert ([section.content for section in kept], left_out) == ([files[0], files[2]], {})


@pytest.mark.parametrize("ended", [False, True], ids=["late", "run ended"])
def test_what_git_has_said_is_kept_when_its_time_is_up(
    repository: Path, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    """A patch without the files behind a large one is better than none; but nobody wants it once the run has ended."""
    for name in "abc":
        (repository / f"{name}.txt").write_text(f"{name}\n" * 300)
    (repository / "b.txt").write_text("b\n" * 100_000)
    git(repository, "add", "-A")
    asked_again = False
    asked = Git(lambda: ended and asked_again)
    head = asked.head([repository])
    assert head is not None
    changes, ask = asked.changes(head.root), asked._output

    def once(command: list[str], **given: Any) -> _commands.Output:
        nonlocal asked_again
        asked_again = any("exclude" in argument for argument in command)
        return _commands.Output(None, b"", "", late=not ended) if asked_again else ask(command, **given)

    monkeypatch.setattr(asked, "_output", once)
    if ended:
        with pytest.raises(GitFailed, match="the run ended"):
            asked.diff(head, changes, most=8_000)
        return
    kept = asked.diff(head, changes, most=8_000)
    assert b"+a\n" in kept.content
    assert kept.left_out == {"b.txt": "it is too large", "c.txt": "the diff is too large"}


def test_odd_content(repository: Path, run: tracelet.Run, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """Binary files, names and content that are no UTF-8, new lines in names, deleted and renamed files, submodules."""
    os.rename(repository / "other.py", repository / "renamed.py")
    (repository / "weights.bin").write_bytes(bytes(range(256)))
    Path(os.fsdecode(os.fsencode(repository) + b"/caf\xe9 a.txt")).write_bytes(b"caf\xe9\n")
    (repository / "two\nlines.txt").write_text("x\n")
    git(repository, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(repository), "inner")
    git(repository, "add", "-A")
    (repository / "unknown\n.txt").write_text("x\n")
    tags = said_of(repository, run, said, monkeypatch)
    kept = patch_of(run, said)
    assert tags["git.dirty"] == "true"
    assert "# Left out: 'weights.bin': it is binary, or very large" in kept
    assert "Binary files" not in kept  # git would apply nothing of such a patch
    assert "+caf\udce9" in kept
    assert "+Subproject commit" in kept
    assert "deleted file mode" in kept
    assert r"# Not known to git: 'unknown\n.txt'" in kept


def test_programs_of_the_user_are_not_started(repository: Path, tmp_path: Path) -> None:
    """No pager, external diff, conversion to text or monitor is run, and the index is not locked or written."""
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\ncat $1\n")
    program.chmod(0o700)
    for name in ("diff.external", "core.pager", "core.fsmonitor", "diff.odd.textconv", "diff.odd.command"):
        git(repository, "config", name, str(program))
    (repository / ".gitattributes").write_text("*.py diff=odd\n")
    (repository / "train.py").write_text("lr = 2\n")
    os.utime(repository / "other.py", (1, 1))  # which a status with the lock would note in the index
    before = (repository / ".git/index").read_bytes()
    asked = Git(lambda: False)
    head = asked.head([repository])
    assert head is not None
    content = asked.diff(head, asked.changes(head.root)).content
    assert b"+lr = 2" in content
    assert b"other.py" not in content
    assert not (tmp_path / "started").exists()
    assert (repository / ".git/index").read_bytes() == before


def _fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A program that is called git, and no other."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "git").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "git").chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_git_that_hangs_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
) -> None:
    """When its time is up, it is killed with what it started."""
    _fake(tmp_path, monkeypatch, f"echo $$ > {tmp_path}/pid; sleep 60 & echo $! > {tmp_path}/child; wait")
    monkeypatch.setattr(_git, "PATIENCE", 0.5)
    begin = time.monotonic()
    with pytest.raises(GitFailed, match=r"git rev-parse took longer than 0\.5 s"):
        Git(lambda: False).head([tmp_path])
    assert time.monotonic() - begin < 5
    for name in ("pid", "child"):
        pid = int((tmp_path / name).read_text())
        eventually(lambda pid=pid: not _alive(pid), 5.0)


def test_a_git_that_hangs_ends_with_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for once it is not wanted."""
    _fake(tmp_path, monkeypatch, "sleep 60")
    begin = time.monotonic()
    with pytest.raises(GitFailed, match="the run ended before git had answered"):
        Git(lambda: time.monotonic() > begin + 0.2).head([tmp_path])
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'fatal: detected dubious ownership in repository' >&2; exit 128", "safe.directory"),
        ("echo 'fatal: bad object HEAD' >&2; exit 128", "bad object"),
        ("exit 3", "ended with 3"),
    ],
)
def test_a_git_that_refuses_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str) -> None:
    """The reason is git's own, or what to do about it."""
    _fake(tmp_path, monkeypatch, script)
    with pytest.raises(GitFailed, match=reason):
        Git(lambda: False).head([tmp_path])


def test_a_status_or_diff_that_fails_is_said(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository that is damaged behind its head is no crash."""
    head = Head(str(repository), "0" * 40, "main", "")
    asked = Git(lambda: False)
    with pytest.raises(GitFailed, match="bad object"):
        asked.diff(head, asked.changes(head.root))
    with pytest.raises(GitFailed):
        asked.changes(str(repository.parent))


def test_output_without_end_is_cut() -> None:
    """A command is ended once it has said more than is wanted."""
    said = _commands.output(
        ["yes"], environment=dict(os.environ), most=1_000, deadline=time.monotonic() + 20, cancelled=lambda: False
    )
    assert (len(said.out), said.cut, said.code) == (1_000, True, None)


def test_remotes_lose_their_logins() -> None:
    """User, password and tokens in the query go; the user of the short form is no secret."""
    assert remote_url("https://token@host/x.git") == "https://host/x.git"
    assert remote_url("https://host/x.git?private_token=geheim") == "https://host/x.git"
    assert remote_url("git@host:team/x.git") == "git@host:team/x.git"
