"""Files of the plane's workloads: one for each part, and one of who may reach whom."""

from __future__ import annotations

from midwatch import jobs, yamlfile
from midwatch.app.workloads import network, scrapes, services
from midwatch.app.workloads.pods import Object, Place
from midwatch.spec import evaluation
from midwatch.spec.model import Platform

FOLDER = "kubernetes"


def render_objects(platform: Platform, text: str) -> dict[str, str]:
    """Text of each file by its path; none where the platform file does not say where the plane runs.

    `text` is the platform file as pods read it: their template carries its digest.
    """
    settings = platform.kubernetes
    if settings is None:
        return {}
    place = Place(platform=platform, settings=settings, text=text)
    parts: dict[str, list[Object]] = {}
    if platform.has_exporters:
        parts["exporter"] = services.exporter(place)
    if any(model.canary for model in platform.models):
        parts["gate"] = services.gate(place)
    if platform.loop is not None:
        parts["loop"] = services.loop(place, platform.loop)
    if platform.incidents.watch:
        parts["incidents"] = services.incidents(place)
    if evaluation.promised(platform):
        parts["evaluator"] = services.evaluator(place)
    if any(model.explainer for model in platform.models):
        parts["explainers"] = services.explainers(place)
    if platform.stream is not None:
        parts["stream"] = services.stream(place, platform.stream)
    recovery = platform.disaster_recovery
    if recovery is not None and recovery.kubernetes is not None:
        parts["recovery-exporter"] = services.recovery(place, recovery.kubernetes, recovery.listen)
    if jobs.observes(platform):
        parts["systems"] = services.systems(place)
    if platform.console is not None:
        parts["console"] = services.console(place, platform.console)
    parts["network"] = network.policies(place)
    parts["monitors"] = scrapes.monitors(place)
    return {f"{FOLDER}/plane-{name}.yaml": yamlfile.dump_all(objects) for name, objects in parts.items()}
