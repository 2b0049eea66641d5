"""Alerts on the loop: what follows it is blind, a step or a recovery is late, an episode ended without a better model.

How old a champion may become is promised to the registry's own alerts: `systems.mlflow.observe.max_age`.
"""

from __future__ import annotations

from alerts import alerting_rule, tuning
from alerts.alerting_rule import AlertingRule
from midwatch import grafana, jobs, metrics, promql
from midwatch.metrics import Metric
from midwatch.promql import Expr, Matcher
from midwatch.spec import loop, loop_drill
from midwatch.spec.loop import ModelLoop
from midwatch.spec.loop_drill import LoopDrill
from midwatch.spec.model import Model, Platform
from midwatch.spec.rules import Proof
from midwatch.spec.slo import Severity
from midwatch.spec.values import format_duration

START_WAIT = 60.0
"""A service that is being started."""
BLIND_WAIT = 600.0
"""An owner that restarts is back before that."""
BEHIND_LOOKS = 20.0
"""Looks that may be late: owners that answer slowly are asked one after the other."""
LEAST_BEHIND = 300.0
HISTORY = 5
"""Episodes in which a step has been seen before its own history says when it is late."""
USUAL_SHARE = 0.95
OVERDUE_TIMES = 2.0
"""A step is late at twice the time within which 95% of those before it came, as the buckets have it. Of good steps that
are log-normal, so many are called late: with a spread of 0.5 (most within a factor of 1.6) 0.5% after five episodes and
0.1% after ten, with one of 1.3 (a factor of 3.7) 5% and 2.4% (simulated, 4,000 each)."""
LEAST_OVERDUE = 300.0
STUCK_SHARE = 0.25
"""Of the time after which the loop gives up: then somebody can still save the episode."""
DRILL_WAIT = 3600.0
NEVER_WAIT = 86_400.0
"""A platform that is new has a day for its first drill."""

EPISODE = ("model", "version", "new_version", "cause")


def of_platform(platform: Platform) -> list[AlertingRule]:
    """Alerts on the service, on each model that it follows, and on each drill; none without the section."""
    if platform.loop is None:
        return []
    found = [_down(platform), _behind(platform, platform.loop.interval), _blind(platform)]
    for model in loop.followed(platform):
        made = _of_model(platform, model, model.loop or ModelLoop())
        found += [tuning.tuned(model, one) for one in made if not tuning.is_off(model, one.name)]
    for model in loop_drill.drilled(platform):
        if model.loop is not None and model.loop.drill is not None:
            found += _of_drill(platform, model, model.loop.drill)
    return found


# The service ---------------------------------------------------------------------------------------------------------


def _down(platform: Platform) -> AlertingRule:
    targets = jobs.service_targets(platform, jobs.LOOP)
    missing = promql.missing_targets(jobs.LOOP, len(targets))
    return _of_service(
        platform,
        "LoopDown",
        promql.scraped(job=jobs.LOOP).equals(0).or_(missing),
        max(4 * platform.prometheus.scrape_interval, START_WAIT),
        "What follows the loop cannot be scraped",
        "With all of them gone no retraining is asked for and no step is seen; drift is still judged and told.",
        {f'up{{job="{jobs.LOOP}",instance="i"}}': "0x40"},
        {f'up{{job="{jobs.LOOP}",instance="{one}"}}': "1x40" for one in targets},
    )


def _behind(platform: Platform, interval: float) -> AlertingRule:
    limit = max(LEAST_BEHIND, BEHIND_LOOKS * interval)
    looked = promql.max_by(promql.select(metrics.LOOP_LAST_LOOK))
    leads = promql.max_by(promql.select(metrics.LOOP_LEADER))
    late = (promql.timestamp_now() - looked) > limit
    series = f'{metrics.LOOP_LAST_LOOK.name}{{instance="i"}}'
    lead = {f'{metrics.LOOP_LEADER.name}{{instance="i"}}': "1x80"}
    return _of_service(
        platform,
        "LoopBehind",
        late.or_(leads.equals(0)),
        START_WAIT,
        "Nobody has looked at the loop for a while",
        f"A look is due every {format_duration(interval)}. Either no process leads, or the one that does hangs.",
        {series: "0x80", **lead},
        {series: "0+15x80", **lead},
        within=limit + START_WAIT + 60,
    )


