"""What holds for all systems, on platforms that have all of them: each program starts once for them."""

from __future__ import annotations

from typing import Any

from alerts import check
from midwatch import system_check
from midwatch.app.render import rendered_files
from midwatch.spec import system_rules
from tests.conftest import midwatch_here, need_program
from tests.systems.conftest import NAMES, section


def test_midwatch_check_has_nothing_to_say(write_platform: Any) -> None:
    need_program("promtool")
    need_program("amtool")
    systems = {name: section(name, token_file="/run/secrets/not-here") for name in NAMES}
    done = midwatch_here("check", "-f", write_platform(**systems))
    assert (done.returncode, done.stderr.count("no problems")) == (0, 1), done.stderr


def test_promtool_takes_the_rules_of_every_version(platform_with: Any) -> None:
    """The first platform has every system in its first version, the second in its second, and so on."""
    need_program("promtool")
    versions = {name: system_check.versions(system_rules.system(name)) for name in NAMES}
    for number in range(max(map(len, versions.values()))):
        systems = {name: in_version(name, those[number]) for name, those in versions.items() if number < len(those)}
        platform = platform_with(**systems)
        check.ensure_rules(platform, rendered_files(platform))


def in_version(name: str, version: tuple[int, ...]) -> dict[str, Any]:
    """A system's section in a version, with the objectives that it can measure."""
    chosen = [{"name": slo.name} for slo in system_rules.system(name).slos if slo.is_in(version)]
    return section(name, version=system_rules.version_text(version), slos=chosen)
