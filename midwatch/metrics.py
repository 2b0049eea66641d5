"""Every metric Midwatch publishes, each defined once: name as PromQL shows it, type, labels, help and buckets.

Exporters build instruments from these definitions; `midwatch.promql` builds expressions from them. Base units only;
ratios run from 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Prometheus metric types in use here."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric of the catalogue.

    `name` is what a query says (counters end in `_total`; a histogram's name is without `_bucket`). `buckets` are
    upper bounds in the metric's unit, ascending, without `+Inf`, and empty for anything but a histogram.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def family(self) -> str:
        """Name of the metric family in the exposition (a counter's without `_total`)."""
        return self.name.removesuffix("_total") if self.kind is Kind.COUNTER else self.name


OTHER = "other"
"""Label value that stands for everything beyond a cardinality cap."""

AMOUNT = "amount"
"""Label value that stands for the number that a regression predicts, where its predictions are counted by group."""

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds. A latency objective's threshold has to be one of a model's bounds, so that the SLI is exact."""

DELAY_BUCKETS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 10800.0, 21600.0, 43200.0, 86400.0, 604800.0)
"""Seconds from a prediction to its label: from a demonstration's tenths to a week."""

COMMIT_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

FIRST_TOKEN_BUCKETS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
PLACE_BUCKETS = (1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0)
ADDITIVITY_BUCKETS = (1e-9, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)
"""Ratios. Sums of 64-bit floats are within the first, XGBoost's of 32-bit ones within 0.0001."""
OUTPUT_TOKEN_BUCKETS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
"""Seconds, as OpenTelemetry's conventions for generative AI have them (gen_ai.server.time_to_first_token and
.time_per_output_token), so that they can be compared with what model servers publish themselves."""

CALIBRATION_BINS = 10
"""Equal-width bins of the score, labelled by their upper edge: 0.1 to 1.0 (Guo et al. 2017, section 2)."""

GROUP_SCORE_BINS = 50
"""The same by group, a multiple of `CALIBRATION_BINS`: their edges are the thresholds that can be compared."""


CATALOGUE: dict[str, Metric] = {}
"""Every metric by the name a query uses."""


def _counter(name: str, text: str, *labels: str) -> Metric:
    return listed(Metric(name=name, kind=Kind.COUNTER, help=text, labels=labels), CATALOGUE)


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return listed(Metric(name=name, kind=Kind.GAUGE, help=text, labels=labels), CATALOGUE)


def _histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...]) -> Metric:
    return listed(Metric(name=name, kind=Kind.HISTOGRAM, help=text, labels=labels, buckets=buckets), CATALOGUE)


def listed(metric: Metric, catalogue: dict[str, Metric]) -> Metric:
    """A metric that is now in the catalogue; ValueError when there is one of that name."""
    if metric.name in catalogue:
        raise ValueError(f"{metric.name} is defined twice")
    catalogue[metric.name] = metric
    return metric


# Models, from prediction and label events ------------------------------------------------------------------------

REQUESTS = _counter("ml_requests_total", "Prediction requests.", "model", "version", "outcome")
REQUEST_DURATION = _histogram(
    "ml_request_duration_seconds", "Time to answer a prediction request.", "model", "version", buckets=LATENCY_BUCKETS
)
PREDICTIONS = _counter("ml_predictions_total", "Predictions by predicted class.", "model", "version", "predicted")
OUTCOMES = _counter(
    "ml_outcomes_total",
    "Labelled predictions by predicted and actual class.",
    "model",
    "version",
    "predicted",
    "actual",
)
GROUP_OUTCOMES = _counter(
    "ml_group_outcomes_total",
    "Labelled predictions by group of an attribute, predicted and actual class.",
    "model",
    "version",
    "attribute",
    "group",
    "predicted",
    "actual",
)
GROUP_PREDICTIONS = _counter(
    "ml_group_predictions_total",
    "Predictions by group of an attribute and predicted class, labelled or not.",
    "model",
    "version",
    "attribute",
    "group",
    "predicted",
)
GROUP_RANKED = _counter(
    "ml_group_ranked_total",
    "Predictions with a rank, by group of an attribute.",
    "model",
    "version",
    "attribute",
    "group",
)
GROUP_EXPOSURE = _counter(
    "ml_group_exposure_total",
    "Sum of 1 / log2(1 + rank) of predictions with a rank, by group of an attribute.",
    "model",
    "version",
    "attribute",
    "group",
)
GROUP_EXPOSURE_SQUARES = _counter(
    "ml_group_exposure_squares_total",
    "Sum of the squares of 1 / log2(1 + rank), by group of an attribute.",
    "model",
    "version",
    "attribute",
    "group",
)
ABSOLUTE_ERROR = _counter(
    "ml_absolute_error_total", "Sum of absolute errors of labelled predictions.", "model", "version"
)
SQUARED_ERROR = _counter("ml_squared_error_total", "Sum of squared errors of labelled predictions.", "model", "version")
ERRORS_OBSERVED = _counter("ml_errors_observed_total", "Labelled predictions of a regression.", "model", "version")
ERRORS_BOUNDED = _counter(
    "ml_errors_bounded_total",
    "Labelled predictions of a regression by a promised bound of the absolute error, and whether within it: yes or no.",
    "model",
    "version",
    "bound",
    "within",
)
SCORED_OUTCOMES = _counter(
    "ml_scored_outcomes_total", "Labelled predictions by score bin (upper edge).", "model", "version", "bin"
)
SCORED_POSITIVES = _counter(
    "ml_scored_positives_total",
    "Labelled predictions whose actual class is positive, by score bin.",
    "model",
    "version",
    "bin",
)
SCORE_SUM = _counter(
    "ml_score_sum_total", "Sum of scores of labelled predictions, by score bin.", "model", "version", "bin"
)
EXPECTED_CORRECT = _counter(
    "ml_expected_correct_total",
    "Estimate, before labels: sum over predictions of the probability, by their own score, of being right.",
    "model",
    "version",
)
EXPECTED_OBSERVED = _counter(
    "ml_expected_observed_total", "Predictions with a score, in the estimate before labels.", "model", "version"
)
TOKENS = _counter("ml_tokens_total", "Tokens of language models, by kind: input or output.", "model", "version", "kind")
FINISH_REASONS = _counter(
    "ml_finish_reasons_total",
    "Answers of language models by why they ended: stop, length, tool_calls, content_filter, error or other.",
    "model",
    "version",
    "reason",
)
TIME_TO_FIRST_TOKEN = _histogram(
    "ml_time_to_first_token_seconds",
    "Time to the first token of an answer, where the model server says it.",
    "model",
    "version",
    buckets=FIRST_TOKEN_BUCKETS,
)
TIME_PER_OUTPUT_TOKEN = _histogram(
    "ml_time_per_output_token_seconds",
    "Time per token of an answer, where the model server says it.",
    "model",
    "version",
    buckets=OUTPUT_TOKEN_BUCKETS,
)
EXPLAINED = _counter(
    "ml_explained_predictions_total", "Predictions that came with attributions of features.", "model", "version"
)
ATTRIBUTION_ADDED = _counter(
    "ml_attribution_added_total",
    "Sum of what a feature added to the model's answer, over explained predictions.",
    "model",
    "version",
    "feature",
)
ATTRIBUTION_TAKEN = _counter(
    "ml_attribution_taken_total",
    "Sum of what a feature took away from the model's answer, as a positive number.",
    "model",
    "version",
    "feature",
)
ATTRIBUTION_SQUARES = _counter(
    "ml_attribution_squares_total", "Sum of squares of a feature's attributions.", "model", "version", "feature"
)
ATTRIBUTION_PLACE = _histogram(
    "ml_attribution_place",
    "Place of a feature among those of an explained prediction: 1 has the greatest amount.",
    "model",
    "version",
    "feature",
    buckets=PLACE_BUCKETS,
)
GROUP_EXPLAINED = _counter(
    "ml_group_explained_predictions_total",
    "Predictions that came with attributions of features, by group of an attribute.",
    "model",
    "version",
    "attribute",
    "group",
)
GROUP_ATTRIBUTION_ADDED = _counter(
    "ml_group_attribution_added_total",
    "Sum of what a feature added to the model's answers of a group.",
    "model",
    "version",
    "attribute",
    "group",
    "feature",
)
GROUP_ATTRIBUTION_TAKEN = _counter(
    "ml_group_attribution_taken_total",
    "Sum of what a feature took away from the model's answers of a group, as a positive number.",
    "model",
    "version",
    "attribute",
    "group",
    "feature",
)
GROUP_ATTRIBUTION_SQUARES = _counter(
    "ml_group_attribution_squares_total",
    "Sum of squares of a feature's attributions of a group.",
    "model",
    "version",
    "attribute",
    "group",
    "feature",
)

