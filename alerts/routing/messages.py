"""What a person receives: templates of Alertmanager for each integration, written into its settings.

A message says what is wrong, what it means, whose it is, in which model, version and region, and leads to the
runbook, the dashboard, what changed, and a silence. Label values come from outside: each template escapes them as its
reader needs.
"""

from __future__ import annotations

MOST = 10
"""Alerts of a group that a message lists; Alertmanager groups more than anybody reads."""

_SLACK = ' | reReplaceAll "&" "&amp;" | reReplaceAll "<" "&lt;" | reReplaceAll ">" "&gt;"'
"""Slack reads `<` as the begin of a link or of a mention of everybody."""

_MARKDOWN = r' | reReplaceAll "([\\\\`*_\\[\\]<>#|~])" "\\$1"'
"""Markdown of Teams: whatever would begin a link, an emphasis or a tag."""

_PLAIN = ""

_QUERY = r' | reReplaceAll "([\"\\\\])" "\\$1" | urlquery | reReplaceAll "[+]" "%20"'
"""A matcher's value inside of an address: escaped for the matcher, then for the address."""

_SILENCE = (
    "{{ .ExternalURL }}/#/silences/new?filter=%7B"
    "{{ range $number, $label := .CommonLabels.SortedPairs }}{{ if $number }}%2C{{ end }}"
    "{{ $label.Name }}%3D%22{{ $label.Value" + _QUERY + " }}%22{{ end }}%7D"
)
_CHANGED = '{{ reReplaceAll "from=[^&]*" "from=now-24h" .Annotations.dashboard_url }}'
"""The same dashboard over a day, with its marks of deployments, canaries and retrainings."""


def _title(escape: str) -> str:
    first = "{{ (index .Alerts 0).Annotations.summary" + escape + " }}"
    more = "{{ if gt (len .Alerts) 1 }} ({{ len .Alerts }} alerts){{ end }}"
    return '{{ if eq .Status "resolved" }}Resolved: {{ end }}' + first + more


def _whose(escape: str) -> str:
    """Owner, severity, model and version of an alert, where it has them."""
    parts = "".join(
        f"{{{{ with .Labels.{label} }}}}, {label} {{{{ .{escape} }}}}{{{{ end }}}}"
        for label in ("model", "version", "slo")
    )
    return f"owner {{{{ .Labels.owner{escape} }}}}, {{{{ .Labels.severity }}}}{parts}"


def _listed(each: str) -> str:
    more = f"{{{{ if gt (len .Alerts) {MOST} }}}}... {{{{ len .Alerts }}}} alerts in all\n{{{{ end }}}}"
    some = f"{{{{ if lt $number {MOST} }}}}{each}{{{{ end }}}}"
    return "{{ range $number, $alert := .Alerts }}" + some + "{{ end }}" + more


def _text(escape: str, link: str, *, line: str = "\n") -> str:
    """A whole message; `link` writes an address under a name, as `%s` and `%s`."""
    links = line.join(
        "{{ with .Annotations." + annotation + " }}" + link % (name, "{{ . }}") + "{{ end }}"
        for name, annotation in (("Runbook", "runbook_url"), ("Dashboard", "dashboard_url"))
    )
    changed = "{{ if .Annotations.dashboard_url }}" + link % ("What changed", _CHANGED) + "{{ end }}"
    summary, meaning = (f"{{{{ .Annotations.{name}{escape} }}}}" for name in ("summary", "description"))
    status = '{{ if eq .Status "resolved" }}Resolved: {{ end }}'
    cause = f"{{{{ with .Annotations.what_changed }}}}{{{{ .{escape} }}}}{line}{{{{ end }}}}"
    alert = line.join((status + summary, meaning, cause + _whose(escape), links, changed)) + line + "\n"
    return _listed(alert) + link % ("Silence", _SILENCE)


_PLAIN_TEXT = _text(_PLAIN, "%s: %s")

