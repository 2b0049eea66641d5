"""Control plane: can what the other dashboards say be trusted, and would anybody be told?"""

from __future__ import annotations

from dashboards import rows, runbooks, style, variables
from dashboards.data_sources import Query
from dashboards.page import Page, Row, Section
from dashboards.panels import Note, PanelFactory
from dashboards.style import State
from midwatch import grafana, metrics, promql, signals, upstream
from midwatch.signals import Selection

THESE_JOBS: Selection = {"job": promql.matches("$job")}

GIVEN_UP = {
    "expired": metrics.EXPORTER_PREDICTIONS_EXPIRED,
    "orphaned": metrics.EXPORTER_LABELS_ORPHANED,
    "sampled out": metrics.EXPORTER_SAMPLED_OUT,
}

UP = [State(text="▼ down", color=style.BAD, value=0), State(text="● up", color=style.GOOD, value=1)]
KEPT = [State(text="none", color=style.GOOD, value=0)]
BUSY = 0.5
"""Share of a rule group's interval beyond which its evaluation is marked: at 1 evaluations are left out."""


def build_pages(factory: PanelFactory) -> list[Page]:
    """The one page of a platform."""
    return [
        Page(
            name=grafana.Page.PLANE,
            title="Control plane",
            order=70,
            description="Exporters, rules, notifications, scrapes and cardinality: whether the watch itself is awake.",
            variables=[variables.many("job", "Job", upstream.UP, "job"), variables.window()],
            annotations=[],
            sections=[
                Section(title="Are we blind?", rows=_sight(factory)),
                Section(title="Would anybody be told?", rows=_notifications(factory)),
                Section(title="Do events arrive?", rows=_exporter(factory)),
                *_fleet(factory),
                *(
                    [Section(title="Does the stream keep up?", rows=_stream(factory))]
                    if factory.platform.stream
                    else []
                ),
                Section(title="Does the canary gate answer?", rows=[rows.canary_gate(factory)]),
                Section(title="Is it getting too big?", rows=_size(factory)),
            ],
        )
    ]


def _sight(factory: PanelFactory) -> list[Row]:
    share = promql.select(upstream.RULE_DURATION).over(promql.select(upstream.RULE_INTERVAL), on=["rule_group"])
    return [
        Row(
            height=7,
            panels=[
                factory.timeline(
                    "Which targets answer?",
                    Note(
                        shows="Whether each target's last scrape worked.",
                        act="an exporter that is down: nothing is known of its models, and their alerts are silent.",
                        runbook=runbooks.EXPORTER,
                    ),
                    UP,
                    Query(expr=signals.series(upstream.UP, THESE_JOBS), legend="{{job}} {{instance}}"),
                ),
                factory.lines(
                    "How long do scrapes take?",
                    Note(
                        shows="Time of each target's last scrape.",
                        act="near the scrape timeout it will fail: see series below.",
                        runbook=runbooks.TARGETS,
                    ),
                    "s",
                    Query(expr=signals.gauge(upstream.SCRAPE_DURATION, THESE_JOBS, "job"), legend="{{job}}"),
                ),
                factory.lines(
                    "Do rules keep up?",
                    Note(
                        shows="Evaluation time of each group of rules over its interval; dashed is half of it.",
                        act="at 100% evaluations are left out, and alerts come late: split the group.",
                        runbook=runbooks.RULES_SLOW,
                    ),
                    "percentunit",
                    Query(expr=promql.topk(10, share), legend="{{rule_group}}"),
                    Query(expr=promql.vector(BUSY), legend="busy", promise=True),
                ),
                factory.lines(
                    "Do rules fail?",
                    Note(
                        shows="Evaluations per second that failed, and that were left out because the one before ran.",
                        act="any above 0: an alert is not being evaluated. The Prometheus log names the rule.",
                        runbook=runbooks.RULES_FAIL,
                    ),
                    "ops",
                    Query(expr=signals.rate(upstream.RULE_FAILURES, {}), legend="failed"),
                    Query(expr=signals.rate(upstream.RULE_MISSED, {}), legend="left out"),
                ),
            ],
        )
    ]


def _streams(factory: PanelFactory) -> list[Section]:
    if factory.platform.stream is None:
        return []
    return [Section(title="Does the stream keep up?", rows=_stream(factory))]