# The explanation service, `midwatch explain serve` --------------------------------------------------------------------

EXPLANATION_REQUESTS = _counter(
    "ml_explanation_requests_total",
    "Requests for explanations, by outcome: ok, or error, which is not the caller's mistake.",
    "model",
    "version",
    "outcome",
)
EXPLANATION_REFUSALS = _counter(
    "ml_explanation_refusals_total",
    "Requests that were not explained, by reason: busy, deadline, model_failed, failed, invalid or refused.",
    "model",
    "version",
    "reason",
)
EXPLANATION_DURATION = _histogram(
    "ml_explanation_duration_seconds",
    "Time to answer a request for explanations, with the wait for its turn.",
    "model",
    "version",
    buckets=LATENCY_BUCKETS,
)
EXPLANATIONS = _counter(
    "ml_explanations_total",
    "Rows that were explained, by why it ended: exact, precise, or budget where the time was spent before.",
    "model",
    "version",
    "stopped",
)
EXPLANATION_ADDITIVITY = _histogram(
    "ml_explanation_additivity_error_ratio",
    "What base and attributions lack of the model's answer, by 1 + the attributions' sizes.",
    "model",
    "version",
    buckets=ADDITIVITY_BUCKETS,
)
EXPLANATION_SAMPLES = _counter(
    "ml_explanation_rows_asked_total",
    "Rows that the model was asked for explanations: no predictions.",
    "model",
    "version",
)
EXPLANATION_CACHE = _counter(
    "ml_explanation_cache_lookups_total",
    "Rows looked up in the cache, by result: hit or miss.",
    "model",
    "version",
    "result",
)
EXPLANATION_CACHE_SIZE = _gauge(
    "ml_explanation_cache_bytes", "Bytes of the explanations that are cached.", "model", "version"
)
EXPLANATION_WAITING = _gauge(
    "ml_explanation_requests_waiting", "Requests that are explained or wait for it.", "model", "version"
)
EXPLAINER_INFO = _gauge(
    "ml_explainer_info",
    "Constant 1: how the service explains (exact or permutations), and the background's id.",
    "model",
    "version",
    "method",
    "background",
)

# Explainers that are asked by `midwatch systems export`, whoever's they are ---

EXPLAIN_PROBE_UP = _gauge("explainer_probe_up", "1 where an explainer's last answer was an explanation.", "endpoint")
EXPLAIN_PROBE_DURATION = _gauge("explainer_probe_duration_seconds", "Time that its last answer took.", "endpoint")
EXPLAIN_PROBE_ADDITIVITY = _gauge(
    "explainer_probe_additivity_error_ratio",
    "What base and attributions of its last answer lack of the model's answer, by 1 + their sizes.",
    "endpoint",
)

LABEL_DELAY = _histogram(
    "ml_label_delay_seconds", "Time from a prediction to its label.", "model", buckets=DELAY_BUCKETS
)

# Predictions that are as old as their model's labels need: compared at an equal age ---------------------------------

LABEL_MATURITY = _gauge(
    "ml_label_maturity_seconds",
    "Age at which a prediction is settled, with its label or without; absent while it is not known.",
    "model",
)
UNSETTLED = _gauge("ml_unsettled_predictions", "Predictions that are too young to be settled.", "model", "version")
SETTLED = _counter(
    "ml_settled_predictions_total",
    "Predictions that were settled, by predicted class and result: right, wrong or unlabelled.",
    "model",
    "version",
    "predicted",
    "result",
)
SETTLED_OUTCOMES = _counter(
    "ml_settled_outcomes_total",
    "Settled predictions with a label, by predicted and actual class.",
    "model",
    "version",
    "predicted",
    "actual",
)
SETTLED_GROUP_OUTCOMES = _counter(
    "ml_settled_group_outcomes_total",
    "Settled predictions with a label, by group of an attribute, predicted and actual class.",
    "model",
    "version",
    "attribute",
    "group",
    "predicted",
    "actual",
)
SETTLED_GROUP_PREDICTIONS = _counter(
    "ml_settled_group_predictions_total",
    "Settled predictions, with a label or without, by group of an attribute and predicted class.",
    "model",
    "version",
    "attribute",
    "group",
    "predicted",
)
SETTLED_SCORED = _counter(
    "ml_settled_scored_outcomes_total",
    "Settled predictions with a label and a score, by score bin (upper edge).",
    "model",
    "version",
    "bin",
)
SETTLED_POSITIVES = _counter(
    "ml_settled_scored_positives_total",
    "Settled predictions whose actual class is positive, by score bin.",
    "model",
    "version",
    "bin",
)
SETTLED_SCORE_SUM = _counter(
    "ml_settled_score_sum_total",
    "Sum of scores of settled predictions with a label, by score bin.",
    "model",
    "version",
    "bin",
)
SETTLED_GROUP_SCORED = _counter(
    "ml_settled_group_scored_predictions_total",
    "Settled predictions with a score, with a label or without, by group of an attribute and score bin (upper edge).",
    "model",
    "version",
    "attribute",
    "group",
    "bin",
)
SETTLED_GROUP_SCORED_OUTCOMES = _counter(
    "ml_settled_group_scored_outcomes_total",
    "Settled predictions with a label and a score, by group of an attribute and score bin.",
    "model",
    "version",
    "attribute",
    "group",
    "bin",
)
SETTLED_GROUP_POSITIVES = _counter(
    "ml_settled_group_scored_positives_total",
    "Settled predictions whose actual class is positive, by group of an attribute and score bin.",
    "model",
    "version",
    "attribute",
    "group",
    "bin",
)
SETTLED_GROUP_SCORE_SUM = _counter(
    "ml_settled_group_score_sum_total",
    "Sum of scores of settled predictions with a label, by group of an attribute and score bin.",
    "model",
    "version",
    "attribute",
    "group",
    "bin",
)
SETTLED_GROUP_ERRORS = _counter(
    "ml_settled_group_errors_total",
    "Settled, labelled predictions of a regression by group of an attribute and whether within an error bound.",
    "model",
    "version",
    "attribute",
    "group",
    "bound",
    "within",
)
SETTLED_GROUP_ABSOLUTE_ERROR = _counter(
    "ml_settled_group_absolute_error_total",
    "Sum of absolute errors of settled predictions by group of an attribute; one beyond the bound counts as the bound.",
    "model",
    "version",
    "attribute",
    "group",
    "bound",
)
SETTLED_GROUP_SQUARED_ERROR = _counter(
    "ml_settled_group_squared_error_total",
    "Sum of squared errors of settled predictions by group of an attribute; one beyond the bound counts as the bound.",
    "model",
    "version",
    "attribute",
    "group",
    "bound",
)
LATE_LABELS = _counter(
    "ml_late_labels_total",
    "Labels that came after their prediction was settled as unlabelled, by what they say: right or wrong.",
    "model",
    "version",
    "result",
)

