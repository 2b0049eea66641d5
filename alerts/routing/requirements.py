"""Checks that every integration has what Alertmanager asks of it: an address, a token, one of two and not both.

Values in `global` stand in for those that an integration may leave out. The rules are those of Alertmanager's
config/notifiers.go and config/config.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from alerts import verbatim
from midwatch.spec.alertmanager_fields import STRUCTS, Version
from midwatch.spec.base import Finding, Place

Settings = Mapping[str, Any]

ALTERNATIVES: dict[str, tuple[tuple[str, ...], ...]] = {
    "discord": (("webhook_url", "webhook_url_file"),),
    "email": (("to",), ("smarthost",), ("from",)),
    "incidentio": (("url", "url_file"), ("alert_source_token", "alert_source_token_file", "http_config")),
    "jira": (("api_url",), ("project",), ("issue_type",)),
    "mattermost": (("webhook_url", "webhook_url_file"),),
    "msteams": (("webhook_url", "webhook_url_file"),),
    "msteamsv2": (("webhook_url", "webhook_url_file"),),
    "opsgenie": (("api_key", "api_key_file"),),
    "pagerduty": (("routing_key", "routing_key_file", "service_key", "service_key_file"),),
    "pushover": (("user_key", "user_key_file"), ("token", "token_file")),
    "rocketchat": (("token_id", "token_id_file"), ("token", "token_file")),
    "slack": (("api_url", "api_url_file", "app_token", "app_token_file"),),
    "telegram": (("bot_token", "bot_token_file"), ("chat_id", "chat_id_file")),
    "victorops": (("api_key", "api_key_file"), ("routing_key",)),
    "webex": (("room_id",), ("http_config",)),
    "webhook": (("url", "url_file"),),
    "wechat": (("api_secret", "api_secret_file"), ("corp_id",)),
}
"""Of each group an integration needs one field, here or in `global`."""

PAIRS = (
    "webhook_url",
    "url",
    "alert_source_token",
    "api_key",
    "routing_key",
    "service_key",
    "user_key",
    "token",
    "token_id",
    "api_url",
    "app_token",
    "bot_token",
    "chat_id",
    "api_secret",
)
"""Fields that may not be given together with their `_file`."""

SLACK_APP_URL = "https://slack.com/api/chat.postMessage"
"""Where an app posts: the one address that may stand beside its token."""

CERTIFICATES_CHECKED: Version = (0, 26)
"""First Alertmanager that asks for a certificate's key when it loads its file."""

SECRET_OPTIONAL: Version = (0, 28)
"""First Alertmanager that takes an OAuth2 client without a secret."""

SECRET_WANTED: Version = (0, 34)
"""First Alertmanager whose OAuth2 client cannot be made without a secret again."""

PROXIES_CHECKED: Version = (0, 26)
"""First Alertmanager that compares an HTTP client's settings of proxies with one another."""

WEBHOOKS_OF_GLOBAL_CHECKED: Version = (0, 35)
"""First Alertmanager that looks at files and at `global` too for a webhook that cannot change messages."""

EVENT_NAMES: Version = (0, 35)
"""First Alertmanager that has names of the outputs of events, and wants them."""

THREADS_BY_DATE: Version = (0, 31)
"""First Alertmanager that looks at the value of `thread_by_date`."""

RESERVED_HEADERS = frozenset(
    {
        "authorization",
        "host",
        "content-encoding",
        "content-length",
        "content-type",
        "user-agent",
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "www-authenticate",
        "accept-encoding",
        "x-prometheus-remote-write-version",
        "x-prometheus-remote-read-version",
        "x-prometheus-scrape-timeout-seconds",
        "x-amz-date",
        "x-amz-security-token",
        "x-amz-content-sha256",
    }
)
"""Headers that an HTTP client sets itself (prometheus/common, ReservedHeaders)."""

GLOBAL_NAMES = {"wechat.api_secret": "wechat_api_secret", "wechat.corp_id": "wechat_api_corp_id"}
_PREFIXES = {"email": "smtp"}
_VICTOROPS_FIELDS = frozenset(
    {"routing_key", "message_type", "state_message", "entity_display_name", "monitoring_tool", "entity_id"}
    | {"entity_state"}
)
_RESPONDERS = ("team", "teams", "user", "escalation", "schedule")


