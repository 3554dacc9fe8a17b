"""One vLLM server: what it serves, which weights it has, and its answers to a question."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from transformers import AutoConfig

from evenflow.errors import UserError
from evenflow.rollout.vllm.answers import CUT_OFF, WHOLE, Answer
from evenflow.rollout.vllm.client import BRIEF, FIELD, KEYS, Address, Connection, Lost, Refused
from evenflow.rollout.vllm.snapshot import Weights
from evenflow.rollout.vllm.trial import Trial, require_processed

CHANGING = "evenflow-changing"
"""The label of weights that are being replaced: nobody asked for those."""
RESET_PAUSE = 0.2
"""Seconds until a prefix cache that was in use is asked to be emptied again."""
NO_LOGPROBS: dict[str, Any] = {"token_logprobs": None}
OURS = {"repetition_penalty": 1.0, "min_p": 0.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
"""Said with every request: a server takes what is left out from the model's generation config."""


class Stale(Lost):
    """The server has other weights than it was given: it was restarted, or someone else's turn."""


class Replica:
    """A server, and what is known of it. Its methods are called in threads, one at a time but for
    `complete`; they raise Lost where the server is out of order, and UserError where it is not one
    that can be used."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.url = address.url
        self.model = ""
        """The name that its own model is served under."""
        self.root = ""
        self.positions: int | None = None
        self.first_label: str | None = None
        """Of its own model's weights, when it was met."""
        self.adapter: str | None = None
        """The label of the adapter that it was given last."""
        self.holds: Weights | None = None
        """Said by the engine; None: not known, so it may not be asked."""
        self.why = ""
        """Why it is out of use, if it is."""

    def knock(self, connection: Connection) -> None:
        """Ask whether it is well; only once, for it was not."""
        connection.ask("GET", "/health", repeat=False, text=True)

    def meet(self, connection: Connection) -> None:
        """Ask what it serves."""
        try:
            listed = connection.ask("GET", "/v1/models")
            cards = [card for card in listed["data"] if not card.get("parent")]
            self.model, self.root = cards[0]["id"], cards[0].get("root") or ""
            limit = cards[0].get("max_model_len")
            self.positions = limit if isinstance(limit, int) else None
            version = connection.ask("GET", "/version")["version"]
        except Refused as error:
            raise self._refusal(error, "is no vLLM server, or none that lists its models") from None
        except (LookupError, TypeError, AttributeError):
            raise UserError(
                f"{FIELD}: {self.url} answers, but is no vLLM server; name one as "
                "http://127.0.0.1:8000"
            ) from None
        try:
            self.first_label = connection.ask("GET", "/weight_info")["weight_version"]
        except (Refused, LookupError, TypeError):
            raise UserError(
                f"{FIELD}: {self.url} (vLLM {version}) takes no new weights; start it with "
                "VLLM_SERVER_DEV_MODE=1 in its environment, and a release that knows weight "
                "versions (0.32 does)"
            ) from None

    def require_like(self, config: dict[str, Any]) -> None:
        """Refuse a server whose model has another architecture than the policy's, as far as its
        configuration can be read here."""
        try:
            found: Any = AutoConfig.from_pretrained(
                self.root, local_files_only=True, trust_remote_code=False
            ).get_text_config()
        except Exception:  # of the hub, of files that are elsewhere, of code that is not run here
            return
        odd = [name for name in config if getattr(found, name, None) != config[name]]
        if odd:
            name = odd[0]
            raise UserError(
                f"{FIELD}: {self.url} serves another model, {self.model}: its {name} is "
                f"{getattr(found, name, None)}, that of model.path is {config[name]}"
            )

    def begin(
        self, connection: Connection, weights: Weights, like: dict[str, Any], trial: Trial
    ) -> list[Answer]:
        """Meet it, give it these weights, and try it; its answers to the trial."""
        self.meet(connection)
        self.require_like(like)
        self.load(connection, weights)
        sharp = self.complete(connection, weights, trial.prompt, trial.sharp)
        require_processed(self.url, sharp)
        return self.complete(connection, weights, trial.prompt, trial.plain)

    def load(self, connection: Connection, weights: Weights) -> None:
        """Give it these weights, and have it forget what it computed with others."""
        if weights.kind == "adapter":
            self._load_adapter(connection, weights)
        elif weights.kind == "whole":
            self._load_whole(connection, weights)

    def _load_whole(self, connection: Connection, weights: Weights) -> None:
        try:
            connection.ask("POST", "/update_weight_version", {"new_version": CHANGING})
            asked = {"method": "reload_weights", "kwargs": {"weights_path": str(weights.folder)}}
            # Once: a second load must not begin beside the first.
            connection.ask("POST", "/collective_rpc", asked, repeat=False, text=True)
        except Refused as error:
            raise UserError(
                f"{FIELD}: {self.url} could not load the weights in {weights.folder} ({error}); it "
                "must see that folder under the same path (the same machine, or a shared file "
                "system) and serve a model of the same architecture. Start it again, for its "
                "weights are not whole"
            ) from None
        while not connection.ask("POST", "/reset_prefix_cache").get("success"):
            if connection.left <= RESET_PAUSE or connection.dropped.wait(RESET_PAUSE):
                raise Lost("its prefix cache is in use by others, and cannot be emptied")
        connection.ask("POST", "/update_weight_version", {"new_version": weights.label})

    def _load_adapter(self, connection: Connection, weights: Weights) -> None:
        try:
            asked = {"lora_name": weights.label, "lora_path": str(weights.folder)}
            # In place: a server that was lost for a moment may have it.
            asked |= {"load_inplace": True}
            connection.ask("POST", "/v1/load_lora_adapter", asked, text=True)
        except Refused as error:
            raise UserError(
                f"{FIELD}: {self.url} could not load the LoRA adapter in {weights.folder} "
                f"({error}); start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 in its environment "
                f"and --enable-lora --max-lora-rank {weights.rank}, "
                "where it sees that folder under the same path"
            ) from None
        before, self.adapter = self.adapter, weights.label
        if before not in (None, weights.label):
            with suppress(Refused):  # it is never asked for again, wherever it is
                connection.ask("POST", "/v1/unload_lora_adapter", {"lora_name": before}, text=True)

    def complete(
        self, connection: Connection, weights: Weights, prompt: Sequence[int], how: dict[str, Any]
    ) -> list[Answer]:
        """Answers to a prompt, all from these weights."""
        model = weights.label if weights.kind == "adapter" else self.model
        asked = {"model": model, "prompt": list(prompt), "return_token_ids": True, **OURS, **how}
        try:
            said = connection.ask("POST", "/v1/completions", asked)
            label = connection.ask("GET", "/weight_info")["weight_version"]
        except Refused as error:
            if error.status >= 500 or error.status in BRIEF:
                raise Lost(str(error)) from None
            if error.status == 404:  # it knows neither the adapter nor the model any more
                raise Stale(f"it was restarted ({error})") from None
            raise self._refusal(error, "refuses a question") from None
        # Asked for afterwards: between the load and now there was no other label, so the answers
        # are from the weights that have this one.
        if label != (weights.label if weights.kind == "whole" else self.first_label):
            raise Stale("it was restarted, or given other weights by someone else")
        return self._read(said, prompt, how)

    def _read(self, said: Any, prompt: Sequence[int], how: dict[str, Any]) -> list[Answer]:
        """The answers in what it said; UserError for anything else."""
        try:
            choices = sorted(said["choices"], key=lambda choice: choice["index"])
            answers = [
                Answer(
                    choice["token_ids"],
                    (choice["logprobs"] or NO_LOGPROBS)["token_logprobs"],
                    choice["finish_reason"],
                )
                for choice in choices
            ]
            got = choices[0]["prompt_token_ids"]
        except (LookupError, TypeError, AttributeError):
            raise self._odd("completions that are not vLLM's") from None
        if len(answers) != how["n"]:
            raise self._odd(f"{len(answers)} answers where {how['n']} were asked for")
        if got != list(prompt):
            raise self._odd("answers to another prompt")
        for answer in answers:
            if answer.reason not in (WHOLE, CUT_OFF):
                raise Lost(f"it gave up an answer ({answer.reason})")
            if not _numbers(answer.ids, int):
                raise self._odd("no token ids; take a newer release of vLLM (0.32 gives them)")
            if not _numbers(answer.logprobs, float):
                raise self._odd("no log-probs; start it without --max-logprobs 0")
            if not 1 <= len(answer.ids) == len(answer.logprobs) <= how["max_tokens"]:
                raise self._odd(
                    f"{len(answer.ids)} token ids and {len(answer.logprobs)} log-probs where 1 to "
                    f"{how['max_tokens']} of both were asked for"
                )
        return answers

    def _odd(self, what: str) -> UserError:
        return UserError(f"{FIELD}: {self.url} gave {what}")

    def _refusal(self, error: Refused, what: str) -> UserError:
        if error.status in (401, 403):
            return UserError(
                f"{FIELD}: {self.url} refuses the key ({error}); put the server's --api-key into "
                f"{KEYS[0]}"
            )
        return UserError(f"{FIELD}: {self.url} {what} ({error})")


def _numbers(row: Any, kind: type) -> bool:
    return isinstance(row, list) and all(type(value) is kind for value in row)
