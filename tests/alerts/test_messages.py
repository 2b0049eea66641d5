"""What a person receives says what is wrong and where to look, through every channel, whatever labels contain."""

from __future__ import annotations

import email
import email.policy
import json
import queue
import socketserver
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

from alerts import heartbeat, preview
from alerts.proofs import prove
from alerts.routing import generate, messages
from midwatch.errors import InvalidInputError, MidwatchError
from midwatch.spec.model import Platform
from tests.conftest import free_port, midwatch_here, need_program, platform, platform_document, wait_for

CHANNELS: dict[str, dict[str, Any]] = {
    "slack": {"api_url_file": "/run/s", "channel": "#x"},
    "msteams": {"webhook_url_file": "/run/t"},
    "msteamsv2": {"webhook_url_file": "/run/t"},
    "email": {"to": "a@b.c", "from": "m@b.c", "smarthost": "b.c:25"},
    "pagerduty": {"routing_key_file": "/run/k"},
    "opsgenie": {"api_key_file": "/run/k"},
    "webhook": {"url": "http://127.0.0.1:1/x"},
}
HOSTILE = '<!channel> [x](http://evil.example) "q" & *b* \\'
"""A version that would call everybody in Slack, be a link in Teams, and end a matcher."""


@pytest.fixture
def everybody() -> Platform:
    channels = {name: {name: settings} for name, settings in CHANNELS.items()}
    owners = {"ml": {"page": sorted(channels), "ticket": sorted(channels)}}
    return platform(
        channels=channels, owners=owners, alertmanager={"version": "0.28"}, grafana={"url": "https://grafana.example"}
    )


def written(platform: Platform, channel: str, **changes: Any) -> dict[str, str]:
    entry = preview.entry_of(platform, "ModelServerErrors")
    asked = {"labels": {"version": "v2"}, "value": 0.42} | changes
    return preview.message(platform, entry, channel, **asked)


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_message_says_what_whose_and_where_to_look(everybody, channel: str) -> None:
    need_program("amtool")
    text = unquote("\n".join(written(everybody, channel).values()))
    for said in (
        "its servers fail 42% of requests",
        "Seen from inside the server",
        "https://runbooks.invalid/ModelServerErrors",
        "https://grafana.example/d/midwatch-test-model?from=now-3h",
        "ml",
        "fraud",
        "v2",
    ):
        assert said in text.replace("&amp;", "&")
    if channel != "webhook":
        assert "from=now-24h" in text
        assert '/#/silences/new?filter={alertname="ModelServerErrors",model="fraud"' in text


def test_a_message_that_it_is_over_says_so_first(everybody) -> None:
    need_program("amtool")
    assert written(everybody, "slack", resolved=True)["title"].startswith("Resolved: fraud v2: its servers fail")


def test_labels_cannot_call_everybody_or_be_links(everybody) -> None:
    need_program("amtool")
    hostile = {"labels": {"version": HOSTILE}}
    slack = written(everybody, "slack", **hostile)
    assert not any("<!channel>" in text for text in slack.values())
    teams = written(everybody, "msteamsv2", **hostile)["text"]
    assert "\\[x\\](http://evil.example)" in teams
    assert "[x](" not in teams.replace("\\[x\\](", "")
    assert "<!channel>" not in written(everybody, "email", **hostile)["html"]


def test_a_silence_is_of_the_label_as_it_is(everybody) -> None:
    need_program("amtool")
    for channel in ("slack", "email"):
        text = written(everybody, channel, labels={"version": HOSTILE})["text"]
        link = text.rpartition("filter=")[2]
        assert " " not in link.strip()
        quoted = HOSTILE.replace("\\", "\\\\").replace('"', '\\"')
        assert f'version="{quoted}"' in unquote(link)


def test_links_of_alerts_escape_the_labels_that_prometheus_fills_in() -> None:
    slo = {"name": "availability", "sli": "availability", "objective": "99%", "alert": {}}
    document = platform_document()
    document["models"][0]["slos"] = [slo]
    made = platform(**document)
    entry = preview.entry_of(made, "ModelErrorsHigh")
    assert "var-version={{ $labels.version | urlquery }}" in entry.rule["annotations"]["dashboard_url"]
    shown = preview.notification(made, entry, labels={"version": "a b&c"}, value=0.5, resolved=False)
    assert "var-version=a+b%26c" in shown["alerts"][0]["annotations"]["dashboard_url"]


def test_the_command_shows_each_field_and_refuses_what_there_is_not(everybody, tmp_path: Path) -> None:
    need_program("amtool")
    document = platform_document(
        channels={"oncall": {"slack": CHANNELS["slack"]}, "chat": {"slack": CHANNELS["slack"]}}
    )
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    words = ("alerts", "preview", "-f", tmp_path / "platform.yaml")
    done = midwatch_here(*words, "ModelNoData", "--channel", "oncall", "--json")
    assert json.loads(done.stdout)["fields"]["title"].startswith("fraud: no prediction for")
    assert midwatch_here(*words, "ModelNoDatum", "--channel", "oncall").returncode == 2
    with pytest.raises(MidwatchError, match="there is no channel 'chatt'; did you mean chat"):
        preview.message(platform(), preview.entry_of(platform(), "ModelNoData"), "chatt", labels={}, value=1)