_HTML = (
    _listed(
        '<h3>{{ if eq .Status "resolved" }}Resolved: {{ end }}{{ .Annotations.summary }}</h3>'
        "<p>{{ .Annotations.description }}</p>"
        "{{ with .Annotations.what_changed }}<p>{{ . }}</p>{{ end }}"
        f"<p>{_whose(_PLAIN)}</p><p>"
        '{{ with .Annotations.runbook_url }}<a href="{{ . }}">Runbook</a> {{ end }}'
        '{{ with .Annotations.dashboard_url }}<a href="{{ . }}">Dashboard</a> {{ end }}'
        f'{{{{ if .Annotations.dashboard_url }}}}<a href="{_CHANGED}">What changed</a>{{{{ end }}}}</p>\n'
    )
    # In an attribute html/template escapes for the address itself; the matcher's own quotes are ours to escape.
    + '<p><a href="'
    + _SILENCE.replace(_QUERY, r' | reReplaceAll "([\"\\\\])" "\\$1"')
    + '">Silence</a></p>'
)

_DETAILS = {
    "meaning": "{{ (index .Alerts 0).Annotations.description }}",
    "cause": "{{ (index .Alerts 0).Annotations.what_changed }}",
    "owner": "{{ .CommonLabels.owner }}",
    "model": "{{ .CommonLabels.model }}",
    "version": "{{ .CommonLabels.version }}",
    "runbook": "{{ (index .Alerts 0).Annotations.runbook_url }}",
    "dashboard": "{{ (index .Alerts 0).Annotations.dashboard_url }}",
    "what_changed": "{{ with index .Alerts 0 }}" + _CHANGED + "{{ end }}",
    "silence": _SILENCE,
}

HTML_FIELDS = frozenset({"html"})
"""Fields that Alertmanager fills in as HTML."""

MESSAGES: dict[str, dict[str, object]] = {
    "slack": {
        "title": _title(_SLACK),
        "title_link": "{{ (index .Alerts 0).Annotations.dashboard_url }}",
        "text": _text(_SLACK, "%s: %s"),
        "fallback": _title(_SLACK),
    },
    "msteams": {"title": _title(_MARKDOWN), "text": _text(_MARKDOWN, "[%s](%s)", line="\n\n")},
    "msteamsv2": {"title": _title(_MARKDOWN), "text": _text(_MARKDOWN, "[%s](%s)", line="\n\n")},
    "email": {"headers": {"Subject": _title(_PLAIN)}, "text": _PLAIN_TEXT, "html": _HTML},
    "pagerduty": {
        "description": _title(_PLAIN),
        "details": _DETAILS,
        "client": "Midwatch",
        "client_url": "{{ (index .Alerts 0).Annotations.dashboard_url }}",
    },
    "opsgenie": {"message": _title(_PLAIN), "description": _PLAIN_TEXT, "details": _DETAILS},
}
"""Settings by integration. A webhook takes Alertmanager's document, which has every label and annotation."""

_TITLE_BEGINS = _title(_PLAIN).partition("{{ (index")[0]
IN_REGION = "{{ with .CommonLabels.region }}[{{ . }}] {{ end }}"
"""Begins the title of what comes from several regions."""


def of_kind(kind: str, *, says_region: bool) -> dict[str, object] | None:
    """Settings of an integration, None for one without messages; with `says_region` titles begin with the region."""
    written = MESSAGES.get(kind)
    if not says_region or written is None:
        return written
    details = {"region": "{{ .CommonLabels.region }}"}
    titled: dict[str, object] = {}
    for name, value in written.items():
        if isinstance(value, str) and value.startswith(_TITLE_BEGINS):
            titled[name] = IN_REGION + value
        elif name == "details" and isinstance(value, dict):
            titled[name] = {**value, **details}
        elif name == "headers" and isinstance(value, dict):
            titled[name] = {key: IN_REGION + text for key, text in value.items()}
        else:
            titled[name] = value
    return titled
