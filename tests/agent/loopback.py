"""A server on this machine that speaks the OpenAI chat protocol, well or badly, as a script tells it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """What the server sends: a status and, where that is 200, deltas; `drop` breaks the connection after them."""

    status: int = 200
    deltas: Iterable[dict[str, Any]] = ()
    """Taken one by one as they are sent, so that they may come at a pace."""
    drop: bool = False
    endless: str = ""
    """Said again and again, with another number for {n} each time."""
    raw: bytes | None = None
    usage: dict[str, int] | None = None
    before: threading.Barrier | None = None
    """Who has to have asked, too, before this is answered."""
    pause: float = 0.0
    """Seconds before it is answered."""


Script = Callable[[dict[str, Any], int], Reply]


def say(text: str, thinking: str = "") -> Reply:
    words = [{"content": word + " "} for word in text.split(" ")] if text else []
    thoughts = [{"reasoning_content": thinking}] if thinking else []
    return Reply(deltas=[*thoughts, *words], usage=usage())


def in_turn(*replies: Reply) -> Script:
    """One reply after the other; the last one again and again."""
    return lambda request, number: replies[min(number, len(replies)) - 1]


def usage() -> dict[str, int]:
    return {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}


def call(name: str, arguments: dict[str, Any] | str, text: str = "") -> Reply:
    """A tool call whose arguments come in two pieces, as servers stream them."""
    whole = arguments if isinstance(arguments, str) else json.dumps(arguments)
    half = len(whole) // 2
    head = {"index": 0, "id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": whole[:half]}}
    rest = {"index": 0, "function": {"arguments": whole[half:]}}
    return Reply(
        deltas=[*([{"content": text}] if text else []), {"tool_calls": [head]}, {"tool_calls": [rest]}], usage=usage()
    )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        server: Any = self.server
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.guard:
            server.requests.append({"path": self.path, "authorization": self.headers.get("Authorization"), **request})
            reply = server.script(request, len(server.requests))
        if reply.status != 200:
            self._send_error(reply.status)
        else:
            self._send_stream(reply)

    def _send_error(self, status: int) -> None:
        body = json.dumps({"error": {"message": f"status {status} on purpose", "type": "test"}}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_stream(self, reply: Reply) -> None:
        if reply.before is not None:
            reply.before.wait(60)
        time.sleep(reply.pause)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        if reply.drop:
            self.send_header("Content-Length", "1000000")  # so that the end comes too soon
        self.end_headers()
        self.close_connection = True
        try:
            if reply.raw is not None:
                self.wfile.write(reply.raw)
                return
            for delta in reply.deltas:
                self._event({"choices": [{"index": 0, "delta": delta}]})
            while reply.endless:
                said = reply.endless.replace("{n}", str(time.perf_counter_ns()))
                self._event({"choices": [{"index": 0, "delta": {"content": said}}]})
                time.sleep(0.0005)
            if reply.drop:
                return
            self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            if reply.usage:
                self._event({"choices": [], "usage": reply.usage})
            self.wfile.write(b"data: [DONE]\n\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client had enough, which is what some tests are about

    def _event(self, body: dict[str, Any]) -> None:
        base = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "test"}
        self.wfile.write(b"data: " + json.dumps(base | body).encode() + b"\n\n")
        self.wfile.flush()


@dataclass
class Loopback:
    url: str
    requests: list[dict[str, Any]]


@contextmanager
def serving(script: Script) -> Iterator[Loopback]:
    """Serve a script: (request, number of the request from 1) -> reply."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.guard, server.requests, server.script = threading.Lock(), [], script
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Loopback(f"http://127.0.0.1:{server.server_port}/v1", server.requests)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