# Delivered by a real Alertmanager ----------------------------------------------------------------------------------


class Sinks:
    """An HTTP server and a mail server that keep what they are sent."""

    def __init__(self) -> None:
        self.posts: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()
        self.mails: queue.Queue[bytes] = queue.Queue()
        posts, mails = self.posts, self.mails

        class Http(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                self.send_response(200)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"ok")
                posts.put((self.path, json.loads(body)))

            def log_message(self, *_: object) -> None:
                pass

        class Smtp(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 here\r\n")
                for line in self.rfile:
                    verb = line[:4].upper()
                    if verb == b"DATA":
                        self.wfile.write(b"354 go on\r\n")
                        lines = iter(self.rfile.readline, b".\r\n")
                        mails.put(b"".join(lines))
                    if verb == b"QUIT":
                        self.wfile.write(b"221 bye\r\n")
                        return
                    self.wfile.write(b"250 ok\r\n")

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Http)
        self.smtp = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Smtp)
        self.smtp.daemon_threads = True
        for server in (self.http, self.smtp):
            threading.Thread(target=server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}"

    def close(self) -> None:
        for server in (self.http, self.smtp):
            server.shutdown()
            server.server_close()


@pytest.fixture
def sinks() -> Iterator[Sinks]:
    made = Sinks()
    yield made
    made.close()


@pytest.fixture
def alertmanager(sinks: Sinks, tmp_path: Path) -> Iterator[str]:
    """URL of an Alertmanager with a configuration as it is rendered, whose channels are the sinks."""
    program = need_program("prometheus-alertmanager")
    (tmp_path / "slack").write_text(f"{sinks.url}/slack")
    mail = {"to": "a@b.c", "from": "m@b.c", "smarthost": f"127.0.0.1:{sinks.smtp.server_address[1]}"}
    channels = {
        "chat": {"slack": {"api_url_file": str(tmp_path / "slack"), "channel": "#x"}},
        "mail": {"email": {**mail, "require_tls": False}},
        "hook": {"webhook": {"url": f"{sinks.url}/hook"}},
        "beat": {"webhook": {"url": f"{sinks.url}/beat"}},
    }
    made = platform(
        channels=channels,
        owners={"ml": {"page": ["chat", "mail", "hook"], "ticket": ["hook"]}},
        alertmanager={"version": "0.25", "group_wait": "10ms", "deadman": "beat"},
    )
    (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(generate.alertmanager_config(made)))
    port = free_port()
    command = [program, f"--config.file={tmp_path}/alertmanager.yml", f"--storage.path={tmp_path}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/-/ready")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def test_messages_reach_a_mail_server_and_an_http_sink_and_the_heartbeat_its_channel(alertmanager, sinks) -> None:
    made = platform()
    entry = preview.entry_of(made, "ModelNoData")
    shown = preview.notification(made, entry, labels={"severity": "page"}, value=0, resolved=False)["alerts"][0]
    labels, annotations = shown["labels"], shown["annotations"]
    deadman = {"alertname": "MidwatchDeadman", "severity": "none"}
    body = [{"labels": labels, "annotations": annotations}, {"labels": deadman, "annotations": {"summary": "alive"}}]
    request = urllib.request.Request(
        f"{alertmanager}/api/v2/alerts", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=60).close()
    received = dict(sinks.posts.get(timeout=60) for _ in range(3))
    assert set(received) == {"/slack", "/hook", "/beat"}
    (attachment,) = received["/slack"]["attachments"]
    assert attachment["title"].startswith("fraud: no prediction for")
    assert "Runbook: https://runbooks.invalid/ModelNoData" in attachment["text"]
    assert received["/beat"]["alerts"][0]["labels"]["alertname"] == "MidwatchDeadman"
    mail = email.message_from_bytes(sinks.mails.get(timeout=60), policy=email.policy.default)
    assert str(mail["Subject"]).startswith("fraud: no prediction for")
    text, html = (mail.get_body((kind,)).get_content() for kind in ("plain", "html"))
    assert "What changed: http" in text
    assert '">Runbook</a>' in html


# The deadman's switch ----------------------------------------------------------------------------------------------


def test_a_deadmans_channel_gets_a_heartbeat_a_minute_and_its_route_is_proven() -> None:
    need_program("promtool")
    beat = {"oncall": {"pagerduty": {"routing_key_file": "/k"}}, "chat": {"webhook": {"url": "http://b/c"}}}
    made = platform(channels=beat, alertmanager={"deadman": "chat"})
    document = generate.alertmanager_config(made)
    route = document["route"]["routes"][0]
    assert (route["receiver"], route["group_interval"], route["repeat_interval"]) == ("deadman", "1m", "1m")
    (receiver,) = [one for one in document["receivers"] if one["name"] == "deadman"]
    assert receiver["webhook_configs"] == [{"url": "http://b/c", "send_resolved": False}]
    (proved,) = prove.prove(made, ["MidwatchDeadman"])
    assert (proved.outcome, proved.receivers) == (prove.Outcome.PROVEN, ("deadman",))


