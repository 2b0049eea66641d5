"""What the image is made of, and, once one is built, that every command runs in it with no right and no shell."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from midwatch.app import cli
from tests.conftest import platform_document
from tests.install.programs import ROOT, render

IMAGE = ROOT / "deploy/image"
NOBODY = "65532"


def loaded(name: str) -> ModuleType:
    """A script of the image's build, which is no module of ours."""
    spec = importlib.util.spec_from_file_location(f"image_{name}", IMAGE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# What is left out ----------------------------------------------------------------------------------------------------


def test_tests_headers_and_unused_parts_go_and_our_packages_stay(tmp_path: Path) -> None:
    gone = ["pip/x.py", "scipy/stats/tests/x.py", "pyarrow/libarrow_flight.so", "kubernetes/aio/x.py", "numpy/x.pyi"]
    kept = [
        "scipy/stats/x.py",
        "pyarrow/libarrow_substrait.so",
        "kubernetes/client/x.py",
        "midwatch/tests/x.py",
        "dr/src/x.py",
    ]
    for name in (*gone, *kept):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    left_out = list(loaded("slim").unused(tmp_path))

    def is_left_out(name: str) -> bool:
        return any((tmp_path / name).is_relative_to(path) for path in left_out)

    assert [name for name in (*gone, *kept) if is_left_out(name)] == gone


def test_the_image_is_made_of_what_the_wheel_is_and_of_nothing_else() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = {f"!{name}" for name in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    assert wanted <= set(ignored)
    assert {"!tests", "!examples", "!."}.isdisjoint(ignored)


def test_the_image_runs_as_nobody_without_a_shell() -> None:
    lines = (IMAGE / "Dockerfile").read_text().splitlines()
    final = lines[[number for number, line in enumerate(lines) if line.startswith("FROM ")][-1] :]
    assert "USER 65532:65532" in final
    assert not [line for line in final if line.startswith("RUN")], "the last stage needs no shell"
    entry = next(line for line in final if line.startswith("ENTRYPOINT"))
    assert json.loads(entry.removeprefix("ENTRYPOINT ")) == ["/opt/midwatch/bin/midwatch"]


# The bill of materials -----------------------------------------------------------------------------------------------


def test_the_bill_lists_distributions_and_debian_packages_in_order(tmp_path: Path) -> None:
    sbom = loaded("sbom")
    status = tmp_path / "status"
    installed = "Package: {}\nStatus: {}\nArchitecture: amd64\nVersion: 1.2-3\nDescription: one\n two\n"
    status.write_text(
        "\n".join(
            [installed.format("zlib1g", "install ok installed"), installed.format("gone", "deinstall ok config-files")]
        )
    )
    found = sbom.document([*sbom.python_components(), *sbom.debian_components(status)])
    purls = [one["purl"] for one in found["components"]]
    assert found["metadata"]["component"]["name"] == "midwatch"
    assert "pkg:deb/debian/zlib1g@1.2-3?arch=amd64" in purls
    assert any(purl.startswith("pkg:pypi/pyarrow@") for purl in purls)
    assert purls == sorted(purls)
    assert not any("gone" in purl for purl in purls)


def test_an_image_without_dpkg_has_a_bill_of_its_distributions(tmp_path: Path) -> None:
    assert not list(loaded("sbom").debian_components(tmp_path / "none"))


# The image itself, once it is built: make image ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def image() -> Path:
    root = os.environ.get("MIDWATCH_IMAGE_ROOT")
    if root is None:
        pytest.skip("no image is built: make image builds and tries one")
    return Path(root)


def inside(image: Path, *words: str, work: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A command of the image: its root read-only, its user nobody, no shell; by bubblewrap, else by chroot."""
    environment = {
        "PATH": "/opt/midwatch/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": "/tmp",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    named = [f"{name}={value}" for name, value in environment.items()]
    if bwrap := shutil.which("bwrap"):
        command = [bwrap, "--ro-bind", str(image), "/", "--proc", "/proc", "--dev", "/dev", "--unshare-all"]
        command += ["--bind", str(work), "/tmp"] if work else ["--tmpfs", "/tmp"]
        for shell in ("usr/bin/sh", "usr/bin/dash", "usr/bin/bash"):
            if (image / shell).exists() and not (image / shell).is_symlink():
                command += ["--ro-bind", "/dev/null", f"/{shell}"]
        command += ["--uid", NOBODY, "--gid", NOBODY, "--clearenv"]
        for name, value in environment.items():
            command += ["--setenv", name, value]
    else:
        command = ["chroot", f"--userspec={NOBODY}:{NOBODY}", str(image), "/usr/bin/env", "-i", *named]
    return subprocess.run([*command, *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_every_command_of_the_image_says_its_help(image: Path, command: str) -> None:
    done = inside(image, "/opt/midwatch/bin/midwatch", command, "--help")
    assert (done.returncode, "Usage" in done.stdout) == (0, True), done.stderr


def test_every_module_of_ours_finds_what_it_imports_in_the_image(image: Path) -> None:
    """But those of Spark, which is not in it."""
    code = """
import importlib, pkgutil
for package in ("midwatch", "monitors", "dashboards", "alerts", "chaos", "dr", "exporters"):
    module = importlib.import_module(package)
    for found in pkgutil.walk_packages(module.__path__, package + "."):
        if "spark" not in found.name and not found.name.endswith("__main__"):
            importlib.import_module(found.name)
import pyarrow.parquet, pyarrow.csv, sklearn.ensemble, kubernetes.client, psycopg
import opentelemetry.exporter.otlp.proto.grpc.trace_exporter
"""
    done = inside(image, "/opt/midwatch/bin/python", "-c", code)
    assert done.returncode == 0, done.stderr


def test_the_image_renders_the_same_bytes_as_here(image: Path, tmp_path: Path) -> None:
    here = render(platform_document(), tmp_path / "here")
    work = tmp_path / "work"
    work.mkdir()
    (work / "platform.yaml").write_text(yaml.safe_dump(platform_document(), sort_keys=False))
    if shutil.which("bwrap") is None:
        pytest.skip("bwrap is not installed: apt-get install bubblewrap")
    words = ["render", "-f", "/tmp/platform.yaml", "--target", "kubernetes", "-o", "/tmp/out"]
    done = inside(image, "/opt/midwatch/bin/midwatch", *words, work=work)
    assert done.returncode == 0, done.stderr
    for path in sorted(here.rglob("*.yaml")):
        assert (work / "out" / path.relative_to(here)).read_bytes() == path.read_bytes()


def test_nothing_in_the_image_can_be_written_by_its_user(image: Path) -> None:
    code = "import pathlib; pathlib.Path('/opt/midwatch/x').write_text('x')"
    done = inside(image, "/opt/midwatch/bin/python", "-c", code)
    assert done.returncode == 1
    assert "OSError" in done.stderr or "PermissionError" in done.stderr


def test_the_image_has_its_bill_of_materials(image: Path) -> None:
    bill = json.loads((image / "opt/midwatch/sbom.cdx.json").read_text())
    names = {one["name"] for one in bill["components"]}
    assert {"pyarrow", "scipy", "numpy"} <= names
    assert {"pytest", "pyspark", "ruff"}.isdisjoint(names)
