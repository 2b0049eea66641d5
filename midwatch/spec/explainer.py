"""The service that explains a model in a cluster: the `explainer` section of a model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from midwatch.spec import addresses
from midwatch.spec.base import Finding, Name, Strict
from midwatch.spec.kubernetes import Kubernetes, MountPath, Resources

if TYPE_CHECKING:
    from midwatch.spec.model import Model, Platform

SYSTEM = "explainer"
"""The system whose scrape job, rules and objectives are an explainer's."""
LONGEST = 63
"""Characters of the longest name of a Service (RFC 1035, 2.3.4)."""
OF_FILES = ("lightgbm", "onnx", "scikit-learn", "xgboost")
OF_SERVERS = ("v1", "v2")
OF_FUNCTIONS = "callable"

_FILE = re.compile(r"(/[A-Za-z0-9._-]+)+")
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_BACKGROUND = re.compile(r"(/[A-Za-z0-9._-]+)+\.(parquet|csv|json|jsonl|ndjson)")


def _source(text: str) -> str:
    kind, _, where = text.partition(":")
    if kind in OF_FILES:
        if not _FILE.fullmatch(where):
            raise ValueError(f"{text!r}: write {kind}: and the path of a file in the container, such as /models/credit")
    elif kind in OF_SERVERS:
        addresses.checked_url(where)
        if addresses.is_loopback(urlsplit(where).hostname or ""):
            raise ValueError(f"{text!r}: on loopback the pod itself would be asked; write the model's Service")
    elif kind != OF_FUNCTIONS or not _FUNCTION.fullmatch(where):
        known = ", ".join((OF_FUNCTIONS, *OF_FILES, *OF_SERVERS))
        raise ValueError(f"{text!r} is not KIND:WHERE; kinds are {known}, and a callable is callable:MODULE:FUNCTION")
    return text


def _background(text: str) -> str:
    if not _BACKGROUND.fullmatch(text):
        raise ValueError(f"{text!r}: write the path of a .parquet, .csv, .json or .jsonl file in the container")
    return text


class Explainer(Strict):
    """`midwatch explain serve` of one version of the model, which runs in the cluster of `kubernetes`."""

    image: Annotated[str, Field(min_length=1)]
    """An image with `midwatch[explain]`, the model's library, and its files: that of the plane has none of them."""
    version: Annotated[str, Field(min_length=1)]
    """The version that is explained."""
    source: Annotated[str, AfterValidator(_source)]
    """The [model](explanations.md#the-explanation-service), as `--from` has it; its file is one of the container."""
    background: Annotated[str, AfterValidator(_background)]
    """File of usual rows in the container: the image's, or in a folder of `kubernetes.secrets`."""
    output: Annotated[str, Field(min_length=1)] | None = None
    """Class or number of the output that is explained, of a model with several."""
    port: Annotated[int, Field(ge=1024, le=65535)] = 9580
    """Port of its pod and its Service, `midwatch-explainer-MODEL`."""
    threads: Annotated[int, Field(ge=1, le=64)] = 1
    """Requests that are explained at a time."""
    token_secret: Name | None = None
    """Secret whose key `token` callers send; `kubernetes.token_secret` without it."""
    model_token_secret: Name | None = None
    """Secret whose key `token` is sent to the server that predicts, where `source` is one."""
    resources: Resources = Resources(cpu="1", memory="512Mi", memory_limit="2Gi")
    """What its container asks for."""

    @property
    def asks_a_server(self) -> bool:
        """Whether the model is a server's."""
        return self.source.partition(":")[0] in OF_SERVERS

    @property
    def files(self) -> tuple[str, ...]:
        """Files that the container reads."""
        kind, _, where = self.source.partition(":")
        return (self.background, where) if kind in OF_FILES else (self.background,)


def explained(platform: Platform) -> Iterator[tuple[Model, Explainer]]:
    """Models with an explainer, and that."""
    return ((model, model.explainer) for model in platform.models if model.explainer is not None)


def service_name(model: Model) -> str:
    """Name of the explainer's Deployment and Service."""
    return f"midwatch-explainer-{model.name}"


def mounted_secrets(settings: Kubernetes, own: Explainer) -> dict[str, MountPath]:
    """Those of `kubernetes.secrets` that have a file of the explainer."""
    return {name: folder for name, folder in settings.secrets.items() if _is_beneath(folder, own.files)}


def _is_beneath(folder: str, files: tuple[str, ...]) -> bool:
    return any(file.rpartition("/")[0] == folder for file in files)


def find_problems(platform: Platform) -> Iterator[Finding]:
    """What an explainer would lack: a cluster, a name that a Service can have, somebody who scrapes it."""
    for index, model in enumerate(platform.models):
        own, place = model.explainer, ("models", index, "explainer")
        if own is None:
            continue
        if platform.kubernetes is None:
            yield place, "it runs in a cluster, and this file has no kubernetes section", "write kubernetes"
            continue
        if len(service_name(model)) > LONGEST:
            message = f"its Service would be called {service_name(model)}, which is longer than {LONGEST} characters"
            yield place, message, "give the model a shorter name"
        if own.model_token_secret is not None and not own.asks_a_server:
            message = f"no server is asked for {own.source}"
            yield (*place, "model_token_secret"), message, "leave it out"
        yield from _unscraped(platform, model, own, f"{service_name(model)}.{platform.kubernetes.namespace}", index)


def _unscraped(platform: Platform, model: Model, own: Explainer, host: str, index: int) -> Iterator[Finding]:
    """The system's job scrapes it, with the token that only Prometheus has."""
    use, wanted = platform.systems.get(SYSTEM), f"{host}:{own.port}"
    known = {f"{host}{domain}:{own.port}" for domain in ("", ".svc", ".svc.cluster.local")}
    if use is None or known.isdisjoint(use.targets):
        message = f"nobody scrapes the explainer of {model.name}: its objective and alerts would see nothing"
        yield ("models", index, "explainer"), message, f"write {wanted} under systems.{SYSTEM}.targets"
    elif use.token_file is None:
        message = f"the explainer of {model.name} shows /metrics to nobody without the token"
        secret = platform.kubernetes.metrics_secret if platform.kubernetes else ""
        yield ("systems", SYSTEM), message, f"write token_file: /etc/prometheus/secrets/{secret}/token"