# Drift ------------------------------------------------------------------------------------------------------------

DRIFT_STATISTIC = _gauge(
    "ml_drift_statistic", "Statistic of a drift method in the last window.", "model", "version", "feature", "method"
)
DRIFT_P_VALUE = _gauge(
    "ml_drift_p_value", "P-value of a drift method in the last window.", "model", "version", "feature", "method"
)
DRIFT_EFFECT = _gauge(
    "ml_drift_effect", "Effect size of a drift method in the last window.", "model", "version", "feature", "method"
)
DRIFT_VOTE = _gauge(
    "ml_drift_vote",
    "1 where a drift method says drift of the last window, else 0.",
    "model",
    "version",
    "feature",
    "method",
)
DRIFT_SHARE = _gauge(
    "ml_drift_share",
    "Share of a feature's values in each bin, of `side` reference or window, for the features that are furthest from "
    "their reference; `place` is the bin's from the left.",
    "model",
    "version",
    "feature",
    "side",
    "place",
    "bin",
)
DRIFT_VOTES = _gauge("ml_drift_votes", "Methods that voted for drift in the last window.", "model", "version")
DRIFT_DETECTED = _gauge(
    "ml_drift_detected",
    "1 when the last window's verdict is drift, 0 when it is stable; absent when undecided.",
    "model",
    "version",
)
DRIFT_JUDGED = _gauge(
    "ml_drift_judged",
    "1 where the last window could show a large change of a feature at the stated budget, 0 where it is not judged.",
    "model",
    "version",
    "feature",
)
DRIFT_SMALLEST_SEEN = _gauge(
    "ml_drift_smallest_seen_effect",
    "Least effect that a drift method would have seen of a feature in the last window at the stated budget.",
    "model",
    "version",
    "feature",
    "method",
)
DRIFT_ROWS_NEEDED = _gauge(
    "ml_drift_rows_needed",
    "Rows of a window that could show a large change of a feature that is not judged, where a number is enough.",
    "model",
    "version",
    "feature",
)
DRIFT_QUORUM = _gauge("ml_drift_quorum", "Votes that make a verdict of drift.", "model")
DRIFT_WINDOWS = _counter("ml_drift_windows_total", "Windows judged, by verdict.", "model", "version", "verdict")
DRIFT_WINDOW_SAMPLES = _gauge("ml_drift_window_samples", "Predictions in the last judged window.", "model", "version")
DRIFT_WINDOW_END = _gauge(
    "ml_drift_window_end_timestamp_seconds", "When the last judged window ended.", "model", "version"
)

DRIFT_EPISODE = _gauge(
    "ml_drift_episode", "1 from the first drifted window until two calm ones in a row, then 0.", "model", "version"
)
DRIFT_EPISODES = _counter("ml_drift_episodes_total", "Episodes of drift that began.", "model", "version")
RETRAIN_TRIGGERS = _counter(
    "midwatch_retrain_triggers_total",
    "Retraining triggers by result: sent; failed after the last attempt; unknown, when no answer came; withdrawn.",
    "model",
    "result",
)

DRIFT_EPISODE_ONSET = _gauge(
    "ml_drift_episode_onset_timestamp_seconds",
    "When the first window of the drift that holds began: it began in that window.",
    "model",
    "version",
)
DRIFT_EPISODE_DETECTED = _gauge(
    "ml_drift_episode_detected_timestamp_seconds", "When that window ended.", "model", "version"
)
DRIFT_EPISODE_WINDOWS = _gauge(
    "ml_drift_episode_windows", "Drifted windows of the drift that holds.", "model", "version"
)

# The loop: from drift to a better model in production ---------------------------------------------------------------

LOOP_BUCKETS = (
    1.0,
    5.0,
    15.0,
    60.0,
    300.0,
    900.0,
    1800.0,
    3600.0,
    10800.0,
    21600.0,
    43200.0,
    86400.0,
    259200.0,
    604800.0,
)
"""Seconds of a step of the loop: from those of a demonstration to a week of waiting for labels."""

LOOP_EPISODE_OPEN = _gauge("ml_loop_episode_open", "1 while an episode of the loop is open, else 0.", "model")
LOOP_EPISODE = _gauge(
    "ml_loop_episode_info",
    "Constant 1; the newest episode of the loop: drift of which version, what replaces it, and how it ended and why.",
    "model",
    "episode",
    "version",
    "new_version",
    "outcome",
    "cause",
)
LOOP_EPISODES = _counter(
    "ml_loop_episodes_total",
    "Episodes of the loop that ended, by outcome and cause: a step that failed or did not come, or what shows it.",
    "model",
    "outcome",
    "cause",
)
LOOP_STEP_STATE = _gauge(
    "ml_loop_step_state",
    "1 for how each step of the newest episode stands: done, failed, skipped, waiting, ahead, not_seen, not_observed.",
    "model",
    "step",
    "state",
)
LOOP_STEP = _gauge(
    "ml_loop_step_timestamp_seconds",
    "When each step of the newest episode was done, as its owner says, else when it was seen.",
    "model",
    "step",
)
LOOP_TIME = _gauge(
    "ml_loop_time_timestamp_seconds",
    "T0 to T8 of the newest episode: onset, detected, asked, started, trained, registered, canary, all traffic, well.",
    "model",
    "time",
)
LOOP_WAITING = _gauge(
    "ml_loop_waiting_since_timestamp_seconds",
    "Since when the open episode waits for its next step, which the label names.",
    "model",
    "step",
)
LOOP_STEP_DURATION = _histogram(
    "ml_loop_step_duration_seconds",
    "Time to a step of an episode that ended from the one before it.",
    "model",
    "step",
    buckets=LOOP_BUCKETS,
)
LOOP_PHASE = _counter(
    "ml_loop_phase_seconds_total",
    "Time that episodes that ended spent in each phase between T0 and T8: where the time goes.",
    "model",
    "phase",
)
LOOP_RECOVERY = _gauge(
    "ml_loop_last_recovery_seconds",
    "Time from the drift's onset until a better version had all traffic, in the last episode that ended so.",
    "model",
)
LOOP_LEADER = _gauge("midwatch_loop_leader", "1 where this process follows the episodes, 0 where it stands by.")
LOOP_SOURCE_UP = _gauge(
    "midwatch_loop_source_up",
    "1 where an owner of steps answered when the loop last asked it; 0 where it is blind for its steps.",
    "source",
)
LOOP_LAST_LOOK = _gauge(
    "midwatch_loop_last_look_timestamp_seconds", "When the loop last looked at every model and recorded what it saw."
)
LOOP_DRILL_VERDICT = _gauge("ml_loop_drill_verdict", "1 for the verdict of a loop's last drill.", "model", "verdict")
LOOP_DRILL_RECOVERY = _gauge(
    "ml_loop_drill_recovery_seconds",
    "Time from the drift to another version with all traffic, in a loop's last drill that saw one.",
    "model",
)
LOOP_DRILL_LAST_RUN = _gauge("ml_loop_drill_last_run_timestamp_seconds", "When a loop was last drilled.", "model")
LOOP_DRILL_LAST_MET = _gauge(
    "ml_loop_drill_last_met_timestamp_seconds", "When a drill of a loop last met its promise.", "model"
)

# Inside a Python model server -------------------------------------------------------------------------------------

