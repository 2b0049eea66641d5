"""The services of the plane: exporter, gate, loop, what asks, judges or explains beside them, console."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from midwatch import jobs, object_names, rbac
from midwatch.app.workloads import executors, loop_rights, pods, triggers
from midwatch.app.workloads.pods import KEY, Container, Mounted, Object, Place, Pod
from midwatch.http_access import parse_address
from midwatch.spec import dr as recovery_spec
from midwatch.spec import explainer as explainer_spec
from midwatch.spec import loop as loop_spec
from midwatch.spec.canary import SecretKey
from midwatch.spec.console import Console
from midwatch.spec.drift import PipelineRun
from midwatch.spec.explainer import Explainer
from midwatch.spec.kubernetes import Resources, Stateful
from midwatch.spec.model import Model
from midwatch.spec.scraped import Scraped
from midwatch.spec.stream import Stream

JOB = "midwatch.dev/job"
"""Label of a Service with the name of its scrape job."""
EXPORTER = "midwatch-exporter"
GATE = "midwatch-gate"
CONSOLE = "midwatch-console"
LOOP = "midwatch-loop"
INCIDENTS = "midwatch-incidents"
EVALUATOR = "midwatch-evaluator"
EXPLAINER = "midwatch-explainer"
MODEL_TOKEN_FOLDER = "/run/secrets/model-token"  # noqa: S105 - the folder of one
STREAM = "midwatch-stream"
RECOVERY = "midwatch-recovery-exporter"
SYSTEMS = "midwatch-systems"
_METRICS_TOKEN = ("--metrics-token-file", f"{pods.METRICS_FOLDER}/{pods.KEY}")
_TOKENS = ("--token-file", f"{pods.TOKEN_FOLDER}/{pods.KEY}", *_METRICS_TOKEN)


def port_of(listen: str) -> int:
    """Port of HOST:PORT."""
    return parse_address(listen)[1]


def exporter(place: Place) -> list[Object]:
    """Exporters, each with the volume of its journal, and the right to run the pipelines that drift triggers.

    Members of a Kafka group have their pods' names in it; one more pod judges drift over all of them.
    """
    settings = place.settings.exporter
    runs = [] if place.platform.loop else _pipeline_runs(place)
    words = ("--kafka",) if place.platform.exporter.kafka else ()
    found = [
        rbac.service_account(place.metadata(EXPORTER, "exporter")),
        *_trigger_rights(place, runs),
        *triggers.restrictions(place, EXPORTER, "exporter", runs),
        *_exporters(place, "exporter", words, settings.replicas, asks_api=bool(runs)),
    ]
    if jobs.has_judge_alone(place.platform):
        found += _exporters(place, "exporter-judge", ("--kafka", "--judge"), 1, asks_api=bool(runs))
    return found


def _exporters(place: Place, component: str, more: tuple[str, ...], replicas: int, *, asks_api: bool) -> list[Object]:
    settings, listen = place.settings.exporter, port_of(place.platform.exporter.listen)
    secrets = pods.secrets(place, SecretKey(name=place.settings.token_secret))
    words = ("exporter", "serve", "-f", pods.FILE, "--listen", f"0.0.0.0:{listen}", "--state", f"{pods.STATE}/exporter")
    name = f"midwatch-{component}"
    wanted = Container(
        name="exporter",
        words=(*words, *more, *_TOKENS),
        port=listen,
        ready="/readyz",
        resources=settings.resources,
        secrets=secrets,
    )
    pod = Pod(
        component=component,
        container=pods.container(place, wanted),
        volumes=[pods.configuration(place), *(one.as_volume() for one in secrets)],
        account=EXPORTER,
        asks_api=asks_api,
        grace_seconds=60,
    )
    return [
        *_stateful_set(place, name, pod, settings, replicas),
        _budget(place, name, component),
        _scraped(_service(place, name, component, listen), jobs.EXPORTER),
    ]


def _pipeline_runs(place: Place) -> list[PipelineRun]:
    triggers = [model.drift.retrain for model in place.platform.models if model.drift and model.drift.retrain]
    return [one.pipeline_run for one in triggers if one.pipeline_run]


def _trigger_rights(place: Place, runs: list[PipelineRun]) -> list[Object]:
    """A Role in each namespace of a pipeline: the exporter creates runs there, and does nothing else."""
    found: list[Object] = []
    rules = [rbac.rule("tekton.dev", "pipelineruns", ["create"])]
    for namespace in sorted({run.namespace for run in runs}):
        name = object_names.of_account(EXPORTER, place.platform.platform)
        metadata = place.metadata(name, "exporter", namespace)
        found += rbac.role(metadata, rules, EXPORTER, place.settings.namespace)
    return found


def loop(place: Place, settings: loop_spec.Loop) -> list[Object]:
    """The loop, with the volume of its episodes. One: another would need the same volume to stand by.

    It makes the runs that drift triggers, and reads what becomes of them.
    """
    port, kept = port_of(settings.listen), place.settings.loop
    secrets = pods.secrets(place, SecretKey(name=place.settings.token_secret))
    words = ("loop", "serve", "-f", pods.FILE, "--listen", f"0.0.0.0:{port}", "--state", f"{pods.STATE}/loop")
    wanted = Container(
        name="loop", words=(*words, *_TOKENS), port=port, ready="/readyz", resources=kept.resources, secrets=secrets
    )
    rights = loop_rights.of_platform(place.platform, place.settings.namespace)
    pod = Pod(
        component="loop",
        container=pods.container(place, wanted),
        volumes=[pods.configuration(place), *(one.as_volume() for one in secrets)],
        account=LOOP,
        asks_api=bool(rights),
    )
    return [
        rbac.service_account(place.metadata(LOOP, "loop")),
        *_loop_roles(place, rights),
        *triggers.restrictions(place, LOOP, "loop", _pipeline_runs(place)),
        *_stateful_set(place, LOOP, pod, kept, 1),
        _budget(place, LOOP, "loop"),
        _scraped(_service(place, LOOP, "loop", port), jobs.LOOP),
    ]


def _loop_roles(place: Place, rights: Mapping[str, list[rbac.Right]]) -> Iterator[Object]:
    """A Role in each namespace with rights, and a ClusterRole for those of every namespace."""
    for namespace, granted in sorted(rights.items()):
        rules = rbac.least_rules(granted)
        if namespace:
            name = object_names.of_account(LOOP, place.platform.platform)
            metadata = place.metadata(name, "loop", namespace)
            yield from rbac.role(metadata, rules, LOOP, place.settings.namespace)
        else:
            name = object_names.of_account_in_cluster(LOOP, place.platform.platform, place.settings.namespace)
            metadata = place.metadata(name, "loop")
            metadata.pop("namespace")
            yield from rbac.cluster_role(metadata, rules, LOOP, place.settings.namespace)


def gate(place: Place) -> list[Object]:
    """The gate, with the volume of its evidence. One: two would each keep a log that lacks the other's verdicts."""
    settings, listen = place.settings.gate, port_of(place.platform.gate.listen)
    token = place.platform.gate.token_secret or SecretKey(name=place.settings.token_secret)
    secrets = pods.secrets(place, token)
    words = ("canary", "gate", "-f", pods.FILE, "--listen", f"0.0.0.0:{listen}")
    wanted = Container(
        name="gate",
        words=(*words, "--audit", f"{pods.STATE}/gate/audit.jsonl", *_TOKENS),
        port=listen,
        ready="/readyz",
        resources=settings.resources,
        secrets=secrets,
    )
    pod = Pod(
        component="gate",
        container=pods.container(place, wanted),
        volumes=[pods.configuration(place), *(one.as_volume() for one in secrets)],
        account=GATE,
    )
    return [
        rbac.service_account(place.metadata(GATE, "gate")),
        *_stateful_set(place, GATE, pod, settings, 1),
        _budget(place, GATE, "gate"),
        _scraped(_service(place, GATE, "gate", listen), jobs.GATE),
    ]


