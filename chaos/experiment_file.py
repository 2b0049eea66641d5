"""An experiment in a file that somebody gives: read, and refused where it contradicts the command or does nothing.

The file may be written by hand. What the platform file would refuse of an experiment is refused here too: names that
lead nowhere, and settings that mean nothing.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec

from chaos import kinds
from chaos.document import ACTIONS, PROBES, Experiment, Extension, activities
from chaos.expectations import SPECIAL, told_names
from chaos.kinds.corrupt_features import CorruptFeatures
from chaos.kinds.deploy_bad_version import DeployBadVersion
from chaos.places.place import VARIABLES, Place, contradicts
from midwatch.errors import InvalidInputError
from midwatch.spec import base
from midwatch.spec.chaos import bad_version_problem
from midwatch.spec.document import read_file
from midwatch.spec.experiments import ensure_rate

WAITS = {"noticed": "within", "resolved": "within", "deadman_silent": "within", "nobody_paged": "seconds"}
"""Arguments of our probes that are seconds to wait for what has to happen."""


class Objective(msgspec.Struct, frozen=True):
    """An objective that a probe is told to look at."""

    name: str
    good: str
    total: str
    objective: Annotated[float, msgspec.Meta(gt=0, le=1)]
    versions: Annotated[list[str], msgspec.Meta(min_length=1)] | None = None


Found = tuple[tuple[str | int, ...], str, str]
"""A problem: its place in the file, what is wrong, what to do."""


def read(path: Path, place: Place) -> Experiment:
    """The experiment; InvalidInputError with everything that is wrong with it."""
    document = read_file(path)
    _ensure_valid(document.values, path)
    experiment = _filled(document.values)
    if problems := [document.problem(*one) for one in _problems(experiment, place)]:
        raise InvalidInputError(problems)
    return cast(Experiment, experiment)


def _ensure_valid(values: dict[str, Any], path: Path) -> None:
    from chaoslib.exceptions import ChaosException
    from chaoslib.experiment import ensure_experiment_is_valid

    try:
        ensure_experiment_is_valid(values)
    except (ChaosException, ValueError, AttributeError, TypeError, LookupError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InvalidInputError.at(path, f"not a Chaos Toolkit experiment: {reason}") from error


def _filled(values: dict[str, Any]) -> dict[str, Any]:
    """The experiment with the values of its configuration in the arguments of our actions and probes."""
    from chaoslib import substitute
    from chaoslib.configuration import load_configuration

    configuration = load_configuration(values.get("configuration") or {})
    for _, activity in activities(cast(Experiment, values)):
        provider = activity.get("provider") or {}
        if provider.get("module") in (ACTIONS, PROBES) and "arguments" in provider:
            provider["arguments"] = substitute(provider["arguments"], configuration, {})
    return values


def _problems(experiment: dict[str, Any], place: Place) -> Iterator[Found]:
    if "dry" in experiment:
        # Chaos Toolkit ignores a text here, and the actions really run.
        yield ("dry",), "dry has no effect", "remove it; midwatch chaos plan changes nothing"
    yield from _contradictions(experiment.get("configuration") or {}, place)
    known = told_names(place.platform)
    models: set[str] = set()
    for where, activity in activities(cast(Experiment, experiment)):
        provider = activity.get("provider") or {}
        arguments = provider.get("arguments") or {}
        if provider.get("module") == ACTIONS and provider.get("func") != "revert":
            models |= {str(arguments["model"])} if "model" in arguments else set()
            yield from _of_action((*where, "provider", "arguments"), str(provider.get("func")), arguments, place)
        elif provider.get("module") == PROBES:
            yield from _of_probe((*where, "provider", "arguments"), str(provider.get("func")), arguments, known)
            yield from _of_receivers((*where, "provider", "arguments"), arguments, place)
    for index, one in enumerate(experiment.get("extensions") or ()):
        if isinstance(one, Mapping) and one.get("name") == "midwatch":
            yield from _of_extension(("extensions", index), one, place, known, models)


# Where it acts -----------------------------------------------------------------------------------------------------


def _contradictions(configuration: Mapping[str, Any], place: Place) -> Iterator[Found]:
    """What names another place than the command does, or hides which it names."""
    for key, variable in VARIABLES.items():
        said = configuration.get(key)
        if isinstance(said, Mapping):
            if said.get("type") != "env":
                yield ("configuration", key), "what it names is not known before the run", f"take it from ${variable}"
                continue
            said = {**os.environ, **place.environment()}.get(str(said.get("key")), said.get("default"))
        if said and contradicts(place, key, str(said)):
            told = place.environment()[variable]
            yield ("configuration", key), f"it names {said}; the command is about {told}", f"take it from ${variable}"


# What it does ------------------------------------------------------------------------------------------------------


def _of_action(where: tuple[str | int, ...], name: str, arguments: Mapping[str, Any], place: Place) -> Iterator[Found]:
    try:
        injection = kinds.injection(name, arguments)
    except ValueError as error:
        yield where, f"{name}: {error}", ""
        return
    model, target = arguments.get("model"), arguments.get("target")
    models = {one.name: one for one in place.platform.models}
    if model is not None and model not in models:
        yield (*where, "model"), *base.unknown(str(model), models, "model")
        return
    servers = {server.name for server in place.platform.local.servers if server.model in (None, model)}
    if place.name == "local" and target is not None and target not in servers:
        yield (*where, "target"), *base.unknown(str(target), servers, "server")
    elif isinstance(injection, DeployBadVersion):
        if wrong := bad_version_problem(place.platform, injection.model, injection.target, injection.bad_version):
            yield (*where, "bad_version"), *wrong
    elif isinstance(injection, CorruptFeatures) and (drift := models[injection.model].drift):
        for feature in sorted(set(injection.scale) - set(drift.features)):
            yield (*where, "scale", feature), *base.unknown(feature, drift.features, "feature")


def _of_probe(
    where: tuple[str | int, ...], name: str, arguments: Mapping[str, Any], known: set[str]
) -> Iterator[Found]:
    """What a probe asks for that it cannot be told, or that holds whatever happens."""
    if "alert" in arguments and arguments["alert"] not in known:
        yield (*where, "alert"), *base.unknown(str(arguments["alert"]), known, "alert")
    if "objectives" in arguments:
        yield from _of_objectives((*where, "objectives"), arguments["objectives"])
    wait = WAITS.get(name, "")
    if wait in arguments and not _is_positive(arguments[wait]):
        yield (*where, wait), f"{arguments[wait]} is no time to wait", "write seconds, more than 0"


def _of_objectives(where: tuple[str | int, ...], objectives: object) -> Iterator[Found]:
    if not objectives:
        yield where, "there is no objective to keep", "name one, or leave the probe out"
        return
    try:
        msgspec.convert(objectives, list[Objective])
    except msgspec.ValidationError as error:
        yield where, str(error), ""


def _of_receivers(where: tuple[str | int, ...], arguments: Mapping[str, Any], place: Place) -> Iterator[Found]:
    """Whom an alert has to reach, and which model it has to be about."""
    channels, labels = arguments.get("channels", [None]), arguments.get("labels")
    if not isinstance(channels, list) or not channels:
        yield (*where, "channels"), "no channel is named: nobody would have to be told", "name those of its owner"
        return
    for name in channels if "channels" in arguments else ():
        if name not in place.platform.channels:
            yield (*where, "channels"), *base.unknown(str(name), place.platform.channels, "channel")
    model, models = labels.get("model") if isinstance(labels, Mapping) else None, place.platform.models
    if model is not None and model not in (names := [one.name for one in models]):
        yield (*where, "labels", "model"), *base.unknown(str(model), names, "model")


# What is said of it ------------------------------------------------------------------------------------------------


def _of_extension(
    where: tuple[str | int, ...], given: Mapping[str, Any], place: Place, known: set[str], models: set[str]
) -> Iterator[Found]:
    try:
        about = msgspec.convert(dict(given), Extension)
    except msgspec.ValidationError as error:
        yield where, f"the extension midwatch: {error}", ""
        return
    for key in sorted(given.keys() - Extension.__annotations__.keys()):
        yield (*where, key), *base.unknown(key, Extension.__annotations__, "setting")
    names = {model.name for model in place.platform.models}
    model, alert, kind = about.get("model"), about.get("expected_alert"), about.get("kind")
    if model is not None and model not in names:
        yield (*where, "model"), *base.unknown(model, names, "model")
    elif model is not None and models and model not in models:
        message = (
            f"it names {model}, whose budget and errors are watched; the actions are on {', '.join(sorted(models))}"
        )
        yield (*where, "model"), message, "name the model that is hit"
    if alert and alert not in known | set(SPECIAL):
        yield (*where, "expected_alert"), *base.unknown(alert, known | set(SPECIAL), "alert")
    if kind and kind not in kinds.table():
        yield (*where, "kind"), *base.unknown(kind, kinds.table(), "kind")
    yield from _of_versions(where, about, place)
    yield from _of_numbers(where, about)


def _of_versions(where: tuple[str | int, ...], about: Extension, place: Place) -> Iterator[Found]:
    """Versions that no server has: what is hit would be taken for the control."""
    model, servers = about.get("model"), place.platform.local.servers
    versions = {one.version for one in servers if one.version and (model is None or one.model in (None, model))}
    for version in about.get("versions", ()) if versions else ():
        if version not in versions:
            yield (*where, "versions"), *base.unknown(version, versions, "version")


def _of_numbers(where: tuple[str | int, ...], about: Extension) -> Iterator[Found]:
    tolerated, longest = about.get("tolerated_errors"), about.get("longest_seconds")
    if longest is not None and not _is_positive(longest):
        yield (*where, "longest_seconds"), f"{longest} is no time", "write seconds, more than 0"
    try:
        ensure_rate(tolerated)
    except ValueError as error:
        yield (
            (*where, "tolerated_errors"),
            str(error),
            "write a share, such as 0.02, or null where errors are the fault",
        )


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
