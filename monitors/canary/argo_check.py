"""Whether AnalysisTemplates are what the cluster takes, and whether undecided could become a success.

The schema is the custom resource definition's; the further rules are those of the controller's validation
(utils/analysis/factory.go in Argo Rollouts v1.8), and traps it does not warn of. The worst of them: the web provider
takes a 2xx body that is not JSON for a success, unread (metricproviders/webmetric of v1.8.3), so that a login page or
an empty answer passes a canary.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from midwatch import yamlfile
from midwatch.errors import Problem
from monitors.canary import argo_query
from monitors.canary.argo import FOLDER

_GO_DURATION = re.compile(r"(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+")
KINDS = ("AnalysisTemplate", "ClusterAnalysisTemplate")


def check_files(rendered: Mapping[str, str]) -> Iterator[Problem]:
    """Problems of the rendered templates."""
    for name, text in sorted(rendered.items()):
        if name.startswith(f"{FOLDER}/") and name.endswith(".yaml"):
            yield from check_template(name, yamlfile.load(text))


def check_template(file: str, document: Any) -> Iterator[Problem]:
    """Problems of one template."""
    problems = list(_by_schema(file, document))
    yield from problems
    if problems:
        return
    if document.get("apiVersion") != "argoproj.io/v1alpha1" or document.get("kind") not in KINDS:
        yield Problem(file=file, path="kind", message="no AnalysisTemplate of argoproj.io/v1alpha1")
    names: set[str] = set()
    metrics = document["spec"].get("metrics", [])
    if not metrics:
        yield Problem(file=file, path="spec.metrics", message="no metrics")
    for index, metric in enumerate(metrics):
        place = f"spec.metrics[{index}]"
        if metric["name"] in names:
            yield Problem(file=file, path=place, message=f"a second metric {metric['name']!r}")
        names.add(metric["name"])
        for message in (*_validation(metric), *_traps(metric)):
            yield Problem(file=file, path=place, message=message)
    if metrics and believes_anything(document):
        yield Problem(file=file, path="spec.metrics", message=BELIEVES_ANYTHING, remedy=ASK_BY_PROMETHEUS)
    yield from _arguments(file, document)


BELIEVES_ANYTHING = "only web metrics decide: any 2xx answer that is not JSON, such as a login page, passes the canary"
ASK_BY_PROMETHEUS = "ask the gate by the prometheus provider, as the rendered templates do"


def believes_anything(document: Mapping[str, Any]) -> bool:
    """Whether nothing but web metrics decides: what is run dry, or an error only, does not."""
    dry = [one["metricName"] for one in document["spec"].get("dryRun", [])]
    deciding = [one for one in document["spec"]["metrics"] if not any(_matches(text, one["name"]) for text in dry)]
    return all("web" in metric["provider"] for metric in deciding)


def _matches(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error:
        return False  # the controller refuses the whole run


def _by_schema(file: str, document: Any) -> Iterator[Problem]:
    for error in sorted(_validator().iter_errors(document), key=lambda one: one.json_path):
        yield Problem(file=file, path=error.json_path.removeprefix("$."), message=error.message[:200])


@cache
def _validator() -> Any:
    import jsonschema

    schema = json.loads(Path(__file__).with_name("argo_schema.json").read_text(encoding="utf-8"))
    return jsonschema.Draft202012Validator(schema)


def _number(metric: Mapping[str, Any], name: str) -> int:
    """An int-or-string as the controller reads it: text that is no number is 0."""
    value = metric.get(name, 0)
    return int(value) if isinstance(value, int) or re.fullmatch(r"-?\d+", value) else 0


def _validation(metric: Mapping[str, Any]) -> Iterator[str]:
    """What the controller refuses."""
    count, failures = _number(metric, "count"), _number(metric, "failureLimit")
    successes, inconclusive = _number(metric, "consecutiveSuccessLimit"), _number(metric, "inconclusiveLimit")
    if successes < 0:
        yield "consecutiveSuccessLimit must be >= 0"
    if failures < -1:
        yield "failureLimit must be >= 0, or -1 to be disabled"
    if successes == 0 and failures == -1:
        yield "failureLimit and consecutiveSuccessLimit cannot both be disabled"
    if inconclusive < 0:
        yield "inconclusiveLimit must be >= 0"
    if _number(metric, "consecutiveErrorLimit") < 0:
        yield "consecutiveErrorLimit must be >= 0"
    if 0 < count < max(failures, 0) + successes:
        yield f"count ({count}) must be >= failureLimit + consecutiveSuccessLimit ({failures} + {successes})"
    if 0 < count < inconclusive:
        yield "count must be >= inconclusiveLimit"
    if count > 1 and not metric.get("interval"):
        yield "interval must be specified when count > 1"
    for name in ("interval", "initialDelay"):
        if metric.get(name) and not _GO_DURATION.fullmatch(metric[name]):
            yield f"{name} {metric[name]!r} is no duration of Go"
    providers = len(metric["provider"])
    if providers != 1:
        yield "no provider" if not providers else f"{providers} providers; exactly one is needed"


def asks_gate(metric: Mapping[str, Any]) -> bool:
    """Whether a metric asks the gate in the form of Prometheus' API."""
    return argo_query.METRIC in metric["provider"].get("prometheus", {}).get("query", "")


def _traps(metric: Mapping[str, Any]) -> Iterator[str]:
    """What the controller takes, and makes a success of undecided."""
    web = metric["provider"].get("web")
    if web is not None:
        yield from _traps_of_web(web)
    if asks_gate(metric):
        for key, wanted in (("successCondition", argo_query.SUCCESS), ("failureCondition", argo_query.FAILURE)):
            if metric.get(key) and metric[key] != wanted:
                yield f"{key} is not {wanted!r}: others can take undecided for decided"
    elif web is None:
        return
    if not metric.get("successCondition") or not metric.get("failureCondition"):
        yield "needs successCondition and failureCondition: without both, undecided is decided"
    if _number(metric, "consecutiveSuccessLimit") < 1 or _number(metric, "failureLimit") != 0:
        yield "needs consecutiveSuccessLimit >= 1 and failureLimit 0: else a count used up undecided is a success"
    if not metric.get("count"):
        yield "needs a count: without it an undecided analysis never ends"


def _traps_of_web(web: Mapping[str, Any]) -> Iterator[str]:
    if web.get("method", "GET") == "GET" and (web.get("jsonBody") or web.get("body")):
        yield "a body needs method POST or PUT"
    if web.get("jsonBody") and web.get("body"):
        yield "has both body and jsonBody"
    if web.get("jsonPath", "{$}") in ("", "{$}", "$"):
        yield "jsonPath is the whole body: the body `null` ends the controller; name a field, such as {.verdict}"


def _arguments(file: str, document: Mapping[str, Any]) -> Iterator[Problem]:
    known = [one["name"] for one in document["spec"].get("args", [])]
    used = set(re.findall(r"\{\{\s*args\.([a-zA-Z0-9_.-]+)\s*\}\}", json.dumps(document["spec"])))
    for name in sorted(used - set(known)):
        yield Problem(file=file, path="spec.args", message=f"the argument {name} is used and not declared")
    for name in sorted(name for name in set(known) if known.count(name) > 1):
        yield Problem(file=file, path="spec.args", message=f"a second argument {name}")
