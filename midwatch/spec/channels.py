"""Channels reach people. One class per integration of Alertmanager says all that is known of it.

A new integration is a class more: the fields that Midwatch writes, and how the Prometheus operator names them (of
monitoring/v1alpha1/alertmanager_config_types.go). Secrets are files, never values. All of Alertmanager's own fields,
with the versions that brought them, are in `alertmanager_fields`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, create_model, model_validator

from midwatch.spec import alertmanager_fields
from midwatch.spec.alertmanager_fields import OLDEST, Version
from midwatch.spec.base import Strict

SecretFile = Annotated[Path, Field(strict=False)]


class Integration(Strict):
    """What every integration has.

    `since` is the first Alertmanager with it. `fields_since` names fields that came later, and `secrets` those that
    hold a secret in clear, both also where Midwatch writes another instead; all three are of `alertmanager_fields`.
    `is_person` is whether somebody reads what is sent.
    """

    since: ClassVar[Version] = OLDEST
    fields_since: ClassVar[dict[str, Version]] = {}
    secrets: ClassVar[frozenset[str]] = frozenset()
    is_person: ClassVar[bool] = True

    in_operator: ClassVar[bool] = True
    """Whether the operator's AlertmanagerConfig has it."""
    operator_names: ClassVar[dict[str, str]] = {}
    """The operator's names of fields, where they are not the same in camel case."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Take over what is known of the integration's fields."""
        cls.since = alertmanager_fields.INTEGRATIONS[cls.name()]
        cls.fields_since = alertmanager_fields.newer_fields_of(cls.name())
        cls.secrets = alertmanager_fields.secrets_of(cls.name())

    @classmethod
    def name(cls) -> str:
        """Its name, as in Alertmanager's `NAME_configs`."""
        return cls.__name__.lower()

    @classmethod
    def operator_name(cls, field: str) -> str:
        """The operator's name of a field of Alertmanager's; a secret's file is a Secret there."""
        return cls.operator_names.get(field) or camel_case(field.removesuffix("_file"))

    def settings(self) -> dict[str, Any]:
        """Alertmanager's settings."""
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in self.model_dump(by_alias=True, exclude_none=True).items()
        }


def camel_case(name: str) -> str:
    """A field's name as Kubernetes writes names.

    >>> camel_case("send_resolved")
    'sendResolved'
    """
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


class Discord(Integration):
    """A Discord channel through its webhook."""

    operator_names: ClassVar[dict[str, str]] = {"webhook_url_file": "apiURL"}
    webhook_url_file: SecretFile
    """File with the address of the webhook, which is a secret."""


class Email(Integration):
    """Mail through a smarthost."""

    operator_names: ClassVar[dict[str, str]] = {"require_tls": "requireTLS"}
    to: str
    """Addresses that it is sent to."""
    from_: str = Field(alias="from")
    """Address that it is sent from."""
    smarthost: str
    """HOST:PORT of the mail server."""
    require_tls: bool | None = None
    """Whether the mail server has to offer TLS, which it has to unless it is said."""
    auth_username: str | None = None
    """Name of the account at the mail server."""
    auth_password_file: SecretFile | None = None
    """File with the account's password."""


class Incidentio(Integration):
    """incident.io's alert source."""

    in_operator: ClassVar[bool] = False
    url: str
    """Address of the alert source."""
    alert_source_token_file: SecretFile
    """File with the alert source's token."""


class Jira(Integration):
    """An issue per group of alerts; `password_file` holds the API token of `username`."""

    in_operator: ClassVar[bool] = False
    api_url: str
    """Address of Jira's API."""
    project: str
    """Key of the project."""
    issue_type: str
    """Type of the issues."""
    username: str
    """Name of the account that creates issues."""
    password_file: SecretFile
    """File with the account's API token."""

    def settings(self) -> dict[str, Any]:
        """Alertmanager's settings: who asks stands in its HTTP client's."""
        access = {"username": self.username, "password_file": str(self.password_file)}
        named = {"api_url": self.api_url, "project": self.project, "issue_type": self.issue_type}
        return {**named, "http_config": {"basic_auth": access}}


class Mattermost(Integration):
    """A Mattermost channel through an incoming webhook."""

    in_operator: ClassVar[bool] = False
    webhook_url_file: SecretFile
    """File with the address of the webhook, which is a secret."""
    channel: str | None = None
    """The channel; the webhook's own without it."""


class Msteams(Integration):
    """Microsoft Teams through an Office 365 connector, which Microsoft retires: prefer msteamsv2."""

    webhook_url_file: SecretFile
    """File with the address of the webhook, which is a secret."""


class Msteamsv2(Integration):
    """Microsoft Teams through a workflow."""

    operator_names: ClassVar[dict[str, str]] = {"webhook_url_file": "webhookURL"}
    webhook_url_file: SecretFile
    """File with the address of the webhook, which is a secret."""


class Opsgenie(Integration):
    """Opsgenie."""

    operator_names: ClassVar[dict[str, str]] = {"api_url": "apiURL"}
    api_key_file: SecretFile
    """File with the API key."""
    api_url: str | None = None
    """Address of the API; Opsgenie's in the US without it."""
    priority: Literal["P1", "P2", "P3", "P4", "P5"] | None = None
    """Priority of the alerts."""