def recovery(place: Place, settings: recovery_spec.Kubernetes, listen: str) -> list[Object]:
    """The recovery exporter, beside the drills: it reads the evidence that they leave, and asks their stores."""
    port = port_of(listen)
    words = ("dr", "export", "-f", pods.FILE, "--listen", f"0.0.0.0:{port}", "--evidence", pods.STATE, *_METRICS_TOKEN)
    name = settings.config_map
    beside = [{"configMap": {"name": name}}, {"secret": {"name": name, "optional": True}}]
    kept: Object = {"emptyDir": {}}
    if settings.evidence_claim:
        kept = {"persistentVolumeClaim": {"claimName": settings.evidence_claim}}
    token = pods.metrics_token(place)
    wanted = Container(
        name="recovery-exporter",
        words=words,
        port=port,
        ready="/healthz",
        resources=place.settings.recovery,
        secrets=[token],
    )
    pod = Pod(
        component="recovery-exporter",
        container=pods.container(place, wanted),
        volumes=[
            {"name": "platform", "projected": {"sources": beside}},
            {"name": "state", **kept},
            token.as_volume(),
        ],
        account=settings.exporter_account,
        asks_api=True,
    )
    return [
        _deployment(place, RECOVERY, pod, settings.namespace, strategy={"type": "Recreate"}),
        _scraped(_service(place, RECOVERY, pod.component, port, settings.namespace), jobs.RECOVERY),
    ]


