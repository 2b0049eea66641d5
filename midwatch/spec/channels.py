"""Channels: how people are reached. One class per integration of Alertmanager, with the version that brought it.

Secrets are files, never values. `since` is the first Alertmanager with the integration; `fields_since` names the fields
that came later (Alertmanager's own changelog and config/notifiers.go, 0.25 to 0.31).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from midwatch.spec.base import Strict

Version = tuple[int, int]
SecretFile = Annotated[Path, Field(strict=False)]

OLDEST: Version = (0, 25)
"""The oldest Alertmanager that is written for (Debian 12)."""


class Integration(Strict):
    """What every integration has."""

    since: ClassVar[Version] = OLDEST
    fields_since: ClassVar[dict[str, Version]] = {}

    def settings(self) -> dict[str, Any]:
        """Alertmanager's settings."""
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in self.model_dump(by_alias=True, exclude_none=True).items()
        }


class Discord(Integration):
    """A Discord channel through its webhook."""

    fields_since: ClassVar[dict[str, Version]] = {"webhook_url_file": (0, 28)}
    webhook_url_file: SecretFile


class Email(Integration):
    """Mail through a smarthost."""

    to: str
    from_: str = Field(alias="from")
    smarthost: str
    auth_username: str | None = None
    auth_password_file: SecretFile | None = None


class Incidentio(Integration):
    """incident.io's alert source."""

    since: ClassVar[Version] = (0, 29)
    url: str
    alert_source_token_file: SecretFile


class Jira(Integration):
    """An issue per group of alerts; `password_file` holds the API token of `username`."""

    since: ClassVar[Version] = (0, 28)
    api_url: str
    project: str
    issue_type: str
    username: str
    password_file: SecretFile

    def settings(self) -> dict[str, Any]:
        """Alertmanager's settings: who asks stands in its HTTP client's."""
        access = {"username": self.username, "password_file": str(self.password_file)}
        named = {"api_url": self.api_url, "project": self.project, "issue_type": self.issue_type}
        return {**named, "http_config": {"basic_auth": access}}


class Mattermost(Integration):
    """A Mattermost channel through an incoming webhook."""

    since: ClassVar[Version] = (0, 30)
    webhook_url_file: SecretFile
    channel: str | None = None


class Msteams(Integration):
    """Microsoft Teams through an Office 365 connector, which Microsoft retires: prefer msteamsv2."""

    since: ClassVar[Version] = (0, 26)
    fields_since: ClassVar[dict[str, Version]] = {"webhook_url_file": (0, 28)}
    webhook_url_file: SecretFile


class Msteamsv2(Integration):
    """Microsoft Teams through a workflow."""

    since: ClassVar[Version] = (0, 28)
    webhook_url_file: SecretFile


class Opsgenie(Integration):
    """Opsgenie."""

    api_key_file: SecretFile
    api_url: str | None = None
    priority: Literal["P1", "P2", "P3", "P4", "P5"] | None = None


class Pagerduty(Integration):
    """PagerDuty: events API v2 by `routing_key_file`, v1 by `service_key_file`."""

    routing_key_file: SecretFile | None = None
    service_key_file: SecretFile | None = None

    @model_validator(mode="after")
    def _one_key(self) -> Pagerduty:
        if (self.routing_key_file is None) == (self.service_key_file is None):
            raise ValueError("needs exactly one of routing_key_file and service_key_file")
        return self


class Pushover(Integration):
    """Pushover."""

    fields_since: ClassVar[dict[str, Version]] = {"user_key_file": (0, 26), "token_file": (0, 26)}
    user_key_file: SecretFile
    token_file: SecretFile
    priority: str | None = None


class Rocketchat(Integration):
    """Rocket.Chat."""

    since: ClassVar[Version] = (0, 28)
    api_url: str
    token_id_file: SecretFile
    token_file: SecretFile
    channel: str | None = None


class Slack(Integration):
    """A Slack channel through an incoming webhook."""

    api_url_file: SecretFile
    channel: str


class Sns(Integration):
    """Amazon SNS, as the role that Alertmanager runs with: SNS takes no secret from a file."""

    topic_arn: str
    region: str
    role_arn: str | None = None

    def settings(self) -> dict[str, Any]:
        """Alertmanager's settings."""
        access = {"region": self.region} | ({"role_arn": self.role_arn} if self.role_arn else {})
        return {"topic_arn": self.topic_arn, "sigv4": access}


class Telegram(Integration):
    """A Telegram chat, by a bot."""

    fields_since: ClassVar[dict[str, Version]] = {"bot_token_file": (0, 26)}
    bot_token_file: SecretFile
    chat_id: int


class Victorops(Integration):
    """Splunk On-Call (VictorOps)."""

    api_key_file: SecretFile
    routing_key: str


class Webex(Integration):
    """A Webex room, by a bot whose token is in `token_file`."""

    room_id: str
    token_file: SecretFile

    def settings(self) -> dict[str, Any]:
        """Alertmanager's settings: the token stands in its HTTP client's."""
        access = {"type": "Bearer", "credentials_file": str(self.token_file)}
        return {"room_id": self.room_id, "http_config": {"authorization": access}}


class Webhook(Integration):
    """Any HTTP endpoint that takes Alertmanager's webhook document."""

    fields_since: ClassVar[dict[str, Version]] = {"url_file": (0, 26)}
    url: str | None = None
    url_file: SecretFile | None = None

    @model_validator(mode="after")
    def _one_address(self) -> Webhook:
        if (self.url is None) == (self.url_file is None):
            raise ValueError("needs exactly one of url and url_file")
        return self


class Wechat(Integration):
    """WeChat."""

    fields_since: ClassVar[dict[str, Version]] = {"api_secret_file": (0, 31)}
    api_secret_file: SecretFile
    corp_id: str
    agent_id: str
    to_party: str | None = None
    to_user: str | None = None


class Channel(Strict):
    """One way to reach somebody: exactly one integration."""

    discord: Discord | None = None
    email: Email | None = None
    incidentio: Incidentio | None = None
    jira: Jira | None = None
    mattermost: Mattermost | None = None
    msteams: Msteams | None = None
    msteamsv2: Msteamsv2 | None = None
    opsgenie: Opsgenie | None = None
    pagerduty: Pagerduty | None = None
    pushover: Pushover | None = None
    rocketchat: Rocketchat | None = None
    slack: Slack | None = None
    sns: Sns | None = None
    telegram: Telegram | None = None
    victorops: Victorops | None = None
    webex: Webex | None = None
    webhook: Webhook | None = None
    wechat: Wechat | None = None

    @model_validator(mode="after")
    def _one_integration(self) -> Channel:
        if sum(getattr(self, name) is not None for name in type(self).model_fields) != 1:
            raise ValueError(f"needs exactly one of {', '.join(type(self).model_fields)}")
        return self

    @property
    def kind(self) -> str:
        """Name of the integration, as in Alertmanager's `NAME_configs`."""
        return next(name for name in type(self).model_fields if getattr(self, name) is not None)

    @property
    def integration(self) -> Integration:
        """The one that is there."""
        found: Integration = getattr(self, self.kind)
        return found


def lacking(channel: Channel, version: Version) -> tuple[str, Version] | None:
    """What of a channel an Alertmanager of that version lacks, and the version that has it; None when it has all."""
    needs = [(channel.kind, channel.integration.since)]
    needs += [
        (f"{channel.kind}.{name}", since)
        for name, since in channel.integration.fields_since.items()
        if getattr(channel.integration, name) is not None
    ]
    what, since = max(needs, key=lambda need: need[1])
    return (what, since) if since > version else None