class Pagerduty(Integration):
    """PagerDuty: events API v2 by `routing_key_file`, v1 by `service_key_file`."""

    operator_names: ClassVar[dict[str, str]] = {"client_url": "clientURL"}
    routing_key_file: SecretFile | None = None
    """File with the integration key of the events API v2."""
    service_key_file: SecretFile | None = None
    """File with the integration key of the events API v1."""

    @model_validator(mode="after")
    def _one_key(self) -> Pagerduty:
        if (self.routing_key_file is None) == (self.service_key_file is None):
            raise ValueError("needs exactly one of routing_key_file and service_key_file")
        return self


class Pushover(Integration):
    """Pushover."""

    user_key_file: SecretFile
    """File with the key of the user or group."""
    token_file: SecretFile
    """File with the application's token."""
    priority: str | None = None
    """Priority of the messages."""


class Rocketchat(Integration):
    """Rocket.Chat."""

    operator_names: ClassVar[dict[str, str]] = {"token_id_file": "tokenID", "api_url": "apiURL"}
    api_url: str
    """Address of the server."""
    token_id_file: SecretFile
    """File with the id of the token's user."""
    token_file: SecretFile
    """File with the token."""
    channel: str | None = None
    """The channel."""


class Slack(Integration):
    """A Slack channel through an incoming webhook."""

    operator_names: ClassVar[dict[str, str]] = {"api_url_file": "apiURL"}
    api_url_file: SecretFile
    """File with the address of the webhook, which is a secret."""
    channel: str
    """The channel or person."""


class Sns(Integration):
    """Amazon SNS, as the role that Alertmanager runs with: SNS takes no secret from a file."""

    is_person: ClassVar[bool] = False
    operator_names: ClassVar[dict[str, str]] = {"topic_arn": "topicARN"}
    topic_arn: str
    """ARN of the topic."""
    region: str
    """The AWS region."""
    role_arn: str | None = None
    """ARN of the role that is assumed to send."""

    def settings(self) -> dict[str, Any]:
        """Alertmanager's settings."""
        access = {"region": self.region} | ({"role_arn": self.role_arn} if self.role_arn else {})
        return {"topic_arn": self.topic_arn, "sigv4": access}


class Telegram(Integration):
    """A Telegram chat, by a bot."""

    operator_names: ClassVar[dict[str, str]] = {"chat_id": "chatID"}
    bot_token_file: SecretFile
    """File with the bot's token."""
    chat_id: int
    """Number of the chat."""


class Victorops(Integration):
    """Splunk On-Call (VictorOps)."""

    api_key_file: SecretFile
    """File with the API key."""
    routing_key: str
    """Key by which Splunk On-Call chooses the team."""


class Webex(Integration):
    """A Webex room, by a bot whose token is in `token_file`."""

    operator_names: ClassVar[dict[str, str]] = {"room_id": "roomID"}
    room_id: str
    """Id of the room."""
    token_file: SecretFile
    """File with the bot's token."""

    def settings(self) -> dict[str, Any]:
        """Alertmanager's settings: the token stands in its HTTP client's."""
        access = {"type": "Bearer", "credentials_file": str(self.token_file)}
        return {"room_id": self.room_id, "http_config": {"authorization": access}}


class Webhook(Integration):
    """Any HTTP endpoint that takes Alertmanager's webhook document."""

    is_person: ClassVar[bool] = False
    operator_names: ClassVar[dict[str, str]] = {"url_file": "urlSecret"}
    url: str | None = None
    """The address."""
    url_file: SecretFile | None = None
    """File with the address, where that is a secret."""

    @model_validator(mode="after")
    def _one_address(self) -> Webhook:
        if (self.url is None) == (self.url_file is None):
            raise ValueError("needs exactly one of url and url_file")
        return self


class Wechat(Integration):
    """WeChat."""

    operator_names: ClassVar[dict[str, str]] = {"corp_id": "corpID", "agent_id": "agentID"}
    api_secret_file: SecretFile
    """File with the API secret."""
    corp_id: str
    """Id of the company."""
    agent_id: str
    """Id of the application."""
    to_party: str | None = None
    """Ids of departments."""
    to_user: str | None = None
    """Ids of people."""


INTEGRATIONS: dict[str, type[Integration]] = {
    integration.name(): integration for integration in Integration.__subclasses__()
}
"""Every integration, by its name."""

_OPTIONAL: dict[str, Any] = {name: (integration | None, None) for name, integration in INTEGRATIONS.items()}


class Channel(create_model("Channel", __base__=Strict, **_OPTIONAL)):  # type: ignore[misc] # a class is a field more
    """One way to reach somebody: exactly one integration."""

    @model_validator(mode="after")
    def _one_integration(self) -> Channel:
        if sum(getattr(self, name) is not None for name in INTEGRATIONS) != 1:
            raise ValueError(f"needs exactly one of {', '.join(INTEGRATIONS)}")
        return self

    @property
    def kind(self) -> str:
        """Name of the integration, as in Alertmanager's `NAME_configs`."""
        return next(name for name in INTEGRATIONS if getattr(self, name) is not None)

    @property
    def integration(self) -> Integration:
        """The one that is there."""
        integration: Integration = getattr(self, self.kind)
        return integration


def lacking(channel: Channel, version: Version) -> tuple[str, Version] | None:
    """What of a channel an Alertmanager of that version lacks, and the version that has it; None when it has all."""
    needs = [(channel.kind, channel.integration.since)]
    needs += [
        (f"{channel.kind}.{name}", since)
        for name, since in channel.integration.fields_since.items()
        if getattr(channel.integration, name, None) is not None
    ]
    what, since = max(needs, key=lambda need: need[1])
    return (what, since) if since > version else None
