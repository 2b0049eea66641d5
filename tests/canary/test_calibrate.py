"""The margin that a fleet needs, from pods of one version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from midwatch.app import cli
from monitors.canary import calibrate
from tests.canary.arms import START, STEP, Past, prometheus_with, settings

HOURS, LOOKS = 5, 120
SIZE = HOURS * LOOKS


def fleet(*, effect: float = 0.0, burst: float = 0.0, seed: int = 1) -> Past:
    """Ten pods of one version, whose shares of errors differ for good by `effect` and from look to look by `burst`."""
    generator = np.random.default_rng(seed)
    past = Past(START + SIZE * STEP + 12)
    for pod in range(10):
        requests = generator.poisson(750, SIZE)
        heat = generator.gamma(1 / burst**2, burst**2, SIZE) if burst else np.ones(SIZE)
        errors = generator.binomial(requests, np.minimum(0.01 * np.exp(generator.normal(0, effect)) * heat, 1))
        for outcome, grown in (("ok", requests - errors), ("error", errors)):
            labels = {"model": "fraud", "version": "v1", "instance": f"pod-{pod}"}
            past.grow("ml_server_requests_total", grown, outcome=outcome, **labels)
    return past


def calibrated(past: Past, **criterion: Any) -> calibrate.Calibration:
    given = settings({"metric": "errors", **criterion}, source="servers")
    of = {"model": "fraud", "version": "v1", "by": "instance"}
    end = START + SIZE * STEP
    found = calibrate.pods(past, given, **of, end=end, history=SIZE * STEP)
    assert len(found) == 10
    histories = calibrate.compare(past, given, found, **of, start=START, end=end, interval=STEP)
    return calibrate.assess(histories, given, looks=LOOKS)[0]


def test_a_calm_fleet_needs_hardly_a_margin() -> None:
    said = calibrated(fleet())
    assert (said.comparisons, said.margin) == (50, 1.0)
    assert said.dispersion == pytest.approx(1.0, abs=0.1)
    assert said.pod_effect is not None
    assert said.pod_effect < 0.08
    assert "is enough" in said.reason


def test_pods_that_differ_for_good_need_one() -> None:
    said = calibrated(fleet(effect=0.25))
    assert said.margin is not None
    assert 1.2 <= said.margin <= 2.0
    assert said.pod_effect == pytest.approx(0.25, abs=0.12)
    assert said.alarms[1.0] > 5
    assert f"write {said.margin:g}" in said.reason
    assert said.at_most is not None
    assert said.at_most > 0


def test_bursts_are_told_from_lasting_differences() -> None:
    said = calibrated(fleet(burst=1.0))
    assert said.dispersion is not None
    assert said.dispersion > calibrate.BURSTY
    assert "equal_baseline" in said.reason
    assert calibrated(fleet(effect=0.25)).dispersion == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        ([], 0, "tolerated_ratio 1.1 is enough"),
        (["--history", "30m", "--window", "30m"], 3, "are needed: a longer history, or more pods"),
        (["--by", "zone"], 3, "0 comparisons"),
        (["--window", "1s"], 2, ""),
        (["--history", "ever"], 2, ""),
    ],
    ids=["enough", "too short", "no pods", "window", "history"],
)
def test_the_command_says_whether_the_margin_is_enough(
    past_fleet: str, tmp_path: Path, make_document: Any, capsys: Any, options: list[str], code: int, told: str
) -> None:
    document = make_document(prometheus={"url": past_fleet})
    document["models"][0]["canary"] = {"criteria": [{"metric": "errors"}], "source": "servers"}
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(document))
    given = {"--history": f"{SIZE * STEP:g}s", "--window": f"{LOOKS * STEP:g}s"}
    command = ["canary", "calibrate", "-f", str(file), "--model", "fraud", "--version", "v1"]
    command += ["--end", str(START + SIZE * STEP), *[word for pair in given.items() for word in pair], *options]
    with pytest.raises(SystemExit) as ended:
        cli.main(command)
    assert (ended.value.code, told in capsys.readouterr().out.replace("\n", " ")) == (code, True)


@pytest.fixture(scope="module")
def past_fleet(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with prometheus_with(fleet(), tmp_path_factory.mktemp("fleet")) as url:
        yield url
