"""`midwatch canary`: the judge's commands, and the gate's, whose HTTP service stands in another folder."""

from __future__ import annotations

from exporters import gate_cli
from monitors.canary import cli

app = cli.app
app.command("gate")(gate_cli.gate)