def _blind(platform: Platform) -> AlertingRule:
    up = promql.max_by(promql.select(metrics.LOOP_SOURCE_UP), "source")
    series = f'{metrics.LOOP_SOURCE_UP.name}{{source="tekton",instance="i"}}'
    return _of_service(
        platform,
        "LoopBlind",
        up.equals(0),
        BLIND_WAIT,
        "{{ $labels.source }} does not answer the loop",
        "Steps that it owns are not seen. Nothing is assumed in their place, so episodes stand still.",
        {series: "0x80"},
        {series: "1x80"},
        within=BLIND_WAIT + 60,
    )


def _of_service(
    platform: Platform,
    name: str,
    expr: Expr,
    wait: float,
    summary: str,
    description: str,
    fires: dict[str, str],
    silent: dict[str, str],
    within: float = 300.0,
) -> AlertingRule:
    proof = {"fires": fires, "silent": silent, "within": within, "interval": 15.0}
    return alerting_rule.build(
        platform,
        name,
        expr,
        wait,
        platform.operator,
        Severity.TICKET,
        summary,
        description,
        page=grafana.Page.LOOP,
        proof=Proof.model_validate(proof),
    )


# A model's episodes --------------------------------------------------------------------------------------------------


def _of_model(platform: Platform, model: Model, settings: ModelLoop) -> list[AlertingRule]:
    made = [
        _overdue(platform, model),
        _stuck(platform, model, settings),
        _not_better(platform, model),
        _failed(platform, model),
    ]
    if settings.recover_within is not None:
        made.append(_late(platform, model, settings.recover_within))
    return [*made, _undecided(platform, model)] if model.canary else made


def _waiting(model: Model) -> Expr:
    """Seconds that the open episode has waited for its next step, which the label names."""
    since = promql.max_by(promql.select(metrics.LOOP_WAITING, model=model.name), "model", "step")
    return promql.timestamp_now() - since


def _overdue(platform: Platform, model: Model) -> AlertingRule:
    """The next step takes much longer than the same step did in this model's own episodes."""
    by = ("model", "step")
    buckets = promql.select(metrics.LOOP_STEP_DURATION, "_bucket", model=model.name)
    counts = promql.sum_by(promql.select(metrics.LOOP_STEP_DURATION, "_count", model=model.name), *by)
    usual = promql.histogram_quantile(USUAL_SHARE, promql.sum_by(buckets, *by, "le"))
    limit = promql.call("clamp_min", usual * OVERDUE_TIMES, LEAST_OVERDUE).and_(counts >= HISTORY, on=by)
    waited = _waiting(model)
    name = metrics.LOOP_STEP_DURATION.name
    labels = f'model="{model.name}",step="registered"'
    history = {f"{name}_count{{{labels}}}": "9x80"}
    for bound in metrics.LOOP_BUCKETS:
        history[f'{name}_bucket{{{labels},le="{bound:g}"}}'] = f"{9 if bound >= 300 else 0}x80"
    history[f'{name}_bucket{{{labels},le="+Inf"}}'] = "9x80"
    series = f"{metrics.LOOP_WAITING.name}{{{labels}}}"
    return _of_episode(
        platform,
        model,
        "LoopStepOverdue",
        waited.and_(waited.minus(limit, on=by) > 0, on=by),
        0.0,
        f"{model.name}: {{{{ $labels.step }}}} is overdue after {{{{ $value | humanizeDuration }}}}",
        "That is more than twice what nearly all episodes of this model took for it.",
        {series: "0x80", **history},
        {series: "0+15x80", **history},
        within=900.0,
    )


def _stuck(platform: Platform, model: Model, settings: ModelLoop) -> AlertingRule:
    limit = STUCK_SHARE * settings.give_up_after
    if settings.recover_within is not None:
        limit = min(limit, settings.recover_within)
    series = f'{metrics.LOOP_WAITING.name}{{model="{model.name}",step="run_started"}}'
    step = max(15.0, limit / 40)
    return _of_episode(
        platform,
        model,
        "LoopEpisodeStuck",
        _waiting(model) > limit,
        0.0,
        f"{model.name}: the episode waits for {{{{ $labels.step }}}} since {{{{ $value | humanizeDuration }}}}",
        f"After {format_duration(settings.give_up_after)} it counts as abandoned. midwatch loop show has its steps.",
        {series: "0x80"},
        {series: f"0+{step:g}x80"},
        within=limit + 3 * step,
        interval=step,
    )