SERVER_REQUESTS = _counter(
    "ml_server_requests_total", "Requests a model server answered, as it saw them.", "model", "version", "outcome"
)
SERVER_REQUEST_DURATION = _histogram(
    "ml_server_request_duration_seconds",
    "Time a model server took to answer.",
    "model",
    "version",
    buckets=LATENCY_BUCKETS,
)
SERVER_FIRST_BYTE = _histogram(
    "ml_server_time_to_first_byte_seconds",
    "Time until the first byte of a model server's answer, or the first item of a generator.",
    "model",
    "version",
    buckets=LATENCY_BUCKETS,
)
SERVER_IN_FLIGHT = _gauge("ml_server_requests_in_flight", "Requests a model server is working on.", "model", "version")
SERVER_SYNTHETIC = _counter(
    "ml_server_synthetic_requests_total",
    "Requests of a model server whose rows nobody asked about, an explainer's; no others count them.",
    "model",
    "version",
)
BUILD_INFO = _gauge(
    "ml_build_info", "Constant 1; what a model server runs.", "model", "version", "revision", "framework"
)

CLIENT_EVENTS = _counter(
    "midwatch_client_events_total",
    "Events of a model server by what became of them: acknowledged, refused or dropped; and why.",
    "result",
    "reason",
)
CLIENT_WAITING = _gauge("midwatch_client_events_waiting", "Events of a model server that no exporter has answered for.")
CLIENT_WAITING_BYTES = _gauge("midwatch_client_waiting_bytes", "Size of the events that wait, in memory or on disk.")
CLIENT_RETRIES = _counter(
    "midwatch_client_retries_total",
    "Requests of a model server to the exporter that settled nothing and were repeated.",
)

CLIENT_ATTRIBUTIONS = _counter(
    "midwatch_client_attributions_total",
    "Predictions of a model server whose attributions were offered: explained, not_sampled, over_budget or failed.",
    "result",
)

# The exporter itself ----------------------------------------------------------------------------------------------

MIDWATCH_BUILD_INFO = _gauge("midwatch_build_info", "Constant 1; the version of Midwatch.", "version")
PLATFORM_FILE = _gauge(
    "midwatch_platform_file_info",
    "Constant 1; a digest of what the exporter's platform file says of a model, and with no model of the rest.",
    "model",
    "digest",
)
EXPORTER_EVENTS = _counter(
    "midwatch_exporter_events_total", "Events received, by kind, result and reason.", "kind", "result", "reason"
)
EXPORTER_PREDICTIONS_WAITING = _gauge(
    "midwatch_exporter_predictions_waiting", "Predictions that wait for their label.", "model"
)
EXPORTER_LABELS_WAITING = _gauge("midwatch_exporter_labels_waiting", "Labels that wait for their prediction.", "model")
EXPORTER_PREDICTIONS_EXPIRED = _counter(
    "midwatch_exporter_predictions_expired_total", "Predictions whose label did not come within the retention.", "model"
)
EXPORTER_LABELS_ORPHANED = _counter(
    "midwatch_exporter_labels_orphaned_total", "Labels whose prediction did not come within the retention.", "model"
)
EXPORTER_SAMPLED_OUT = _counter(
    "midwatch_exporter_sampled_out_total", "Predictions not kept for a label because of sampling.", "model"
)
EXPORTER_OLDEST_WAITING = _gauge(
    "midwatch_exporter_oldest_waiting_seconds", "Age of the oldest prediction that waits for its label."
)
EXPORTER_HALVES_WAITING = _gauge(
    "midwatch_exporter_halves_waiting", "Inference log requests or responses that wait for the other half."
)
EXPORTER_JOURNAL_BYTES = _gauge("midwatch_exporter_journal_bytes", "Size of the journal and its snapshot on disk.")
EXPORTER_JOURNAL_CORRUPTIONS = _counter(
    "midwatch_exporter_journal_corruptions_total", "Damaged journal tails found at a start."
)
EXPORTER_COMMIT_DURATION = _histogram(
    "midwatch_exporter_commit_duration_seconds", "Time to make one group of events durable.", buckets=COMMIT_BUCKETS
)
EXPORTER_SCRAPE_DURATION = _gauge("midwatch_exporter_scrape_duration_seconds", "Time the previous scrape took.")
EXPORTER_SERIES = _gauge("midwatch_exporter_series", "Series in the exposition.")
EXPORTER_FOLDED = _counter(
    "midwatch_exporter_folded_total", "Events whose label value was folded into `other`, by label.", "label"
)
EXPORTER_UNREAD_PAYLOADS = _counter(
    "midwatch_exporter_unread_payloads_total",
    "Inferences counted without class and features because a payload could not be read, by reason.",
    "model",
    "reason",
)
KAFKA_LAG = _gauge(
    "midwatch_exporter_kafka_lag_records",
    "Records of a partition that are not counted yet.",
    "group",
    "topic",
    "partition",
)
KAFKA_BEHIND = _gauge(
    "midwatch_exporter_kafka_behind_seconds",
    "Time since the newest record of a partition that is counted, while others wait; 0 when none does.",
    "group",
    "topic",
    "partition",
)
KAFKA_PARTITIONS = _gauge("midwatch_exporter_kafka_partitions", "Partitions that this member counts.", "group")
KAFKA_TOPIC_PARTITIONS = _gauge("midwatch_exporter_kafka_topic_partitions", "Partitions that the topic has.", "group")
KAFKA_READING_BACK = _gauge(
    "midwatch_exporter_kafka_reading_back_records",
    "Records of a partition that are still to be read back, until those that come are counted.",
    "group",
    "partition",
)
KAFKA_RECORDS = _counter("midwatch_exporter_kafka_records_total", "Records that were counted or passed over.", "group")
KAFKA_LOST = _counter(
    "midwatch_exporter_kafka_lost_records_total",
    "Records that nobody counts: deleted before they were read, or events of a batch nobody can decide on.",
    "group",
    "reason",
)
KAFKA_RESETS = _counter(
    "midwatch_exporter_kafka_resets_total",
    "Times that a partition did not go on behind the last record that was counted.",
    "group",
    "reason",
)
KAFKA_COMMITS = _counter(
    "midwatch_exporter_kafka_commits_total", "Batches that the group was asked to move offsets for.", "group", "result"
)
KAFKA_REBALANCES = _counter("midwatch_exporter_kafka_rebalances_total", "Times that partitions were given.", "group")
EXPORTER_CONNECTIONS = _gauge("midwatch_exporter_connections", "Open client connections.")
REMOTE_WRITE_SAMPLES = _counter(
    "midwatch_remote_write_samples_total",
    "Samples to be pushed by remote write, by result: delivered, or dropped for a reason.",
    "result",
    "reason",
)
REMOTE_WRITE_RETRIES = _counter(
    "midwatch_remote_write_retries_total", "Requests of remote write that their receiver did not take yet."
)
REMOTE_WRITE_WAITING = _gauge(
    "midwatch_remote_write_waiting_samples", "Samples that wait until the receiver of remote write takes them."
)
DRIFT_WORKER_UP = _gauge(
    "midwatch_drift_worker_up",
    "1 while drift windows are judged; 0 while their process is away, ends again and again, or fails.",
)
DRIFT_WORKER_BACKLOG = _gauge("midwatch_drift_worker_backlog_bytes", "Journal bytes the drift process has yet to read.")
DRIFT_WORKER_BEHIND = _gauge(
    "midwatch_drift_worker_behind_seconds",
    "Age of the oldest events that the drift process has yet to read, or how long windows wait to be judged if longer.",
)
DRIFT_WORKER_RESTARTS = _counter(
    "midwatch_drift_worker_restarts_total", "How often the drift process ended, or was stopped, and was started again."
)
DRIFT_SKIPPED_BYTES = _counter(
    "midwatch_drift_skipped_bytes_total", "Journal bytes that were deleted before the drift process had read them."
)
DRIFT_LOST_ROWS = _counter(
    "midwatch_drift_lost_rows_total",
    "Rows of inference logs that drift was not judged by: too many waited for their other half.",
)
DRIFT_LEFT_OUT = _gauge(
    "midwatch_drift_left_out_samples", "Samples of drift that are not published: they are beyond exporter.caps.series."
)

