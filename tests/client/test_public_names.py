"""What the package shows: its names, and the examples in its docstrings."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import api.client

MODULES = sorted(module.name for module in pkgutil.iter_modules(api.client.__path__))


def test_the_public_names_are_sorted_and_there():
    assert sorted(api.client.__all__) == api.client.__all__
    assert all(hasattr(api.client, name) for name in api.client.__all__)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_are_true(name):
    assert doctest.testmod(importlib.import_module(f"api.client.{name}")).failed == 0
