"""The one command, `midwatch`: finds the folders' sub-commands, imports them when called, prints errors as lines."""

from __future__ import annotations

import sys
from importlib import import_module

import midwatch
from midwatch.errors import Exit, MidwatchError

COMMANDS = {
    "init": ("midwatch.app.init", "Write a commented platform.yaml to start from."),
    "check": ("midwatch.app.check", "Check the platform file and everything rendered from it."),
    "render": ("midwatch.app.render", "Write everything that is made from the platform file."),
    "dashboards": ("dashboards.cli", "Verify dashboards against Prometheus; push them to Grafana."),
    "up": ("midwatch.app.up.cli", "Run the whole plane on this machine, with a live view."),
    "exporter": ("exporters.cli", "Take prediction and label events, serve /metrics."),
    "alerts": ("alerts.cli", "Who gets an alert and why; checks, proofs and imports of rules and routes."),
    "canary": ("monitors.gate.cli", "Judge a new version against the one it replaces; serve the gate."),
    "drift": ("monitors.drift.cli", "Fit a drift reference; judge a window against it."),
    "dr": ("dr.cli", "Run recovery drills; posture, evidence, and the recoverer."),
    "chaos": ("chaos.cli", "Run experiments that surely stop, and tell whether they were noticed."),
}
"""Name, module with its typer `app`, and the line that help shows: reading it imports nothing."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a MidwatchError is printed as its lines and ends with its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    name = given[0] if given else "--help"
    if name in ("-h", "--help"):
        print(_help())  # noqa: T201 - what help is for
    elif name == "--version":
        print(f"midwatch {midwatch.__version__}")  # noqa: T201 - see above
    elif name in COMMANDS:
        _run(name, given[1:])
    else:
        print(f"midwatch: there is no command {name!r}; see midwatch --help", file=sys.stderr)  # noqa: T201
        sys.exit(Exit.USAGE)


def _run(name: str, arguments: list[str]) -> None:
    try:
        import_module(COMMANDS[name][0]).app(args=arguments, prog_name=f"midwatch {name}")
    except MidwatchError as error:
        print(str(error), file=sys.stderr)  # noqa: T201 - the one place where errors become lines
        sys.exit(error.exit)


def _help() -> str:
    commands = "\n".join(f"  {name:<10} {text}" for name, (_, text) in COMMANDS.items())
    return f"""Usage: midwatch COMMAND [OPTIONS]

The observability and SRE control plane of an ML platform: one file, platform.yaml, says what the platform promises.

Commands:
{commands}

Options:
  --version  Show the version and exit.
  --help     Show this message; midwatch COMMAND --help shows a command's.

Exit codes: 0 pass, 1 fail, 2 usage or broken input, 3 inconclusive."""
