"""One folder for what is rendered for files and for a cluster: each target keeps its own, and none is foreign."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import midwatch_here, platform_document

CANARY = {"criteria": [{"metric": "errors", "negligible": "1%"}]}


def written(folder: Path, **changes: Any) -> Path:
    document = platform_document(**changes)
    (folder / "platform.yaml").write_text(yaml.safe_dump(document))
    return folder / "platform.yaml"


def render(folder: Path, target: str, *words: str) -> dict[str, Any]:
    command = ("render", "-f", folder / "platform.yaml", "-o", folder / "out", "--target", target, "--json", *words)
    done = midwatch_here(*command)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder / "out")) for path in (folder / "out").rglob("*") if path.is_file()}


def with_canary(**changes: Any) -> dict[str, Any]:
    return {"models": [platform_document()["models"][0] | {"canary": CANARY, **changes}]}


def test_each_target_keeps_its_files_and_removes_what_it_does_not_have_any_more(tmp_path: Path) -> None:
    written(tmp_path, **with_canary())
    of_files = set(render(tmp_path, "files")["files"])
    of_cluster = set(render(tmp_path, "kubernetes")["files"])
    assert files(tmp_path) - {".midwatch-manifest"} == of_files | of_cluster
    assert render(tmp_path, "files")["changed"] == []
    shared = {name for name in of_files & of_cluster if "fraud" in name}
    assert shared, "templates of canaries are in both"
    written(tmp_path)
    assert shared.isdisjoint(render(tmp_path, "files")["removed"]), "the cluster's render has them still"
    assert shared <= set(render(tmp_path, "kubernetes")["removed"])
    assert shared.isdisjoint(files(tmp_path))


def test_what_another_target_has_rendered_newer_is_not_foreign(tmp_path: Path) -> None:
    written(tmp_path, **with_canary())
    for target in ("files", "kubernetes"):
        render(tmp_path, target)
    written(tmp_path, **with_canary(canary=CANARY | {"limit": "2h"}))
    assert render(tmp_path, "kubernetes")["changed"]
    assert "prometheus/rules/model-fraud.yml" not in render(tmp_path, "files")["removed"]
    (template,) = (tmp_path / "out").glob("argo-rollouts/analysis-template-fraud.yaml")
    template.write_text(template.read_text() + "# mine\n")
    refused = midwatch_here(
        "render", "-f", tmp_path / "platform.yaml", "-o", tmp_path / "out", "--target", "kubernetes"
    )
    assert (refused.returncode, "not as it was rendered" in refused.stderr) == (2, True)


@pytest.mark.parametrize("target", ["files", "kubernetes"])
def test_a_folder_of_an_earlier_release_goes_on(tmp_path: Path, target: str) -> None:
    written(tmp_path, **with_canary())
    names = render(tmp_path, target)["files"]
    manifest = tmp_path / "out" / ".midwatch-manifest"
    before = json.loads(manifest.read_text())[target]
    (tmp_path / "out" / ".midwatch-manifest.json").write_text(json.dumps(before))
    manifest.unlink()
    written(tmp_path)
    done = render(tmp_path, target)
    assert set(names) - set(done["files"]) == set(done["removed"])
    assert not (tmp_path / "out" / ".midwatch-manifest.json").exists()
