"""Values of the Helm chart `deploy/helm/midwatch`: the objects as they are rendered for a cluster, as texts.

The chart places them, and changes of them what its other values say. What an object is, is decided here alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import midwatch
from midwatch import yamlfile

FILE = "helm/values.yaml"
HEAD = (
    "# Values of the chart deploy/helm/midwatch, written by midwatch render --target helm; not to be edited.\n"
    "# helm upgrade --install midwatch deploy/helm/midwatch -f values.yaml, and your own values after it.\n"
)


def render_values(rendered: Mapping[str, str]) -> dict[str, str]:
    """The values' text by its path, from the texts of the cluster's objects by theirs."""
    objects = {path: text for path, text in sorted(rendered.items()) if path.endswith(".yaml")}
    values = {"renderedBy": midwatch.__version__, "rendered": objects}
    return {FILE: HEAD + yamlfile.dump_blocks(values)}
