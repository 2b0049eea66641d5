"""What a person receives of an alert: the message of a channel, as amtool fills in Alertmanager's own templates."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from alerts import inventory
from alerts.inventory import Entry
from alerts.routing import messages
from midwatch import programs
from midwatch.errors import MidwatchError
from midwatch.spec.base import unknown
from midwatch.spec.model import Platform
from midwatch.spec.values import describe_duration

TIMEOUT_SECONDS = 30
BEGAN = "2026-01-02T03:04:05Z"
"""When the alert of a preview began: any time, and always the same."""


def entry_of(platform: Platform, alert: str) -> Entry:
    """The first alert of a name, as a title or as an `alertname`; MidwatchError when there is none."""
    entries = list(inventory.entries(platform))
    found = next((one for one in entries if alert in (one.title, one.name)), None)
    if found is None:
        raise MidwatchError("; ".join(unknown(alert, {one.name for one in entries}, "alert")))
    return found


def message(
    platform: Platform,
    entry: Entry,
    channel: str,
    *,
    labels: Mapping[str, str],
    value: float,
    resolved: bool = False,
) -> dict[str, str]:
    """Text of each field of the message, by the field's name; of a webhook the document that it is sent.

    `labels` are those of the alert's series. Raises MissingProgramError without amtool.
    """
    if channel not in platform.channels:
        raise MidwatchError("; ".join(unknown(channel, platform.channels, "channel")))
    document = notification(platform, entry, labels=labels, value=value, resolved=resolved)
    templates = messages.of_kind(platform.channels[channel].kind, says_region=platform.regions is not None)
    if templates is None:
        return {"document": json.dumps(document, indent=2, ensure_ascii=False)}
    return {name: _rendered(text, document, name) for name, text in _fields(templates)}


def _fields(templates: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, text in templates.items():
        if isinstance(text, dict):
            yield from _fields(text, f"{before}{name}.")
        else:
            yield before + name, text


def _rendered(text: str, document: Mapping[str, Any], field: str) -> str:
    amtool = programs.path_of("amtool")
    with tempfile.TemporaryDirectory(prefix="midwatch-preview-") as folder:
        data, empty = Path(folder) / "data.json", Path(folder) / "empty.tmpl"
        data.write_text(json.dumps(document), encoding="utf-8")
        empty.write_text("", encoding="utf-8")
        command = [amtool, "template", "render", f"--template.glob={empty}", f"--template.data={data}"]
        command += [f"--template.type={'html' if field in messages.HTML_FIELDS else 'text'}", f"--template.text={text}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    if done.returncode:
        raise MidwatchError(f"amtool cannot fill in {field}: {' '.join((done.stderr or done.stdout).split())}")
    return done.stdout.removesuffix("\n")


# The notification --------------------------------------------------------------------------------------------------


def notification(
    platform: Platform, entry: Entry, *, labels: Mapping[str, str], value: float, resolved: bool
) -> dict[str, Any]:
    """What Alertmanager fills templates with (its template.Data), for one alert."""
    texts = entry.rule["annotations"]
    named = {name: f"{name}-1" for text in texts.values() for name in re.findall(r"\$labels\.(\w+)", text)}
    # Alerts of a model are of series with its name, whether or not the rule repeats it.
    of_model = {"model": entry.origin} if entry.origin in {model.name for model in platform.models} else {}
    every = {**named, **of_model, **entry.labels, **labels}
    annotations = {name: filled(text, every, value) for name, text in texts.items()}
    status = "resolved" if resolved else "firing"
    alert = {
        "status": status,
        "labels": every,
        "annotations": annotations,
        "startsAt": BEGAN,
        "endsAt": BEGAN if resolved else "0001-01-01T00:00:00Z",
        "generatorURL": f"{platform.prometheus.url}/alerts",
        "fingerprint": "0000000000000000",
    }
    return {
        "receiver": f"{entry.owner or 'nobody'}-{entry.severity}",
        "status": status,
        "alerts": [alert],
        "groupLabels": {name: every[name] for name in ("alertname", "model", "version") if name in every},
        "commonLabels": every,
        "commonAnnotations": annotations,
        "externalURL": platform.alertmanager.url,
    }


_VALUE_FORMS = {
    "": lambda value: f"{value:g}",
    "humanize": lambda value: f"{value:.4g}",
    "humanizePercentage": lambda value: f"{value * 100:.4g}%",
    "humanizeDuration": describe_duration,
}
_VALUE = re.compile(r"\{\{\s*\$value(?:\s*\|\s*(\w+))?\s*\}\}")
_LABEL = re.compile(r"\{\{\s*\$labels\.(\w+)(\s*\|\s*urlquery)?\s*\}\}")
_QUERY = re.compile(r"\{\{ with printf .*?\{\{ end \}\}", re.DOTALL)
"""What only a Prometheus can fill in, since it asks for another series."""


def filled(text: str, labels: Mapping[str, str], value: float) -> str:
    """An annotation as Prometheus fills it in; what it would ask another series for is left out."""

    def label(match: re.Match[str]) -> str:
        found = labels.get(match[1], "")
        return quote_plus(found) if match[2] else found

    def number(match: re.Match[str]) -> str:
        form = _VALUE_FORMS.get(match[1] or "")
        return form(value) if form else match[0]

    return _VALUE.sub(number, _LABEL.sub(label, _QUERY.sub("", text)))
