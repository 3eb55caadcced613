"""What asking may cost: prices as the user gives them, estimates, and limits that are not overrun.

Prices are never guessed and no price list is built in: it would be wrong next month.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

__all__ = ["Budget", "Estimate", "Prices", "Usage"]


@dataclass(frozen=True)
class Usage:
    """Tokens of one request or of many."""

    prompt_tokens: int
    completion_tokens: int

    @property
    def total(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Prices:
    """Money per million tokens, in whatever currency the user thinks."""

    prompt: float
    completion: float

    def cost(self, usage: Usage) -> float:
        """What `usage` costs."""
        return (self.prompt * usage.prompt_tokens + self.completion * usage.completion_tokens) / 1e6


@dataclass(frozen=True)
class Estimate:
    """What asking would take. Prompt tokens are assumed, answers are taken to be as long as they may be."""

    requests: int
    usage: Usage
    cost: float | None  # None: no prices were given


class Budget:
    """Limits on what this process may ask of servers; give the same object to several models to make them share it.

    A request reserves what it may take before it is sent, and a retry is a request like any other, so that no limit on
    requests is overrun. Tokens and money are reserved by estimate and settled by what the server reports; they can be
    overrun by as much as the requests under way turn out to be larger than any seen before.

    Attributes:
        requests, tokens, cost: what has been spent.
    """

    def __init__(
        self,
        max_requests: int | None = None,
        max_total_tokens: int | None = None,
        max_cost: float | None = None,
    ) -> None:
        self.max_requests = max_requests
        self.max_total_tokens = max_total_tokens
        self.max_cost = max_cost
        self.requests = 0
        self.tokens = 0
        self.cost = 0.0
        self._held_tokens = 0
        self._held_cost = 0.0
        self._lock = Lock()

    def reserve(self, tokens: int, cost: float) -> str | None:
        """Takes one request of this size out of the budget, or says which limit it would overrun."""
        with self._lock:
            exceeded = self._exceeded(tokens, cost)
            if exceeded is None:
                self.requests += 1
                self._held_tokens += tokens
                self._held_cost += cost
            return exceeded

    def _exceeded(self, tokens: int, cost: float) -> str | None:
        if self.max_requests is not None and self.requests + 1 > self.max_requests:
            return f"max_requests={self.max_requests}"
        if (
            self.max_total_tokens is not None
            and self.tokens + self._held_tokens + tokens > self.max_total_tokens
        ):
            return f"max_total_tokens={self.max_total_tokens}"
        if self.max_cost is not None and self.cost + self._held_cost + cost > self.max_cost:
            return f"max_cost={self.max_cost:g}"
        return None

    def settle(self, tokens: int, cost: float, used_tokens: int, used_cost: float) -> None:
        """Replaces a reservation by what was used."""
        with self._lock:
            self._held_tokens -= tokens
            self._held_cost -= cost
            self.tokens += used_tokens
            self.cost += used_cost

    def give_back(self, tokens: int, cost: float) -> None:
        """Undoes a reservation whose request was never sent."""
        with self._lock:
            self.requests -= 1
        self.settle(tokens, cost, 0, 0.0)