def _late(platform: Platform, model: Model, promised: float) -> AlertingRule:
    """The promise is spent and no better version has all traffic: the episode is open, or ended without one."""
    chosen = {"model": model.name}
    onset = promql.max_by(promql.select(metrics.LOOP_TIME, time="T0", **chosen), "model")
    is_open = promql.max_by(promql.select(metrics.LOOP_EPISODE_OPEN, **chosen), "model").equals(1)
    served = promql.max_by(promql.select(metrics.LOOP_TIME, time="T7", **chosen), "model")
    late = ((promql.timestamp_now() - onset) > promised).and_(is_open, on=("model",)).unless(served, on=("model",))
    step = max(15.0, promised / 40)
    began = f'{metrics.LOOP_TIME.name}{{model="{model.name}",time="T0"}}'
    opened = {f'{metrics.LOOP_EPISODE_OPEN.name}{{model="{model.name}"}}': "1x80"}
    ended = f'{metrics.LOOP_TIME.name}{{model="{model.name}",time="T7"}}'
    return _of_episode(
        platform,
        model,
        "ModelRecoveryLate",
        late,
        0.0,
        f"{model.name} has drifted for {{{{ $value | humanizeDuration }}}}, promised {format_duration(promised)}",
        "Since the drift's onset no better version has come to have all traffic. The page shows where the time went.",
        {began: "0x80", **opened},
        {began: "0x80", **opened, ended: "10x80"},
        within=promised + 3 * step,
        interval=step,
    )


def _newest(model: Model, outcomes: str, **where: str | Matcher) -> Expr:
    """How the newest episode ended, if it ended so."""
    chosen = promql.select(metrics.LOOP_EPISODE, "", model=model.name, outcome=promql.matches(outcomes), **where)
    return promql.max_by(chosen, *EPISODE, "outcome")


def _info(model: Model, outcome: str, cause: str) -> str:
    labels = f'model="{model.name}",episode="e",version="v1",new_version="v2",outcome="{outcome}",cause="{cause}"'
    return f"{metrics.LOOP_EPISODE.name}{{{labels}}}"


def _not_better(platform: Platform, model: Model) -> AlertingRule:
    return _of_episode(
        platform,
        model,
        "RetrainedNotBetter",
        _newest(model, "no_better|worse"),
        0.0,
        f"{model.name} {{{{ $labels.new_version }}}} was retrained and is {{{{ $labels.outcome }}}}: "
        "{{ $labels.cause }}",
        "With drift_persists the drift is in the world: a unit, a join or a source changed before the data came here, "
        "and another training on them will not help. Call the owner of the data.",
        {_info(model, "no_better", "drift_persists"): "1x40"},
        {_info(model, "better", "drift_gone"): "1x40"},
    )


def _failed(platform: Platform, model: Model) -> AlertingRule:
    """An episode that brought nothing; one whose drift ended by itself, before anybody was asked, lacks nothing."""
    return _of_episode(
        platform,
        model,
        "LoopEpisodeFailed",
        _newest(model, "failed|abandoned", cause=promql.not_equal("drift_ended")),
        0.0,
        f"{model.name}: the retraining {{{{ $labels.outcome }}}} at {{{{ $labels.cause }}}}",
        "The model still drifts, and nothing new comes for this episode. midwatch loop show says what the owner said.",
        {_info(model, "failed", "trained"): "1x40"},
        {_info(model, "better", "drift_gone"): "1x40", _info(model, "abandoned", "drift_ended"): "1x40"},
    )