def stream(place: Place, settings: Stream) -> list[Object]:
    """The driver of the stream, with the volume of its counts; Spark and its checkpoint are in its pod, or elsewhere.

    One: a second query of the same topics would count everything again.
    """
    kept, port = place.settings.stream, port_of(settings.listen)
    further = kept.executors
    mounted = [one for one in pods.secrets(place, SecretKey(name=place.settings.token_secret)) if one.volume != "token"]
    folder = f"{pods.STATE}/stream"
    checkpoint = further.checkpoint if further else f"{folder}/checkpoint"
    words = ("stream", "run", "-f", pods.FILE, "--listen", f"0.0.0.0:{port}")
    wanted = Container(
        name="stream",
        words=(*words, "--checkpoint", checkpoint, "--sink", f"{folder}/counts.db", *_METRICS_TOKEN),
        port=port,
        ready="/readyz",
        resources=kept.resources,
        secrets=mounted,
    )
    container = pods.container(place, wanted) | {"image": kept.image}
    pod = Pod(
        component="stream",
        container=executors.in_driver(container) if further else container,
        volumes=[
            pods.configuration(place),
            *(one.as_volume() for one in mounted),
            *([executors.volume()] if further else []),
        ],
        account=STREAM,
        asks_api=further is not None,
        grace_seconds=60,
    )
    theirs = [one for one in mounted if one.volume != pods.metrics_token(place).volume]
    return [
        rbac.service_account(place.metadata(STREAM, pod.component)),
        *(executors.objects(place, further, STREAM, theirs) if further else []),
        *_stateful_set(place, STREAM, pod, kept, 1),
        _budget(place, STREAM, pod.component),
        _scraped(_service(place, STREAM, pod.component, port), jobs.STREAM),
    ]


def systems(place: Place) -> list[Object]:
    """The systems exporter, with the volume of what it saw. One: two would each write the registry's changes down.

    An account that lists objects of the cluster is rendered with its rights; without one it speaks to no API server.
    """
    exporter = place.platform.systems_exporter
    settings, port = place.settings.systems, port_of(exporter.listen)
    account = exporter.account.service_account if exporter.account else SYSTEMS
    mounted = [one for one in pods.secrets(place, SecretKey(name=place.settings.token_secret)) if one.volume != "token"]
    words = ("systems", "export", "-f", pods.FILE, "--listen", f"0.0.0.0:{port}", "--state", f"{pods.STATE}/systems")
    wanted = Container(
        name="systems-exporter",
        words=(*words, *_METRICS_TOKEN),
        port=port,
        ready="/readyz",
        resources=settings.resources,
        secrets=mounted,
    )
    asks_api = any(use.observe.resources for use in place.platform.systems.values() if use.observe)
    pod = Pod(
        component="systems-exporter",
        container=pods.container(place, wanted),
        volumes=[pods.configuration(place), *(one.as_volume() for one in mounted)],
        account=account,
        asks_api=asks_api,
    )
    own = [] if asks_api else [rbac.service_account(place.metadata(account, pod.component))]
    return [
        *own,
        *_stateful_set(place, SYSTEMS, pod, settings, 1),
        _budget(place, SYSTEMS, pod.component),
        _scraped(_service(place, SYSTEMS, pod.component, port), jobs.SYSTEMS),
    ]