def _stream(factory: PanelFactory) -> list[Row]:
    """What a stream says of itself, beside the counters that it has in common with exporters."""
    return [
        Row(
            panels=[
                factory.lines(
                    "How old is what was counted?",
                    Note(
                        shows="Time since the newest arrival up to which everything is counted.",
                        act="a climb: it is slower than the events come, or stuck.",
                        runbook=runbooks.STREAM,
                    ),
                    "s",
                    Query(expr=signals.age(metrics.STREAM_WATERMARK, {}, "instance"), legend="{{instance}}"),
                    Query(expr=signals.age(metrics.STREAM_LAST_BATCH, {}, "instance"), legend="last batch"),
                ),
                factory.lines(
                    "What is not read yet?",
                    Note(
                        shows="Records that were there when the last batch ended, by topic.",
                        act="a climb: more cores, more partitions of the topic, larger batches.",
                        runbook=runbooks.STREAM,
                    ),
                    "short",
                    Query(expr=signals.gauge(metrics.STREAM_BEHIND, {}, "source"), legend="{{source}}"),
                ),
                factory.lines(
                    "How many records are read?",
                    Note(
                        shows="Records a second, by topic; and events whose time had been passed when they were read.",
                        act="late ones: a partition is behind the others.",
                        runbook=runbooks.STREAM,
                    ),
                    "ops",
                    Query(expr=signals.rate(metrics.STREAM_RECORDS, {}, "source"), legend="{{source}}"),
                    Query(expr=signals.rate(metrics.STREAM_LATE, {}), legend="late", color=style.WATCH),
                ),
            ]
        ),
        Row(
            panels=[
                factory.lines(
                    "Where does the time go?",
                    Note(
                        shows="Time of the last batch in Spark.",
                        act="beyond stream.every the next one begins late.",
                        runbook=runbooks.STREAM,
                    ),
                    "s",
                    Query(expr=signals.gauge(metrics.STREAM_BATCH_DURATION, {}, "instance"), legend="{{instance}}"),
                ),
                factory.lines(
                    "Does the driver keep up with Spark?",
                    Note(
                        shows="Batches a minute, and batches that are taken and not counted yet.",
                        act="two that wait: the driver is the limit; share the topics out over several streams.",
                        runbook=runbooks.STREAM,
                    ),
                    "short",
                    Query(expr=signals.rate(metrics.STREAM_BATCHES, {}) * 60, legend="batches a minute"),
                    Query(expr=signals.gauge(metrics.STREAM_UNCOUNTED, {}, "instance"), legend="{{instance}} wait"),
                ),
                factory.lines(
                    "What waits for its other half?",
                    Note(
                        shows="Predictions, labels and halves of inference logs in the state.",
                        act="a climb of predictions: their labels do not come.",
                        runbook=runbooks.STREAM,
                    ),
                    "short",
                    Query(expr=signals.gauge(metrics.STREAM_WAITING, {}, "kind"), legend="{{kind}}"),
                ),
                factory.lines(
                    "How large is the state?",
                    Note(
                        shows="Bytes of ids and of what waits, in the workers' memory and in the checkpoint.",
                        act="near the memory of the workers: fewer days of label_retention, or more machines.",
                        runbook=runbooks.STREAM,
                    ),
                    "bytes",
                    Query(expr=signals.gauge(metrics.STREAM_STATE_BYTES, {}, "instance"), legend="{{instance}}"),
                ),
            ]
        ),
    ]


