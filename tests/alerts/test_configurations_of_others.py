"""Anybody's Alertmanager file: what Alertmanager refuses is refused, and values are read as they are written."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent

import pytest

from alerts import verbatim
from alerts.lint import linter, problem
from alerts.routing import amtool, configuration, delivery, shapes, time_intervals
from midwatch.errors import InvalidInputError
from midwatch.spec.alertmanager_fields import INTEGRATIONS, NEWEST, STRUCTS

RECEIVERS = (
    "receivers: [{name: d, webhook_configs: [{url: 'http://x/'}]}, {name: a, webhook_configs: [{url: 'http://x/'}]}]"
)


def of_route(settings: str) -> str:
    return f"route: {{receiver: d, routes: [{{receiver: a, {settings}}}]}}\n{RECEIVERS}\n"


def of_interval(settings: str) -> str:
    named = f"time_intervals: [{{name: m, time_intervals: [{settings}]}}]\n"
    return of_route("matchers: ['a=b'], mute_time_intervals: [m]") + named


def of_receiver(settings: str) -> str:
    return f"route: {{receiver: d}}\nreceivers: [{{name: d, {settings}}}]\n"


def of_top(settings: str) -> str:
    return f"route: {{receiver: d}}\n{RECEIVERS}\n{settings}\n"


TAKEN = {
    "hours": of_interval("{times: [{start_time: '08:00', end_time: '24:00'}], weekdays: ['Monday:FRIDAY']}"),
    "days from the end": of_interval("{days_of_month: ['5:-1', '-3:-1', 1], months: [1, 'may:august'], years: [2026]}"),
    "no interval at all": of_interval("~"),
    "the machine's zone": of_interval("{location: Local}"),
    "a zero wait": of_route("group_wait: 0s"),
    "a duration of several units": of_route("repeat_interval: 1d12h"),
    "all labels": of_route("group_by: ['...']"),
    "an empty route": of_route("matchers: []"),
    "a number for a text": "route: {receiver: 5}\nreceivers: [{name: 5}]\n",
    "nothing for global": of_top("global: ~"),
    "a key from global": of_receiver("opsgenie_configs: [{}]") + "global: {opsgenie_api_key: k}\n",
    "mail from global": of_receiver("email_configs: [{to: a}]") + "global: {smtp_from: b, smtp_smarthost: 'c:25'}\n",
    "three targets of SNS": of_receiver("sns_configs: [{topic_arn: a, phone_number: b, target_arn: c}]"),
    "a second document": of_top("") + "---\na: b\n",
    "a template in a responder's type": of_receiver(
        "opsgenie_configs: [{api_key: a, responders: [{name: x, type: '{{ .CommonLabels.kind }}'}]}]"
    ),
}

REFUSED = {
    "a key that is misspelt": (of_route("repeat_intervall: 5m"), "did you mean repeat_interval"),
    "a key at the top": (of_top("x-defaults: {}"), "unknown key"),
    "a key twice": ("route: {receiver: d, receiver: d}\n" + RECEIVERS, "written twice"),
    "a text for a list": (of_route("matchers: a=b"), "not a list"),
    "a list for a mapping": (of_route("match: [a, b]"), "not a mapping"),
    "a mapping for a text": (of_receiver("slack_configs: [{api_url: 'http://x/', channel: {a: b}}]"), "not a text"),
    "a mapping for a list of receivers": (of_receiver("webhook_configs: {url: 'http://x/'}"), "not a list"),
    "nothing for a receiver": ("route: {receiver: d}\nreceivers: [~]\n", "has no value"),
    "a label twice": (of_route("group_by: [a, a]"), "a second time"),
    "all labels and one": (of_route("group_by: ['...', a]"), "stands alone"),
    "nothing for a label": (of_route("group_by: [~]"), "not a label name"),
    "nothing for an interval's name": (of_route("mute_time_intervals: [~]"), "no time interval"),
    "a label that is none": (of_route("match: {a-b: c}"), "not a label name"),
    "a zero interval": (of_route("group_interval: 0s"), "may not be zero"),
    "a duration with a point": (of_route("group_wait: 1.5h"), "not a duration"),
    "a quoted truth value": (of_route("continue: 'yes'"), "not true or false"),
    "a pattern that is none": (of_route("match_re: {a: '('}"), "not a pattern"),
    "no pattern": (of_route("match_re: {a: }"), "has no value"),
    "an hour of one digit": (of_interval("{times: [{start_time: 8:00, end_time: 17:30}]}"), "'8:00' is not a time"),
    "hours over midnight": (of_interval("{times: [{start_time: '18:00', end_time: '08:00'}]}"), "ends before"),
    "a weekday's number": (of_interval("{weekdays: [1:5]}"), "'1' is not a weekday"),
    "a weekend from Saturday": (of_interval("{weekdays: ['saturday:sunday']}"), "ends before"),
    "day 32": (of_interval("{days_of_month: ['32']}"), "32 is not a day"),
    "day 0": (of_interval("{days_of_month: ['0']}"), "0 is not a day"),
    "days in the wrong order": (of_interval("{days_of_month: ['-1:-5']}"), "ends before"),
    "days over the month's end": (of_interval("{days_of_month: ['-5:3']}"), "begins before"),
    "the last day of February": (of_interval("{days_of_month: ['28:-1']}"), "ends before"),
    "winter": (of_interval("{months: ['november:february']}"), "ends before"),
    "years in the wrong order": (of_interval("{years: ['2027:2026']}"), "ends before"),
    "a zone that is none": (of_interval("{location: Mars}"), "no time zone"),
    "a webhook without address": (of_receiver("webhook_configs: [{}]"), "missing url"),
    "an address without host": (of_receiver("webhook_configs: [{url: 'http:///x'}]"), "no host"),
    "Slack without address": (of_receiver("slack_configs: [{channel: a}]"), "missing api_url"),
    "a secret and its file": (of_receiver("opsgenie_configs: [{api_key: a, api_key_file: b}]"), "at once"),
    "mail without sender": (of_receiver("email_configs: [{to: a, smarthost: 'b:25'}]"), "missing from"),
    "a smarthost without port": (of_receiver("email_configs: [{to: a, from: c, smarthost: b}]"), "not host:port"),
    "a header twice": (
        of_receiver("email_configs: [{to: a, from: b, smarthost: 'c:25', headers: {Subject: x, subject: y}}]"),
        "second header",
    ),
    "two who ask": (
        of_receiver("webhook_configs: [{url: 'http://x/', http_config: {bearer_token: a, basic_auth: {username: b}}}]"),
        "at once",
    ),
    "a quoted number": (of_receiver("telegram_configs: [{bot_token: a, chat_id: '1'}]"), "not a whole number"),
    "a proxy that is no address": (
        of_receiver("webhook_configs: [{url: 'http://x/', http_config: {proxy_url: '8:00'}}]"),
        "not an address",
    ),
    "an unknown integration": (of_receiver("pigeon_configs: [{}]"), "unknown key"),
}


def refusals(text: str, version: tuple[int, int] = (0, 25)) -> list[str]:
    """What this program itself says, without asking amtool."""
    try:
        configuration.parse(text, "a.yml", version)
    except InvalidInputError as error:
        return [str(one) for one in error.problems]
    return []


@pytest.mark.parametrize("text", TAKEN.values(), ids=TAKEN)
@pytest.mark.parametrize("version", [(0, 25), NEWEST])
def test_what_alertmanager_takes_is_taken(text: str, version: tuple[int, int]) -> None:
    assert refusals(text, version) == []


@pytest.mark.parametrize(("text", "reason"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("version", [(0, 25), NEWEST])
def test_what_alertmanager_refuses_is_refused_with_its_line(text: str, reason: str, version: tuple[int, int]) -> None:
    said = refusals(text, version)
    assert any(reason in one for one in said), said
    assert all(one.startswith("a.yml:") for one in said)


ASKED = {
    name: text
    for name, text in (TAKEN | {name: text for name, (text, _) in REFUSED.items()}).items()
    if "{{ .CommonLabels" not in text  # amtool parses the templates of responders, this program does not
}


@pytest.mark.skipif(amtool.installed() != (0, 25), reason="needs amtool 0.25")
@pytest.mark.parametrize("text", ASKED.values(), ids=ASKED)
def test_amtool_of_that_version_agrees(text: str, tmp_path: Path) -> None:
    file = tmp_path / "a.yml"
    file.write_text(text)
    assert bool(amtool.verdict(file)) == bool(refusals(text))


def test_amtool_has_the_last_word_on_its_own_version(tmp_path: Path, monkeypatch) -> None:
    file = tmp_path / "a.yml"
    file.write_text(TAKEN["hours"])
    monkeypatch.setattr(amtool, "installed", lambda: (0, 25))
    monkeypatch.setattr(amtool, "verdict", lambda file: [problem.Problem(file=str(file), line=3, message="amtool: no")])
    with pytest.raises(InvalidInputError, match="amtool: no"):
        configuration.load(file, (0, 25))
    assert configuration.load(file, (0, 26)).route.receiver == "d"
    file.write_text(REFUSED["an hour of one digit"][0])
    monkeypatch.setattr(amtool, "verdict", lambda file: [])
    assert configuration.load(file, (0, 25)).route.receiver == "d"


SLACK_APP = {
    "a token from global beside its own address": (
        of_receiver("slack_configs: [{channel: a}]")
        + "global: {slack_app_token: t, slack_api_url: 'https://slack.com/api/chat.postMessage'}\n",
        "",
    ),
    "a token beside a webhook in global": (
        of_receiver("slack_configs: [{channel: a}]")
        + "global: {slack_app_token: t, slack_api_url: 'https://hooks/x'}\n",
        "at once",
    ),
    "a token beside a webhook": (
        of_receiver("slack_configs: [{channel: a, app_token: t, api_url: 'https://hooks/x'}]"),
        "at once",
    ),
    "two authorizations": (
        of_receiver("slack_configs: [{channel: a, app_token: t, http_config: {authorization: {credentials: x}}}]"),
        "is the authorization",
    ),
    "a webhook that updates": (
        of_receiver("slack_configs: [{channel: a, api_url: 'https://hooks/x', update_message: true}]"),
        "cannot update",
    ),
}


@pytest.mark.parametrize(("text", "reason"), SLACK_APP.values(), ids=SLACK_APP)
def test_a_slack_app_is_not_a_webhook(text: str, reason: str) -> None:
    said = refusals(text, NEWEST)
    assert bool(said) == bool(reason)
    assert all(reason in one for one in said)


OF_LATER_VERSIONS = {
    "a webhook that answers in threads": (
        of_receiver("slack_configs: [{channel: a, api_url: 'https://hooks/x', post_updates_to_thread: true}]"),
        "cannot update",
    ),
    "a webhook of global that updates": (
        of_receiver("slack_configs: [{channel: a, update_message: true}]") + "global: {slack_api_url: 'https://h/x'}\n",
        "cannot update",
    ),
    "a webhook's file that updates": (
        of_receiver("slack_configs: [{channel: a, api_url_file: x, update_message: true}]"),
        "cannot update",
    ),
    "threads by a date that is none": (
        of_receiver("email_configs: [{to: a, from: a, smarthost: 'm:25', threading: {enabled: true}}]"),
        "none or daily",
    ),
    "threads beside their header": (
        of_receiver(
            "email_configs: [{to: a, from: a, smarthost: 'm:25', headers: {references: x},"
            " threading: {enabled: true, thread_by_date: none}}]"
        ),
        "sets the header references",
    ),
    "a kind of Jira": (
        of_receiver("jira_configs: [{api_url: 'http://x/', project: a, issue_type: b, api_type: saas}]"),
        "not auto, cloud or datacenter",
    ),
    "a summary of Jira with a key that is none": (
        of_receiver("jira_configs: [{api_url: 'http://x/', project: a, issue_type: b, summary: {text: c}}]"),
        "unknown key",
    ),
    "a field of Mattermost without value": (
        of_receiver("mattermost_configs: [{webhook_url: 'http://x/', attachments: [{fields: [{title: a}]}]}]"),
        "missing value",
    ),
    "a key of Rocket.Chat as it is elsewhere": (
        of_receiver("rocketchat_configs: [{token: a, token_id: b, actions: [{image_url: c}]}]"),
        "did you mean imageurl",
    ),
    "a token beside an authorization": (
        of_receiver(
            "incidentio_configs: [{url: 'http://x/', alert_source_token: a,"
            " http_config: {authorization: {credentials: b}}}]"
        ),
        "at once",
    ),
    "tracing without endpoint": (of_top("tracing: {client_type: http}"), "missing endpoint"),
    "tracing with a key that is none": (of_top("tracing: {endpoint: a, sampling: 1}"), "unknown key"),
    "events to nowhere": (of_top("event_recorder: {file_outputs: [{name: a}]}"), "missing path"),
    "events without a name": (of_top("event_recorder: {file_outputs: [{path: a}]}"), "missing name"),
    "another name of a receiver": ("route: {receiver: d}\nreceivers: [{name: d, labels: {name: e}}]\n", "is its name"),
    "no proxy beside none": (
        of_receiver("webhook_configs: [{url: 'http://x/', http_config: {no_proxy: a}}]"),
        "without proxy_url",
    ),
    "two proxies": (
        of_receiver(
            "webhook_configs: [{url: 'http://x/', http_config: {proxy_url: 'http://p', proxy_from_environment: true}}]"
        ),
        "at once",
    ),
    "a header of the client's own": (
        of_receiver("webhook_configs: [{url: 'http://x/', http_config: {http_headers: {Host: {values: [a]}}}}]"),
        "sets itself",
    ),
}


@pytest.mark.parametrize(("text", "reason"), OF_LATER_VERSIONS.values(), ids=OF_LATER_VERSIONS)
def test_what_the_newest_alertmanager_refuses_is_refused(text: str, reason: str) -> None:
    said = refusals(text, NEWEST)
    assert any(reason in one for one in said), said


CLIENT = "webhook_configs: [{url: 'http://x/', http_config: {oauth2: {client_id: a, token_url: 'http://t/'}}}]"


@pytest.mark.parametrize(
    ("version", "is_taken"), [((0, 25), False), ((0, 27), False), ((0, 28), True), ((0, 33), True), ((0, 34), False)]
)
def test_a_client_without_a_secret_is_taken_by_the_versions_that_take_it(
    version: tuple[int, int], is_taken: bool
) -> None:
    assert (refusals(of_receiver(CLIENT), version) == []) == is_taken


@pytest.mark.parametrize(
    "settings",
    [
        "rocketchat_configs: [{token: a, token_id: b, message_text: c}]",
        "telegram_configs: [{bot_token: a, chat_id: 1, timeout: 5s}]",
        "sns_configs: [{topic_arn: a, sigv4: {service_name: b, session_name: c, tags: {d: e}}}]",
        "jira_configs: [{api_url: 'http://x/', project: a, issue_type: b, summary: c, description: {template: d}}]",
    ],
)
def test_what_the_newest_alertmanager_takes_is_taken(settings: str) -> None:
    assert refusals(of_receiver(settings), NEWEST) == []


NEWER = {
    "pushover_configs: [{user_key: a, token: b, ttl: 5s}]": (0, 27),
    "incidentio_configs: [{url: 'http://x/', alert_source_token: a, metadata: {b: c}}]": (0, 35),
    "mattermost_configs: [{webhook_url: 'http://x/', title: a}]": (0, 32),
    "rocketchat_configs: [{token: a, token_id: b, message_text: c}]": (0, 35),
    "webhook_configs: [{url: 'http://x/', timeout: 5s}]": (0, 28),
    "pagerduty_configs: [{routing_key: x, timeout: 5s}]": (0, 30),
    "slack_configs: [{api_url: 'http://x/', message_text: x}]": (0, 31),
    "slack_configs: [{api_url: 'https://slack.com/api/chat.postMessage', update_message: true}]": (0, 32),
    "sns_configs: [{topic_arn: x, sigv4: {use_fips_sts_endpoint: true}}]": (0, 28),
    "webhook_configs: [{url: 'http://x/', http_config: {http_headers: {X: {values: [a]}}}}]": (0, 28),
    "webhook_configs: [{url: 'http://x/', http_config: {no_proxy: x}}]": (0, 26),
    "discord_configs: [{webhook_url: 'http://x/', content: x}]": (0, 28),
    "email_configs: [{to: a, from: a, smarthost: 'm:25', threading: {enabled: true}}]": (0, 30),
    "msteams_configs: [{webhook_url: 'http://x/', summary: x}]": (0, 26),
    "jira_configs: [{api_url: 'http://x/', project: a, issue_type: b}]": (0, 28),
    "mattermost_configs: [{webhook_url: 'http://x/'}]": (0, 30),
}


@pytest.mark.parametrize(("settings", "since"), NEWER.items(), ids=NEWER)
def test_a_field_is_told_to_every_version_before_the_one_that_brought_it(settings: str, since: tuple[int, int]) -> None:
    values = verbatim.read(Path("a.yml"), of_receiver(settings))[0].values
    before = (0, since[1] - 1)
    assert [one[2] for one in shapes.newer(values, before)] == [since]
    assert refusals(of_receiver(settings), before) == [], "it is a finding, not an error"


def test_a_version_that_is_not_known_yet_may_have_keys_that_are_not() -> None:
    assert refusals(of_route("soon: x"), NEWEST) != []
    assert refusals(of_route("soon: x"), (0, NEWEST[1] + 1)) == []


def test_every_shape_that_a_field_names_is_known() -> None:
    known = {*shapes._SCALARS, *STRUCTS, "any", "details"}
    assert {field.shape.strip("[]{}") for fields in STRUCTS.values() for field in fields.values()} <= known
    assert set(INTEGRATIONS) <= set(STRUCTS)


# Values as they are written ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "labels", "receivers"),
    [
        ("match: {page: yes}", {"page": "yes"}, ["a"]),
        ("match: {version: 1.10}", {"version": "1.10"}, ["a"]),
        ("match: {paging: true}", {"paging": "true"}, ["a"]),
        ("match: {code: 0123}", {"code": "0123"}, ["a"]),
        ("match: {day: 2026-12-01}", {"day": "2026-12-01"}, ["a"]),
        ("match: {none: ~}", {}, ["a"]),
        ("match_re: {code: 5..}", {"code": "503"}, ["a"]),
        ("matchers: ['a=b'], continue: y", {"a": "b"}, ["a", "d"]),
        ("matchers: ['a=b'], continue: on", {"a": "b"}, ["a", "d"]),
        ("matchers: ['a=b'], continue: no", {"a": "b"}, ["a"]),
    ],
)
def test_routes_see_what_is_written_and_not_what_yaml_makes_of_it(
    settings: str, labels: dict[str, str], receivers: list[str]
) -> None:
    text = f"route: {{receiver: d, routes: [{{receiver: a, {settings}}}, {{receiver: d}}]}}\n{RECEIVERS}\n"
    assert delivery.receivers(configuration.parse(text, "a.yml"), labels) == receivers


@pytest.mark.parametrize(
    ("merged", "receiver"),
    [
        ("<<: *base, matchers: ['x=y']", "a"),
        ("<<: {receiver: a}, matchers: ['x=y']", "a"),
        ("<<: [{receiver: a}, {receiver: d}], matchers: ['x=y']", "a"),
        ("<<: {receiver: d}, receiver: a, matchers: ['x=y']", "a"),
        ("receiver: d, <<: {receiver: a}, matchers: ['x=y']", "a"),
    ],
)
def test_merge_keys_and_anchors_are_followed_as_alertmanager_does(merged: str, receiver: str) -> None:
    text = f"route: {{receiver: d, routes: [&base {{receiver: a, matchers: ['q=r']}}, {{{merged}}}]}}\n{RECEIVERS}\n"
    assert delivery.receivers(configuration.parse(text, "a.yml"), {"x": "y"}) == [receiver]


def test_a_merge_key_that_merges_nothing_is_refused() -> None:
    assert any("merge key" in one for one in refusals(of_route("<<: x")))


def test_an_interval_in_the_machines_zone_is_read_and_its_answer_says_so() -> None:
    config = configuration.parse(
        of_interval("{times: [{start_time: '08:00', end_time: '16:00'}], location: Local}"), "a"
    )
    (told,) = delivery.deliveries(config, {"a": "b"}, at=datetime(2026, 12, 1, 3, tzinfo=UTC))
    assert told.by_machine_zone == ("m",)
    assert delivery.deliveries(config, {"a": "b"})[0].by_machine_zone == ()


def test_an_interval_that_is_read_is_now_when_it_should_be() -> None:
    interval = time_intervals.parse({"days_of_month": ["-3:-1"], "months": ["december"]})
    inside = [day for day in range(1, 32) if interval.contains(datetime(2026, 12, day, tzinfo=UTC))]
    assert inside == [29, 30, 31]


# Findings ------------------------------------------------------------------------------------------------------------


def findings(text: str, folder: Path) -> list[str]:
    file = folder / "alertmanager.yml"
    file.write_text(dedent(text))
    return [one.id for one in linter.lint(None, file, "0.31", live=None, secrets=False).problems]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ("matchers: ['severity=\"critical|warning\"']", "matcher-pattern-as-value"),
        ("matchers: ['host!=\"db.*\"']", "matcher-pattern-as-value"),
        ("matchers: [\"severity='critical'\"]", "matcher-single-quotes"),
        ("matchers: ['alert=\"X\"']", "matcher-alert"),
    ],
)
def test_a_matcher_that_no_alert_fulfils_is_found(settings: str, name: str, tmp_path: Path) -> None:
    assert findings(of_route(settings), tmp_path) == [name]


def test_two_items_of_an_interval_are_told_to_be_alternatives(tmp_path: Path) -> None:
    hours = "{times: [{start_time: '08:00', end_time: '16:00'}]}"
    assert findings(of_interval(f"{hours}, {{weekdays: ['monday:friday']}}"), tmp_path) == ["interval-alternatives"]
    assert findings(of_interval(f"{hours}, {{times: [{{start_time: '18:00', end_time: '19:00'}}]}}"), tmp_path) == []


def test_a_pattern_behind_a_wider_one_is_unreachable(tmp_path: Path) -> None:
    def routes(*matchers: str) -> list[str]:
        listed = ", ".join(f"{{receiver: a, matchers: ['{one}']}}" for one in matchers)
        return findings(f"route: {{receiver: d, routes: [{listed}]}}\n{RECEIVERS}\n", tmp_path)

    assert routes('s=~"a|b|c"', 's=~"a|b"') == ["route-unreachable"]
    assert routes('s=~"a.*"', 's=~"(ab|ac)"') == ["route-unreachable"]
    assert routes('s=~".+"', 's="a"') == ["route-unreachable"]
    assert routes('s=~"a|b"', 's=~"a|c"') == []


def test_no_alert_lacks_its_name_so_that_equal_may_name_it(tmp_path: Path) -> None:
    rule = "inhibit_rules: [{source_matchers: ['s=\"a\"'], target_matchers: ['s=\"b\"'], equal: [alertname]}]"
    used = f"route: {{receiver: d, routes: [{{receiver: a, matchers: ['s=\"a\"']}}]}}\n{RECEIVERS}\n{rule}\n"
    assert findings(used, tmp_path) == []


def test_files_that_live_on_another_machine_are_asked_for_only_when_told_to(tmp_path: Path) -> None:
    text = of_receiver("opsgenie_configs: [{api_key_file: /run/secrets/key}]") + "templates: [/etc/a/*.tmpl]\n"
    assert findings(text, tmp_path) == []
    looked = linter.lint(None, tmp_path / "alertmanager.yml", "0.31", live=None, secrets=True).problems
    assert {one.id for one in looked} == {"secret-missing", "template-missing"}


def test_what_an_anchor_repeats_is_said_once(tmp_path: Path) -> None:
    client = "&c {bearer_token: clear}"
    text = of_receiver(
        f"webhook_configs: [{{url: 'http://x/', http_config: {client}}}, {{url: 'http://y/', http_config: *c}}]"
    )
    assert findings(text, tmp_path) == ["secret-in-clear"]


def test_what_is_nested_too_deeply_is_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"a\.yml:2: nested deeper than 100 levels"):
        verbatim.read(tmp_path / "a.yml", "route:\n  " + "[" * 100_000)


@pytest.mark.parametrize(
    ("version", "remedy"),
    [
        ("0.25", "Alertmanager 0.26 reads a file; until then"),
        ("0.26", "write it to a file, and name that in token_file"),
    ],
)
def test_a_secret_is_sent_to_a_file_only_where_that_version_reads_one(
    tmp_path: Path, version: str, remedy: str
) -> None:
    file = tmp_path / "a.yml"
    file.write_text(
        of_receiver("pushover_configs: [{user_key_file: /u, token: t}]")
        if version == "0.26"
        else of_receiver("pushover_configs: [{user_key: u, token: t}]")
    )
    found = linter.lint(None, file, version, live=None, secrets=False).problems
    assert any(one.remedy.startswith(remedy) for one in found if one.id == "secret-in-clear"), found