def incidents(place: Place) -> list[Object]:
    """What says what changed before an alert: logs of evidence are on the volumes of others."""
    settings = place.platform.incidents
    return _asks_prometheus_alone(
        place, INCIDENTS, jobs.INCIDENTS, ("explain", "watch"), settings, place.settings.incidents
    )


def evaluator(place: Place) -> list[Object]:
    """What judges promises again and again: when it began to is in Prometheus."""
    settings = place.platform.evaluator
    return _asks_prometheus_alone(
        place, EVALUATOR, jobs.EVALUATOR, ("evaluate", "serve"), settings, place.settings.evaluator
    )


def _asks_prometheus_alone(
    place: Place, name: str, job: str, command: tuple[str, str], settings: Scraped, resources: Resources
) -> list[Object]:
    """A service that keeps nothing: one pod, and another one wherever that goes."""
    port, component = port_of(settings.listen), name.removeprefix("midwatch-")
    mounted = [one for one in pods.secrets(place, SecretKey(name=place.settings.token_secret)) if one.volume != "token"]
    words = (*command, "-f", pods.FILE, "--listen", f"0.0.0.0:{port}", *_METRICS_TOKEN)
    wanted = Container(name=component, words=words, port=port, ready="/readyz", resources=resources, secrets=mounted)
    pod = Pod(
        component=component,
        container=pods.container(place, wanted),
        volumes=[
            pods.configuration(place),
            {"name": "state", "emptyDir": {}},
            *(one.as_volume() for one in mounted),
        ],
        account=name,
    )
    return [
        rbac.service_account(place.metadata(name, component)),
        _deployment(place, name, pod),
        _budget(place, name, component),
        _scraped(_service(place, name, component, port), job),
    ]


def console(place: Place, settings: Console) -> list[Object]:
    """The console. It keeps nothing: one pod, and another one wherever that goes."""
    port, token = port_of(settings.listen), SecretKey(name=settings.token_secret)
    further = [one for one in pods.secrets(place, token) if one.volume != "metrics"]
    words = (
        "console",
        "-f",
        pods.FILE,
        "--listen",
        f"0.0.0.0:{port}",
        "--token-file",
        f"{pods.TOKEN_FOLDER}/{pods.KEY}",
    )
    wanted = Container(
        name="console", words=words, port=port, ready="/readyz", resources=settings.resources, secrets=further
    )
    pod = Pod(
        component="console",
        container=pods.container(place, wanted),
        volumes=[
            pods.configuration(place),
            {"name": "state", "emptyDir": {}},
            *(one.as_volume() for one in further),
        ],
        account=CONSOLE,
    )
    return [
        rbac.service_account(place.metadata(CONSOLE, pod.component)),
        _deployment(place, CONSOLE, pod),
        _budget(place, CONSOLE, pod.component),
        _service(place, CONSOLE, pod.component, port),
    ]


def explainers(place: Place) -> list[Object]:
    """What explains models: a Deployment for each, of an image that has the model, and nothing of the platform's."""
    found = [rbac.service_account(place.metadata(EXPLAINER, "explainer"))]
    for model, settings in explainer_spec.explained(place.platform):
        found += _explainer(place, model, settings)
    return found