def _notifications(factory: PanelFactory) -> list[Row]:
    return [
        Row(
            panels=[
                factory.lines(
                    "Does Prometheus reach Alertmanager?",
                    Note(
                        shows="Alerts per second sent, refused and dropped.",
                        act="dropped or refused: pages are being lost. Is Alertmanager up, is its address right?",
                        runbook=runbooks.SENDING,
                    ),
                    "ops",
                    Query(expr=signals.rate(upstream.NOTIFICATIONS_SENT, {}), legend="sent"),
                    Query(expr=signals.rate(upstream.NOTIFICATIONS_ERRORS, {}), legend="refused", color=style.BAD),
                    Query(expr=signals.rate(upstream.NOTIFICATIONS_DROPPED, {}), legend="dropped", color=style.WATCH),
                ),
                factory.lines(
                    "Does Alertmanager reach people?",
                    Note(
                        shows="Notifications per second tried, and failed, by integration.",
                        act="failures of the paging integration: call whoever is on duty, then see its status page.",
                        runbook=runbooks.NOTIFYING,
                    ),
                    "ops",
                    Query(expr=signals.rate(upstream.DELIVERIES, {}, "integration"), legend="{{integration}} tried"),
                    Query(
                        expr=signals.rate(upstream.DELIVERIES_FAILED, {}, "integration"),
                        legend="{{integration}} failed",
                    ),
                ),
                factory.lines(
                    "How long does it take to tell them?",
                    Note(
                        shows="99th percentile of the time to notify, by integration, over the chosen window.",
                        act="minutes here are minutes of an outage: look at the integration's network path.",
                        runbook=runbooks.NOTIFYING,
                    ),
                    "s",
                    Query(
                        expr=promql.sum_by(
                            promql.increase(promql.select(upstream.DELIVERY_DURATION, "_sum"), signals.WINDOW),
                            "integration",
                        ).over(
                            promql.sum_by(
                                promql.increase(promql.select(upstream.DELIVERY_DURATION, "_count"), signals.WINDOW),
                                "integration",
                            ),
                            on=["integration"],
                        ),
                        legend="{{integration}}",
                    ),
                ),
                factory.lines(
                    "What does Alertmanager hold?",
                    Note(
                        shows="Alerts it knows, by state.",
                        act="many suppressed: a silence or an inhibition hides more than it should.",
                        runbook=runbooks.NOTIFYING,
                    ),
                    "none",
                    Query(expr=signals.total(upstream.ALERTMANAGER_ALERTS, {}, "state"), legend="{{state}}"),
                ),
            ]
        )
    ]


def _exporter(factory: PanelFactory) -> list[Row]:
    return [_events(factory), _waiting(factory)]


def _events(factory: PanelFactory) -> Row:
    events = metrics.EXPORTER_EVENTS
    refused = promql.rate(promql.select(events, result=promql.not_equal("accepted")), signals.RATE)
    none = promql.set_label(signals.rate(events, {}) * 0, "result", "none")
    return Row(
        panels=[
            factory.lines(
                "What becomes of events?",
                Note(
                    shows="Events per second by result.",
                    act="dropped as not_durable: the disk is full or broken; clients keep events a while.",
                    runbook=runbooks.KEEPING,
                ),
                "ops",
                Query(expr=signals.rate(events, {}, "result"), legend="{{result}}"),
                stack=True,
            ),
            factory.lines(
                "Why are events not counted?",
                Note(
                    shows="Events per second that were not counted, by reason.",
                    act="invalid or too_old: the senders' log says which field; docs/exporter.md explains each.",
                    runbook=runbooks.KEEPING,
                ),
                "ops",
                Query(
                    expr=promql.sum_by(refused, "result", "reason").or_(none),
                    legend="{{result}} {{reason}}",
                ),
            ),
            factory.lines(
                "How quickly are events durable?",
                Note(
                    shows="Time to make a group of events durable: median and 99th percentile.",
                    act="slow commits are a slow disk; clients wait that long for their answer.",
                    runbook=runbooks.KEEPING,
                ),
                "s",
                *(
                    Query(expr=signals.quantile(metrics.EXPORTER_COMMIT_DURATION, part, {}), legend=name)
                    for part, name in ((0.5, "p50"), (0.99, "p99"))
                ),
            ),
            factory.lines(
                "Is the judge of drift awake?",
                Note(
                    shows="1 while the process that judges windows runs, its restarts, and how far it is behind.",
                    act="away: drift is not looked at; the exporter starts it again and keeps the events.",
                    runbook=runbooks.JUDGE,
                ),
                "short",
                Query(expr=promql.select(metrics.DRIFT_WORKER_UP), legend="{{instance}} runs"),
                Query(expr=promql.select(metrics.DRIFT_WORKER_RESTARTS), legend="{{instance}} restarts"),
                Query(expr=promql.select(metrics.DRIFT_WORKER_BEHIND), legend="{{instance}} behind (seconds)"),
                Query(expr=promql.select(metrics.DRIFT_WORKER_BACKLOG), legend="{{instance}} backlog (bytes)"),
            ),
            factory.lines(
                "What is drift not judged by, or not shown of?",
                Note(
                    shows="Journal deleted unread, rows of inference logs without room, samples beyond caps.series.",
                    act="the first two: windows of that time were judged from the rest. The last: raise caps.series.",
                    runbook=runbooks.SKIPS,
                ),
                "short",
                Query(expr=promql.select(metrics.DRIFT_SKIPPED_BYTES), legend="{{instance}} skipped (bytes)"),
                Query(expr=promql.select(metrics.DRIFT_LOST_ROWS), legend="{{instance}} lost (rows)"),
                Query(expr=promql.select(metrics.DRIFT_LEFT_OUT), legend="{{instance}} left out (samples)"),
            ),
        ]
    )


