"""Holding a server's replies to a JSON Schema: the field `response_format`, and what is done where it is refused.

OpenAI's protocol; vLLM, SGLang, llama.cpp and Ollama take it, too. Others refuse it, and say so with HTTP 400 or 422.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from keepsight.models.api.wire import Trouble

__all__ = ["MODES", "REFUSED", "Held"]

MODES = ("auto", "json_schema", "json_object", "none")  # auto: json_schema, none where that is refused
REFUSED = "schema_refused"  # 1 in the usage of a reply that was to be held to a schema and was not
_REFUSALS = (400, 415, 422, 501)
_NAMED = re.compile(r"response_format|json_schema|json_object|structured|grammar|guided", re.IGNORECASE)


@dataclass
class Held:
    """How one model's replies are held to `schema`, as far as its server goes along.

    Attributes:
        refused: the server has refused, so that nothing is held any more (mode `auto`).
    """

    name: str  # of the model, for messages
    mode: str
    schema: Mapping[str, Any]
    refused: bool = False

    @property
    def identity(self) -> Any:
        """What enters the model's digest."""
        return [self.mode, self._format]

    @property
    def _format(self) -> dict[str, Any]:
        if self.mode == "json_object":
            return {"type": "json_object"}
        return {
            "type": "json_schema",
            "json_schema": {"name": "reply", "schema": dict(self.schema), "strict": True},
        }

    def fields(self) -> dict[str, Any]:
        """What goes into the next request."""
        return {} if self.refused else {"response_format": self._format}

    def usage(self) -> dict[str, int]:
        """What is counted with a reply."""
        return {REFUSED: 1} if self.refused else {}

    def reconsidered(self, body: Mapping[str, Any], trouble: Trouble) -> Trouble:
        """Trouble with a request: the same, or what to do about a refusal of its `response_format`."""
        said = trouble.status in _REFUSALS and _NAMED.search(trouble.reason)
        if not said or "response_format" not in body:
            return trouble
        if self.mode != "auto":
            cure = (
                "structured=auto or none" if self.mode == "json_object" else "structured=json_object or none"
            )
            told = f"{trouble.reason}; it does not take structured={self.mode}: give {cure}"
            return replace(trouble, reason=told, hopeless=True)
        if not self.refused:
            self.refused = True
            told = f"{self.name} holds no reply to a JSON Schema ({trouble.reason})"
            warnings.warn(f"{told}: it is asked without; structured=none does so at once", stacklevel=2)
        return replace(trouble, otherwise=True)
