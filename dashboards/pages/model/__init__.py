"""Model: what is wrong with this model, since when, and in which version?"""

from __future__ import annotations

from dashboards import annotation, links, variables
from dashboards.links import DashboardLink
from dashboards.page import Page, Section
from dashboards.pages.model import inputs, language, promised, quality, serving
from dashboards.panels import PanelFactory
from midwatch import grafana, traffic
from midwatch.signals import THIS_MODEL


def build_pages(factory: PanelFactory) -> list[Page]:
    """The one page of a platform."""
    models = factory.platform.models
    languages = any(language.is_language_model(model) for model in models)
    promises = promised.quality_of(factory)
    names = traffic.of_platform(factory.platform).names
    classes = any(model.task == "classification" for model in models)
    amounts = any(model.task == "regression" for model in models)
    sections = [
        Section(title="Golden signals", rows=serving.golden(factory)),
        Section(title="Latency", rows=serving.latency(factory)),
        *([Section(title="Tokens", rows=language.tokens(factory))] if languages else []),
        *([Section(title="Is it right?", rows=quality.classes(factory))] if classes else []),
        *([Section(title="How far off is it?", rows=quality.amounts(factory))] if amounts else []),
        *([Section(title="Promised quality", rows=promises)] if promises else []),
        Section(title="Labels and predictions", rows=quality.labels(factory, of_classes=classes)),
        *([Section(title="Groups", rows=quality.groups(factory))] if any(model.groups for model in models) else []),
        *([Section(title="Inputs", rows=inputs.drift(factory))] if any(model.drift for model in models) else []),
        Section(title="What is running?", rows=serving.running(factory)),
        Section(title="Logs and traces", rows=serving.logs(factory), collapsed=True),
    ]
    return [
        Page(
            name=grafana.Page.MODEL,
            title="Model",
            order=20,
            description="One model, its versions side by side: traffic, errors, latency, whether it is right, its "
            "inputs.",
            variables=[
                variables.one("model", "Model", names, "model"),
                variables.many("version", "Version", names, "version", model="$model"),
                variables.window(),
            ],
            annotations=[*annotation.of_models(THIS_MODEL), annotation.experiments(), annotation.drills()],
            sections=sections,
            links=[
                DashboardLink(title="Logs", url=links.logs(factory.platform)),
                DashboardLink(title="Traces", url=links.traces(factory.platform)),
            ],
        )
    ]