# The stream: the exporter's counts by Spark --------------------------------------------------------------------------

STREAM_RECORDS = _counter("midwatch_stream_records_total", "Records that were read and counted, by source.", "source")
STREAM_BEHIND = _gauge(
    "midwatch_stream_behind_records", "Records that were there when the last batch ended and were not read.", "source"
)
STREAM_WATERMARK = _gauge(
    "midwatch_stream_watermark_timestamp_seconds", "Time of arrival up to which every partition was read and counted."
)
STREAM_LATE = _counter(
    "midwatch_stream_late_events_total",
    "Events whose time of arrival had been passed when they were read: their partition was behind the others.",
)
STREAM_BATCHES = _counter("midwatch_stream_batches_total", "Batches that are counted, each once.")
STREAM_LAST_BATCH = _gauge("midwatch_stream_last_batch_timestamp_seconds", "When the last batch was counted.")
STREAM_BATCH_DURATION = _gauge("midwatch_stream_batch_duration_seconds", "Time that the last batch took in Spark.")
STREAM_UNCOUNTED = _gauge(
    "midwatch_stream_uncounted_batches", "Batches that are durable at the driver and not in the counters yet."
)
STREAM_WAITING = _gauge(
    "midwatch_stream_waiting_entries", "Predictions, labels and halves that wait for their other half.", "kind"
)
STREAM_STATE_BYTES = _gauge(
    "midwatch_stream_state_bytes", "Bytes of ids and waiting entries in the state, once in memory and once on disk."
)

# Canary ----------------------------------------------------------------------------------------------------------

GATE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5)

_COMPARED = ("model", "baseline", "canary")
CANARY_VERDICT = _gauge(
    "canary_verdict", "1 for the gate's last verdict on a canary, 0 for the others.", *_COMPARED, "verdict"
)
CANARY_E_VALUE = _gauge(
    "canary_e_value",
    "Largest e-value so far of a criterion: against the canary (fail) or for it (pass).",
    *_COMPARED,
    "criterion",
    "direction",
)
CANARY_E_VALUE_LIMIT = _gauge(
    "canary_e_value_limit",
    "What an e-value has to reach; for fail the weighted mean of the criteria's.",
    *_COMPARED,
    "direction",
)
CANARY_EFFECT_RATIO = _gauge(
    "canary_effect_ratio", "Share of events on the canary to that on the baseline.", *_COMPARED, "criterion"
)
CANARY_REQUESTS = _gauge("canary_requests", "Requests in the comparison, by arm.", *_COMPARED, "arm")
CANARY_GATE_REQUESTS = _counter(
    "canary_gate_requests_total", "Questions answered by the gate, by verdict; refused is a 400.", "verdict"
)
CANARY_GATE_REFUSED = _counter(
    "canary_gate_refused_total",
    "Questions that the gate refused: unreadable, of an unknown_model, with the same_arms as baseline and canary, or "
    "for the gate of an other_platform or other_region.",
    "reason",
)
CANARY_GATE_DROPPED = _counter(
    "canary_gate_comparisons_dropped_total",
    "Comparisons whose last verdict is published no more.",
)
CANARY_GATE_DURATION = _histogram("canary_gate_duration_seconds", "Time the gate took to answer.", buckets=GATE_BUCKETS)
# Evidence ----------------------------------------------------------------------------------------------------------

# Promotions -------------------------------------------------------------------------------------------------------

PROMOTION_UNRECORDED = _gauge(
    "promotion_champion_unrecorded",
    "1 while a version is champion that no record of the gate's log has promoted, 0 while the recorded one is.",
    "model",
    "version",
)
PROMOTION_EVENTS = _counter(
    "promotion_events_total",
    "Promotions by what became of them: promoted, rolled_back, overridden, refused, failed, around_gate, mended.",
    "model",
    "event",
)
PROMOTION_LAST_LOOK = _gauge(
    "promotion_registry_last_look_timestamp_seconds",
    "When the gate last saw in the registry which version is champion, and could write down what it saw.",
    "model",
)
PROMOTION_WEBHOOKS = _counter(
    "promotion_webhooks_total",
    "Deliveries of the registry's webhook: taken, repeated, no_concern, bad_signature, stale, unreadable.",
    "result",
)

# Regression ------------------------------------------------------------------------------------------------------

REGRESSION_VERDICT = _gauge(
    "ml_regression_verdict",
    "1 for what is said of a model's trainings or releases against their history: regressed, steady, undecided.",
    "model",
    "series",
    "verdict",
)
REGRESSION_BEFORE = _gauge(
    "ml_regression_median_before", "Median of the history that the newest are compared with.", "model", "series"
)
REGRESSION_AFTER = _gauge(
    "ml_regression_median_after", "Median of the newest that are compared with the history.", "model", "series"
)

EVIDENCE_RECORDS = _gauge(
    "midwatch_evidence_records", "Records of an evidence log, with the hash of its newest one.", "log", "head"
)

# Disaster recovery -------------------------------------------------------------------------------------------------

DR_OBJECTIVE = _gauge("dr_objective_seconds", "Recovery objective, by kind: rto or rpo.", "kind")
DR_REPLICATION_LAG = _gauge(
    "dr_replication_lag_seconds",
    "Seconds of acknowledged writes that a standby, or the archive, does not have.",
    "store",
    "region",
)
DR_STANDBY_CONNECTED = _gauge("dr_standby_connected", "1 while a standby receives what is written.", "store", "region")
DR_RESTORABLE_AGE = _gauge(
    "dr_newest_restorable_age_seconds", "Age of the newest point that was restored and verified.", "store", "region"
)
DR_RESTORE_GOOD = _gauge(
    "dr_last_restore_good",
    "1 when the last verification restored the newest backup and all of the archive, 0 when it did not.",
    "store",
)
DR_ARCHIVE_FLAWS = _gauge(
    "dr_archive_flaws", "Segments behind the newest backup that are missing or not what they should be.", "store"
)
DR_BACKUP_FAILING = _gauge(
    "dr_backup_failing", "1 while the newest attempt at a backup has failed, 0 when it has not.", "store"
)
DR_SPLIT_BRAIN_SEEN = _gauge(
    "dr_split_brain_last_seen_timestamp_seconds",
    "When two servers of the store were last seen to take writes; 0 for never.",
    "store",
)
DR_FILES_UNSOUND = _gauge(
    "dr_files_unsound", "1 while files are not as they were published, or nobody can say whether they are.", "store"
)
DR_BACKUP_SIZE = _gauge("dr_backup_size_bytes", "Size of the newest backup.", "store")
DR_BACKUP_LARGEST = _gauge("dr_backup_largest_size_bytes", "Size of the largest backup that is kept.", "store")
DR_BACKUP_SUCCESS = _gauge(
    "dr_backup_last_success_timestamp_seconds", "When the newest backup that is whole was finished.", "store"
)
DR_DRILL_VERDICT = _gauge("dr_drill_verdict", "1 for the verdict of a drill's last run.", "drill", "store", "verdict")
DR_DRILL_RECOVERY = _gauge("dr_drill_recovery_seconds", "RTO that a drill's last run measured.", "drill", "store")
DR_DRILL_DATA_LOSS = _gauge(
    "dr_drill_data_loss_seconds", "Data loss that a drill's last run measured.", "drill", "store"
)
DR_DRILL_LAST_RUN = _gauge("dr_drill_last_run_timestamp_seconds", "When a drill was last run.", "drill", "store")
DR_DRILL_LAST_MET = _gauge(
    "dr_drill_last_met_timestamp_seconds", "When a drill last met its objectives.", "drill", "store"
)
DR_STORE_ANSWERS = _gauge(
    "dr_store_answers", "1 when a store's posture is known, 0 when it could not be asked.", "store"
)