def _undecided(platform: Platform, model: Model) -> AlertingRule:
    """Promoted in the newest episode, and its canary not judged good."""

    def state(step: str, value: str) -> str:
        return f'{metrics.LOOP_STEP_STATE.name}{{model="{model.name}",step="{step}",state="{value}"}}'

    promoted = promql.select(metrics.LOOP_STEP_STATE, model=model.name, step="promoted", state="done")
    judged = promql.select(metrics.LOOP_STEP_STATE, model=model.name, step="canary_judged", state="done")
    by = ("model",)
    passed = promql.max_by(judged, *by).equals(1)
    return _of_episode(
        platform,
        model,
        "PromotedUndecided",
        promql.max_by(promoted, *by).equals(1).unless(passed, on=by),
        0.0,
        f"{model.name} was promoted while its canary was undecided",
        "The gate had not passed the new version when it became champion. Nobody has judged what now serves.",
        {state("promoted", "done"): "1x40", state("canary_judged", "done"): "0x40"},
        {state("promoted", "done"): "1x40", state("canary_judged", "done"): "1x40"},
    )


def _of_episode(
    platform: Platform,
    model: Model,
    name: str,
    expr: Expr,
    wait: float,
    summary: str,
    description: str,
    fires: dict[str, str],
    silent: dict[str, str],
    within: float = 60.0,
    interval: float = 15.0,
) -> AlertingRule:
    proof = {"fires": fires, "silent": silent, "within": within, "interval": interval}
    return alerting_rule.build(
        platform,
        name,
        expr,
        wait,
        model.owner,
        Severity.TICKET,
        summary,
        description,
        page=grafana.Page.LOOP,
        proof=Proof.model_validate(proof),
        model=model.name,
    )


# Drills --------------------------------------------------------------------------------------------------------------


def _of_drill(platform: Platform, model: Model, drill: LoopDrill) -> list[AlertingRule]:
    """A drill of the loop: one that failed or showed nothing, and with a schedule one that is overdue or never was."""
    made = [
        _verdict(platform, model, "LoopDrillBreached", "breached"),
        _verdict(platform, model, "LoopDrillInconclusive", "inconclusive"),
    ]
    if drill.schedule is None:
        return made
    last = promql.select(metrics.LOOP_DRILL_LAST_RUN, model=drill.copies)
    step = max(60.0, drill.result_age / 32)
    overdue = _of_episode(
        platform,
        model,
        "LoopDrillOverdue",
        (promql.timestamp_now() - promql.max_by(last, "model")) > drill.result_age,
        DRILL_WAIT,
        f"The loop of {drill.copies} was not drilled for {{{{ $value | humanizeDuration }}}}",
        f"A result is due within {format_duration(drill.result_age)}; a promise that is not tried is a hope.",
        {str(last): "0x80"},
        {str(last): f"0+{step:g}x80"},
        within=drill.result_age + DRILL_WAIT + 2 * step,
        interval=step,
    )
    scraped = promql.scraped(job=jobs.LOOP).equals(1)
    never = _of_episode(
        platform,
        model,
        "LoopDrillNeverRun",
        promql.absent(last).and_(scraped, on=()),
        NEVER_WAIT,
        f"The loop of {drill.copies} has never been drilled",
        "Nobody knows whether a drifted model comes back to be a good one in time.",
        {f'up{{job="{jobs.LOOP}",instance="i"}}': "1x400"},
        {str(last): "0x400", f'up{{job="{jobs.LOOP}",instance="i"}}': "1x400"},
        within=NEVER_WAIT + 900.0,
        interval=NEVER_WAIT / 360,
    )
    return [*made, overdue, never]


def _verdict(platform: Platform, model: Model, name: str, verdict: str) -> AlertingRule:
    copied = model.loop.drill.copies if model.loop and model.loop.drill else model.name
    chosen = promql.select(metrics.LOOP_DRILL_VERDICT, model=copied, verdict=verdict)
    return _of_episode(
        platform,
        model,
        name,
        promql.max_by(chosen, "model").equals(1),
        0.0,
        f"The drill of the loop of {copied} was {verdict}",
        "midwatch loop drills has its reasons, its phases and the evidence.",
        {_series(metrics.LOOP_DRILL_VERDICT, model=copied, verdict=verdict): "1x40"},
        {_series(metrics.LOOP_DRILL_VERDICT, model=copied, verdict=verdict): "0x40"},
    )


def _series(metric: Metric, **labels: str) -> str:
    return str(promql.select(metric, **labels))
