"""What the program prints, as console lines of a run."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from threading import get_ident
from time import monotonic, time
from typing import Any, Literal

from tracelet._blocking import delivering
from tracelet._redaction import may_hold_secrets, redacted_text
from tracelet._secrets import unknown
from tracelet.capture._screen import Screen, is_plain, last_state, moves_up
from tracelet.capture._streams import Tap, tapped
from tracelet.codec import encode
from tracelet.errors import RunClosed
from tracelet.events import Kind
from tracelet.run import AsyncRun, Run

RATE = 1_000
"""So many lines a second of one stream are kept in the long run; one for each 256 characters of a long one."""

BURST = 10_000
"""So many may come at once."""

LONGEST = 16_384
"""A longer line comes in parts of so many characters."""

_HELD = 4_096  # characters of an unfinished line after which it is looked at
_MOST_AT_ONCE = 65_536  # characters of one event
_CONSOLE_LINE = Kind.CONSOLE_LINE.value
_delivering = delivering.get


class Console:
    """Both streams of the process, heard for one run.

    Args:
        tell: tells the user.
        mark: what each line begins with.
    """

    def __init__(self, run: Run | AsyncRun, tell: Callable[[str], None], mark: str = "") -> None:
        self._run = run
        self._mark = mark
        self._tell = tell
        self._streams: list[tuple[Tap, Lines]] = []
        self._shell: Any = None

    def start(self) -> None:
        """Begin to listen to what is standard output, and standard error, now."""
        named: tuple[tuple[Literal["stdout", "stderr"], Any], ...] = (("stdout", sys.stdout), ("stderr", sys.stderr))
        for name, stream in named:
            if stream is None or any(tap.on(stream) for tap, _ in self._streams):
                continue
            lines = Lines(self._run, name, self._tell, self._mark)
            try:
                tap = tapped(stream)
                tap.add(lines)
            except TypeError as error:
                self._tell(f"what goes to sys.{name} is not captured: {error}")
                continue
            self._streams.append((tap, lines))
        self._shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
        if self._shell is not None:
            self._shell.events.register("post_run_cell", self._after_cell)

    def tick(self) -> None:
        """What is to be done about once a second."""
        for tap, lines in list(self._streams):
            tap.renew()
            lines.tick()

    def stop(self) -> None:
        """Listen no more; what has no end of line yet counts as a line."""
        shell, self._shell = self._shell, None
        if shell is not None:
            with suppress(ValueError):
                shell.events.unregister("post_run_cell", self._after_cell)
        while self._streams:
            tap, lines = self._streams.pop()
            tap.remove(lines)
            lines.close()

    def _after_cell(self, _: object) -> None:
        """IPython is about to put back the `write` of before the cell: renew the tap when it has."""
        with suppress(RuntimeError):  # there is no loop in a terminal; the next tick does it
            sys.modules["asyncio"].get_running_loop().call_soon(self._renew)

    def _renew(self) -> None:
        for tap, _ in list(self._streams):
            tap.renew()


class Lines:
    """One stream's writes, put together to lines and published as they end.

    Lines are put together for each thread by itself, so that threads that print at the same time don't mix.
    """

    def __init__(
        self, run: Run | AsyncRun, stream: Literal["stdout", "stderr"], tell: Callable[[str], None], mark: str = ""
    ) -> None:
        self.run = run
        self._mark = mark
        self._stream = stream
        self._tell = tell
        self._begun: dict[int, str] = {}  # what each thread has written of a line
        self._screen = Screen()
        self._lock = threading.RLock()
        # Where nothing is to be lost, what Tracelet says of a shortage would be lost for it, and that be said, too.
        self._patient = run._recorder is not None and run._recorder.patient
        self._closed = False
        self._left = BURST
        self._ticked = monotonic()
        self._left_out = 0
        self._warned: set[str] = set()

    def hear(self, text: str) -> None:
        """Called with what was written, in the thread that wrote it.

        What delivery writes in this process is not heard: it would be delivered, and be written about again.
        """
        if self._closed or _delivering():
            return
        thread = get_ident()
        try:
            if "\n" not in text:
                # Taken out first: a signal handler that prints right here must not publish it as well.
                begun = self._begun.pop(thread, "") + text
                self._begun[thread] = begun
                if len(begun) > _HELD or self._screen.rows:
                    self._shorten(thread)
                return
            if text == "\n":  # print() writes it by itself
                body, rest = self._begun.pop(thread, ""), ""
            else:
                body, _, rest = (self._begun.pop(thread, "") + text).rpartition("\n")
            if "\x1b" in body or (rest and "\x1b" in rest) or "\r" in body or "\b" in body or self._screen.rows:
                self._draw(thread, body, rest)
                return
            if rest:
                self._begun[thread] = rest
            if len(body) > LONGEST:
                self._publish(body)
            else:
                self._record(body)
        except RunClosed:
            self._closed = True
        except Exception as error:  # noqa: BLE001 - the isolation boundary: nothing is raised into a print
            self._fail(error)

    def tick(self) -> None:
        """Let lines in again, and say how many were left out; publish what a live display shows, once it is still."""
        try:
            with self._lock:
                final = self._screen.settle()
            if final:
                self._publish("\n".join(final))
            now = monotonic()
            if now - self._ticked >= 1.0:
                self._left = min(BURST, self._left + int(RATE * (now - self._ticked)))
                self._ticked = now
                self._account()
        except RunClosed:
            self._closed = True
        except Exception as error:  # noqa: BLE001 - the isolation boundary
            self._fail(error)

    def close(self) -> None:
        """Publish what there is, and hear no more."""
        try:
            with self._lock:
                final = self._screen.close()
            states = (last_state(self._begun.pop(thread, "")) for thread in list(self._begun))
            final += [state for state in states if state]
            if final and not self._closed:
                self._publish("\n".join(final))
            self._account()
        except RunClosed:
            pass
        except Exception as error:  # noqa: BLE001 - the isolation boundary
            self._fail(error)
        finally:
            self._closed = True

    def _shorten(self, thread: int) -> None:
        """An unfinished line is long: it is a progress bar's, a live display's, or it never ends."""
        begun = self._begun[thread]
        if self._screen.rows or moves_up(begun):
            del self._begun[thread]
            self._feed(begun)
            return
        mark, begun = ("", begun) if is_plain(begun) else ("\r", last_state(begun) or "")
        if len(begun) > LONGEST:  # before it is divided, and one half of a secret is not known by the other
            begun = _without_secrets(begun)
        whole = max(0, len(begun) - 1) // LONGEST * LONGEST  # what is left is at least one character
        self._begun[thread] = mark + begun[whole:]
        if whole:
            self._publish(begun[:whole], clean=True)

    def _draw(self, thread: int, body: str, rest: str) -> None:
        """Whole lines, and the beginning of another one, with codes for the terminal."""
        if self._screen.rows or moves_up(body) or moves_up(rest):
            self._feed(f"{body}\n{rest}")
            return
        if rest:
            self._begun[thread] = rest
        states = [state for state in map(last_state, body.split("\n")) if state is not None]
        if states:
            self._publish("\n".join(states))

    def _feed(self, text: str) -> None:
        with self._lock:
            final = self._screen.feed(text)
        if final:
            self._publish("\n".join(final))

    def _publish(self, body: str, *, clean: bool = False) -> None:
        if len(body) > LONGEST:
            most = len(body) if clean else self._left << 8  # characters; for more there is hardly room
            fitting = body if clean else _without_secrets(body[:most])
            for part in _parts(_broken(fitting)):
                self._record(part, clean=True)
            for part in _parts(_broken(body[most:])) if body[most:] else ():
                self._record(part)
        else:
            self._record(body, clean=clean)

    def _record(self, body: str, *, clean: bool = False) -> None:
        lines = 1 + body.count("\n") if "\n" in body else 1
        cost = lines + (len(body) >> 8)
        if self._left < cost:
            self._left_out += lines
            return
        self._left -= cost
        if self._patient and body.startswith("tracelet: "):
            return
        # As `run.log_console`, but this runs once per print: no event is made, but the bytes are those of one.
        text = body if clean else _without_secrets(body)
        if self._mark:
            text = self._mark + text.replace("\n", f"\n{self._mark}")
        run = self.run
        try:
            payload = encode((_CONSOLE_LINE, time(), text, self._stream))
        except UnicodeEncodeError:
            run.log_console(text, self._stream)
            return
        if not run._append(_CONSOLE_LINE, payload):
            run._refused()

    def _account(self) -> None:
        count, self._left_out = self._left_out, 0
        if count:
            self.run.log_console(f"[tracelet left out {count:,} lines here: more than {RATE:,} a second]", self._stream)
            self._say("flood", f"lines come to sys.{self._stream} faster than {RATE:,} a second; the run has not all")

    def _fail(self, error: Exception) -> None:
        self._say("failure", f"what goes to sys.{self._stream} is not all captured: {type(error).__name__}: {error}")

    def _say(self, topic: str, message: str) -> None:
        if topic not in self._warned:
            self._warned.add(topic)
            with suppress(Exception):
                self._tell(message)


def _without_secrets(body: str) -> str:
    body = unknown(body)
    return redacted_text(body) if may_hold_secrets(body) else body


def _broken(body: str) -> str:
    """The text with no line longer than LONGEST."""
    return "\n".join(
        line[start : start + LONGEST] for line in body.split("\n") for start in range(0, max(len(line), 1), LONGEST)
    )


def _parts(body: str) -> list[str]:
    """The lines of a long text, in texts of a bearable length."""
    parts: list[list[str]] = [[]]
    size = 0
    for line in body.split("\n"):
        size += len(line) + 1
        if size > _MOST_AT_ONCE and parts[-1]:
            parts.append([])
            size = len(line) + 1
        parts[-1].append(line)
    return ["\n".join(part) for part in parts]
