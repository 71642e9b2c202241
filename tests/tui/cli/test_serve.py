"""The app in a browser: what the served page's socket carries is the app's screen."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def first_screen(port: int) -> bytes:
    """What comes over the socket until the example sentence is there, or two minutes are over."""
    seen = b""
    async with asyncio.timeout(120), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.ws_connect(f"http://localhost:{port}/ws?width=100&height=30") as page:
                    async for message in page:
                        seen += message.data if isinstance(message.data, bytes) else str(message.data).encode()
                        if b"smollm2-135m to 50%" in seen:
                            return seen
                return seen
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.2)


def test_a_browser_gets_the_first_screen(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "secateur", "serve", "--port", str(port), "--home", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            assert b"Prune a language model" in asyncio.run(first_screen(port))
        finally:
            server.terminate()