def problems(values: Settings, version: Version) -> Iterator[Finding]:
    """Whatever an integration, `global` or an HTTP client lacks or has once too often."""
    shared = _mapping(values.get("global"))
    yield from _pairs(shared, ("global",), _GLOBAL_PAIRS)
    yield from _clients(shared, ("global",), version)
    address = shared.get("slack_app_url") or SLACK_APP_URL
    if _first(shared, "slack_app_token", "slack_app_token_file") and shared.get("slack_api_url") not in (None, address):
        yield ("global", "slack_api_url"), "a webhook and an app's token at once", "keep one"
    yield from _tracing(values.get("tracing"))
    yield from _recorder(_mapping(values.get("event_recorder")), version)
    for index, receiver in enumerate(_list(values.get("receivers"))):
        yield from _labels(_mapping(receiver), ("receivers", index, "labels"))
        for key, listed in _mapping(receiver).items():
            kind = str(key).removesuffix("_configs")
            if kind == key or not isinstance(listed, list):
                continue
            for number, given in enumerate(listed):
                place: Place = ("receivers", index, key, number)
                if isinstance(given, Mapping):
                    yield from _integration(kind, given, shared, place, version)
                    yield from _clients(given, place, version)


_GLOBAL_PAIRS = (
    "smtp_auth_password",
    "smtp_auth_secret",
    "slack_api_url",
    "slack_app_token",
    "opsgenie_api_key",
    "victorops_api_key",
    "wechat_api_secret",
    "telegram_bot_token",
    "rocketchat_token",
    "rocketchat_token_id",
    "mattermost_webhook_url",
)


def _mapping(value: object) -> Settings:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _labels(receiver: Settings, place: Place) -> Iterator[Finding]:
    name = _mapping(receiver.get("labels")).get("name")
    if name is not None and name != receiver.get("name"):
        yield (*place, "name"), "a receiver's label name is its name", "remove it"


def _tracing(given: object) -> Iterator[Finding]:
    if not isinstance(given, Mapping):
        return
    if not given.get("endpoint"):
        yield ("tracing",), "missing endpoint", "add endpoint"
    for name, known in (("client_type", ("http", "grpc")), ("compression", ("gzip",))):
        if given.get(name) and given[name] not in known:
            yield ("tracing", name), f"{given[name]!r} is not {' or '.join(known)}", "correct it"


def _recorder(given: Settings, version: Version) -> Iterator[Finding]:
    """Outputs of events have what they write to, and since they have names, each its own."""
    needs = {"file_outputs": "path", "webhook_outputs": "url", "kafka_outputs": "topic", "stdout_outputs": ""}
    for key, needed in needs.items():
        names: set[str] = set()
        for index, one in enumerate(_list(given.get(key))):
            output, place = _mapping(one), ("event_recorder", key, index)
            for field in (needed, "name" if version >= EVENT_NAMES else ""):
                if field and not output.get(field):
                    yield place, f"missing {field}", f"add {field}"
            if (name := output.get("name")) in names:
                yield (*place, "name"), f"{name} a second time", "give each its own name"
            names |= {name} if name else set()
            yield from _clients(output, place, version)


def _integration(kind: str, given: Settings, shared: Settings, place: Place, version: Version) -> Iterator[Finding]:
    for names in ALTERNATIVES.get(kind, ()):
        if not any(given.get(name) or shared.get(_global_name(kind, name)) for name in names):
            yield place, f"missing {names[0]}", f"add {' or '.join(names)}"
    yield from _pairs(given, place, PAIRS)
    if kind == "slack":
        yield from _slack_updates(given, shared, place, version)
    if check := _OWN_RULES.get(kind):
        yield from check(given, place, version)


def _global_name(kind: str, name: str) -> str:
    return GLOBAL_NAMES.get(f"{kind}.{name}", f"{_PREFIXES.get(kind, kind)}_{name}")


def _pairs(given: Settings, place: Place, names: Sequence[str]) -> Iterator[Finding]:
    for name in names:
        if given.get(name) and given.get(f"{name}_file"):
            yield (*place, name), f"{name} and {name}_file at once", "keep one"


# One integration's own rules ----------------------------------------------------------------------------------------


def _email(given: Settings, place: Place, version: Version) -> Iterator[Finding]:
    seen: set[str] = set()
    for name in _mapping(given.get("headers")):
        if name.lower() in seen:
            yield (*place, "headers", name), f"a second header {name}; case does not tell headers apart", "keep one"
        seen.add(name.lower())
    threading = _mapping(given.get("threading"))
    if not verbatim.truth(threading.get("enabled")):
        return
    for name in sorted(seen & {"references", "in-reply-to"}):
        yield (*place, "headers"), f"threading sets the header {name} itself", "remove it"
    by_date = threading.get("thread_by_date")
    if version >= THREADS_BY_DATE and by_date not in ("none", "daily"):
        yield (*place, "threading"), "thread_by_date is none or daily", "write one of them"


def _incidentio(given: Settings, place: Place, _: Version) -> Iterator[Finding]:
    client, token = given.get("http_config"), _first(given, "alert_source_token", "alert_source_token_file")
    authorized = _mapping(client).get("authorization") is not None
    if token and authorized:
        yield (*place, token), "an authorization of http_config at once", "keep one"
    if client is not None and not token and not authorized:
        yield place, "missing alert_source_token", "add it, or an authorization to http_config"


