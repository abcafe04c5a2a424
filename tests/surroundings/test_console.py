"""The console: what is printed reaches the terminal unchanged, and the run as lines."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tracelet
from tracelet._secrets import learn
from tracelet.capture import _console, _screen
from tracelet.capture._console import BURST, LONGEST, RATE, Console
from tracelet.events import ConsoleLine, MetricsLogged

Said = Callable[..., list[Any]]
Steps = list[Callable[[], None]]
UP = "\x1b[1A"


class Terminal(io.TextIOWrapper):
    """A stream like Python's own, and what has come out of it."""

    def __init__(self) -> None:
        self.raw_bytes = io.BytesIO()
        super().__init__(self.raw_bytes, encoding="utf-8", write_through=True)

    @property
    def shown(self) -> str:
        return self.raw_bytes.getvalue().decode()


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch, when_the_test_begins: Steps) -> Terminal:
    terminal = Terminal()
    when_the_test_begins.append(lambda: monkeypatch.setattr(sys, "stdout", terminal))
    return terminal


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def console(run: tracelet.Run, out: Terminal, told: list[str], when_the_test_begins: Steps) -> Iterator[Console]:
    console = Console(run, told.append)
    when_the_test_begins.append(console.start)
    yield console
    console.stop()


def lines(said: Said, stream: str = "stdout") -> list[str]:
    return [line for event in said(ConsoleLine) if event.stream == stream for line in event.text.split("\n")]


def test_lines_are_in_the_journal_when_print_returns(console: Console, out: Terminal, said: Said) -> None:
    """Each line is recorded at once, in order and under its stream; the terminal has every character."""
    print("one")
    assert lines(said) == ["one"]
    print("two", "words", sep="\n", file=sys.stdout)
    print("err", file=sys.stderr)
    sys.stdout.write("three\nfo")
    sys.stdout.writelines(["ur\n", "five"])
    assert lines(said) == ["one", "two", "words", "three", "four"]
    assert lines(said, "stderr") == ["err"]
    console.stop()
    assert lines(said)[-1] == "five", "a line without an end counts when it is over"
    assert out.shown == "one\ntwo\nwords\nthree\nfour\nfive"


def test_the_stream_stays_what_it_is(run: tracelet.Run, out: Terminal) -> None:
    """It is the same object with the same attributes, before, during and after; so is one that has its own `write`."""
    mine = io.StringIO()
    mine.write = original = lambda text: 7  # type: ignore[method-assign]
    sys.stderr, kept = mine, sys.stderr
    try:
        console = Console(run, print)
        console.start()
        assert sys.stdout is out
        assert (sys.stdout.encoding, sys.stdout.isatty(), sys.stdout.buffer) == ("utf-8", False, out.buffer)
        assert sys.stderr.write("x") == 7, "what the original returns"
        sys.stdout.reconfigure(line_buffering=True)
        with pytest.raises(TypeError):
            sys.stdout.write(b"x")  # type: ignore[arg-type]
        console.stop()
    finally:
        sys.stderr = kept
    assert "write" not in vars(out)
    assert mine.write is original


def test_objects_that_got_hold_of_the_stream_before_are_heard(run: tracelet.Run, out: Terminal, said: Said) -> None:
    """A logging handler that was made before the run is captured like a print."""
    handler = logging.StreamHandler(sys.stdout)
    console = Console(run, print)
    console.start()
    logger = logging.getLogger("surroundings.test")
    logger.addHandler(handler)
    try:
        logger.error("password=%s", "geheim")
    finally:
        logger.removeHandler(handler)
        console.stop()
    assert lines(said) == ["password=<redacted>"], "and secrets stay on the terminal"
    assert out.shown == "password=geheim\n"


