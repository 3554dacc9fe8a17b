"""A request that nobody waits for ends at once, wherever it is."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from evenflow.rollout.vllm.client import Address, Connection, Lost

FAR = 60.0
"""Seconds that none of these tests takes."""


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(FAR)
        yield server


def address_of(server: socket.socket) -> Address:
    return Address.read(f"http://127.0.0.1:{server.getsockname()[1]}")


@pytest.mark.parametrize("closes", [True, False])
def test_half_an_answer_is_dropped_and_the_server_sees_it(
    listening: socket.socket, closes: bool
) -> None:
    """Where the server says that it closes, http.client lets go of the socket before the body."""
    connection = Connection(address_of(listening), time.monotonic() + FAR)
    ended: list[Exception] = []

    def ask() -> None:
        try:
            connection.ask("GET", "/health")
        except Lost as error:
            ended.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    server_side, _ = listening.accept()
    with server_side:
        server_side.settimeout(FAR)
        server_side.recv(65536)
        how = "close" if closes else "keep-alive"
        head = f"HTTP/1.1 200 OK\r\nConnection: {how}\r\nContent-Length: 9\r\n\r\n{{"
        server_side.sendall(head.encode())
        time.sleep(0.1)  # until the head is read
        began = time.monotonic()
        connection.drop()
        asking.join(FAR)
        assert server_side.recv(1) == b""
    assert ended
    assert time.monotonic() - began < FAR / 4


def test_what_is_dropped_while_it_connects_is_never_sent(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = Connection(address_of(listening), time.monotonic() + FAR)
    plain = HTTPConnection.connect

    def connect(self: HTTPConnection) -> None:
        connection.drop()
        plain(self)

    monkeypatch.setattr(HTTPConnection, "connect", connect)
    with pytest.raises(Lost):
        connection.ask("GET", "/health")
    server_side, _ = listening.accept()
    with server_side:
        assert server_side.recv(65536) == b""
