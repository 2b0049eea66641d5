"""What is asked of the judge: which versions are compared, and over what time."""

from __future__ import annotations

from dataclasses import dataclass

from midwatch.serving import Profile


@dataclass(frozen=True, kw_only=True)
class Question:
    """Which versions of which model are compared, since when (None: the canary's first traffic) and until when.

    `served` names the counters of the model's server where they are not Midwatch's own. `region` is the one whose
    versions are compared, None where the platform has no regions; `is_labelled` says whether series have it as a label,
    as they do at a view over all regions and nowhere else.
    """

    model: str
    baseline: str
    canary: str
    start: float | None = None
    end: float | None = None
    served: Profile | None = None
    region: str | None = None
    is_labelled: bool = False