def test_somebody_elses_write_on_top_stays(run: tracelet.Run, out: Terminal, said: Said) -> None:
    """Who replaced `write` after us keeps it, and ours below it passes everything on, also for the next run."""
    console = Console(run, print)
    console.start()
    ours = sys.stdout.write
    theirs = lambda text: ours(text.upper())  # noqa: E731
    sys.stdout.write = theirs  # type: ignore[method-assign]
    console.stop()
    print("after")
    assert sys.stdout.write is theirs
    assert (out.shown, lines(said)) == ("AFTER\n", [])
    again = Console(run, print)
    again.start()
    print("x")
    again.stop()
    assert (out.shown, lines(said)) == ("AFTER\nX\n", ["x"])


def test_a_wrapper_that_looks_like_ours_stays(run: tracelet.Run, console: Console, out: Terminal, said: Said) -> None:
    """`functools.wraps` copies all attributes of our `write`; it is the user's all the same, also for the next run."""
    below, seen = sys.stdout.write, []

    @functools.wraps(below)
    def tee(text: str) -> int:
        seen.append(text)
        return below(text)

    sys.stdout.write = tee  # type: ignore[method-assign]
    console.tick()
    print("a")
    console.stop()
    again = Console(run, print)
    again.start()
    above = sys.stdout.write
    print("b")
    sys.stdout.write = tee  # type: ignore[method-assign]  # put back while that run goes on
    again.tick()
    print("c")
    again.stop()
    assert above is not tee
    assert sys.stdout.write is tee
    assert (out.shown, "".join(seen)) == ("a\nb\nc\n", "a\nb\nc\n")
    assert lines(said) == ["a", "b", "c"]


class Proxy:
    """Writes to another stream, and hands on all that is set, as tqdm's for redirected output does."""

    def __init__(self, below: Any) -> None:
        object.__setattr__(self, "below", below)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.below, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.below, name, value)

    def write(self, text: str) -> Any:
        return self.below.write(text)


class Slotted(Proxy):
    """Has no attributes at all: its `__dict__` is the other's."""

    __slots__ = ("below",)

    def __getattribute__(self, name: str) -> Any:
        own = name in ("below", "write", "__class__", "__init__")
        return object.__getattribute__(self, name) if own else getattr(self.below, name)


class Computed(Proxy):
    """Its `write` is a property, which hands on as well."""

    @property
    def write(self) -> Any:
        return self.below.write

    @write.setter
    def write(self, value: Any) -> None:
        self.below.write = value


