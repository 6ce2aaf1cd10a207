"""Trees, seals and proofs: every change shows, and a line is proven without the others."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.io.seal import Signer, Tree, audit_paths, decoded, encoded, node, root_by_path

LEAVES = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=70)
SAID = {
    "capture_id": "c", "segment": "segment-00001.jsonl", "first_seq": 1, "last_seq": 9, "lines": 9,
    "bytes": 99, "root": "00", "first_prev": "01", "last_hash": "02", "previous": "", "epoch": 1,
    "sealed_at": "now",
}  # fmt: skip


def rfc_6962(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 §2.1, written as it stands there (leaves are hashes already)."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node(rfc_6962(leaves[:split]), rfc_6962(leaves[split:]))


def tree_of(leaves: list[bytes]) -> Tree:
    tree = Tree()
    for leaf in leaves:
        tree.add(leaf)
    return tree


@given(LEAVES)
def test_the_root_is_that_of_rfc_6962(leaves: list[bytes]) -> None:
    assert tree_of(leaves).root() == rfc_6962(leaves)


@given(LEAVES)
def test_every_leaf_is_proven_and_no_other_thing_is(leaves: list[bytes]) -> None:
    root = tree_of(leaves).root()
    for place, path in enumerate(audit_paths(leaves, range(len(leaves)))):
        assert root_by_path(leaves[place], place, len(leaves), path) == root
        assert root_by_path(b"\0" * 32, place, len(leaves), path) != root or leaves[place] == b"\0" * 32
        assert root_by_path(leaves[place], place, len(leaves), [*path, path[0] if path else b""]) is None
        if path:
            assert root_by_path(leaves[place], place, len(leaves), path[1:]) is None


def test_a_tree_of_nothing_has_a_root() -> None:
    assert Tree().root() == hashlib.sha256(b"").digest()


def test_a_seal_holds_until_anything_of_it_is_changed() -> None:
    seal = Signer(bytes(32)).seal(**SAID)
    assert decoded(encoded(seal)) == seal
    assert seal.holds()
    held = json.loads(encoded(seal))
    for name, value in held["statement"].items():
        other = value + 1 if isinstance(value, int) else f"{value}0"
        changed = {"statement": {**held["statement"], name: other}, "signature": held["signature"]}
        assert not decoded(json.dumps(changed).encode()).holds(), name
    assert not decoded(json.dumps({**held, "signature": "00" * 64}).encode()).holds()


def test_another_key_makes_another_seal() -> None:
    one, other = Signer(bytes(32)).seal(**SAID), Signer(b"\1" * 32).seal(**SAID)
    assert one.statement.key_id != other.statement.key_id
    assert one.signature != other.signature


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"\xff", b'{"statement":{},"signature":""}', b"[" * 10_000]
)
def test_what_is_no_seal_is_refused(data: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        decoded(data)
