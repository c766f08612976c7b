from __future__ import annotations

import socket
from pathlib import Path

from vla_project.launcher.ports import free_port, is_free, remembered_port


def test_a_port_is_remembered_while_it_is_free(tmp_path: Path) -> None:
    memory = tmp_path / "ports.json"
    first = remembered_port(memory, "redis")

    assert remembered_port(memory, "redis") == first
    assert remembered_port(memory, "postgres") != first
    assert remembered_port(memory, "redis") == first


def test_a_port_that_was_taken_meanwhile_is_replaced_for_good(tmp_path: Path) -> None:
    memory = tmp_path / "ports.json"
    first = remembered_port(memory, "redis")
    with socket.create_server(("127.0.0.1", first)):
        second = remembered_port(memory, "redis")

    assert second != first
    assert remembered_port(memory, "redis") == second


def test_ports_stay_below_those_of_outgoing_connections() -> None:
    port = free_port()

    assert 15_000 <= port < 32_000
    with socket.create_server(("127.0.0.1", port)):
        assert not is_free(port)