def test_proxies_that_hand_attributes_on(
    run: tracelet.Run, out: Terminal, said: Said, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A print through one ends, and is heard if the proxy can have a `write` of its own; else that is said."""
    for kind in (Proxy, Slotted, Computed):
        proxy = kind(out)
        with contextlib.redirect_stdout(proxy):
            console = Console(run, told.append)
            console.start()
            print(kind.__name__)
            console.stop()
            print("after")
        assert "write" not in vars(out)
    assert out.shown == "Proxy\nafter\nSlotted\nafter\nComputed\nafter\n"
    assert lines(said) == ["Proxy"]
    assert told == [
        f"what goes to sys.stdout is not captured: {name} objects take no other write()"
        for name in ("Slotted", "Computed")
    ]


def test_streams_that_are_missing_or_odd_are_left_alone(
    run: tracelet.Run, monkeypatch: pytest.MonkeyPatch, said: Said
) -> None:
    """None is silent; an object whose `write` can't be replaced is said, and works on; the other stream is captured."""

    class Odd:
        __slots__ = ("seen",)

        def write(self, text: str) -> None:
            self.seen = text

    told: list[str] = []
    odd = Odd()
    for first in (None, odd):
        monkeypatch.setattr(sys, "stdout", first)
        monkeypatch.setattr(sys, "stderr", Terminal())
        console = Console(run, told.append)
        console.start()
        print("x")
        print("y", file=sys.stderr)
        console.stop()
    assert told == ["what goes to sys.stdout is not captured: Odd objects take no other write()"]
    assert odd.seen == "\n"
    assert lines(said, "stderr") == ["y", "y"]


def test_one_object_as_both_streams_is_heard_once(run: tracelet.Run, out: Terminal, said: Said) -> None:
    """With `sys.stderr = sys.stdout` each line is there once."""
    with contextlib.redirect_stderr(out):
        console = Console(run, print)
        console.start()
        print("x", file=sys.stderr)
        console.stop()
    assert [event.text for event in said(ConsoleLine)] == ["x"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (["\r  0%", "\r 50%", "\r100%", "\n"], ["100%"]),
        (["a\r", "b\r", "\n"], ["b"]),
        (["x\r\n", "y\r\n"], ["x", "y"]),
        (["\r 10%", "\r     \r", "done\n"], ["done"]),
        (["\r 10%", "\r     \r", "\n"], []),
        (["\x1b[1;32mgreen\x1b[0m\n", "\x1b]8;;http://x\x1b\\link\x1b]8;;\x07\n"], ["green", "link"]),
        (["1/9\b\b\b\r2/9\n"], ["2/9"]),
        ([f"x\n{UP}", "\ry\n"], ["y"]),
        (["\n"], [""]),
        # Two bars, one below the other, as tqdm draws them.
        (
            ["o 0%\n", "\r i 0%", UP, "\n", "\r i 99%", UP, "\r o 50%", "\n", "\r     ", "\r", UP, "\r o 100%", "\n"],
            ["o 0%", " o 100%"],
        ),
        # A display of two lines with a line printed above it, as rich draws it.
        (
            ["a 0%\nb 0%", f"\r\x1b[2K{UP}\x1b[2Ka 5%\nb 5%", f"\r\x1b[2K{UP}\x1b[2Kprinted\na 9%\nb 9%",
             f"\r\x1b[2K{UP}\x1b[2Ka 10%\nb 10%\n"],
            ["a 0%", "printed", "a 10%", "b 10%"],
        ),
    ],
)  # fmt: skip
def test_a_line_is_what_a_terminal_shows_in_the_end(
    console: Console, out: Terminal, said: Said, written: list[str], expected: list[str]
) -> None:
    """Of a progress bar's states the last one is kept, and codes for colours and cursors are not."""
    for text in written:
        sys.stdout.write(text)
    console.stop()
    assert lines(said) == expected
    assert out.shown == "".join(written)


def test_what_is_printed_above_a_display_does_not_wait_for_its_end(console: Console, said: Said) -> None:
    """A line that a display is redrawn below of is final."""
    sys.stdout.write("a 0%\nb 0%")
    sys.stdout.write(f"\r\x1b[2K{UP}\x1b[2Kprinted\na 9%\nb 9%")
    sys.stdout.write(f"\r\x1b[2K{UP}\x1b[2Ka 10%\nb 10%")
    assert lines(said) == ["a 0%", "printed"]