def _explainer(place: Place, model: Model, settings: Explainer) -> list[Object]:
    """One pod: its cache is its own, and Prometheus scrapes it by the Service's name."""
    name, component = explainer_spec.service_name(model), explainer_component(model)
    token = Mounted(
        volume="token", secret=settings.token_secret or place.settings.token_secret, folder=pods.TOKEN_FOLDER, key=KEY
    )
    of_model = Mounted(
        volume="model-token", secret=settings.model_token_secret or "", folder=MODEL_TOKEN_FOLDER, key=KEY
    )
    further = enumerate(sorted(explainer_spec.mounted_secrets(place.settings, settings).items()))
    mounted = [
        token,
        pods.metrics_token(place),
        *([of_model] if settings.model_token_secret else []),
        *(Mounted(volume=f"secret-{number}", secret=secret, folder=folder) for number, (secret, folder) in further),
    ]
    wanted = Container(
        name="explainer",
        words=("explain", "serve", *_explainer_words(model, settings), *_TOKENS),
        port=settings.port,
        ready="/readyz",
        resources=settings.resources,
        secrets=mounted,
    )
    pod = Pod(
        component=component,
        container=pods.without_platform(pods.container(place, wanted)) | {"image": settings.image},
        volumes=[one.as_volume() for one in mounted],
        account=EXPLAINER,
    )
    return [
        _deployment(place, name, pod),
        _budget(place, name, component),
        _service(place, name, component, settings.port),
    ]


def explainer_component(model: Model) -> str:
    """The part of a model's explainer, by which its pods are selected."""
    return f"explainer-{model.name}"


def _explainer_words(model: Model, settings: Explainer) -> Iterator[str]:
    """Options, each with its value in one word: a value may begin with a dash."""
    yield f"--model={model.name}"
    yield f"--version={settings.version}"
    yield f"--from={settings.source}"
    yield f"--background={settings.background}"
    if settings.output is not None:
        yield f"--output={settings.output}"
    yield f"--listen=0.0.0.0:{settings.port}"
    yield f"--threads={settings.threads}"
    if settings.model_token_secret is not None:
        yield f"--model-token-file={MODEL_TOKEN_FOLDER}/{KEY}"


# Objects -------------------------------------------------------------------------------------------------------------


def _deployment(place: Place, name: str, pod: Pod, namespace: str = "", **further: Object) -> Object:
    """A Deployment of one pod, which keeps nothing; `further` are fields of its spec."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": place.metadata(name, pod.component, namespace),
        "spec": {
            "replicas": 1,
            **further,
            "selector": {"matchLabels": place.labels(pod.component)},
            "template": pods.template(place, pod),
        },
    }


def _stateful_set(place: Place, name: str, pod: Pod, settings: Stateful, replicas: int) -> list[Object]:
    """A StatefulSet with a volume for each pod, and the Service that gives each pod a name of its own."""
    component, members = pod.component, f"{name}-members"
    labels = place.labels(component)
    port = pod.container["ports"][0]["containerPort"]
    headless = _service(place, members, component, port)
    # A pod that is not ready has its name all the same: events that wait for it find it again.
    headless["spec"] |= {"clusterIP": "None", "publishNotReadyAddresses": True}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": place.metadata(name, component),
            "spec": {
                "replicas": replicas,
                "serviceName": members,
                "podManagementPolicy": "Parallel",
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
                "selector": {"matchLabels": labels},
                "template": pods.template(place, pod),
                "volumeClaimTemplates": [pods.claim(place, settings, component)],
            },
        },
        headless,
    ]


def _service(place: Place, name: str, component: str, port: int, namespace: str = "") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": place.metadata(name, component, namespace),
        "spec": {
            "selector": place.labels(component),
            "ports": [{"name": "http", "port": port, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def _scraped(service: Object, job: str) -> Object:
    """A Service that says which job its pods are scraped as."""
    service["metadata"]["labels"][JOB] = job
    return service


def _budget(place: Place, name: str, component: str) -> Object:
    """One pod at a time may be moved: with one pod, `minAvailable` would hold a node's drain up for ever."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": place.metadata(name, component),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": place.labels(component)}},
    }
