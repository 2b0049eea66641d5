"""Removes from the environment that it runs in what no command of Midwatch uses: the image is a fifth smaller for it.

Tests, headers and sources of libraries, pip itself, the asynchronous client of Kubernetes, and the parts of Arrow that
are imported by name alone: Flight is RPC, ORC a format, S3, GCS and HDFS places of files (all of it links Substrait).
It is run while the image is built, and never elsewhere.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

FOLDERS = ("tests", "include", "includes", "src", "pip", "setuptools", "_distutils_hack", "pkg_resources")
"""Names of folders that hold nothing which is imported; `pip-*.dist-info` stays out of the inventory with them."""
KEPT = ("midwatch", "alerts", "chaos", "dashboards", "dr", "exporters", "monitors")
"""Our own packages are left whole."""
FILES = (
    "pyarrow/*flight*",
    "pyarrow/*s3*",
    "pyarrow/_gcsfs*",
    "pyarrow/_hdfs*",
    "pyarrow/*orc*",
    "kubernetes/aio",
    "pyarrow/*.pxd",
    "pyarrow/*.pyx",
    "pyarrow/*.pxi",
    "pip-*.dist-info",
    "setuptools-*.dist-info",
    "distutils-precedence.pth",
    "**/*.pyi",
    "**/*.a",
)


def unused(packages: Path) -> Iterator[Path]:
    """Files and folders below `site-packages` that can go."""
    for package in sorted(packages.iterdir()):
        if package.name in KEPT:
            continue
        if package.name in FOLDERS:
            yield package
        elif package.is_dir():
            yield from (found for found in package.rglob("*") if found.is_dir() and found.name in FOLDERS)
    for pattern in FILES:
        yield from packages.glob(pattern)


def main() -> None:
    """Remove them from the environment of this interpreter."""
    packages = Path(sys.prefix) / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    for path in list(unused(packages)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