def _waiting(factory: PanelFactory) -> Row:
    return Row(
        panels=[
            factory.lines(
                "What waits for its other half?",
                Note(
                    shows="Predictions without a label, labels without a prediction.",
                    act="labels that wait: they come with ids nobody predicted.",
                    runbook=runbooks.FULL,
                ),
                "short",
                Query(
                    expr=signals.total(metrics.EXPORTER_PREDICTIONS_WAITING, {}, "model"),
                    legend="predictions {{model}}",
                ),
                Query(
                    expr=signals.total(metrics.EXPORTER_LABELS_WAITING, {}, "model"),
                    legend="labels {{model}}",
                ),
                Query(
                    expr=signals.total(metrics.EXPORTER_HALVES_WAITING, {}),
                    legend="halves of the inference log",
                ),
            ),
            factory.lines(
                "How long has the oldest waited?",
                Note(
                    shows="Age of the oldest prediction that waits for its label, by exporter.",
                    act="near label_retention predictions expire without ever being judged.",
                    runbook=runbooks.LABELS,
                ),
                "s",
                Query(expr=promql.select(metrics.EXPORTER_OLDEST_WAITING), legend="{{instance}}"),
            ),
            factory.lines(
                "What is given up?",
                Note(
                    shows="In the chosen window: predictions that expired, labels nobody predicted, and what "
                    "sampling left out.",
                    act="expired: labels are later than label_retention. Orphaned: they carry other ids.",
                    runbook=runbooks.LABELS,
                ),
                "short",
                *(
                    Query(expr=signals.increase(metric, {}, "model"), legend=f"{name} {{{{model}}}}")
                    for name, metric in GIVEN_UP.items()
                ),
            ),
            factory.lines(
                "How large is the journal?",
                Note(
                    shows="Bytes of the journal and its snapshot, by exporter.",
                    act="it holds what label_retention asks for: shorten that, or give it a larger disk.",
                    runbook=runbooks.FULL,
                ),
                "bytes",
                Query(expr=promql.select(metrics.EXPORTER_JOURNAL_BYTES), legend="{{instance}}"),
            ),
            factory.stat(
                "Was a journal damaged?",
                Note(
                    shows="Damaged tails found at a start, in the chosen window.",
                    act="what could be read was kept; the rest is set aside in a .damaged file.",
                    runbook=runbooks.JOURNAL,
                ),
                "none",
                Query(expr=signals.increase(metrics.EXPORTER_JOURNAL_CORRUPTIONS, {})),
                steps=[(None, style.GOOD), (1, style.BAD)],
                states=KEPT,
            ),
        ],
        widths=[5, 5, 5, 5, 4],
    )