# Records of objectives, by the rules of `alerts` ----------------------------------------------------------------------

SLO_LABELS = ("model", "slo", "owner", "version")
"""`version` only of objectives that are kept by version."""

BURN_RATE_WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
"""Windows of the standard burn rates (SRE Workbook, chapter 5); every objective has those its period is longer than."""

SYSTEM_OWN_METRICS = _gauge(
    "system:own_metrics:count", "Names that a system exposes of those that its stated version has.", "system"
)
SYSTEM_FOREIGN_METRICS = _gauge(
    "system:foreign_metrics:count", "Names that a system exposes and that only other versions of it have.", "system"
)
SLO_OBJECTIVE = _gauge("slo:objective:ratio", "Share of good events that is promised.", *SLO_LABELS)
SLO_LATENCY_THRESHOLD = _gauge("slo:latency_threshold:seconds", "Time a good request takes at most.", *SLO_LABELS)
SLO_PERIOD_ERROR = _gauge(
    "slo:period_error:ratio", "Bad events of the period by all its events; absent without any.", *SLO_LABELS
)
SLO_BUDGET_REMAINING = _gauge(
    "slo:error_budget_remaining:ratio",
    "Share of the period's error budget that is left; negative when overspent.",
    *SLO_LABELS,
)
SLO_PERIOD_BRIDGED = _gauge(
    "slo:period_bridged:ratio",
    "Events of the period that came while nobody scraped, by all its events; absent where no counters are read.",
    *SLO_LABELS,
)
SLO_TIME_TO_EXHAUSTION = _gauge(
    "slo:time_to_exhaustion:seconds",
    "Until the error budget is spent, if the last hour goes on; absent when it would never be.",
    *SLO_LABELS,
)
SLO_BURN_RATES = {
    window: _gauge(
        f"slo:burn_rate:ratio{window}",
        "Error ratio of the window by the promised one; absent without traffic.",
        *SLO_LABELS,
    )
    for window in BURN_RATE_WINDOWS
}

SLO_BUDGET_AT_LEAST = _gauge(
    "slo:error_budget_at_least:ratio",
    "Share of the period's error budget over all regions that is left, were every event of a silent region bad.",
    *SLO_LABELS,
    "region",
)

# Planes of several regions ------------------------------------------------------------------------------------------

FROM_REGION = "from_region"
"""Label of copied records: the region whose plane recorded them. The label `region` says whose copy it is."""
COPY_PREFIX = "copied:"
"""Begins the names of records that one plane copies from another, so that a view over all shows none of them twice."""
HEARTBEAT = _gauge("region:heartbeat:timestamp", "When the plane of this region evaluated its rules last.")
COPIED_HEARTBEAT = _gauge(
    f"{COPY_PREFIX}{HEARTBEAT.name}", "The heartbeat of another plane, as it was heard here.", FROM_REGION
)
UNDELIVERED = _gauge(
    "region:alerts_undelivered:increase3m", "Alerts of this plane's Prometheus that no Alertmanager took, in 3 minutes."
)
COPIED_UNDELIVERED = _gauge(
    f"{COPY_PREFIX}{UNDELIVERED.name}",
    "Alerts of another plane that reached nobody, as that was heard here.",
    FROM_REGION,
)
HEARTBEATS = f"{HEARTBEAT.name}|{UNDELIVERED.name}"
"""Pattern of what planes copy from one another."""
COPIED_BY_VIEW = f"{HEARTBEATS}|slo:(events|bad_events):(increase.+|period)"
"""Pattern of what the view's Prometheus copies from each plane: heartbeats, and counts that budgets are summed of."""

# Records of how each model is served, in one form whatever serves it, by the rules of `alerts` ---------------------

_SERVED = ("model", "version", "serving")
"""`serving` is the platform file's: `midwatch`, `vllm` and the like. Without versions at a server there is no label."""

SERVED_REQUESTS = _gauge(
    "model:ml_requests:rate",
    "Requests per second by outcome: ok, error, or unknown where the server does not count failures.",
    *_SERVED,
    "outcome",
)
SERVED_USUAL_REQUESTS = _gauge(
    "model:ml_requests:usual_rate",
    "Requests per second that are usual at this time: the lesser of yesterday's and of a week ago.",
    "model",
    "serving",
)
SERVED_TIME = _gauge("model:ml_request_duration_seconds_sum:rate", "Seconds spent on requests, per second.", *_SERVED)
SERVED_TIMED = _gauge(
    "model:ml_request_duration_seconds_count:rate", "Requests per second whose time is known.", *_SERVED
)
SERVED_USUAL_DURATION = _gauge(
    "model:ml_request_duration_seconds:usual_mean",
    "Mean time to answer that is usual at this time: yesterday's.",
    "model",
    "serving",
)
SERVED_DURATION = _gauge(
    "model:ml_request_duration_seconds_bucket:rate", "Requests per second by time to answer.", *_SERVED, "le"
)
SERVED_FIRST_TOKEN = _gauge(
    "model:ml_time_to_first_token_seconds_bucket:rate", "Answers per second by time to the first token.", *_SERVED, "le"
)
SERVED_PER_TOKEN = _gauge(
    "model:ml_time_per_output_token_seconds_bucket:rate", "Tokens per second by the time each took.", *_SERVED, "le"
)
SERVED_TOKENS = _gauge("model:ml_tokens:rate", "Tokens per second by kind: input or output.", *_SERVED, "kind")
SERVED_WAITING = _gauge("model:ml_requests_waiting:sum", "Requests that wait at the servers.", *_SERVED)
SERVED_RUNNING = _gauge("model:ml_requests_running:sum", "Requests that servers work on.", *_SERVED)
SERVED_CACHE = _gauge("model:ml_cache_usage:max", "Share of the fullest server's cache in use.", *_SERVED)
SERVED_CACHE_HITS = _gauge("model:ml_prefix_cache_hits:ratio", "Share of look-ups found in the prefix cache.", *_SERVED)

# What the systems exporter asks the platform's systems for ---------------------------------------------------------

SOURCE_UP = _gauge("midwatch_source_up", "1 where a system's owner answered when it was last asked.", "source")
SOURCE_LAST_SUCCESS = _gauge(
    "midwatch_source_last_success_timestamp_seconds", "When a system's owner last answered.", "source"
)
SOURCE_LEFT_OUT = _gauge(
    "midwatch_source_series_left_out", "Series of the last answer beyond observe.max_series, not published.", "source"
)

CRON_JOB_SUSPENDED = _gauge("kubernetes_cronjob_suspended", "1 while a CronJob is suspended.", "namespace", "cronjob")
CRON_JOB_START_DUE = _gauge(
    "kubernetes_cronjob_start_due_timestamp_seconds",
    "When the first run after the last that started is due by the CronJob's own schedule; none while suspended.",
    "namespace",
    "cronjob",
)
CRON_JOB_SUCCESS_DUE = _gauge(
    "kubernetes_cronjob_success_due_timestamp_seconds",
    "When the first run after the last success is due by the CronJob's own schedule; none while suspended.",
    "namespace",
    "cronjob",
)
CRON_JOB_LAST_SUCCESS = _gauge(
    "kubernetes_cronjob_last_success_timestamp_seconds",
    "When a CronJob last succeeded; without one it never did.",
    "namespace",
    "cronjob",
)
CRON_JOB_UNREADABLE = _gauge(
    "kubernetes_cronjob_schedule_unreadable", "1 for a CronJob whose schedule cannot be read.", "namespace", "cronjob"
)
CRON_JOB_MISSING = _gauge(
    "kubernetes_cronjob_missing", "1 for one of observe.cron_jobs that is not there.", "namespace", "cronjob"
)
JOB_UNFINISHED_SINCE = _gauge(
    "kubernetes_job_unfinished_since_timestamp_seconds",
    "When a Job began that has not ended and is not suspended.",
    "namespace",
    "job_name",
)

