"""Every field of Alertmanager's configuration file: its shape, and the first version that reads it.

Taken from Alertmanager's changelog and config package (0.25 to 0.35) and prometheus/common's HTTP client. A field is
written `name:shape@minor`: without a shape it is a text, without a minor version 0.25 has it. `[shape]` is a list,
`{shape}` a mapping of texts to it; other names are those of STRUCTS.
"""

from __future__ import annotations

from dataclasses import dataclass

Version = tuple[int, int]

OLDEST: Version = (0, 25)
"""The oldest Alertmanager that is written for (Debian 12)."""

NEWEST: Version = (0, 35)
"""The newest Alertmanager whose fields are known here; of later ones an unknown key says nothing."""


@dataclass(frozen=True)
class Field:
    """A field's shape, and the first Alertmanager that has it."""

    shape: str
    since: Version


_STRUCTS = {
    "config": "global:global route:route inhibit_rules:[inhibition] receivers:[receiver] templates:[text]"
    " mute_time_intervals:[named_interval] time_intervals:[named_interval] tracing:tracing@30"
    " event_recorder:event_recorder@33",
    "global": "resolve_timeout:duration http_config:http smtp_from smtp_hello smtp_smarthost:host_port"
    " smtp_auth_username smtp_auth_password:secret smtp_auth_password_file smtp_auth_secret:secret"
    " smtp_auth_secret_file@31 smtp_auth_identity smtp_require_tls:bool smtp_tls_config:tls@28"
    " smtp_force_implicit_tls:bool@31 slack_api_url:secret_url slack_api_url_file slack_app_token:secret@30"
    " slack_app_token_file@30 slack_app_url:url@30 pagerduty_url:url opsgenie_api_url:url opsgenie_api_key:secret"
    " opsgenie_api_key_file wechat_api_url:url wechat_api_secret:secret wechat_api_secret_file@31 wechat_api_corp_id"
    " victorops_api_url:url victorops_api_key:secret victorops_api_key_file telegram_api_url:url"
    " telegram_bot_token:secret@31 telegram_bot_token_file@31 webex_api_url:url jira_api_url:url@28"
    " rocketchat_api_url:url@28 rocketchat_token:secret@28 rocketchat_token_file@28 rocketchat_token_id:secret@28"
    " rocketchat_token_id_file@28 mattermost_webhook_url:secret_url@32 mattermost_webhook_url_file@32",
    "route": "receiver group_by:[text] continue:bool match:{text} match_re:{pattern} matchers:[text] routes:[route]"
    " group_wait:duration group_interval:duration repeat_interval:duration mute_time_intervals:[text]"
    " active_time_intervals:[text] labels:{text}@34",
    "inhibition": "name@30 source_match:{text} source_match_re:{pattern} source_matchers:[text] target_match:{text}"
    " target_match_re:{pattern} target_matchers:[text] equal:[text]",
    "named_interval": "name time_intervals:[interval]",
    "interval": "times:[time_range] weekdays:[text] days_of_month:[text] months:[text] years:[text] location",
    "time_range": "start_time end_time",
    "tracing": "client_type endpoint sampling_fraction:any insecure:bool tls_config:tls headers:{header} compression"
    " timeout:duration",
    "event_recorder": "file_outputs:[event_file] webhook_outputs:[event_webhook] kafka_outputs:[event_kafka]"
    " stdout_outputs:[event_stdout]@34",
    "event_file": "name@35 path",
    "event_webhook": "name@35 url:secret_url http_config:http timeout:duration workers:integer max_retries:integer"
    " retry_backoff:duration batch:bool@34 batch_max_events:integer@34 batch_max_bytes:integer@34"
    " batch_flush_interval:duration@34",
    "event_kafka": "name@35 brokers:[text] topic client_id format acks compression buffer_size:integer tls_config:tls",
    "event_stdout": "name@35",
    # prometheus/common
    "http": "basic_auth:basic_auth authorization:authorization oauth2:oauth2 bearer_token:secret bearer_token_file"
    " proxy_url:any_url no_proxy@26 proxy_from_environment:bool@26 proxy_connect_header:{[text]} tls_config:tls"
    " follow_redirects:bool enable_http2:bool http_headers:{header}@28",
    "header": "values:[text] secrets:[text] files:[text]",
    "basic_auth": "username username_file@27 username_ref@28 password:secret password_file password_ref@28",
    "authorization": "type credentials:secret credentials_file credentials_ref@28",
    "oauth2": "client_id client_secret:secret client_secret_file client_secret_ref@28 scopes:[text] token_url"
    " endpoint_params:{text} tls_config:tls proxy_url:any_url no_proxy@26 proxy_from_environment:bool@26"
    " proxy_connect_header:{[text]}@26 grant_type@29 client_certificate_key_id@29 client_certificate_key:secret@29"
    " client_certificate_key_file@29 client_certificate_key_ref@29 signature_algorithm@29 iss@29 audience@29"
    " claims:any@29",
    "tls": "ca@26 cert@26 key:secret@26 ca_ref@28 cert_ref@28 key_ref@28 ca_file cert_file key_file server_name"
    " insecure_skip_verify:bool min_version max_version",
    "sigv4": "region access_key secret_key:secret profile role_arn external_id@31 use_fips_sts_endpoint:bool@28"
    " service_name@30 session_name@35 tags:{text}@35",
    # integrations
    "discord": "http_config:http webhook_url:secret_url webhook_url_file@27 content@28 title message username@28"
    " avatar_url@28",
    "email": "to from hello smarthost:host_port auth_username auth_password:secret auth_password_file"
    " auth_secret:secret auth_secret_file@31 auth_identity headers:{text} html text require_tls:bool tls_config:tls"
    " force_implicit_tls:bool@31 threading:threading@30",
    "threading": "enabled:bool@30 thread_by_date@30",
    "incidentio": "http_config:http url:url url_file alert_source_token:secret alert_source_token_file max_alerts:count"
    " timeout:go_duration metadata:{text}@35",
    "jira": "http_config:http api_url:url api_type@29 project summary:jira_text description:jira_text labels:[text]"
    " priority issue_type reopen_transition resolve_transition wont_fix_resolution reopen_duration:duration fields:any",
    "jira_text": "template@30 enable_update:bool@30",
    "mattermost": "http_config:http webhook_url:secret_url webhook_url_file channel username text fallback@32 color@32"
    " pretext@32 author_name@32 author_link@32 author_icon@32 title@32 title_link@32 fields:[mattermost_field]@32"
    " thumb_url@32 image_url@32 footer@32 footer_icon@32 icon_url icon_emoji attachments:[mattermost_attachment] type"
    " props:mattermost_props priority:mattermost_priority",
    "mattermost_attachment": "fallback color pretext text author_name author_link author_icon title title_link"
    " fields:[mattermost_field] thumb_url footer footer_icon image_url",
    "mattermost_field": "title value short:bool",
    "mattermost_props": "card",
    "mattermost_priority": "priority requested_ack:bool persistent_notifications:bool",
    "msteams": "http_config:http webhook_url:secret_url webhook_url_file@27 title summary@27 text",
    "msteamsv2": "http_config:http webhook_url:secret_url webhook_url_file title text",
    "opsgenie": "http_config:http api_key:secret api_key_file api_url:url message description source details:{text}"
    " entity responders:[responder] actions tags note priority update_alerts:bool",
    "responder": "id name username type",
    "pagerduty": "http_config:http service_key:secret service_key_file routing_key:secret routing_key_file url:url"
    " client client_url description details:details images:[pagerduty_image] links:[pagerduty_link] source severity"
    " class component group timeout:go_duration@30",
    "pagerduty_image": "src alt href",
    "pagerduty_link": "href text",
    "pushover": "http_config:http user_key:secret user_key_file@26 token:secret token_file@26 title message url"
    " url_title device@26 sound priority retry:go_duration_text"
    " expire:go_duration_text ttl:go_duration_text@27 html:bool monospace:bool@29",
    "rocketchat": "http_config:http api_url:url token_id:secret token_id_file token:secret token_file channel color"
    " title title_link text message_text@35 fields:[rocketchat_field] short_fields:bool emoji icon_url image_url"
    " thumb_url link_names:bool actions:[rocketchat_action]",
    "rocketchat_field": "short:bool title value",
    "rocketchat_action": "type text url imageurl iswebview:bool webviewheightratio msg msginchatwindow:bool"
    " msgprocessingtype",
    "slack": "http_config:http api_url:secret_url api_url_file app_token:secret@30 app_token_file@30 app_url:url@30"
    " channel username color title title_link pretext text message_text@31 fields:[slack_field] short_fields:bool"
    " footer fallback callback_id icon_emoji icon_url image_url thumb_url link_names:bool mrkdwn_in:[text]"
    " actions:[slack_action] update_message:bool@32 post_updates_to_thread:bool@35 timeout:go_duration@30",
    "slack_field": "title value short:bool",
    "slack_action": "type text url style name value confirm:slack_confirm",
    "slack_confirm": "text title ok_text dismiss_text",
    "sns": "http_config:http api_url sigv4:sigv4 topic_arn phone_number target_arn subject message attributes:{text}"
    " use_aws_http_client:bool@33",
    "telegram": "http_config:http api_url:url bot_token:secret bot_token_file@26 chat_id:integer chat_id_file@31"
    " message_thread_id:integer@28 message disable_notifications:bool parse_mode"
    " timeout:go_duration@35",
    "victorops": "http_config:http api_key:secret api_key_file api_url:url routing_key message_type state_message"
    " entity_display_name monitoring_tool custom_fields:{text}",
    "webex": "http_config:http api_url:url message room_id",
    "webhook": "http_config:http url:webhook_url url_file@26 max_alerts:count timeout:go_duration@28 payload:any@32",
    "wechat": "http_config:http api_secret:secret api_secret_file@31 corp_id message api_url:url to_user to_party"
    " to_tag agent_id message_type",
}

