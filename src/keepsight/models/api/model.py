"""A model behind an OpenAI-compatible server, asked over HTTP (protocol: chat completions with pictures as data URLs).

Its weights cannot be seen. Its digest covers what can be known without a paid request: the address, the model's name,
what the server says of the model (`GET /models`), and every setting that changes a request. See docs/servers.md for
what that leaves out.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

from keepsight.models.api.address import Address, parse_address
from keepsight.models.api.asking import Failure, Line, Question, ask, describe
from keepsight.models.api.budget import Budget, Estimate, Usage
from keepsight.models.api.chat import RENDERING, assumed_prompt_tokens, output_of, request_body, seed_of
from keepsight.models.api.keys import find_key
from keepsight.models.api.options import ServedOptions
from keepsight.models.api.pace import Pace
from keepsight.models.api.ranking import Ranking, ranked
from keepsight.models.api.structured import Held
from keepsight.models.api.wire import Server, Trouble
from keepsight.types import KeepsightError, Output, Sample, digest_of

__all__ = ["MOST", "ServedModel"]

MOST = 32  # requests under way, unless a batch size says otherwise

# What servers say of a model that stays the same as long as the model does. `created` is left out: vLLM gives the
# moment of the question. `root` is the path or id of the weights (vLLM, SGLang), `meta` their size (llama.cpp).
_TELLING = ("id", "root", "parent", "owned_by", "meta")
_NOT_OFFERED = (400, 403, 404, 405, 501)  # a server's ways to say that it does not list its models


class ServedModel:
    """Asks a server; `generate` is an ordinary generator whose requests run side by side.

    Args:
        location: `model@base_url`, the part of a ref after `api:`.
        options: see `ServedOptions`.
        batch_size: requests under way at once, at most.

    Attributes:
        budget: what has been spent, and the limits.
    """

    def __init__(
        self, location: str, options: ServedOptions | None = None, *, batch_size: int | None = None
    ) -> None:
        self.address: Address = parse_address(location)
        self.options = options or ServedOptions()
        self.name = self.address.name
        self.budget: Budget = self.options.limits()
        self._most = batch_size or MOST
        self._pace = Pace(self.options.backoff)
        self._answered_as: str | None = None
        self._held: Held | None = None

    def __repr__(self) -> str:
        return f"ServedModel({self.name!r})"

    def with_schema(self, schema: Mapping[str, Any]) -> ServedModel:
        """The same model, on the same budget, held to `schema` as the option `structured` says.

        Itself for `none`, and where `extra_body` says what `response_format` is.
        Where the server refuses (`auto`), replies are asked for without, a warning says so, and each reply's usage has
        the count `schema_refused`.
        """
        if self.options.structured == "none" or "response_format" in self.options.extra_body:
            return self
        model = copy.copy(self)
        model._held = Held(self.name, self.options.structured, schema)
        return model

    @property
    def digest(self) -> str:
        """Digest of what can be known, and of the schema that replies are held to.

        Asks the server for its list of models (free of charge) unless `revision` is set.

        Raises:
            KeepsightError: the server cannot be reached or does not take the key.
        """
        known = self._free_digest
        return known if self._held is None else digest_of([known, self._held.identity])

    @cached_property
    def _free_digest(self) -> str:
        return digest_of(
            {
                "served": self.address.model,
                "base_url": self.address.base_url,
                "told": {"revision": self.options.revision} if self.options.revision else self._told(),
                "max_tokens_field": self.options.max_tokens_field,
                "image_detail": self.options.image_detail,
                "logprobs": self.options.logprobs,
                "extra_body": dict(self.options.extra_body),
                "rendering": RENDERING,
            }
        )

    def _told(self) -> dict[str, Any] | None:
        """What the server says of the model, or None if it says nothing."""
        found = describe(self._line)
        if isinstance(found, Trouble):
            if found.status in _NOT_OFFERED:
                return None
            raise KeepsightError(f"{self.name}: {found.reason}")
        listed = found.get("data")
        for card in listed if isinstance(listed, list) else ():
            if isinstance(card, dict) and card.get("id") == self.address.model:
                return {name: card[name] for name in _TELLING if card.get(name) is not None}
        return None

    @cached_property
    def _line(self) -> Line:
        key = find_key(self.address.host, self.options.key_env, self.options.key_file)
        server = Server(self.address, key, self.options.timeout)
        options = self.options
        return Line(server, self._pace, self.budget, options.prices, options.retries, options.max_wait)

    def generate(
        self,
        samples: Sequence[Sample],
        *,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        batch_size: int | None = None,
    ) -> Iterator[tuple[int, Output]]:
        """Yields `(index, Output)` as answers come, each index once; what has no answer has an `error` that says why.

        Greedy is `temperature` 0 as the server understands it. With sampling each sample sends a seed of its own, made
        from `seed` and its id; whether the server heeds it cannot be seen.
        """

        def question(sample: Sample) -> Question[Output]:
            settings: dict[str, Any] = {"max_tokens": max_new_tokens, "temperature": temperature}
            if temperature > 0:
                settings |= {"top_p": top_p, "seed": seed_of(seed, sample)}
            expected, slow = self._expected(sample, max_new_tokens), bool(sample.media)
            body = partial(self._body, sample, settings)
            if self._held is None:
                return Question(body, self._read, expected, slow)
            return Question(body, self._read, expected, slow, self._held.reconsidered)

        asked = [question(sample) for sample in samples]
        for index, answer in ask(self._line, asked, batch_size or self._most):
            yield index, Output("", error=answer.reason) if isinstance(answer, Failure) else answer

    def _body(self, sample: Sample, settings: Mapping[str, Any]) -> dict[str, Any]:
        fields = {} if self._held is None else self._held.fields()
        return request_body(self.address.model, sample, {**settings, **fields}, self.options)

    def _read(self, reply: Mapping[str, Any]) -> Output:
        output = output_of(reply)
        self._notice(reply.get("model"))
        usage = {**output.usage, **(self._held.usage() if self._held else {})}
        return replace(output, text=self._line.server.hide(output.text), usage=usage)

    def _notice(self, name: Any) -> None:
        """A hosted name may be given other weights at any time; some servers then answer under another full name."""
        if not isinstance(name, str) or name == self._answered_as:
            return
        if self._answered_as is not None:
            shown = self._line.server.hide(f"{self._answered_as!r} and then {name!r}")
            warnings.warn(f"{self.name} answered as {shown}: were its weights changed?", stacklevel=2)
        self._answered_as = name

    def choice_logprobs(
        self, samples: Sequence[Sample], *, reduction: str = "sum", batch_size: int | None = None
    ) -> Iterator[tuple[int, tuple[float, ...]]]:
        """Yields `(index, log p of each choice)` where the server gives log-probabilities of a prompt's tokens (vLLM).

        Takes one request per choice and one besides. A sample with a request that failed gets nan for every choice.

        Raises:
            KeepsightError: the server gives no such log-probabilities.
        """
        ranking = Ranking(self.address.model, self.options, reduction)
        questions = [
            ranking.question(sample, choice, self._expected(sample, 1))
            for sample in samples
            for choice in (None, *sample.choices)
        ]
        answers = ask(self._line, questions, batch_size or self._most)
        yield from ranked(answers, samples, ranking, self.name)

    def estimate(self, samples: Sequence[Sample], *, max_new_tokens: int) -> Estimate:
        """What asking `samples` takes, without retries: see `Estimate` for what is assumed."""
        expected = [self._expected(sample, max_new_tokens) for sample in samples]
        usage = Usage(
            sum(each.prompt_tokens for each in expected), sum(each.completion_tokens for each in expected)
        )
        prices = self.options.prices
        return Estimate(len(samples), usage, None if prices is None else prices.cost(usage))

    def _expected(self, sample: Sample, new_tokens: int) -> Usage:
        return Usage(assumed_prompt_tokens(sample, self.options.image_tokens), new_tokens)