_PIPELINE = ("namespace", "pipeline")
_INFERENCE_SERVICE = ("namespace", "service_name")

PIPELINE_LAST_END = _gauge(
    "tekton_pipeline_last_end_timestamp_seconds",
    "When the newest run of a pipeline ended that is still there, by outcome: succeeded, skipped, failed or cancelled.",
    *_PIPELINE,
    "outcome",
)
PIPELINE_LAST_DURATION = _gauge(
    "tekton_pipeline_last_duration_seconds",
    "Time from start to end of that run, by outcome.",
    *_PIPELINE,
    "outcome",
)
PIPELINE_LAST_SUCCESS = _gauge(
    "tekton_pipeline_last_success_timestamp_seconds",
    "When one of observe.pipelines last succeeded, though the run may be pruned; none when it was never seen to.",
    *_PIPELINE,
)
PIPELINE_SUCCESS_DUE = _gauge(
    "tekton_pipeline_success_due_timestamp_seconds",
    "Until when one of observe.pipelines has to succeed again.",
    *_PIPELINE,
)
PIPELINE_NEVER_SUCCEEDED = _gauge(
    "tekton_pipeline_never_succeeded",
    "1 for one of observe.pipelines that was never seen to succeed.",
    *_PIPELINE,
)
PIPELINE_RUNS = _gauge(
    "tekton_pipeline_runs", "Runs of a pipeline that are under way, by state: waiting or running.", *_PIPELINE, "state"
)
PIPELINE_OLDEST_WAITING = _gauge(
    "tekton_pipeline_oldest_waiting_timestamp_seconds",
    "When the run or task of a pipeline was created that has waited for its start longest, by what it waits for.",
    *_PIPELINE,
    "reason",
)
PIPELINE_LAST_WAIT = _gauge(
    "tekton_pipeline_last_wait_seconds", "Time that the newest run took from creation to start.", *_PIPELINE
)
TRIGGER_LAST_RUN = _gauge(
    "tekton_trigger_last_run_timestamp_seconds",
    "When the newest run was created that an event triggered, by what became of it.",
    *_PIPELINE,
    "listener",
    "trigger",
    "outcome",
)
INFERENCE_SERVICE_READY = _gauge(
    "kserve_inference_service_ready", "1 while KServe says that an InferenceService is ready.", *_INFERENCE_SERVICE
)
INFERENCE_SERVICE_TRANSITION = _gauge(
    "kserve_inference_service_transition",
    "1 for the state of a change to the model; blocked_by_failed_load serves the old one, and may look ready.",
    *_INFERENCE_SERVICE,
    "state",
)
INFERENCE_SERVICE_MODEL = _gauge(
    "kserve_inference_service_model_state",
    "1 for the state of the model that serves (active), and of the one that shall (target).",
    *_INFERENCE_SERVICE,
    "which",
    "state",
)
INFERENCE_SERVICE_LAST_FAILURE = _gauge(
    "kserve_inference_service_last_failure",
    "1 for the reason that a model last failed for; KServe keeps it after the repair, and has no time of it.",
    *_INFERENCE_SERVICE,
    "reason",
)
INFERENCE_SERVICE_MISSING = _gauge(
    "kserve_inference_service_missing", "1 for one of observe.services that is not there.", *_INFERENCE_SERVICE
)

FEATURE_VIEW_SOURCE = _gauge(
    "feast_feature_view_source_state",
    "1 for what the source of a feature view is: read, empty or unreadable.",
    "feature_view",
    "state",
)
FEATURE_VIEW_NEWEST_EVENT = _gauge(
    "feast_feature_view_newest_event_timestamp_seconds",
    "The newest event time in a feature view's source; none without an event.",
    "feature_view",
)
FEATURE_VIEW_TTL = _gauge(
    "feast_feature_view_ttl_seconds",
    "Age beyond which a feature view's values are not served; none without a TTL.",
    "feature_view",
)
FEATURE_VIEW_MATERIALIZED_UNTIL = _gauge(
    "feast_feature_view_materialized_until_timestamp_seconds",
    "End of what was materialized, by whichever process; none when nothing ever was.",
    "feature_view",
)
FEATURE_VIEW_MISSING = _gauge(
    "feast_feature_view_missing",
    "1 for one of observe.views that the registry does not have.",
    "feature_view",
)
FEATURE_VIEW_EVENT_DUE = _gauge(
    "feast_feature_view_event_due_timestamp_seconds",
    "Until when one of observe.views has to have a newer event.",
    "feature_view",
)
FEATURE_VIEW_MATERIALIZATION_DUE = _gauge(
    "feast_feature_view_materialization_due_timestamp_seconds",
    "Until when one of observe.views has to be materialized again.",
    "feature_view",
)
FEATURE_VIEW_NEVER_MATERIALIZED = _gauge(
    "feast_feature_view_never_materialized",
    "1 for one of observe.views that has to be materialized and never was.",
    "feature_view",
)

# MLflow's registry; `model` is the platform file's name ---

REGISTRY_CHAMPIONS = _gauge(
    "registry_champions", "Versions that have the champion's alias or stage: 1, unless something is wrong.", "model"
)
REGISTRY_CHAMPION = _gauge(
    "registry_champion_info",
    "Constant 1 for each version that is champion; `served_version` is what servers call it.",
    "model",
    "version",
    "served_version",
)
REGISTRY_VERSION = _gauge(
    "registry_version_info",
    "Constant 1 for each alias or stage of a version, and for the newest version, which may have none.",
    "model",
    "version",
    "alias",
    "stage",
)
REGISTRY_SINCE = _gauge(
    "registry_version_since_timestamp_seconds",
    "When the exporter first saw a version with an alias or in a stage; MLflow keeps no such time.",
    "model",
    "version",
    "alias",
    "stage",
)
REGISTRY_CREATED = _gauge(
    "registry_version_created_timestamp_seconds", "When the registry got a version.", "model", "version"
)
REGISTRY_CHECK = _gauge(
    "registry_version_check",
    "Constant 1: whether a version in use has an owner, a signature, an evaluation: has, lacks or unknown.",
    "model",
    "version",
    "what",
    "result",
)

# Argo CD's applications ---

_APPLICATION = ("application", "namespace")

ARGO_APPLICATION = _gauge(
    "argo_cd_application_info",
    "Constant 1; the states of an application, and the phase of its last operation.",
    *_APPLICATION,
    "project",
    "sync",
    "health",
    "operation",
)
ARGO_REVISION = _gauge(
    "argo_cd_application_revision_info",
    "Constant 1; the revisions that were last deployed, and those that are wanted.",
    *_APPLICATION,
    "deployed",
    "wanted",
)
ARGO_IN_SYNC = _gauge(
    "argo_cd_application_last_in_sync_timestamp_seconds",
    "When the exporter last saw an application in sync; of one that never was, when it was first seen.",
    *_APPLICATION,
)
ARGO_OPERATION_FAILED = _gauge(
    "argo_cd_application_operation_failed",
    "1 where the last operation that ended has failed, which sync and health do not show.",
    *_APPLICATION,
)
ARGO_MODEL_VERSION = _gauge(
    "argo_cd_application_model_version_info",
    "Constant 1 for each version of a model that an application has.",
    *_APPLICATION,
    "model",
    "version",
)
ARGO_MODEL_VERSIONS = _gauge(
    "argo_cd_application_model_versions",
    "Versions of a model that an application has: 0 where none can be read, 2 while one replaces another.",
    *_APPLICATION,
    "model",
)

# What changed before an alert ---

