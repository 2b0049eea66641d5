"""Names of objects in a cluster: they carry the platform, and one that is too long ends with a digest of the whole.

Cut names of two objects would be one, and the later would overwrite the earlier without a word.
"""

from __future__ import annotations

import hashlib

NAME = "app.kubernetes.io/name"
"""Label that is `midwatch` on every object that is rendered; `managed-by` would be overwritten by Helm."""
PART_OF = "app.kubernetes.io/part-of"
"""Label with the platform that an object is of."""
DIGEST = 8
"""Digits of the digest: of ten thousand names two have one digest in about one of a hundred cases."""
CRON_JOB = 52
"""Longest name of a CronJob: its Jobs' names have eleven characters more, and are labels (Kubernetes, "CronJob")."""
LABEL = 63
"""Longest value of a label, and name of a Deployment whose pods can be selected by it."""


def joined(*parts: str, longest: int = LABEL) -> str:
    """Parts as one name with dashes, of at most `longest` characters."""
    return fitted("-".join(parts), longest)


def fitted(name: str, longest: int) -> str:
    """A name of at most `longest` characters, that no other name is cut to.

    >>> fitted("chaos-flights-kill-replica", 52)
    'chaos-flights-kill-replica'
    >>> fitted("a-name-that-is-longer-than-it-may-be", 20)
    'a-name-that-a3ee9d3d'
    """
    if len(name) <= longest:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:DIGEST]
    return f"{name[: longest - DIGEST - 1].rstrip('-.')}-{digest}"


def of_account(account: str, platform: str) -> str:
    """Name of an account's roles; neither part has a dot in it, so that no two pairs share a name."""
    return f"{account}.{platform}"


def of_account_in_cluster(account: str, platform: str, namespace: str) -> str:
    """Name of what an account has beside its namespace: the cluster's names are those of all namespaces."""
    return f"{account}.{platform}.{namespace}"
