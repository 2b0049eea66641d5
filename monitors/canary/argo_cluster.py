"""What a cluster's AnalysisTemplates and Rollouts would do with a canary: be fooled, or ask what the gate refuses.

A refused question is an error of the analysis, which aborts the rollout minutes after it began.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from midwatch.errors import Problem
from midwatch.spec.model import Platform
from monitors.canary import argo, argo_check

Object = Mapping[str, Any]
"""An object of Kubernetes; `source` says which file it is from, where it is from one."""
Key = tuple[str, str, str]
"""Kind, namespace, and name."""


@dataclass(frozen=True)
class Found:
    """The objects of a cluster, of all namespaces, or those of files."""

    templates: Sequence[Object]
    rollouts: Sequence[Object]

    @cached_property
    def _by_key(self) -> dict[Key, Object]:
        return {(one["kind"], *_place(one)): one for one in self.templates}

    def template(self, named: Object, namespace: str) -> Object | None:
        """The template that an analysis names; one without a namespace is for whichever it is applied to."""
        kind = "ClusterAnalysisTemplate" if named.get("clusterScope") else "AnalysisTemplate"
        name = named.get("templateName", "")
        return self._by_key.get((kind, namespace, name)) or self._by_key.get((kind, "", name))


def find_problems(platform: Platform, found: Found) -> Iterator[Problem]:
    """Templates that ask the gate and could be fooled or are not as rendered; Rollouts that ask what it refuses."""
    rendered = {one["metadata"]["name"]: one for one in argo.templates(platform)}
    for template in found.templates:
        if not _asks_gate(platform, template):
            continue
        yield from argo_check.check_template(_said(template), _as_written(template))
        ours = rendered.get(template["metadata"]["name"])
        if ours is not None and ours["kind"] == template["kind"] and ours["spec"] != template["spec"]:
            message = "it is not what is rendered for this platform file"
            yield Problem(file=_said(template), path="spec", message=message, remedy="render and apply it again")
    for rollout in found.rollouts:
        for analysis in _analyses(rollout):
            yield from _rollout_problems(platform, found, rollout, analysis)


def find_warnings(platform: Platform, found: Found) -> Iterator[Problem]:
    """Templates of others that any answer without JSON passes."""
    for template in found.templates:
        metrics = template["spec"].get("metrics")
        if metrics and not _asks_gate(platform, template) and argo_check.believes_anything(template):
            yield Problem(
                file=_said(template),
                path="spec.metrics",
                message=argo_check.BELIEVES_ANYTHING,
                remedy="let another provider decide with it",
            )


def _place(found: Object) -> tuple[str, str]:
    return found["metadata"].get("namespace", ""), found["metadata"]["name"]


def _said(found: Object) -> str:
    source = f"{found['source']}: " if "source" in found else ""
    return f"{source}{found['kind']} {'/'.join(filter(None, _place(found)))}"


def _as_written(template: Object) -> dict[str, Any]:
    """Without what the API server adds."""
    metadata = {name: template["metadata"][name] for name in ("name", "namespace") if name in template["metadata"]}
    kind = {"apiVersion": "argoproj.io/v1alpha1", "kind": template["kind"]}
    return {**kind, "metadata": metadata, "spec": template["spec"]}


def _asks_gate(platform: Platform, template: Object) -> bool:
    gate = urlsplit(platform.gate.url).netloc
    for metric in template["spec"].get("metrics") or ():
        web = metric["provider"].get("web", {}).get("url", "")
        if argo_check.asks_gate(metric) or urlsplit(web).netloc == gate:
            return True
    return False


# Rollouts ----------------------------------------------------------------------------------------------------------


def _analyses(rollout: Object) -> Iterator[tuple[str, Object]]:
    """Each analysis of a Rollout with its place."""
    strategy = rollout["spec"].get("strategy", {})
    canary, blue_green = strategy.get("canary") or {}, strategy.get("blueGreen") or {}
    for number, step in enumerate(canary.get("steps") or ()):
        if "analysis" in step:
            yield f"spec.strategy.canary.steps[{number}].analysis", step["analysis"]
    if canary.get("analysis"):
        yield "spec.strategy.canary.analysis", canary["analysis"]
    for name in ("prePromotionAnalysis", "postPromotionAnalysis"):
        if blue_green.get(name):
            yield f"spec.strategy.blueGreen.{name}", blue_green[name]


def _rollout_problems(
    platform: Platform, found: Found, rollout: Object, placed: tuple[str, Object]
) -> Iterator[Problem]:
    path, written = placed
    said = Problem(file=_said(rollout), path=path, message="")
    templates = []
    for named in written.get("templates") or ():
        template = found.template(named, rollout["metadata"].get("namespace", ""))
        if template is not None and _asks_gate(platform, template):
            templates.append(template)
        elif template is None and named.get("templateName", "").startswith("midwatch-canary"):
            message = f"there is no template {named['templateName']}"
            yield replace(said, message=message, remedy="apply argo-rollouts/ of what is rendered, in its namespace")
    if not templates:
        return
    if path == "spec.strategy.canary.analysis":
        message = "a background analysis asks the gate: ended with the rollout, it counts as successful"
        yield replace(said, message=message, remedy="ask in a step")
    args = {one["name"]: one for template in templates for one in template["spec"].get("args") or ()}
    args |= {one["name"]: one for one in written.get("args") or ()}
    yield from _argument_problems(platform, said, args)


def _argument_problems(platform: Platform, said: Problem, args: Mapping[str, Object]) -> Iterator[Problem]:
    """What the gate would refuse of a question."""
    for name, arg in sorted(args.items()):
        if arg.get("value") is None and not arg.get("valueFrom"):
            yield replace(said, message=f"the argument {name} has no value", remedy="give it one in args")
    known = [model.name for model in platform.models if model.canary]
    model = args.get("model", {}).get("value")
    if model is not None and model not in known:
        message = f"the gate knows no model {model!r} with a canary section"
        yield replace(said, message=message, remedy=f"known: {', '.join(known)}")
    baseline, canary = (_given(args.get(name, {})) for name in ("baseline", "canary"))
    if baseline == canary and baseline is not None:
        yield replace(said, message=f"baseline and canary are both {_words(baseline)}", remedy="name two versions")


def _given(arg: Object) -> Any:
    """What an argument stands for, None for nothing yet."""
    return arg.get("value") or arg.get("valueFrom")


def _words(given: Any) -> str:
    return repr(given) if isinstance(given, str) else ", ".join(map(str, given.values()))