@pytest.mark.parametrize(
    ("name", "said"),
    [("oncall", "would tell people once a minute that all is well"), ("beet", "there is no channel 'beet'")],
    ids=["people", "unknown"],
)
def test_a_deadmans_channel_that_cannot_be_one_is_refused(load_text, name: str, said: str) -> None:
    document = platform_document(alertmanager={"deadman": name})
    with pytest.raises(InvalidInputError, match=said):
        load_text(yaml.safe_dump(document, sort_keys=False))


def test_every_integration_with_a_message_of_its_own_is_one_that_people_read(everybody) -> None:
    assert set(messages.MESSAGES) == set(CHANNELS) - {"webhook"}
    assert all(everybody.channels[name].integration.is_person for name in messages.MESSAGES)


# Who misses the heartbeat ------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


HEARTBEAT = {"alerts": [{"status": "firing", "labels": {"alertname": "MidwatchDeadman"}}]}


def watching(clock: Clock, **changes: Any) -> heartbeat.Watch:
    labels = {"severity": "page", "owner": "ml"}
    asked: dict[str, Any] = {"host": "127.0.0.1", "port": 0, "patience": 300.0, "labels": labels}
    return heartbeat.Watch(heartbeat.Options(**asked, annotations={"summary": "silent"}, **changes), clock)


def test_a_heartbeat_that_stops_is_told_again_and_again_until_it_is_back(sinks) -> None:
    clock = Clock()
    watch = watching(clock, url=f"{sinks.url}/told")
    assert watch.take(HEARTBEAT)
    clock.now += 300
    watch.look()
    assert sinks.posts.empty()
    clock.now += 1
    watch.look()
    watch.look()
    clock.now += heartbeat.REPEAT_SECONDS
    watch.look()
    first, again = (sinks.posts.get(timeout=60)[1] for _ in range(2))
    assert (first["status"], first["labels"]["alertname"]) == ("firing", "MidwatchSilent")
    assert again["startsAt"] == first["startsAt"]
    assert watch.take(HEARTBEAT)
    watch.look()
    watch.look()
    assert sinks.posts.get(timeout=60)[1]["status"] == "resolved"
    assert sinks.posts.empty()


def test_a_heartbeat_that_never_came_is_missed_too_and_what_nobody_took_is_told_again(sinks) -> None:
    clock = Clock()
    watch = watching(clock, url="http://127.0.0.1:9/nobody")
    clock.now += 301
    watch.look()
    told = watching(clock, url=f"{sinks.url}/told")
    assert not told.take({"alerts": [{"status": "resolved", "labels": {"alertname": "MidwatchDeadman"}}]})
    assert not told.take({"alerts": [{"status": "firing", "labels": {"alertname": "ModelNoData"}}, 7]})
    assert not told.take([])
    clock.now += 301
    told.look()
    assert sinks.posts.get(timeout=60)[1]["status"] == "firing"


def test_another_alertmanager_has_the_alert_and_the_service_takes_heartbeats_of_who_may(alertmanager) -> None:
    clock, stopped, urls = Clock(), threading.Event(), queue.Queue[str]()
    watch = watching(clock, alertmanager=alertmanager, token=b"secret")
    running = threading.Thread(target=watch.run, args=(stopped, urls.put))
    running.start()
    try:
        url = urls.get(timeout=60)
        assert status(url, HEARTBEAT) == 401
        assert status(url, {"alerts": []}, authorization="Bearer secret") == 400
        assert status(url, HEARTBEAT, authorization="Bearer secret") == 200
        assert status(f"{url}/healthz") == 200
        clock.now += 301
        assert status(f"{url}/healthz") == 503
        watch.look()
    finally:
        stopped.set()
        running.join()
    with urllib.request.urlopen(f"{alertmanager}/api/v2/alerts", timeout=60) as answer:
        (alert,) = json.load(answer)
    assert (alert["labels"]["alertname"], alert["labels"]["owner"]) == ("MidwatchSilent", "ml")


def status(url: str, document: object = None, **headers: str) -> int:
    body = None if document is None else json.dumps(document).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_the_deadmans_command_says_what_it_needs(tmp_path: Path) -> None:
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(platform_document(), sort_keys=False))
    assert "give one of --alertmanager and --url-file" in midwatch_here("alerts", "deadman", "-f", file).stderr
    (tmp_path / "url").write_text("nothing")
    done = midwatch_here("alerts", "deadman", "-f", file, "--url-file", tmp_path / "url")
    assert (done.returncode, "holds no address" in done.stderr) == (2, True)
