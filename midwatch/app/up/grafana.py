"""Grafana beside the plane, where its program is installed: provisioned, on loopback, no login needed to look."""

from __future__ import annotations

import configparser
import io
import shutil
from dataclasses import dataclass
from pathlib import Path

from dashboards import provisioning, render
from midwatch import yamlfile
from midwatch.app.render import write
from midwatch.grafana import DataSource
from midwatch.spec.model import Platform

READY = "/api/health"
START_SECONDS = 120.0
"""A first start makes Grafana's database, which takes a slow machine a minute."""

_HOMES = ("/usr/share/grafana", "/usr/local/share/grafana", "/opt/homebrew/share/grafana")
"""Where Grafana's packages keep what the program needs; an unpacked archive has it beside `bin`."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """An installed Grafana: the words that start it, and its home with `conf/defaults.ini`."""

    words: tuple[str, ...]
    home: Path


def find() -> Program | None:
    """The installed Grafana; None when there is none, or nobody knows where its home is."""
    for name, words in (("grafana", ("server",)), ("grafana-server", ())):
        if path := shutil.which(name):
            homes = [Path(path).resolve().parent.parent, *map(Path, _HOMES)]
            for home in homes:
                if (home / "conf/defaults.ini").is_file():
                    return Program(words=(path, *words), home=home)
    return None


def command(program: Program, platform: Platform, state: Path, urls: dict[str, str]) -> list[str]:
    """Write the configuration and everything to provision below `state`, and say what starts it.

    `urls` has those of the plane's parts: `prometheus`, `alertmanager` and `grafana`.
    """
    folder = state / "grafana"
    provisioned = folder / "provisioning"
    addresses = {DataSource.PROMETHEUS: urls["prometheus"], DataSource.ALERTMANAGER: urls["alertmanager"]}
    files = {
        f"dashboards/{document['uid']}.json": render.json_text(document) for document in render.documents(platform)
    }
    files["provisioning/dashboards/midwatch.yml"] = yamlfile.dump_blocks(
        provisioning.provider(platform, str(folder / "dashboards"))
    )
    files["provisioning/datasources/midwatch.yml"] = yamlfile.dump_blocks(provisioning.datasources(platform, addresses))
    files["grafana.ini"] = _ini(folder, provisioned, urls["grafana"])
    write(files, folder, force=True)
    return [*program.words, f"--homepath={program.home}", f"--config={folder / 'grafana.ini'}"]


def _ini(folder: Path, provisioned: Path, url: str) -> str:
    """Loopback only, no login to look, nothing fetched or reported."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read_dict(
        {
            "paths": {"data": str(folder / "data"), "logs": str(folder / "logs"), "provisioning": str(provisioned)},
            "server": {"http_addr": "127.0.0.1", "http_port": url.rsplit(":", 1)[1], "root_url": url},
            "auth.anonymous": {"enabled": "true", "org_role": "Viewer"},
            "analytics": {
                "reporting_enabled": "false",
                "check_for_updates": "false",
                "check_for_plugin_updates": "false",
            },
            "plugins": {"preinstall_disabled": "true"},
            "log": {"mode": "console", "level": "warn"},
        }
    )
    text = io.StringIO()
    settings.write(text)
    return text.getvalue()