def _jira(given: Settings, place: Place, _: Version) -> Iterator[Finding]:
    kind = given.get("api_type")
    if kind is not None and kind not in ("auto", "cloud", "datacenter"):
        yield (*place, "api_type"), f"{kind!r} is not auto, cloud or datacenter", "correct it"


def _mattermost(given: Settings, place: Place, _: Version) -> Iterator[Finding]:
    attachments = [((*place, "attachments", index), one) for index, one in enumerate(_list(given.get("attachments")))]
    for here, attachment in ((place, given), *attachments):
        yield from _titled(attachment, here)


def _titled(given: object, place: Place) -> Iterator[Finding]:
    """Fields of a message have a title and a value."""
    for index, one in enumerate(_list(_mapping(given).get("fields"))):
        for name in ("title", "value"):
            if isinstance(one, Mapping) and not one.get(name):
                yield (*place, "fields", index), f"missing {name}", f"add {name}"


def _opsgenie(given: Settings, place: Place, _: Version) -> Iterator[Finding]:
    for index, one in enumerate(_list(given.get("responders"))):
        responder, here = _mapping(one), (*place, "responders", index)
        if not any(responder.get(name) for name in ("id", "name", "username")):
            yield here, "a responder without id, name or username", "name it"
        kind = str(responder.get("type") or "")
        if "{{" not in kind and kind.lower() not in _RESPONDERS:
            yield (*here, "type"), f"{kind!r} is not one of {', '.join(_RESPONDERS)}", "correct it"


def _pushover(given: Settings, place: Place, _: Version) -> Iterator[Finding]:
    if verbatim.truth(given.get("html")) and verbatim.truth(given.get("monospace")):
        yield (*place, "monospace"), "html and monospace at once", "keep one"


def _slack(given: Settings, place: Place, _: Version) -> Iterator[Finding]:
    hook, app = _first(given, "api_url", "api_url_file"), _first(given, "app_token", "app_token_file")
    if hook and app:
        yield (*place, hook), "a webhook and an app's token at once", "keep one"
    if app and _mapping(given.get("http_config")).get("authorization"):
        yield (*place, "http_config", "authorization"), "an app's token is the authorization", "keep one"
    yield from _titled(given, place)
    for index, one in enumerate(_list(given.get("actions"))):
        action, here = _mapping(one), (*place, "actions", index)
        for name in ("type", "text"):
            if not action.get(name):
                yield here, f"missing {name}", f"add {name}"
        if not (action.get("url") or action.get("name")):
            yield here, "missing url or name", "add one"
        confirm = action.get("confirm")
        if isinstance(confirm, Mapping) and not confirm.get("text"):
            yield (*here, "confirm"), "missing text", "add text"


def _slack_updates(given: Settings, shared: Settings, place: Place, version: Version) -> Iterator[Finding]:
    """Only an app can change what it has posted; a webhook may be the one of `global`."""
    address, file = given.get("api_url"), given.get("api_url_file")
    is_app = _first(given, "app_token", "app_token_file") or (
        not address
        and not _mapping(given.get("http_config")).get("authorization")
        and _first(shared, "slack_app_token", "slack_app_token_file")
    )
    if version >= WEBHOOKS_OF_GLOBAL_CHECKED and not (address or file or is_app):
        address, file = shared.get("slack_api_url"), shared.get("slack_api_url_file")
    is_webhook = address != SLACK_APP_URL if address else bool(file) and version >= WEBHOOKS_OF_GLOBAL_CHECKED
    for name in ("update_message", "post_updates_to_thread"):
        if is_webhook and verbatim.truth(given.get(name)):
            yield (*place, name), "a webhook cannot update messages", f"use an app's token, or {SLACK_APP_URL}"


def _first(given: Settings, *names: str) -> str:
    """The first of some fields that is there, or an empty text."""
    return next((name for name in names if given.get(name)), "")


def _sns(given: Settings, place: Place, _: Version) -> Iterator[Finding]:
    targets = [bool(given.get(name)) for name in ("target_arn", "topic_arn", "phone_number")]
    if sum(targets) % 2 == 0:  # Alertmanager compares the three with one another, and lets all three pass
        yield place, "needs exactly one of target_arn, topic_arn and phone_number", "keep one"
    access = _mapping(given.get("sigv4"))
    if bool(access.get("access_key")) != bool(access.get("secret_key")):
        yield (*place, "sigv4"), "access_key and secret_key go together", "add the other, or remove both"


def _telegram(given: Settings, place: Place, _: Version) -> Iterator[Finding]:
    mode = given.get("parse_mode")
    if mode not in (None, "", "Markdown", "MarkdownV2", "HTML"):
        yield (*place, "parse_mode"), f"{mode!r} is not Markdown, MarkdownV2 or HTML", "correct it"
    if verbatim.whole_number(given.get("chat_id")) == 0:
        yield (*place, "chat_id"), "0 is no chat", "write the chat's number"


