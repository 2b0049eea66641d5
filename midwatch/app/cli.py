"""The one command, `midwatch`: finds the folders' sub-commands, imports them when called, prints errors as lines."""

from __future__ import annotations

import difflib
import io
import os
import sys
import traceback

from midwatch import modules, untrusted_text
from midwatch.errors import OUTPUT_CLOSED, Exit, MidwatchError

COMMANDS = {
    "init": ("midwatch.app.init", "Write a commented platform.yaml to start from."),
    "check": ("midwatch.app.check", "Check the platform file and everything rendered from it."),
    "render": ("midwatch.app.render", "Write everything that is made from the platform file."),
    "upgrade": ("midwatch.app.upgrade.cli", "What changes with another release: keys, metrics, state; and back."),
    "schema": ("midwatch.app.schema", "Print the JSON schema of the platform file."),
    "dashboards": ("dashboards.cli", "Verify dashboards against Prometheus; push them to Grafana."),
    "up": ("midwatch.app.up.cli", "Run the whole plane on this machine, with a live view."),
    "console": ("midwatch.app.console.cli", "The state of the promises as pages in a browser."),
    "exporter": ("exporters.cli", "Take prediction and label events, serve /metrics."),
    "scale": ("exporters.scale.cli", "What a rate of requests needs, and whether the platform file holds it."),
    "stream": ("exporters.stream.cli", "The exporter's counts by Spark, from Kafka, folders or Delta tables."),
    "alerts": ("alerts.cli", "Who gets an alert and why; checks, proofs and imports of rules and routes."),
    "canary": ("monitors.gate.cli", "Judge a new version against the one it replaces; serve the gate."),
    "drift": ("monitors.drift.cli", "Fit a drift reference; judge a window against it."),
    "fairness": ("monitors.fairness.cli", "Whether a model treats groups of people alike, by sequential evidence."),
    "evaluate": ("monitors.evaluator.cli", "Evaluate, again and again, promises that PromQL alone cannot."),
    "attributions": ("monitors.attribution.cli", "Whether a model uses its features otherwise than before."),
    "loop": ("monitors.loop.cli", "Ask for retrainings, and follow them to a better model in production."),
    "dr": ("dr.cli", "Run recovery drills; posture, evidence, and the recoverer."),
    "chaos": ("chaos.cli", "Run experiments that surely stop, and tell whether they were noticed."),
    "systems": (
        "midwatch.app.systems.cli",
        "Check the systems' metrics and play them; ask for what they do not publish.",
    ),
    "status": ("midwatch.app.status.cli", "The state of the promises now: what fires, what is left, who was told."),
    "who": ("midwatch.app.status.who", "Whose an alert is, and who is told of it now."),
    "silence": ("midwatch.app.status.silence", "Hold back an alert that fires, with a reason; or end a silence."),
    "report": ("midwatch.app.report.cli", "Reports to forward: a month of promises, pages and drills."),
    "explain": ("midwatch.app.incident.cli", "What changed before an alert, and which change most likely caused it."),
    "evidence": ("midwatch.app.evidence", "Check the evidence logs of chaos, drills, the gate and retraining."),
}
"""Name, module with its typer `app`, and the line that help shows: reading it imports nothing."""

OPTIONS = {
    "--install-completion": "Install completion of commands and options for your shell.",
    "--show-completion": "Show that completion, to install it by hand.",
    "--version": "Show the versions of Midwatch and of the programs it uses; with --json, as a document.",
    "--help": "Show this message; midwatch COMMAND --help shows a command's.",
}

COMPLETION_VARIABLE = "_MIDWATCH_COMPLETE"
"""Set by the shell when it asks what a word can be completed to."""


TRACEBACK_VARIABLE = "MIDWATCH_TRACEBACK"
"""Set by whoever wants to see where an unexpected error comes from."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a MidwatchError is printed as its lines and ends with its exit code, any other with 2."""
    given = sys.argv[1:] if arguments is None else arguments
    with untrusted_text.guard():
        try:
            modules.ensure_not_hidden()
            _run(given)
        except MidwatchError as error:
            print(str(error), file=sys.stderr)  # noqa: T201 - the one place where errors become lines
            sys.exit(error.exit)
        except BrokenPipeError:
            sys.stdout = io.StringIO()  # what is left is written there at the end
            print(OUTPUT_CLOSED, file=sys.stderr)  # noqa: T201 - see above
            sys.exit(Exit.USAGE)
        except Exception as error:
            print(_unexpected(error), file=sys.stderr)  # noqa: T201 - see above
            sys.exit(Exit.USAGE)


def _unexpected(error: Exception) -> str:
    """One line for an error that nobody thought of; the traceback where it is asked for."""
    if os.environ.get(TRACEBACK_VARIABLE):
        return "".join(traceback.format_exception(error)).rstrip()
    words = " ".join(str(error).split())
    said = f"{type(error).__name__}: {words}" if words else type(error).__name__
    return f"midwatch: unexpected {said}; {TRACEBACK_VARIABLE}=1 shows where; please report it"


def _run(given: list[str]) -> None:
    name = given[0] if given else "--help"
    if name in COMMANDS or "-completion" in name or COMPLETION_VARIABLE in os.environ:
        from midwatch.app import folders

        folders.Folders(COMMANDS).main(args=given, prog_name="midwatch")
    elif name in ("-h", "--help"):
        print(_help())  # noqa: T201 - what help is for
    elif name == "--version":
        from midwatch.app import versions

        print(versions.text(as_json="--json" in given))  # noqa: T201 - see above
    else:
        raise MidwatchError(_unknown(name))


def _unknown(name: str) -> str:
    """What is said of a first word that is no command."""
    what = "option" if name.startswith("-") else "command"
    close = difflib.get_close_matches(name, [*COMMANDS, *OPTIONS], 1)
    remedy = f"did you mean {close[0]}?" if close else "see midwatch --help"
    return f"midwatch: there is no {what} {name!r}; {remedy}"


def _help() -> str:
    commands = "\n".join(f"  {name:<10} {text}" for name, (_, text) in COMMANDS.items())
    options = "\n".join(f"  {name:<20} {text}" for name, text in OPTIONS.items())
    return f"""Usage: midwatch COMMAND [OPTIONS]

The observability and SRE control plane of an ML platform: one file, platform.yaml, says what the platform promises.

Commands:
{commands}

Options:
{options}

Exit codes: 0 pass, 1 fail, 2 usage or broken input, 3 inconclusive."""
