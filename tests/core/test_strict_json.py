from __future__ import annotations

import pytest

from core import strict_json
from core.problems import Problem


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 1}}',
        b'[{"a" : 1, "a"\n:2}]',
        b'{"say": "one: two", "a": 1, "a": 1}',
        b'{"\\u0061": 1, "a": 1}',
    ],
)
def test_a_key_that_is_given_twice_is_refused(body: bytes) -> None:
    with pytest.raises(Problem) as refused:
        strict_json.refuse_duplicate_keys(body, strict_json.loads(body))

    assert refused.value.code == "malformed_json"


@pytest.mark.parametrize(
    "body", [b'{"a": 1, "b": {"a": 1}}', b'[{"a": 1}, {"a": 1}]', b'{"say": "a: b, a: c"}', b"[]", b'"a:a"']
)
def test_keys_that_differ_or_lie_in_different_objects_pass(body: bytes) -> None:
    strict_json.refuse_duplicate_keys(body, strict_json.loads(body))


@pytest.mark.parametrize("body", [b'{"a": "\\u0000"}', b'{"a": "\x00"}', b'{"a": 1}\x00'])
def test_a_nul_is_refused_however_it_is_written(body: bytes) -> None:
    with pytest.raises(Problem):
        strict_json.loads(body)
