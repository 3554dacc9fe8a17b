"""A small server that speaks as much of vLLM's protocol as the engine needs, with a real model
behind it, and fails as a test tells it to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_RDWR
from typing import Any

import torch
from safetensors.torch import load_file

from evenflow.policy.adapters import load_adapter
from evenflow.policy.loading import load_model
from evenflow.rollout.embedded.generate import generate
from evenflow.rollout.sampling import Sampling

COMPLETIONS = "/v1/completions"
COMPUTING = threading.Lock()
"""Of all servers of the process: Transformers loads one model at a time."""


@dataclass
class Fault:
    """What to do in place of an answer, or to one."""

    status: int = 200
    body: str | None = None
    close: bool = False
    """Close the connection without a word."""
    drip: float = 0.0
    """Seconds between one byte and the next."""
    hang: bool = False
    """Say nothing until the server ends."""
    change: Callable[[Any], Any] | None = None
    """The answer in place of the right one."""


@dataclass
class Seen:
    path: str
    body: dict[str, Any]
    authorization: str | None
    number: int
    """Of the requests with this path, from 0."""


Script = Callable[["VllmServer", Seen], Fault | None]


@dataclass
class Model:
    """What is served."""

    path: str
    max_model_len: int = 64
    key: str | None = None
    dev: bool = True
    lora: bool = True
    raw_logprobs: bool = False
    deaf: bool = False
    """Whether new weights are taken with a nod, and not at all."""
    adapters: dict[str, str] = field(default_factory=dict)


class VllmServer(ThreadingHTTPServer):
    """On a free port of this machine, or on that of one before it."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, model: Model, script: Script | None = None, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.serves, self.script = model, script
        self.net = self.start()
        self.label = "default"
        self.seen: list[Seen] = []
        self.lock = threading.Lock()
        self.answering = self.most_answering = 0
        self.ended = threading.Event()
        self.sockets: set[Any] = set()
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self.thread.start()

    def start(self) -> Any:
        """The model as it was served first; its head is its own, as vLLM's is when it loads new
        weights into it."""
        with COMPUTING:
            net: Any = load_model(self.serves.path, torch.float32)
        net.lm_head.weight = torch.nn.Parameter(net.lm_head.weight.detach().clone())
        return net

    @property
    def port(self) -> int:
        return self.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def asked(self, path: str = COMPLETIONS) -> list[Seen]:
        """The requests with that path."""
        return [seen for seen in self.seen if seen.path == path]

    @property
    def questions(self) -> list[Seen]:
        """Those for answers that are not the trial's at the start."""
        return [seen for seen in self.asked() if seen.body["stop_token_ids"]]

    def die(self) -> None:
        """End at once, with all connections."""
        if self.ended.is_set():
            return
        self.ended.set()
        self.shutdown()
        self.server_close()
        for each in list(self.sockets):
            with suppress(OSError):
                each.shutdown(SHUT_RDWR)
        self.thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing on the terminal."""

    # --- what vLLM does ----------------------------------------------------------------------

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        serves = self.serves
        if path == "/v1/models":
            card = {"id": "served", "root": serves.path, "parent": None}
            return 200, {"data": [card | {"max_model_len": serves.max_model_len}]}
        if path == "/version":
            return 200, {"version": "0.32.0"}
        if path == "/health":
            return 200, ""
        if path == COMPLETIONS:
            return self.complete(body)
        if path == "/v1/load_lora_adapter" and serves.lora:
            serves.adapters[body["lora_name"]] = body["lora_path"]
            return 200, "Success"
        if path == "/v1/unload_lora_adapter" and serves.lora:
            del serves.adapters[body["lora_name"]]
            return 200, "Success"
        if not serves.dev:
            return 404, {"detail": "Not Found"}
        if path == "/weight_info":
            return 200, {"weight_version": self.label}
        if path == "/update_weight_version":
            self.label = body["new_version"]
            return 200, {"success": True}
        if path == "/reset_prefix_cache":
            return 200, {"success": True}
        if path == "/collective_rpc" and body["method"] == "reload_weights":
            if not serves.deaf:
                for file in Path(body["kwargs"]["weights_path"]).glob("*.safetensors"):
                    self.net.load_state_dict(load_file(file), strict=False)
            return 200, {"results": [None]}
        return 404, {"detail": "Not Found"}

    def complete(self, body: dict[str, Any]) -> tuple[int, Any]:
        net = self.net
        if body["model"] in self.serves.adapters:
            net = load_adapter(self.start(), self.serves.adapters[body["model"]]).eval()
        elif body["model"] != "served":
            return 404, {"error": {"message": f"The model `{body['model']}` does not exist."}}
        if body["temperature"] == 0 and body["n"] > 1:
            return 400, {"error": {"message": "n must be 1 when using greedy sampling"}}
        sampling = Sampling(
            body["max_tokens"],
            body["temperature"],
            body["top_p"],
            body["top_k"],
            tuple(body["stop_token_ids"]),
        )
        with COMPUTING:
            ended = next(
                iter(
                    generate(
                        net,
                        [body["prompt"]],
                        body["n"],
                        sampling,
                        seed=body["seed"] % 2**32,
                        max_batch=64,
                    )
                )
            )
        choices = [
            {
                "index": index,
                "token_ids": ids,
                "prompt_token_ids": body["prompt"],
                "logprobs": {
                    "token_logprobs": [-0.5] * len(ids) if self.serves.raw_logprobs else logprobs
                },
                "finish_reason": "stop" if whole else "length",
            }
            for index, (ids, logprobs, whole) in enumerate(
                zip(ended.answers, ended.logprobs, ended.finished, strict=True)
            )
        ]
        return 200, {"choices": choices[::-1]}


class Handler(BaseHTTPRequestHandler):
    server: Any
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or "{}")
        server = self.server
        with server.lock:
            number = len(server.asked(self.path))
            seen = Seen(self.path, body, self.headers["Authorization"], number)
            server.seen.append(seen)
            server.answering += self.path == COMPLETIONS and body["n"]
            server.most_answering = max(server.most_answering, server.answering)
        try:
            self.respond(seen)
        finally:
            with server.lock:
                server.answering -= self.path == COMPLETIONS and body["n"]

    def do_GET(self) -> None:
        self.do_POST()

    def respond(self, seen: Seen) -> None:
        server = self.server
        fault = (server.script and server.script(server, seen)) or Fault()
        if fault.hang:
            server.ended.wait(30)
        if fault.close or server.ended.is_set():
            self.close_connection = True
            return
        key = server.serves.key
        if key and seen.path.startswith("/v1") and seen.authorization != f"Bearer {key}":
            status, content = 401, {"error": "Unauthorized"}
        elif fault.status != 200:
            status, content = fault.status, {"error": {"message": "told to fail"}}
        else:
            status, content = server.answer(seen.path, seen.body)
        if fault.change is not None:
            content = fault.change(content)
        raw = (json.dumps(content) if fault.body is None else fault.body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if fault.drip:
            for byte in raw:
                self.wfile.write(bytes([byte]))
                time.sleep(fault.drip)
        else:
            self.wfile.write(raw)

    def setup(self) -> None:
        super().setup()
        self.server.sockets.add(self.connection)

    def finish(self) -> None:
        self.server.sockets.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the terminal."""


@contextmanager
def serving(*models: Model | Path, script: Script | None = None) -> Iterator[list[VllmServer]]:
    """Servers, while the block runs; the script is the first one's."""
    servers = []
    try:
        for place, model in enumerate(models):
            model = model if isinstance(model, Model) else Model(str(model))
            servers.append(VllmServer(model, script if place == 0 else None))
        yield servers
    finally:
        for server in servers:
            server.die()


def nth(path: str, number: int, fault: Fault, *, onwards: bool = False) -> Script:
    """The fault at the request of that number with this path, or from it on."""

    def script(server: VllmServer, seen: Seen) -> Fault | None:
        due = seen.number >= number if onwards else seen.number == number
        return fault if seen.path == path and due else None

    return script
