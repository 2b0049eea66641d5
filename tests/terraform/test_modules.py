"""The modules of OpenTofu: each folder is valid, and each module's own tests pass.

The clouds' providers cannot be had where tests run: stand-ins serve the schema of what the modules use
(`tests/kube/tofu-providers`), and `mock_provider` of `tofu test` answers for them. Nothing is asked of a cloud.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.install.programs import render, whole_document

ROOT = Path("deploy/terraform")
MODULES = ("plane", "clouds/aws", "clouds/gcp", "clouds/azure")
EXAMPLES = ("examples/aws", "examples/gcp", "examples/azure")
PROVIDERS = ("aws", "google", "azurerm", "helm", "kubernetes")

Tofu = Callable[..., subprocess.CompletedProcess[str]]


def newest(pattern: str) -> Path | None:
    """The program of that place below the cache of built ones; None where it was not built."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "midwatch/kube-assets"
    return max(cache.glob(pattern), default=None)


@pytest.fixture(scope="module")
def tofu(tmp_path_factory: pytest.TempPathFactory) -> Tofu:
    """Run tofu in a folder below a copy of deploy/, with providers from the stand-ins only."""
    program = newest("opentofu-*/tofu")
    if program is None:
        message = "tofu is not there: make kube-assets builds it where Go is installed"
        if os.environ.get("MIDWATCH_REQUIRE_PROGRAMS") and shutil.which("go"):
            pytest.fail(message)
        pytest.skip(message)
    place = tmp_path_factory.mktemp("terraform")
    shutil.copytree("deploy", place / "deploy")
    for example in EXAMPLES:
        _render(place / ROOT / example, tmp_path_factory.mktemp("platform"))
    run = _runner(program, place)
    # Where providers come from by default is known to the program alone.
    host = re.search(r"provider\[([^/\]]+)/", run("clouds/aws", "providers").stdout)
    assert host is not None
    for name in PROVIDERS:
        folder = place / "mirror" / host[1] / "hashicorp" / name / "99.0.0" / "linux_amd64"
        folder.mkdir(parents=True)
        os.link(program.parent / "stand-in", folder / f"terraform-provider-{name}")
    return run


def _render(example: Path, folder: Path) -> None:
    """Put what an example reads where it expects it: what is rendered of a platform that has everything."""
    values = render(whole_document(), folder, "helm") / "helm/values.yaml"
    for region in re.findall("build/([a-z0-9-]+)/helm", (example / "main.tf").read_text()):
        (example / "build" / region / "helm").mkdir(parents=True)
        shutil.copy(values, example / "build" / region / "helm")


def _runner(program: Path, place: Path) -> Tofu:
    settings = place / "tofurc"
    settings.write_text(
        f'provider_installation {{\n  filesystem_mirror {{\n    path = "{place / "mirror"}"\n  }}\n}}\n'
    )
    environment = os.environ | {"TF_CLI_CONFIG_FILE": str(settings), "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}

    def run(folder: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        where = place / ROOT / folder
        return subprocess.run(
            [program, *arguments], cwd=where, env=environment, capture_output=True, text=True, timeout=240, check=False
        )

    return run


@pytest.mark.parametrize("folder", [*MODULES, *EXAMPLES])
def test_a_folder_is_valid_and_formatted(tofu: Tofu, folder: str) -> None:
    for arguments in (("fmt", "-check", "-diff"), ("init", "-input=false", "-no-color"), ("validate", "-no-color")):
        done = tofu(folder, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", [*MODULES, *EXAMPLES])
def test_a_modules_own_tests_pass(tofu: Tofu, module: str) -> None:
    for arguments in (("init", "-input=false", "-no-color"), ("test", "-no-color")):
        done = tofu(module, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failed" in done.stdout


def test_the_clouds_have_the_same_inputs_and_outputs() -> None:
    """A plane moves to another cloud by another `source`."""
    shared = {
        cloud: (ROOT / cloud / "variables.tf").read_text().partition("# Of this cloud")[0] for cloud in MODULES[1:]
    }
    outputs = {(ROOT / cloud / "outputs.tf").read_text() for cloud in MODULES[1:]}
    assert len(set(shared.values())) == 1
    assert len(outputs) == 1
