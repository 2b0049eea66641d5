"""Spark's executors for the driver of the stream: its settings, their pods, and the right to make them.

The driver is a pod of ours in Spark's client mode (Spark, "Running Spark on Kubernetes"): executors reach it by its
name in the headless Service, on ports that the network policy knows. None is left to chance, and none is tried next.
"""

from __future__ import annotations

from midwatch import pod_security, rbac, yamlfile
from midwatch.app.workloads import pods
from midwatch.app.workloads.pods import Mounted, Object, Place, Pod
from midwatch.spec.kubernetes import StreamExecutors

COMPONENT = "stream-executor"
ACCOUNT = "midwatch-stream-executor"
CONFIGURATION = "midwatch-stream-spark"
"""The ConfigMap with Spark's settings and the template of executors' pods."""

FOLDER = "/etc/midwatch-spark"
"""Where the driver finds that ConfigMap: `SPARK_CONF_DIR`."""

DRIVER_PORT = 7078
"""Where executors register, and fetch jars: what Spark's own driver pods have (`spark.driver.port`)."""

BLOCKS_PORT = 7079
"""Where driver and executors give each other blocks: shuffles, broadcasts, large results."""

_CONTAINER = "executor"


def objects(place: Place, executors: StreamExecutors, driver: str, mounted: list[Mounted]) -> list[Object]:
    """Settings, and accounts with their rights; `driver` is a StatefulSet, `mounted` are executors' Secrets."""
    namespace = place.settings.namespace
    rights = [rbac.rule("", "pods", ["create", "delete", "deletecollection", "get", "list", "watch"])]
    return [
        rbac.service_account(place.metadata(ACCOUNT, COMPONENT)),
        *rbac.role(place.metadata(driver, "stream"), rights, driver, namespace),
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": place.metadata(CONFIGURATION, "stream"),
            "data": {
                "spark-defaults.conf": "".join(
                    f"{name} {value}\n" for name, value in sorted(_settings(place, executors, driver).items())
                ),
                "executor.yaml": yamlfile.dump_all([_pod(place, mounted)]),
            },
        },
    ]


def in_driver(container: Object) -> Object:
    """The driver's container, with the settings and the ports."""
    named = (("driver", DRIVER_PORT), ("blocks", BLOCKS_PORT))
    return container | {
        "env": [{"name": "SPARK_CONF_DIR", "value": FOLDER}],
        "ports": [
            *container["ports"],
            *({"name": name, "containerPort": port, "protocol": "TCP"} for name, port in named),
        ],
        "volumeMounts": [*container["volumeMounts"], {"name": "spark", "mountPath": FOLDER, "readOnly": True}],
    }


def volume() -> Object:
    """The driver's volume of the settings."""
    return {"name": "spark", "configMap": {"name": CONFIGURATION}}


def _settings(place: Place, executors: StreamExecutors, driver: str) -> dict[str, str]:
    """Spark's settings, where the platform file's own come first but for those that other objects rely on."""
    namespace = place.settings.namespace
    ours = {
        "spark.executor.instances": executors.replicas,
        "spark.executor.cores": executors.cores,
        "spark.executor.memory": executors.memory,
        # Spark keeps as much for the Python of its own driver pods; in client mode it does not know that there is any.
        "spark.executor.memoryOverheadFactor": "0.4",
        # Its tasks carry the key of personal fields, and events.
        "spark.authenticate": "true",
        "spark.network.crypto.enabled": "true",
        "spark.ui.enabled": "false",
    }
    fixed = {
        "spark.master": "k8s://https://kubernetes.default.svc:443",
        "spark.submit.deployMode": "client",
        "spark.driver.host": f"{driver}-0.{driver}-members.{namespace}.svc",
        "spark.driver.bindAddress": "0.0.0.0",  # noqa: S104 - the pod's network, behind its policy
        "spark.driver.port": DRIVER_PORT,
        "spark.driver.blockManager.port": BLOCKS_PORT,
        "spark.blockManager.port": BLOCKS_PORT,
        "spark.port.maxRetries": 0,
        "spark.kubernetes.namespace": namespace,
        "spark.kubernetes.driver.pod.name": f"{driver}-0",
        "spark.kubernetes.container.image": place.settings.stream.image,
        "spark.kubernetes.executor.podTemplateFile": f"{FOLDER}/executor.yaml",
        "spark.kubernetes.executor.podTemplateContainerName": _CONTAINER,
        # What else it would make or look for asks for rights that it does not need.
        "spark.kubernetes.executor.disableConfigMap": "true",
        "spark.kubernetes.driver.ownPersistentVolumeClaim": "false",
        "spark.kubernetes.driver.reusePersistentVolumeClaim": "false",
        "spark.kubernetes.driver.service.deleteOnTermination": "false",
    }
    return {name: str(value) for name, value in (ours | executors.settings | fixed).items()}


def _pod(place: Place, mounted: list[Mounted]) -> Object:
    """The template that Spark completes: image, resources, environment, local disks, and the word `executor`."""
    container = {
        "name": _CONTAINER,
        "command": ["midwatch", "stream"],
        "workingDir": "/tmp",  # noqa: S108 - an empty volume of the pod, where jars go that the driver sends
        "securityContext": pod_security.of_container(),
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an empty volume of the pod
            *(one.as_mount() for one in mounted),
        ],
    }
    wanted = Pod(
        component=COMPONENT, container=container, volumes=[one.as_volume() for one in mounted], account=ACCOUNT
    )
    return {"apiVersion": "v1", "kind": "Pod", **pods.template(place, wanted)}