def _victorops(given: Settings, place: Place, _: Version) -> Iterator[Finding]:
    for name in _mapping(given.get("custom_fields")):
        if name in _VICTOROPS_FIELDS:
            yield (*place, "custom_fields", name), "is a field of its own", "write it beside custom_fields"


def _webex(given: Settings, place: Place, _: Version) -> Iterator[Finding]:
    client = given.get("http_config")
    if client and not _mapping(client).get("authorization"):
        yield (*place, "http_config"), "missing authorization", "add the bot's token"


def _wechat(given: Settings, place: Place, _: Version) -> Iterator[Finding]:
    kind = given.get("message_type")
    if kind and kind not in ("text", "markdown"):
        yield (*place, "message_type"), f"{kind!r} is not text or markdown", "correct it"


_OWN_RULES = {
    "email": _email,
    "incidentio": _incidentio,
    "jira": _jira,
    "mattermost": _mattermost,
    "opsgenie": _opsgenie,
    "pushover": _pushover,
    "slack": _slack,
    "sns": _sns,
    "telegram": _telegram,
    "victorops": _victorops,
    "webex": _webex,
    "wechat": _wechat,
}


# HTTP clients --------------------------------------------------------------------------------------------------------


def _clients(given: Settings, place: Place, version: Version) -> Iterator[Finding]:
    """An HTTP client has one way to say who asks (prometheus/common, HTTPClientConfig.Validate)."""
    client = given.get("http_config")
    if not isinstance(client, Mapping):
        return
    here = (*place, "http_config")
    token = client.get("bearer_token") or client.get("bearer_token_file")
    ways = [name for name in ("basic_auth", "authorization", "oauth2") if client.get(name) is not None]
    ways += ["bearer_token"] if token else []
    if len(ways) > 1:
        yield here, f"{' and '.join(ways)} at once", "keep one"
    for name in ("bearer_token", "basic_auth.password", "authorization.credentials", "oauth2.client_secret"):
        section, _, field = name.rpartition(".")
        inside = _mapping(client.get(section)) if section else client
        if inside.get(field) and inside.get(f"{field}_file"):
            yield (*here, section) if section else here, f"{field} and {field}_file at once", "keep one"
    kind = str(_mapping(client.get("authorization")).get("type") or "").strip()
    if kind.lower() == "basic":
        yield (*here, "authorization", "type"), "basic is not a type here", "use basic_auth"
    if version >= PROXIES_CHECKED:
        yield from _proxies(client, here)
    for name in _mapping(client.get("http_headers")):
        if name.lower() in RESERVED_HEADERS:
            yield (*here, "http_headers", name), "a header that the client sets itself", "remove it"
    yield from _oauth2(client.get("oauth2"), (*here, "oauth2"), version)
    yield from _tls(client.get("tls_config"), (*here, "tls_config"), version)


def _proxies(client: Settings, place: Place) -> Iterator[Finding]:
    has_address, by_environment = bool(client.get("proxy_url")), verbatim.truth(client.get("proxy_from_environment"))
    if by_environment:
        for name in ("proxy_url", "no_proxy"):
            if client.get(name):
                yield (*place, name), f"{name} and proxy_from_environment at once", "keep one"
    elif not has_address:
        for name in ("no_proxy", "proxy_connect_header"):
            if client.get(name):
                yield (*place, name), f"{name} without proxy_url", "add proxy_url, or remove it"


def _oauth2(given: object, place: Place, version: Version) -> Iterator[Finding]:
    if not isinstance(given, Mapping):
        return
    secrets = [name for name in STRUCTS["oauth2"] if name.startswith(("client_secret", "client_certificate_key"))]
    is_secret_wanted = version < SECRET_OPTIONAL or version >= SECRET_WANTED
    for names in (["client_id"], ["token_url"], secrets if is_secret_wanted else ()):
        if names and not any(given.get(name) for name in names):
            yield place, f"missing {names[0]}", f"add {names[0]}"


def _tls(given: object, place: Place, version: Version) -> Iterator[Finding]:
    settings = _mapping(given)
    has_cert = any(settings.get(name) for name in ("cert", "cert_file", "cert_ref"))
    has_key = any(settings.get(name) for name in ("key", "key_file", "key_ref"))
    if has_cert != has_key and version >= CERTIFICATES_CHECKED:
        yield place, "a certificate and its key go together", "add the other"
    for name in ("min_version", "max_version"):
        text = settings.get(name)
        if isinstance(text, str) and not re.fullmatch(r"TLS1[0-3]", text):
            yield (*place, name), f"{text!r} is not one of TLS10, TLS11, TLS12, TLS13", "correct it"
