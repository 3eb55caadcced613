"""Fixtures that several rooms share. Torch is imported only by tests that are marked to need it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_socket import socket_allow_hosts


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """The default run reaches nothing but this machine; test_house.py shows that it is so."""
    socket_allow_hosts(["127.0.0.1", "::1"], allow_unix_socket=True)


@pytest.fixture(autouse=True)
def one_thread(request):
    """Tiny models are slower on two threads, and rounding must not depend on the machine."""
    if request.node.get_closest_marker("torch"):
        import torch

        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_llava(tmp_path_factory) -> Path:
    """The directory of one random LLaVA for the whole session; treat it as read-only."""
    from tests.tiny_llava import make_tiny_llava

    return make_tiny_llava(tmp_path_factory.mktemp("models") / "llava")
