"""Alertmanager's configuration from owners, severities and channels: nobody writes a route by hand."""

from __future__ import annotations

from typing import Any

from alerts import ruleset
from midwatch.spec import model as spec
from midwatch.spec.values import format_duration

NOBODY = "nobody"
"""Receiver of the deadman's switch: it has no integration, on purpose. An outside watcher asks whether it fires."""

UNROUTED = "unrouted"


def alertmanager(platform: spec.Platform, sink_url: str | None = None) -> dict[str, Any]:
    """Configuration: a route per owner and severity, a receiver per set of channels.

    An alert without an owner that is known goes to the first owner's page channels, since silence would be worse.
    """
    timing = platform.alertmanager
    routes: list[dict[str, Any]] = [{"receiver": NOBODY, "matchers": [f'alertname="{ruleset.DEADMAN}"']}]
    receivers = [{"name": NOBODY}]
    for name, owner in sorted(platform.owners.items()):
        for severity in spec.Severity:
            receiver = f"{name}-{severity.value}"
            routes.append({"receiver": receiver, "matchers": [f'owner="{name}"', f'severity="{severity.value}"']})
            receivers.append(_receiver(receiver, getattr(owner, severity.value), platform, sink_url))
    fallback = platform.owners[sorted(platform.owners)[0]].page
    receivers.append(_receiver(UNROUTED, fallback, platform, sink_url))
    return {
        "route": {
            "receiver": UNROUTED,
            "group_by": ["alertname", "model", "version"],
            "group_wait": format_duration(timing.group_wait),
            "group_interval": format_duration(timing.group_interval),
            "repeat_interval": format_duration(timing.repeat_interval),
            "routes": routes,
        },
        "receivers": receivers,
    }


def _receiver(name: str, channels: list[str], platform: spec.Platform, sink_url: str | None) -> dict[str, Any]:
    receiver: dict[str, Any] = {"name": name}
    for channel in channels:
        if sink_url is not None:
            kind, integration = "webhook_configs", {"url": f"{sink_url}/{channel}"}
        else:
            kind, integration = _integration(platform.channels[channel])
        receiver.setdefault(kind, []).append({**integration, "send_resolved": True})
    return receiver


def _integration(channel: spec.Channel) -> tuple[str, dict[str, Any]]:
    """Alertmanager's key and settings of a channel; secrets stay in their files."""
    if channel.pagerduty:
        return "pagerduty_configs", {"routing_key_file": str(channel.pagerduty.routing_key_file)}
    if channel.slack:
        return "slack_configs", {"api_url_file": str(channel.slack.api_url_file), "channel": channel.slack.channel}
    if channel.email:
        mail = channel.email
        settings: dict[str, Any] = {"to": mail.to, "from": mail.from_, "smarthost": mail.smarthost}
        if mail.auth_username:
            settings["auth_username"] = mail.auth_username
        if mail.auth_password_file:
            settings["auth_password_file"] = str(mail.auth_password_file)
        return "email_configs", settings
    webhook = channel.webhook
    if webhook is None:
        raise AssertionError("the spec lets no channel pass without an integration")
    return "webhook_configs", {"url": webhook.url} if webhook.url else {"url_file": str(webhook.url_file)}
