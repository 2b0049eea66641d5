"""MLflow's tracking server and registry by its REST API, as far as training, serving and a rollout need it here."""

from __future__ import annotations

import json
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import urllib3

TIMEOUT = 20.0


class MlflowError(Exception):
    """MLflow refused something; `code` is its word for why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run, and the folder of its artifacts."""

    id: str
    artifacts: Path


@dataclass(frozen=True, kw_only=True)
class LoggedModel:
    """A model that a run has logged, and the folder of its files."""

    id: str
    artifacts: Path


class Mlflow:
    """A server. What it refuses is an MlflowError, and OSError that it does not answer."""

    def __init__(self, url: str) -> None:
        self._api = f"{url}/api/2.0/mlflow/"
        self._pool = urllib3.PoolManager(timeout=TIMEOUT, retries=False)

    def _post(self, path: str, **body: Any) -> dict[str, Any]:
        return self._ask("POST", path, json=body)

    def _get(self, path: str, **query: str) -> dict[str, Any]:
        return self._ask("GET", path, fields=query)

    def _ask(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        try:
            answer = self._pool.request(method, self._api + path, **content)
        except urllib3.exceptions.HTTPError as error:
            raise OSError(f"MLflow does not answer: {type(error).__name__}") from error
        document: dict[str, Any] = json.loads(answer.data) if answer.data.startswith(b"{") else {}
        if answer.status != HTTPStatus.OK:
            raise MlflowError(str(document.get("error_code", answer.status)), str(document.get("message", "")))
        return document

    # Runs ----------------------------------------------------------------------------------------------------------

    def experiment(self, name: str) -> str:
        """The id of an experiment, which is made where there is none."""
        try:
            return str(self._post("experiments/create", name=name)["experiment_id"])
        except MlflowError as error:
            if error.code != "RESOURCE_ALREADY_EXISTS":
                raise
        return str(self._get("experiments/get-by-name", experiment_name=name)["experiment"]["experiment_id"])

    def start_run(self, experiment: str, name: str, tags: Mapping[str, str]) -> Run:
        """Begin a run."""
        said = self._post("runs/create", experiment_id=experiment, run_name=name, start_time=_now(), tags=_pairs(tags))[
            "run"
        ]["info"]
        return Run(id=said["run_id"], artifacts=_folder(said["artifact_uri"]))

    def tag_run(self, run: Run, key: str, value: str) -> None:
        """Set a tag of a run."""
        self._post("runs/set-tag", run_id=run.id, key=key, value=value)

    def log_dataset(self, run: Run, name: str, digest: str, source: str, rows: int) -> None:
        """Say what a run was trained on."""
        dataset = {"name": name, "digest": digest, "source_type": "local", "source": json.dumps({"uri": source})}
        profile = json.dumps({"num_rows": rows})
        tags = _pairs({"mlflow.data.context": "training"})
        self._post(
            "runs/log-inputs", run_id=run.id, datasets=[{"tags": tags, "dataset": {**dataset, "profile": profile}}]
        )

    def log_metrics(self, run: Run, metrics: Mapping[str, float], **measured_on: str) -> None:
        """Figures of a run; `dataset_name` and `dataset_digest` say what they were measured on."""
        now = _now()
        for key, value in metrics.items():
            self._post("runs/log-metric", run_id=run.id, key=key, value=value, timestamp=now, step=0, **measured_on)

    def end_run(self, run: Run, status: str) -> None:
        """End a run: FINISHED or FAILED."""
        self._post("runs/update", run_id=run.id, status=status, end_time=_now())

    # Versions ------------------------------------------------------------------------------------------------------

    def ensure_model(self, name: str, tags: Mapping[str, str]) -> None:
        """Register a model unless it is registered."""
        try:
            self._post("registered-models/create", name=name, tags=_pairs(tags))
        except MlflowError as error:
            if error.code != "RESOURCE_ALREADY_EXISTS":
                raise

    def log_model(self, experiment: str, run: Run, name: str) -> LoggedModel:
        """Begin a logged model of a run: its files are written by whoever asked."""
        said = self._post("logged-models", experiment_id=experiment, name=name, source_run_id=run.id)["model"]["info"]
        return LoggedModel(id=said["model_id"], artifacts=_folder(said["artifact_uri"]))

    def finish_model(self, model: LoggedModel) -> None:
        """Say that a logged model's files are there."""
        body = {"model_id": model.id, "status": 2}  # LOGGED_MODEL_READY (service.proto, LoggedModelStatus)
        self._ask("PATCH", f"logged-models/{model.id}", json=body)

    def register(self, name: str, run: Run, model: LoggedModel, tags: Mapping[str, str]) -> str:
        """Register a logged model of a run as a new version of a model; its number."""
        about = {"source": f"models:/{model.id}", "run_id": run.id, "model_id": model.id, "tags": _pairs(tags)}
        return str(self._post("model-versions/create", name=name, **about)["model_version"]["version"])

    def version(self, name: str, number: str) -> dict[str, Any] | None:
        """A version of a model, None where there is none."""
        try:
            found: dict[str, Any] = self._get("model-versions/get", name=name, version=number)["model_version"]
        except MlflowError as error:
            if error.code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return found

    def newest(self, name: str) -> str | None:
        """Number of the newest version of a model."""
        found = self._get("model-versions/search", filter=f"name='{name}'", max_results="100").get("model_versions", [])
        return max((str(one["version"]) for one in found), key=int, default=None)

    def folder_of(self, version: Mapping[str, Any]) -> Path:
        """Where the files of a version are."""
        model = str(version["source"]).removeprefix("models:/")
        return _folder(self._get(f"logged-models/{model}")["model"]["info"]["artifact_uri"])

    def tag_version(self, name: str, number: str, key: str, value: str) -> None:
        """Set a tag of a version."""
        self._post("model-versions/set-tag", name=name, version=number, key=key, value=value)

    def alias(self, name: str, alias: str) -> str | None:
        """Number of the version with an alias."""
        said = self._get("registered-models/get", name=name)["registered_model"].get("aliases", ())
        return next((str(one["version"]) for one in said if one["alias"] == alias), None)

    def set_alias(self, name: str, alias: str, number: str) -> None:
        """Give an alias to a version; whoever had it loses it."""
        self._post("registered-models/alias", name=name, alias=alias, version=number)


def _folder(uri: str) -> Path:
    return Path(urllib.parse.unquote(urllib.parse.urlsplit(uri).path))


def _now() -> int:
    return int(time.time() * 1000)


def _pairs(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]
