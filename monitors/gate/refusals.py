"""Why a question is not judged."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """What is wrong with a question: the label of the gate's own metric."""

    UNREADABLE = "unreadable"
    UNKNOWN_MODEL = "unknown_model"
    OTHER_PLATFORM = "other_platform"
    OTHER_REGION = "other_region"
    SAME_ARMS = "same_arms"


class QuestionError(Exception):
    """A question that cannot be judged; answered with 400."""

    def __init__(self, text: str, reason: Reason = Reason.UNREADABLE) -> None:
        self.reason = reason
        super().__init__(text)