def _fleet(factory: PanelFactory) -> list[Section]:
    """Where exporters are members of a Kafka group."""
    if factory.platform.exporter.kafka is None:
        return []
    lost, resets = (
        promql.sum_by(promql.increase(promql.select(metric), "1h"), "group", "reason")
        for metric in (metrics.KAFKA_LOST, metrics.KAFKA_RESETS)
    )
    rows = [
        Row(
            panels=[
                factory.lines(
                    "How many records wait to be counted?",
                    Note(
                        shows="Records of each partition behind the last that is counted, and those to be read back.",
                        act="all partitions: add members. One: its key has too many of the records.",
                        runbook=runbooks.FLEET_BEHIND,
                    ),
                    "short",
                    Query(
                        expr=signals.total(metrics.KAFKA_LAG, {}, "group", "topic", "partition"),
                        legend="{{group}} {{topic}} {{partition}}",
                    ),
                    Query(
                        expr=signals.total(metrics.KAFKA_READING_BACK, {}, "group", "partition"),
                        legend="{{group}} {{partition}} read back",
                    ),
                ),
                factory.lines(
                    "How old is what was counted last?",
                    Note(
                        shows="Time since the newest record that is counted, where others wait.",
                        act="rates of the last minutes are of records that are so old.",
                        runbook=runbooks.FLEET_BEHIND,
                    ),
                    "s",
                    Query(expr=signals.gauge(metrics.KAFKA_BEHIND, {}, "group", "topic"), legend="{{group}} {{topic}}"),
                ),
                factory.lines(
                    "Is every partition somebody's?",
                    Note(
                        shows="Partitions that are counted, and how many there are.",
                        act="start the member that is missing, with its state folder.",
                        runbook=runbooks.FLEET_UNREAD,
                    ),
                    "short",
                    Query(expr=signals.total(metrics.KAFKA_PARTITIONS, {}, "group"), legend="{{group}} counted"),
                    Query(expr=signals.gauge(metrics.KAFKA_TOPIC_PARTITIONS, {}, "group"), legend="{{group}} all"),
                ),
            ]
        ),
        Row(
            panels=[
                factory.lines(
                    "What becomes of batches?",
                    Note(
                        shows="Batches a second by what the group answered; and how often partitions were given.",
                        act="refused again and again: members lose partitions; see session_timeout and their logs.",
                        runbook=runbooks.FLEET_UNREAD,
                    ),
                    "ops",
                    Query(
                        expr=signals.rate(metrics.KAFKA_COMMITS, {}, "group", "result"), legend="{{group}} {{result}}"
                    ),
                    Query(expr=signals.rate(metrics.KAFKA_REBALANCES, {}, "group"), legend="{{group}} given"),
                ),
                factory.lines(
                    "How many records are counted?",
                    Note(
                        shows="Records a second, those that are no events too.",
                        act="none while lag grows: the member's log says why.",
                        runbook=runbooks.FLEET_BEHIND,
                    ),
                    "ops",
                    Query(expr=signals.rate(metrics.KAFKA_RECORDS, {}, "group"), legend="{{group}}"),
                ),
                factory.lines(
                    "Was anything lost?",
                    Note(
                        shows="Records that nobody counts, and partitions that did not go on, in an hour.",
                        act="the runbook has each reason.",
                        runbook=runbooks.FLEET_LOST,
                    ),
                    "short",
                    Query(expr=lost, legend="{{group}} {{reason}} records"),
                    Query(expr=resets, legend="{{group}} {{reason}} partitions"),
                ),
            ]
        ),
    ]
    return [Section(title="Does the fleet on Kafka keep up?", rows=rows)]


def _size(factory: PanelFactory) -> list[Row]:
    return [
        Row(
            panels=[
                factory.lines(
                    "How many series does Prometheus hold?",
                    Note(
                        shows="Series in memory: each costs a few kilobytes.",
                        act="a jump is a label with too many values: see which target added them.",
                        runbook=runbooks.ALERTING,
                    ),
                    "short",
                    Query(expr=promql.select(upstream.HEAD_SERIES), legend="{{instance}}"),
                ),
                factory.lines(
                    "Who sends how much?",
                    Note(
                        shows="Samples in the last scrape of each job.",
                        act="the job that grew is the one to cap.",
                        runbook=runbooks.EXPORTER,
                    ),
                    "short",
                    Query(expr=signals.total(upstream.SCRAPE_SAMPLES, THESE_JOBS, "job"), legend="{{job}}"),
                    stack=True,
                ),
                factory.lines(
                    "Who adds new series?",
                    Note(
                        shows="New series in the last scrape of each job; steady growth is churn.",
                        act="a version or an id in a label: the exporter caps its own, other targets may not.",
                        runbook=runbooks.FOLDED,
                    ),
                    "short",
                    Query(expr=signals.total(upstream.SCRAPE_SERIES_ADDED, THESE_JOBS, "job"), legend="{{job}}"),
                ),
                factory.lines(
                    "How many series does the exporter publish?",
                    Note(
                        shows="Series of each exporter, and label values it folded into other, per second.",
                        act="folding: raise exporter.caps if those values matter, or find who sends them.",
                        runbook=runbooks.FOLDED,
                    ),
                    "short",
                    Query(expr=promql.select(metrics.EXPORTER_SERIES), legend="{{instance}} series"),
                    Query(expr=signals.rate(metrics.EXPORTER_FOLDED, {}, "label"), legend="folded {{label}}"),
                ),
            ]
        )
    ]