def test_a_display_that_is_still_counts_as_final(console: Console, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that were held back because they might be redrawn are recorded once nothing moves any more."""
    sys.stdout.write(f"a\nb{UP}\rA\nB\nafterwards\n")
    console.tick()
    assert lines(said) == []
    monkeypatch.setattr(_screen, "_QUIET", -1.0)
    console.tick()
    assert lines(said) == ["A", "B", "afterwards"]
    print("plain again")
    assert lines(said)[-1] == "plain again"


def test_a_display_that_goes_up_too_far_takes_no_memory(console: Console, said: Said) -> None:
    """The cursor stops at the upper edge, as a terminal's; what is above it is final."""
    ((_, stream),) = [pair for pair in console._streams if pair[0].on(sys.stdout)]
    for number in range(300):
        sys.stdout.write("\x1b[50A")
        sys.stdout.write(f"loss {number}\n")
        assert len(stream._screen.rows) <= 100
    console.stop()
    assert lines(said) == ["loss 299", "loss 0"], "each is drawn over the one before, once the edge is reached"


def test_a_display_that_is_higher_than_the_terminal(console: Console, said: Said) -> None:
    """Rows that have left it are final, also when the cursor goes up before anything else is written."""
    rows = "".join(f"row {number}\n" for number in range(150))
    sys.stdout.write(f"{UP}\r{rows}\x1b[500A\r")
    assert len(lines(said)) >= 50
    sys.stdout.write("\rdrawn over\n\n")
    console.stop()
    rows_of = [f"row {number}" for number in range(150)]
    assert lines(said) == [*rows_of[:51], "drawn over", *rows_of[52:]], "a hundred rows with the one of the cursor"


def test_a_progress_bar_without_an_end_takes_no_memory(console: Console, said: Said) -> None:
    """Ten thousand states of one line are not kept."""
    for number in range(10_000):
        sys.stdout.write(f"\r{number:>100}")
    ((_, stream),) = [pair for pair in console._streams if pair[0].on(sys.stdout)]
    assert sum(map(len, stream._begun.values())) < 10_000
    console.stop()
    assert lines(said) == [f"{9999:>100}"]


def test_long_lines_come_in_parts(console: Console, said: Said) -> None:
    """No line is longer than LONGEST, with or without an end; nothing of it is lost."""
    text = "".join(f"{number:08}" for number in range(20_000))
    print(text)
    sys.stdout.write(text)
    console.stop()
    assert max(map(len, lines(said))) <= LONGEST
    assert "".join(lines(said)) == text * 2
    assert max(len(event.text) for event in said(ConsoleLine)) <= 65_536


@pytest.mark.parametrize("code", ["", "\x1b[1m"])
def test_a_long_line_without_an_end_takes_no_memory(console: Console, said: Said, code: str) -> None:
    """All whole parts of it are recorded at once, so that the next write is about what is left alone."""
    text = "".join(f"{number:08}" for number in range(20_000))
    ((_, stream),) = [pair for pair in console._streams if pair[0].on(sys.stdout)]
    sys.stdout.write(code + text)
    assert sum(map(len, stream._begun.values())) <= LONGEST + 1
    assert "".join(lines(said)) == text[: len(text) // LONGEST * LONGEST]
    sys.stdout.write("!\n")
    assert "".join(lines(said)) == f"{text}!"
    before = len(lines(said))
    print(code + text[: 2 * LONGEST])
    assert lines(said)[before:] == [text[:LONGEST], text[LONGEST : 2 * LONGEST]], "and no empty line after the last"


@pytest.mark.parametrize("before", [LONGEST - 12, LONGEST - 30])
def test_a_secret_in_two_parts_of_a_line(console: Console, said: Said, before: int) -> None:
    """Where a long line is divided, it has been looked for secrets."""
    print("x" * before + " api_key=geheim-geheim-geheim rest")
    console.stop()
    assert "".join(lines(said)) == "x" * before + " api_key=<redacted> rest"


def test_a_secret_that_was_told_is_not_printed_into_the_run(console: Console, said: Said) -> None:
    """Whatever stands before it."""
    learn("geheim-4711")
    print("opened by geheim-4711, again")
    assert lines(said) == ["opened by <redacted>, again"]


def test_a_line_that_resembles_secrets_holds_up_no_print(console: Console, said: Said) -> None:
    """The search for secrets takes time in proportion to the text, whatever is printed."""
    text = "auth" * (LONGEST // 4)
    begin = time.perf_counter()
    print(f"{text}\n{text}")
    assert time.perf_counter() - begin < 1.0
    assert lines(said) == [text, text]


def test_a_flood_is_cut_and_counted(
    console: Console, said: Said, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is too much is left out; how much that was is said in the run, and to the user once."""
    clock = [0.0]
    monkeypatch.setattr(_console, "monotonic", lambda: clock[0])
    for _, stream in console._streams:
        stream._ticked = 0.0
    for number in range(BURST + 25):
        print(number)
    assert len(said(ConsoleLine)) == BURST
    clock[0] = 1.5
    console.tick()
    print("on")
    console.stop()
    notice = f"[tracelet left out 25 lines here: more than {RATE:,} a second]"
    assert lines(said)[BURST:] == [notice, "on"]
    assert told == [f"lines come to sys.stdout faster than {RATE:,} a second; the run has not all"]


def test_threads_do_not_mix_their_lines(console: Console, said: Said) -> None:
    """Lines of threads that print at the same time are whole."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def work(name: str) -> None:
        for number in range(200):
            print(name, number, name)

    try:
        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
    finally:
        sys.setswitchinterval(before)
    found = lines(said)
    assert sorted(found) == sorted(f"{name} {number} {name}" for name in "abcd" for number in range(200))
    assert [line for line in found if line[0] == "a"] == [f"a {number} a" for number in range(200)]


def test_nothing_is_raised_into_a_print(
    run: tracelet.Run, console: Console, out: Terminal, told: list[str], monkeypatch: pytest.MonkeyPatch, said: Said
) -> None:
    """A failure of ours is said once, and not for each line; lines after the run's end just pass."""

    def fail(body: str) -> bool:
        raise RuntimeError("broken")

    def tell(message: str) -> None:
        told.append(message)
        print(message)  # to the stream that it is about

    for _, stream in console._streams:
        stream._tell = tell
    monkeypatch.setattr(_console, "may_hold_secrets", fail)
    print("x")
    print("x")
    assert told == ["what goes to sys.stdout is not all captured: RuntimeError: broken"]
    monkeypatch.undo()
    monkeypatch.setattr(sys, "stdout", out)
    print("y")
    assert lines(said) == ["y"]
    run.finish()
    print("z")
    console.stop()
    assert out.shown.endswith("y\nz\n")


def test_a_line_goes_to_the_run_that_is_active_where_it_is_printed(
    run: tracelet.Run, console: Console, said: Said
) -> None:
    """Of two runs that listen, the active one hears; if the active one does not listen, both do."""
    second = run.child("second")
    other = Console(second, print)
    other.start()
    tracelet.run.set_process_run(run)
    print("first's")
    tracelet.run.set_process_run(second)
    print("second's")
    tracelet.run.set_process_run(None)
    print("both's")
    other.stop()
    print("first's")
    assert lines(said) == ["first's", "both's", "first's"]
    assert [event.text for event in _events(second.directory) if isinstance(event, ConsoleLine)] == [
        "second's",
        "both's",
    ]
    second.finish()


_SCRIPT = """
import faulthandler, os, signal, sys, tracelet
from tracelet.capture import Surroundings
from tracelet.events import ConsoleLine
run = tracelet.start_logging(exp_name="e", directory=sys.argv[1])
surroundings = Surroundings(run, frozenset({"console"}), 10.0, print)
surroundings.start()
print("before")
sys.stdout.flush()
child = os.fork()
if child == 0:
    print("from the child")
    sys.stdout.flush()
    os._exit(0)
os.waitpid(child, 0)
def handler(*_):
    try:
        print("in the handler")
    except RuntimeError:
        return  # the stream itself was in the middle of a write
    tracelet.active_run().log_metric("h", 1.0)
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 1e-3, 1e-3)
for number in range(5_000):
    print("line", number)
signal.setitimer(signal.ITIMER_REAL, 0.0)
print("last")
1 / 0
"""


def test_forks_signals_and_uncaught_exceptions(tmp_path: Path) -> None:
    """A forked child's lines are not the run's; a signal handler's are, and break no others; so is a traceback."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(tmp_path)],
        capture_output=True, text=True, timeout=60, env=os.environ | {"TRACELET_CAPTURE": "0"},
    )  # fmt: skip
    assert "ZeroDivisionError" in done.stderr
    assert "from the child" in done.stdout
    (place,) = (tmp_path / "runs").iterdir()
    events = _events(place)
    found = [(e.stream, line) for e in events if isinstance(e, ConsoleLine) for line in e.text.split("\n")]
    texts = [line for stream, line in found if stream == "stdout"]
    assert "from the child" not in texts
    handled = "".join(texts).count("in the handler")
    assert handled > 0
    assert handled == sum(isinstance(event, MetricsLogged) for event in events)
    shown = "".join(done.stdout.replace("from the child\n", "").splitlines())
    assert "".join(texts).replace("in the handler", "") == shown.replace("in the handler", "")
    assert found[-1] == ("stderr", "ZeroDivisionError: division by zero")


def _events(place: Path) -> list[Any]:
    codec, journal = importlib.import_module("tracelet.codec"), importlib.import_module("tracelet.journal")
    lane = importlib.import_module("tracelet.events").Lane.STREAM
    with journal.LogReader(journal.RunDirectory(place).log("0000", lane)) as reader:
        frames = reader.read(10**6, 10**9, final=False)
        return list(map(codec.decode, frames.words, frames.payloads))


def test_lines_survive_sigkill(tmp_path: Path) -> None:
    """What was printed before the process was killed is in the journal."""
    script = _SCRIPT.split("sys.stdout.flush()")[0] + "sys.stdout.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True, timeout=60, env=os.environ | {"TRACELET_CAPTURE": "0"},
    )  # fmt: skip
    assert done.returncode == -9
    (place,) = (tmp_path / "runs").iterdir()
    assert [event.text for event in _events(place) if isinstance(event, ConsoleLine)] == ["before"]


def test_ranks_above_0_mark_their_lines(run: tracelet.Run, out: Terminal, said: Said) -> None:
    """Where several ranks print into one run, each line says whose it is."""
    console = Console(run, print, "[rank 3] ")
    console.start()
    print("a\nb")
    console.stop()
    assert lines(said) == ["[rank 3] a", "[rank 3] b"]


def test_a_write_that_is_put_back_is_replaced_again(
    console: Console, out: Terminal, said: Said, run: tracelet.Run
) -> None:
    """Who saved `write` before the run and puts it back ends nothing; a wrapper of somebody's is left alone."""
    ours = sys.stdout.write
    del sys.stdout.write
    print("lost")
    console.tick()
    print("heard")
    mine = sys.stdout.write
    sys.stdout.write = wrapped = lambda text: mine(text)  # type: ignore[method-assign]
    console.tick()
    assert sys.stdout.write is wrapped
    print("once")
    console.stop()
    assert lines(said) == ["heard", "once"]
    sys.stdout.write = ours  # type: ignore[method-assign]  # of a run that is over
    again = Console(run, print)
    again.start()
    print("again")
    again.stop()
    assert lines(said) == ["heard", "once", "again"]
    assert out.shown == "lost\nheard\nonce\nagain\n"


_CELLS = """
import asyncio, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
start = '''
import sys, tracelet
from tracelet.capture._console import Console
run = tracelet.start_logging(exp_name="e", directory=%r)
console = Console(run, print)
console.start()
print("in the first cell")
''' % sys.argv[1]
async def main():
    for cell in (start, "print('in the second cell')", "console.stop(); print('over')", "run.finish()"):
        assert shell.run_cell(cell).success
        await asyncio.sleep(0)
asyncio.run(main())
"""


def test_lines_of_all_cells_of_a_notebook(tmp_path: Path) -> None:
    """IPython, which puts back `write` at the end of each cell, does not end the capture."""
    pytest.importorskip("IPython")
    done = subprocess.run(
        [sys.executable, "-c", _CELLS, str(tmp_path)], capture_output=True, text=True, timeout=100, check=True,
        env=os.environ | {"IPYTHONDIR": str(tmp_path / "ipython")},
    )  # fmt: skip
    assert "in the second cell" in done.stdout
    (place,) = (tmp_path / "runs").iterdir()
    texts = [event.text for event in _events(place) if isinstance(event, ConsoleLine)]
    assert texts == ["in the first cell", "in the second cell"]
