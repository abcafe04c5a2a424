"""What the command line's help teaches: the order of the commands, and an example of each."""

from __future__ import annotations

from typing import Any

import typer.core

_SECTIONS = {
    "Look at runs": ("runs", "show", "status"),
    "Deliver": ("sync", "import", "gc"),
    "Set up": ("backends", "config", "doctor", "demo"),
}

_EXAMPLES = {
    "runs": {
        "tracelet runs": "the newest 20",
        "tracelet runs --project vision --outcome failed": "what went wrong",
        "tracelet runs --name 'mnist-*' --json": "for a script",
    },
    "show": {
        "tracelet show": "the newest run",
        "tracelet show mnist-mlp": "the run of that name",
        "tracelet show ffbd06": "the run whose id ends so",
        "tracelet show mnist-mlp --metric 'val/*'": "plot some metrics large",
        "tracelet show mnist-mlp --json --points": "all points, for a script",
    },
    "status": {
        "tracelet status": "the newest 20 runs",
        "tracelet status --pending": "what tracelet sync would deliver",
        "tracelet status mnist-mlp": "the account of one run",
        "tracelet status --watch": "how delivery gets on, live",
    },
    "sync": {
        "tracelet sync": "everything that is pending",
        "tracelet sync mnist-mlp --backend aim": "one run, to a backend that it was not logged to",
        "tracelet sync --json": "one line per run and backend, for a script",
    },
    "import": {
        "tracelet import runs/ --backend mlflow": "TensorBoard's event files, into MLflow",
        "tracelet import runs/ --backend mlflow --follow": "of a training that goes on",
    },
    "gc": {
        "tracelet gc": "what can go, of more than 30 days ago",
        "tracelet gc --keep-size 50GB --yes": "remove the oldest, until the others take no more than that",
    },
    "backends": {
        "tracelet backends": "those that are installed",
        "tracelet backends mlflow": "where MLflow shows what",
        "tracelet backends --matrix": "what each does with every kind of event",
    },
    "config": {"tracelet config": "every setting, and where its value comes from"},
    "doctor": {
        "tracelet doctor": "whether everything that is needed is there",
        "tracelet doctor --backend mlflow": "and whether MLflow can be reached",
        "tracelet doctor mnist-mlp": "whether a run is whole",
    },
    "demo": {"tracelet demo --backend mlflow": "a small training, delivered and read back"},
}


_WHOLE = 1_000  # characters: a summary is wrapped, not cut


class Commands(typer.core.TyperGroup):
    """The commands in sections, each with its summary; ones that are in none come last.

    Each command's own help ends with examples of it, before what its `epilog` says.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, command in self.commands.items():
            command.epilog = _with_examples(name, command.epilog or "")

    def list_commands(self, ctx: Any) -> list[str]:
        placed = [name for names in _SECTIONS.values() for name in names]
        return sorted(self.commands, key=lambda name: placed.index(name) if name in placed else len(placed))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        names = self.list_commands(ctx)
        width = max(map(len, names))
        left = list(names)
        for title, placed in _SECTIONS.items():
            own = [name for name in placed if name in names]
            self._format(formatter, title, own, width)
            left = [name for name in left if name not in own]
        self._format(formatter, "Other commands", left, width)

    def _format(self, formatter: Any, title: str, names: list[str], width: int) -> None:
        if names:
            rows = [(name.ljust(width), self.commands[name].get_short_help_str(_WHOLE)) for name in names]
            with formatter.section(title):
                formatter.write_dl(rows)


def _with_examples(command: str, epilog: str) -> str:
    examples = _EXAMPLES.get(command, {})
    width = max(map(len, examples), default=0)
    lines = [f"  {example:<{width}}  {meaning}" for example, meaning in examples.items()]
    return "\n".join(["\b", "Examples:", *lines, "", epilog]) if examples else epilog