INCIDENT_INFO = _gauge(
    "midwatch_incident_info",
    "Constant 1; of an alert on a model that is pending or fires, one line: its harm, since when, and what changed.",
    "alertname",
    "model",
    "version",
    "slo",
    "line",
)
INCIDENT_LAST_LOOK = _gauge(
    "midwatch_incident_last_look_timestamp_seconds",
    "When Prometheus last said which alerts hold; 0 before it has said so once.",
)

# The evaluator: promises that PromQL alone cannot judge -------------------------------------------------------------

EVALUATOR_LAST_SUCCESS = _gauge(
    "midwatch_evaluator_last_success_timestamp_seconds",
    "When all promises of a kind were last evaluated; 0 before they have been once.",
    "kind",
)
EVALUATOR_DURATION = _gauge(
    "midwatch_evaluator_duration_seconds", "How long the last evaluation of all promises of a kind took.", "kind"
)

FAIRNESS_PROMISE = ("model", "version", "attribute", "measure", "rate", "limit")
"""Labels of one judged rate of a fairness promise; `limit` is the promise's text, such as `ratio 80%`."""

FAIRNESS_VERDICT = _gauge(
    "ml_fairness_verdict",
    "1 where groups are shown alike within the limit, -1 where they are shown unfair, 0 where it is not known.",
    *FAIRNESS_PROMISE,
)
FAIRNESS_BECAME_UNFAIR = _gauge(
    "ml_fairness_became_unfair",
    "1 where the last blocks of time show groups beyond the limit, whatever was before, else 0.",
    *FAIRNESS_PROMISE,
)
FAIRNESS_DIFFERENCE = _gauge(
    "ml_fairness_difference",
    "Rate of the worst pair's upper group minus the lower's; `bound`: estimate, or low or high end of its interval.",
    *FAIRNESS_PROMISE,
    "bound",
)
FAIRNESS_RATIO = _gauge(
    "ml_fairness_ratio",
    "Rate of the worst pair's lower group over the upper's; `bound`: estimate, or low or high end of its interval.",
    *FAIRNESS_PROMISE,
    "bound",
)
FAIRNESS_WORST_PAIR = _gauge(
    "ml_fairness_worst_pair_info",
    "Constant 1; the two groups that are farthest apart, the higher rate above, and the stratum if there are several.",
    *FAIRNESS_PROMISE,
    "above",
    "below",
    "stratum",
)
FAIRNESS_LIMIT = _gauge(
    "ml_fairness_limit", "Greatest difference, or least ratio, that is promised.", *FAIRNESS_PROMISE
)
FAIRNESS_GROUP_RATE = _gauge(
    "ml_fairness_group_rate",
    "Rate of a judged group; `bound`: estimate, or low or high end of the interval that holds at every look.",
    *FAIRNESS_PROMISE,
    "group",
    "bound",
)
FAIRNESS_SMALLEST_GROUP = _gauge(
    "ml_fairness_smallest_group_events", "Events of the judged group with the fewest.", *FAIRNESS_PROMISE
)
FAIRNESS_ROWS_NEEDED = _gauge(
    "ml_fairness_rows_needed",
    "More events that would decide a verdict that is not known, if the rates stay; absent where no number would.",
    *FAIRNESS_PROMISE,
)
FAIRNESS_UNLABELLED = _gauge(
    "ml_fairness_unlabelled_ratio",
    "Share of settled predictions without a label, of the group that lacks most.",
    *FAIRNESS_PROMISE,
)
FAIRNESS_UNGROUPED = _gauge(
    "ml_fairness_ungrouped_ratio",
    "Share of predictions that are in no group, such as for want of the attribute; absent where it is not known.",
    *FAIRNESS_PROMISE,
)
FAIRNESS_SINCE = _gauge(
    "ml_fairness_since_timestamp_seconds",
    "Since when a version's outcomes are counted by group: its first prediction, as far back as it was looked for.",
    "model",
    "version",
)

ATTRIBUTION_QUESTION = ("model", "version", "question")
"""Labels of one comparison of attributions: `question` is inputs, a version against its own past; or use, a version
against the one that it replaces, over the same time."""

ATTRIBUTION_VERDICT = _gauge(
    "ml_attribution_verdict",
    "1 where the last window's attributions are as before, -1 where they changed, 0 where it is not known.",
    *ATTRIBUTION_QUESTION,
)
ATTRIBUTION_LASTING = _gauge(
    "ml_attribution_lasting_change",
    "1 where the attributions of the last two windows both differ from those before them, else 0.",
    *ATTRIBUTION_QUESTION,
)
ATTRIBUTION_P_VALUE = _gauge(
    "ml_attribution_p_value",
    "Share of windows that are as far off when nothing changed.",
    *ATTRIBUTION_QUESTION,
)
ATTRIBUTION_SHARE = _gauge(
    "ml_attribution_share_ratio",
    "Share of all attribution that is a feature's; `side` is before or now, the windows before and the last one.",
    *ATTRIBUTION_QUESTION,
    "feature",
    "side",
)
ATTRIBUTION_SHARE_CHANGE = _gauge(
    "ml_attribution_share_change_ratio",
    "Change of a feature's share; `bound` is estimate, or an end of its interval, held for all at once: low, high.",
    *ATTRIBUTION_QUESTION,
    "feature",
    "bound",
)
ATTRIBUTION_MEAN = _gauge(
    "ml_attribution_mean",
    "Mean attribution of a feature with its sign, in the model's unit; `side` is before or now.",
    *ATTRIBUTION_QUESTION,
    "feature",
    "side",
)
ATTRIBUTION_MOVED = _gauge(
    "ml_attribution_moved_spreads",
    "How far a feature that moved is off, in spreads of the windows before; 0 for one that did not move.",
    *ATTRIBUTION_QUESTION,
    "feature",
)
ATTRIBUTION_DIVERGENCE = _gauge(
    "ml_attribution_place_divergence_bits",
    "Jensen-Shannon divergence of a feature's places among the features, before and now; 0 is none and 1 is all.",
    *ATTRIBUTION_QUESTION,
    "feature",
)
ATTRIBUTION_NDCG = _gauge(
    "ml_attribution_order_ndcg_ratio",
    "nDCG of the features' order now against the amounts before; `side` is now, or usual: what 95% of windows reach.",
    *ATTRIBUTION_QUESTION,
    "side",
)
ATTRIBUTION_WINDOWS = _gauge(
    "ml_attribution_reference_windows",
    "Windows before the last one with enough explained predictions.",
    *ATTRIBUTION_QUESTION,
)
ATTRIBUTION_EXPLAINED = _gauge(
    "ml_attribution_window_explained", "Explained predictions of the last window.", "model", "version"
)
ATTRIBUTION_WINDOW_END = _gauge(
    "ml_attribution_window_end_timestamp_seconds", "End of the last window that was compared.", "model"
)

# Chaos experiments ------------------------------------------------------------------------------------------------

CHAOS_RUNNING = _gauge("chaos_experiment_running", "1 while the experiment runs.", "experiment")
CHAOS_VERDICT = _gauge(
    "chaos_experiment_verdict", "1 for the last run's verdict: held, deviated or inconclusive.", "experiment", "verdict"
)
CHAOS_LAST_RUN = _gauge("chaos_experiment_last_run_timestamp_seconds", "When the last run ended.", "experiment")
CHAOS_DURATION = _gauge("chaos_experiment_duration_seconds", "How long the last run took.", "experiment")
CHAOS_LAST_HELD = _gauge(
    "chaos_experiment_last_held_timestamp_seconds", "When the last run that held ended.", "experiment"
)
CHAOS_CLEAN = _gauge(
    "chaos_experiment_clean", "1 when nothing of the last run stayed, 0 when a fault or a process did.", "experiment"
)
