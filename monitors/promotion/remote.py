"""Asking a running gate about a promotion, or for one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from midwatch import http_access
from midwatch.errors import MidwatchError
from monitors.promotion.promoter import Asked

TIMEOUT = 60.0
"""Seconds for an answer: the registry is asked and told several times, each within its own timeout."""
MAX_ANSWER = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A gate that runs at an address; the token in a file admits to it."""

    url: str
    token_file: Path | None = None

    def ask(self, asked: Asked, *, promote: bool) -> dict[str, Any]:
        """What the gate answers; MidwatchError when that is no answer about a promotion."""
        where = f"{self.url.rstrip('/')}/{'promote' if promote else 'promotion'}"
        headers = {"Content-Type": "application/json"}
        if self.token_file is not None:
            headers["Authorization"] = f"Bearer {http_access.read_token(self.token_file).decode()}"
        fields = {
            "model": asked.model,
            "version": asked.version,
            "canary": asked.canary,
            "by": asked.by,
            "override": asked.override,
            "rollback": "true" if asked.is_rollback else "false",
        }
        try:
            answer = urllib3.PoolManager().request(
                "POST",
                where,
                body=json.dumps(fields).encode(),
                headers=headers,
                timeout=TIMEOUT,
                retries=False,
                redirect=False,
                preload_content=False,
            )
            content = answer.read(MAX_ANSWER)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise MidwatchError(f"{where}: no answer: {type(error).__name__}") from error
        try:
            document = json.loads(content)
        except ValueError as error:
            raise MidwatchError(f"{where}: {answer.status}, and the answer is no JSON: is it a gate?") from error
        if not isinstance(document, dict) or "answer" not in document:
            said = document.get("error", "") if isinstance(document, dict) else ""
            raise MidwatchError(f"{where}: {answer.status} {said or 'and no answer about a promotion: is it a gate?'}")
        return document