INTEGRATIONS: dict[str, Version] = {
    "discord": (0, 25),
    "email": (0, 25),
    "incidentio": (0, 29),
    "jira": (0, 28),
    "mattermost": (0, 30),
    "msteams": (0, 26),
    "msteamsv2": (0, 28),
    "opsgenie": (0, 25),
    "pagerduty": (0, 25),
    "pushover": (0, 25),
    "rocketchat": (0, 28),
    "slack": (0, 25),
    "sns": (0, 25),
    "telegram": (0, 25),
    "victorops": (0, 25),
    "webex": (0, 25),
    "webhook": (0, 25),
    "wechat": (0, 25),
}
"""First version of each integration."""


def _field(text: str) -> tuple[str, Field]:
    head, _, minor = text.partition("@")
    name, _, shape = head.partition(":")
    return name, Field(shape or "text", (0, int(minor)) if minor else OLDEST)


def _struct(text: str) -> dict[str, Field]:
    return dict(_field(word) for word in text.split())


STRUCTS: dict[str, dict[str, Field]] = {name: _struct(text) for name, text in _STRUCTS.items()}
"""Fields of each mapping in the file, by the mapping's name."""

for _integration in INTEGRATIONS:
    STRUCTS[_integration]["send_resolved"] = Field("bool", OLDEST)

STRUCTS["receiver"] = {
    "name": Field("text", OLDEST),
    "labels": Field("{text}", (0, 33)),
    **{f"{name}_configs": Field(f"[{name}]", since) for name, since in INTEGRATIONS.items()},
}


def secrets_of(struct: str) -> frozenset[str]:
    """Fields of a mapping that hold a secret in clear."""
    return frozenset(name for name, field in STRUCTS[struct].items() if field.shape in ("secret", "secret_url"))


def newer_fields_of(struct: str) -> dict[str, Version]:
    """Fields of a mapping that came after the oldest version, and when."""
    return {name: field.since for name, field in STRUCTS[struct].items() if field.since > OLDEST}
