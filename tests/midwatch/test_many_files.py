"""A platform file in several: a folder of many teams, and overlays of a place over what all places share."""

from __future__ import annotations

import base64
import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from midwatch import platform_files
from midwatch.app import merged
from midwatch.errors import InvalidInputError, MidwatchError
from midwatch.spec import load
from tests.conftest import midwatch_here, platform_document

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes files of a folder `p`, and gives back the folder."""
    monkeypatch.chdir(tmp_path)

    def write_all(**files: Any) -> Path:
        for name, document in files.items():
            path = Path("p", *name.split("__")).with_suffix(".yaml")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(document if isinstance(document, str) else yaml.safe_dump(document, sort_keys=False))
        return Path("p")

    return write_all


def problems(path: Path) -> list[str]:
    with pytest.raises(InvalidInputError) as caught:
        load.load_platform(path)
    return list(map(str, caught.value.problems))


def over(*names: str) -> Path:
    return platform_files.path_of(names)


def store(name: str, **settings: Any) -> dict[str, Any]:
    return {"name": name, "rto": "15m", "rpo": "5m", "files": {"path": name, "copy": f"{name}-copy"}, **settings}


def server(name: str) -> dict[str, Any]:
    return {"name": name, "command": ["true"]}


# A folder --------------------------------------------------------------------------------------------------------


def test_lists_inside_sections_are_joined_and_say_where_each_entry_stands(write: Write) -> None:
    folder = write(
        a=platform_document(
            local={"servers": [server("a")], "prepare": [["true"]]}, prometheus={"scrapes": [{"job_name": "a"}]}
        ),
        b={"local": {"servers": [server("b")]}, "prometheus": {"scrapes": [{"job_name": "b"}]}},
        c={"local": {"servers": [{"name": "c"}]}},
    )
    assert problems(folder) == ["p/c.yaml:3: local.servers[2].command: missing; add command"]
    write(c={"local": {"servers": [server("c")]}})
    platform = load.load_platform(folder)
    assert [one.name for one in platform.local.servers] == ["a", "b", "c"]
    assert [one["job_name"] for one in platform.prometheus.scrapes] == ["a", "b"]


def test_a_key_of_a_section_in_two_files_is_told_and_all_of_them_at_once(write: Write) -> None:
    folder = write(
        a=platform_document(exporter={"max_body": "1MiB", "sample": "50%"}, gate={"listen": "127.0.0.1:1"}),
        b={
            "exporter": {"max_body": "2MiB", "sample": "50%", "caps": {"models": 3}},
            "gate": {"listen": "127.0.0.1:2"},
            "owners": {"ml": {"page": ["chat"], "ticket": ["chat"]}},
            "channels": {"chat": {"webhook": {"url": "http://127.0.0.1:2"}}},
        },
        c={"exporter": {"caps": {"models": 4}}},
    )
    found = problems(folder)
    assert [one.split(": ")[1] for one in found] == [
        "exporter.max_body",
        "gate.listen",
        "owners.ml",
        "channels.chat",
        "exporter.caps.models",
    ]
    assert all("also written in p/" in one for one in found)
    assert found[-1].startswith("p/c.yaml:3: exporter.caps.models: also written in p/b.yaml:5; keep one")


def test_subfolders_are_read_and_what_editors_and_commands_leave_is_not(write: Write) -> None:
    folder = write(
        platform=platform_document(rule_files=["rules/*.yaml"]),
        teams__payments__models={"models": [{"name": "pay", "owner": "ml", "task": "regression"}]},
        rules__slow={"owner": "ml", "records": [{"record": "x:y:sum", "expr": "sum(y)"}]},
        build__left={"odd": 1},
        state__left={"odd": 1},
        cluster__object={"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}},
    )
    (folder / "build" / ".midwatch-manifest.json").write_text("{}")
    (folder / "state" / "plane.json").write_text("{}")
    for name in (".#platform.yaml", "#platform.yaml", "~platform.yaml", ".git/config.yaml", "platform.yaml~"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("odd: 1")
    (folder / ".#lock.yaml").symlink_to("nobody@nowhere")
    platform = load.load_platform(folder)
    assert [model.name for model in platform.models] == ["fraud", "pay"]
    assert [rules.name for rules in platform.rules] == ["slow"]


def test_a_misspelt_file_in_a_subfolder_is_told(write: Write) -> None:
    folder = write(platform=platform_document(), teams__x={"model": []})
    assert problems(folder) == ["p/teams/x.yaml:1: model: unknown key; did you mean models?"]


# Many teams ------------------------------------------------------------------------------------------------------


def owner(*channels: str) -> dict[str, Any]:
    return {"page": list(channels), "ticket": list(channels)}


HOOK = {"webhook": {"url": "http://127.0.0.1:1"}}


def test_a_new_owner_does_not_take_the_pages_of_the_plane(write: Write) -> None:
    folder = write(a=platform_document(), b={"owners": {"aaa": owner("chat")}})
    (said,) = problems(folder)
    assert "plane_owner: missing where there are several owners; name who" in said
    write(b={"owners": {"aaa": owner("chat")}, "plane_owner": "ml"})
    assert load.load_platform(folder).operator == "ml"


def team_file(**changes: Any) -> dict[str, Any]:
    return {
        "team": "payments",
        "owners": {"payments": owner("payments-pager")},
        "channels": {"payments-pager": HOOK},
        "models": [{"name": "pay", "owner": "payments", "task": "regression"}],
    } | changes


def test_a_team_uses_what_is_called_as_it_is_and_what_is_listed_for_it(write: Write) -> None:
    folder = write(
        a=platform_document(plane_owner="ml", teams={"payments": {"channels": ["chat"]}}),
        b=team_file(owners={"payments": owner("payments-pager", "chat")}),
    )
    assert load.load_platform(folder).owner("payments").page == ["payments-pager", "chat"]


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"owners": {"payments": owner("oncall")}}, "owners.payments.page[0]: 'oncall' is no channel of payments"),
        ({"owners": {"payments": {"extends": "ml"}}}, "owners.payments.extends: 'ml' is no owner of payments"),
        ({"owners": {"payments": owner("payments-pager"), "x": owner("chat")}}, "owners.x: 'x' is no owner of"),
        ({"channels": {"payments-pager": HOOK, "x": HOOK}}, "channels.x: 'x' is no channel of payments"),
        ({"models": [{"name": "m", "owner": "ml", "task": "regression"}]}, "models[1].owner: 'ml' is no owner of"),
        ({"rules": [{"name": "r", "owner": "ml", "records": []}]}, "rules[0].owner: 'ml' is no owner of payments"),
        ({"plane_owner": "payments"}, "plane_owner: binds everybody, and this file is of payments"),
        ({"alertmanager": {"deadman": "payments-pager"}}, "alertmanager.deadman: binds everybody"),
        ({"teams": {"payments": {"owners": ["ml"]}}}, "teams.payments: binds everybody"),
        ({"maintenance": [{"labels": {"severity": "page"}}]}, "maintenance[0].labels: mutes alerts of others"),
        ({"maintenance": [{"labels": {"owner": "ml"}}]}, "maintenance[0].labels.owner: 'ml' is no owner of payments"),
        ({"team": "payment"}, "team: "),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_team_neither_routes_to_another_nor_mutes_it(write: Write, changes: dict[str, Any], place: str) -> None:
    a = platform_document()
    if "plane_owner" not in changes:
        a["plane_owner"] = "ml"
    if "teams" not in changes:
        a["teams"] = {"payments": {}, "ml": {}}
    if one := changes.get("maintenance"):
        times = {"from": "2027-01-01T00:00:00Z", "to": "2027-01-02T00:00:00Z"}
        changes = {"maintenance": [{"name": "quiet", **times, **one[0]}]}
    found = problems(write(a=a, b=team_file(**changes)))
    assert any(one.startswith("p/b.yaml:") and f" {place}" in one for one in found), found


def test_a_name_that_could_be_of_two_teams_is_of_the_longer_one(write: Write) -> None:
    folder = write(
        a=platform_document(plane_owner="ml"),
        b=team_file(
            team="pay", owners={}, channels={}, models=[{"name": "m", "owner": "pay-roll", "task": "regression"}]
        ),
        c={"team": "pay-roll", "owners": {"pay-roll": owner("pay-roll-pager")}, "channels": {"pay-roll-pager": HOOK}},
    )
    (said,) = problems(folder)
    assert said.startswith("p/b.yaml:") and "'pay-roll' is no owner of pay" in said


def test_rule_files_that_a_team_names_are_that_team_s(write: Write) -> None:
    folder = write(
        a=platform_document(plane_owner="ml"),
        b=team_file(rule_files=["rules/*.yaml"]),
        rules__r={"owner": "ml", "records": [{"record": "x:y:sum", "expr": "sum(y)"}]},
    )
    assert problems(folder)[0].startswith("p/rules/r.yaml:1: rules[0].owner: 'ml' is no owner of payments")


def models(*names: str, owner: str = "ml", **changes: Any) -> list[dict[str, Any]]:
    return [{"name": name, "owner": owner, "task": "regression", **changes} for name in names]


PAYMENTS = {"owners": {"payments": owner("payments-pager")}, "channels": {"payments-pager": HOOK}}
FRAUD = {"name": "fraud", "owner": "payments"}


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"models": [{"name": "fraud", "owner": "payments"}]}, "models[0].owner"),
        ({"models": [{"name": "fraud", "task": "regression"}]}, "models[0].task"),
        ({"models": [{"name": "fraud", "runbook": "http://a"}]}, "models[0].runbook"),
        ({"models": [{"name": "fraud", "slos": []}]}, "models[0].slos"),
        (
            {"models": [{"name": "fraud", "slos": [{"name": "latency", "objective": "1%"}]}]},
            "models[0].slos[1].objective",
        ),
        (
            {"models": [{"name": "fraud", "slos": [{"name": "x", "sli": "availability", "objective": "9%"}]}]},
            "models[0].slos[3]",
        ),
        ({"models": []}, "models"),
        ({"platform": "other"}, "platform"),
        ({"local": {"servers": []}}, "local.servers"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_overlay_of_a_team_changes_nothing_of_others(write: Write, changes: dict[str, Any], place: str) -> None:
    base = platform_document(plane_owner="ml", local={"servers": [{"name": "a", "command": ["true"]}]})
    write(
        base=base | {"owners": base["owners"] | PAYMENTS["owners"], "channels": base["channels"] | PAYMENTS["channels"]}
    )
    write(over={"team": "payments", **changes})
    found = [one for one in problems(over("p/base.yaml", "p/over.yaml")) if "this file is of payments" in one]
    assert [one.split(": ")[1] for one in found] == [place]
    assert found[0].startswith("p/over.yaml:")
    assert "p/base.yaml says it, which is not of payments" in found[0]


def test_an_overlay_of_a_team_changes_its_own_and_adds(write: Write) -> None:
    base = platform_document(plane_owner="ml", models=models("fraud", owner="payments"))
    base["owners"] |= PAYMENTS["owners"]
    base["channels"] |= PAYMENTS["channels"]
    write(base=base)
    changed = [
        {"name": "fraud", "runbook": "http://a", "slos": [{"name": "x", "sli": "availability", "objective": "9%"}]}
    ]
    write(over={"team": "payments", "models": [*changed, *models("new", owner="payments")]})
    platform = load.load_platform(over("p/base.yaml", "p/over.yaml"))
    assert [(one.name, one.runbook) for one in platform.models] == [("fraud", "http://a"), ("new", None)]


def test_a_file_of_another_team_is_not_changed_whatever_owner_it_names(write: Write) -> None:
    base = platform_document(plane_owner="ml", teams={"ml": {"owners": ["payments"]}, "payments": {}})
    base["owners"] |= PAYMENTS["owners"]
    base["channels"] |= PAYMENTS["channels"]
    write(folder__base=base, folder__theirs={"team": "ml", "models": models("theirs", owner="payments")})
    write(over={"team": "payments", "models": [{"name": "theirs", "runbook": "http://a"}]})
    (found,) = problems(over("p/folder", "p/over.yaml"))
    assert "models[1].runbook: p/folder/theirs.yaml says it, which is not of payments" in found


# Overlays --------------------------------------------------------------------------------------------------------


def test_the_later_file_wins_by_key(write: Write) -> None:
    write(
        base=platform_document(prometheus={"url": "http://a", "timeout": "9s"}),
        production={
            "prometheus": {"url": "http://b"},
            "channels": {"oncall": {"slack": {"api_url_file": "/s", "channel": "#x"}}, "new": HOOK},
            "owners": {"ml": {"page": ["new"]}},
            "models": [
                {"name": "late", "owner": "ml", "task": "regression"},
                {"name": "fraud", "slos": [{"name": "latency", "sli": "availability", "objective": "95%"}]},
            ],
        },
        site={"prometheus": {"timeout": "1s"}},
    )
    platform = load.load_platform(over("p/base.yaml", "p/production.yaml", "p/site.yaml"))
    assert (platform.prometheus.url, platform.prometheus.timeout) == ("http://b", 1.0)
    assert (platform.channels["oncall"].kind, platform.owners["ml"].page) == ("slack", ["new"])
    assert platform.owners["ml"].ticket == ["chat"]
    assert [model.name for model in platform.models] == ["fraud", "late"]
    slos = {slo.name: (slo.kind, str(slo.objective)) for slo in platform.models[0].slos}
    assert list(slos) == ["availability", "latency", "accuracy"]
    assert slos["latency"] == ("availability", "0.95")
    assert platform.models[0].positive == "fraud"


def test_problems_of_overlays_name_the_file_and_line_that_said_it(write: Write) -> None:
    base = platform_document()
    base["models"][0]["slos"][2]["objective"] = "180%"
    write(
        base=base,
        production="models:\n- {name: other, owner: ml, task: regression}\n- name: fraud\n  slos:\n"
        "  - name: latency\n    objective: 199%\nowners:\n  ml:\n    page: [nobody]\n",
    )
    found = problems(over("p/base.yaml", "p/production.yaml"))
    lines = (Path("p/base.yaml").read_text().splitlines()).index("    objective: 180%") + 1
    assert [one.split(" ")[:2] for one in found] == [
        [f"p/base.yaml:{lines}:", "models[0].slos[2].objective:"],
        ["p/production.yaml:6:", "models[0].slos[1].objective:"],
        ["p/production.yaml:9:", "owners.ml.page[0]:"],
    ]


def test_two_overlays_on_the_command_line_are_read_in_their_order(write: Write) -> None:
    write(base=platform_document(), one={"owners": {"ml": {"page": ["x"]}}}, two={"owners": {"ml": {"page": ["chat"]}}})
    files = ("-f", "p/base.yaml", "-f", "p/one.yaml", "--file=p/two.yaml")
    assert midwatch_here("dashboards", "verify", *files, "--url", "http://127.0.0.1:9").returncode != 0
    assert load.load_platform(over("p/base.yaml", "p/one.yaml", "p/two.yaml")).owners["ml"].page == ["chat"]
    assert "no channel 'x'" in problems(over("p/base.yaml", "p/two.yaml", "p/one.yaml"))[0]


def test_one_word_for_several_files_is_read_in_another_folder_too(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(base=platform_document(), site={"platform": "there"})
    (tmp_path / "elsewhere").mkdir()
    path = over("p/base.yaml", "p/site.yaml")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load.load_platform(Path(str(path.resolve()))).platform == "there"
    assert load.base_folder(path) == tmp_path / "p"


def test_a_file_whose_name_has_the_separator_is_one_file(write: Write) -> None:
    folder = write(base=platform_document())
    odd = folder / f"a{os.pathsep}b.yaml"
    (folder / "base.yaml").rename(odd)
    assert load.load_platform(over(str(odd))).platform == "test"


# The environment, and packed files -------------------------------------------------------------------------------


def test_a_variable_is_read_only_where_that_is_said(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE", "there")
    monkeypatch.setenv("BODIES", "7")
    monkeypatch.delenv("MISSING", raising=False)
    text = yaml.safe_dump(platform_document(platform="$SITE"))
    write(base=text)
    assert "'$SITE' is not a name" in problems(Path("p/base.yaml"))[0]
    write(site="platform: !env SITE\nexporter: {max_waiting: !env BODIES}\n")
    platform = load.load_platform(over("p/base.yaml", "p/site.yaml"))
    assert (platform.platform, platform.exporter.max_waiting) == ("there", 7)
    write(site="platform: there\nrunbooks: !env MISSING\n")
    assert problems(over("p/base.yaml", "p/site.yaml")) == [
        "p/site.yaml:2: runbooks: the variable 'MISSING' is not set; set it, or write the value"
    ]


def test_a_packed_file_is_read_and_a_broken_one_is_told(write: Write) -> None:
    folder = write(base=platform_document())
    packed = gzip.compress((folder / "base.yaml").read_bytes())
    (folder / "base.yaml").write_bytes(packed)
    assert load.load_platform(folder / "base.yaml").platform == "test"
    for broken in (packed[:-12], packed[:2] + b"odd", packed[:40] + b"odd" + packed[43:]):
        (folder / "base.yaml").write_bytes(broken)
        assert "cannot be unpacked" in problems(folder / "base.yaml")[0]


# For a cluster ---------------------------------------------------------------------------------------------------

CLUSTER = {"kubernetes": {"namespace": "ml"}}
EXPERIMENT = {"kind": "lose_exporter", "for": "10s"}
MAINTENANCE = {"name": "move", "from": "2027-01-01T22:00:00+01:00", "to": "2027-01-02T03:30:00Z"}


def test_the_merged_file_says_what_all_files_say(write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SITE", "there")
    write(
        base=platform_document(
            rule_files=["rules/*.yaml"], maintenance=[{**MAINTENANCE, "labels": {"model": "fraud"}}]
        ),
        site="platform: !env SITE\nmaintenance:\n- {name: late, from: 2027-02-01T22:00:00+01:00, to: "
        "2027-02-02 03:30:00Z, labels: {model: fraud}}\n"
        "local: {servers: [{name: a, command: ['yes', '1.10', '0123']}]}\n",
        rules__r={"owner": "ml", "records": [{"record": "x:y:sum", "expr": "sum(y) # why\n  > 1"}]},
    )
    platform, document = load.load_with_places(over("p/base.yaml", "p/site.yaml"))
    (tmp_path / "merged.yaml").write_text(merged.text_of(document))
    again = load.load_platform(tmp_path / "merged.yaml")
    assert again == platform.model_copy(update={"rule_files": []})
    assert (again.platform, len(again.maintenance), again.rules[0].name) == ("there", 2, "r")


def test_a_cluster_gets_one_file_where_its_pods_look_packed_when_it_is_long(write: Write, tmp_path: Path) -> None:
    base = platform_document(chaos={"experiments": [EXPERIMENT], **CLUSTER})
    base["models"][0]["canary"] = {"criteria": [{"metric": "errors"}]}
    write(base=base, more={"platform": "there"})
    files = ("-f", "p/base.yaml", "-f", "p/more.yaml")
    done = midwatch_here("render", *files, "-o", "out", "--target", "kubernetes")
    assert done.returncode == 0, done.stderr
    names = ["platform-file-midwatch-platform.yaml", "platform-file-ml.midwatch-platform.yaml"]
    assert sorted(path.name for path in Path("out/kubernetes").glob("platform-file*")) == names
    (plain,) = (yaml.safe_load(Path("out/kubernetes", name).read_text()) for name in names[1:])
    assert plain["metadata"]["namespace"] == "ml"
    assert yaml.safe_load(plain["data"]["platform.yaml"])["platform"] == "there"


def test_a_long_platform_file_is_packed_and_read_as_it_is(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merged, "PLAIN_BYTES", 100)
    base = platform_document(chaos={"experiments": [EXPERIMENT], **CLUSTER})
    platform, document = load.load_with_places(write(base=base) / "base.yaml")
    (text,) = merged.render_objects(platform, document).values()
    packed = base64.b64decode(yaml.safe_load(text)["binaryData"]["platform.yaml"])
    (tmp_path / "platform.yaml").write_bytes(packed)
    assert load.load_platform(tmp_path / "platform.yaml") == platform
    assert (text,) == tuple(merged.render_objects(platform, document).values())
    monkeypatch.setattr(merged, "MAX_BYTES", 100)
    with pytest.raises(MidwatchError, match=r"bytes packed; a ConfigMap holds 100"):
        merged.render_objects(platform, document)
