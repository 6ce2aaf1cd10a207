"""What makes a segment evidence: a tree over the hashes of its lines, and one signature over its root.

A leaf is the SHA-256 of a line without its LF, the very hash that the next line carries as ``prev``; an
inner node is SHA-256(0x01 || left || right), in the shape of RFC 6962 §2.1. A line starts with ``{``, so no
node can pass for a leaf. One seal a segment, in a file of its own; with the audit path of RFC 6962 §2.1.1 a
single line is proven without the others.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_NODE = b"\x01"
EMPTY_ROOT = hashlib.sha256(b"").hexdigest()


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(_NODE + left + right).digest()


class Tree:
    """The root over leaves that come one by one, in memory that grows with their logarithm."""

    def __init__(self) -> None:
        self.leaves = 0
        self._peaks: list[bytes] = []  # roots of full trees, largest first

    def add(self, leaf: bytes) -> None:
        size = self.leaves
        self.leaves += 1
        while size & 1:
            leaf = node(self._peaks.pop(), leaf)
            size >>= 1
        self._peaks.append(leaf)

    def root(self) -> bytes:
        if not self._peaks:
            return bytes.fromhex(EMPTY_ROOT)
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = node(peak, root)
        return root


def audit_paths(leaves: Sequence[bytes], places: Iterable[int]) -> list[list[bytes]]:
    """For each place the hashes that lead from its leaf to the root, from the leaf upward."""
    roots: dict[tuple[int, int], bytes] = {}

    def root(low: int, high: int) -> bytes:
        held = roots.get((low, high))
        if held is None:
            half = low + _half(high - low)
            held = leaves[low] if high - low == 1 else node(root(low, half), root(half, high))
            roots[low, high] = held
        return held

    paths = []
    for place in places:
        low, high, path = 0, len(leaves), []
        while high - low > 1:
            half = low + _half(high - low)
            path.append(root(half, high) if place < half else root(low, half))
            low, high = (low, half) if place < half else (half, high)
        paths.append(path[::-1])
    return paths


def _half(leaves: int) -> int:
    """The largest power of two below ``leaves``."""
    return 1 << ((leaves - 1).bit_length() - 1) if leaves > 1 else 0


def root_by_path(leaf: bytes, place: int, leaves: int, path: Sequence[bytes]) -> bytes | None:
    """The root that a leaf and its path lead to; ``None`` for a path of the wrong length."""
    if not 0 <= place < leaves:
        return None
    sides = []  # True: the leaf's part is the left one
    while leaves > 1:
        half = _half(leaves)
        sides.append(place < half)
        leaves, place = (half, place) if place < half else (leaves - half, place - half)
    if len(sides) != len(path):
        return None
    root = leaf
    for left, other in zip(reversed(sides), path, strict=True):
        root = node(root, other) if left else node(other, root)
    return root


class Statement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a seal says of its segment. Hashes in hex; ``bytes`` and hashes are of the uncompressed lines.

    ``previous`` is the hash of the seal before it ("" for the first), ``epoch`` counts seals of the capture.
    """

    format: str = "octoflex-twin-seal"
    version: int = 1
    capture_id: str
    segment: str
    first_seq: int
    last_seq: int
    lines: int
    bytes: int
    root: str
    first_prev: str
    last_hash: str
    previous: str
    epoch: int
    key_id: str
    public_key: str
    sealed_at: str


class Seal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A statement and the Ed25519 signature (hex) over its canonical form."""

    statement: Statement
    signature: str

    def holds(self) -> bool:
        """Whether the signature is that of the key the statement names."""
        said = self.statement
        signed = signature_holds(said.public_key, self.signature, msgspec.to_builtins(said))
        return signed and said.key_id == key_id(said.public_key)

    def hash(self) -> str:
        return hashlib.sha256(canonical(msgspec.to_builtins(self))).hexdigest()


def canonical(value: Mapping[str, Any]) -> bytes:
    """JSON that has only one spelling: sorted names, no spaces, ASCII; texts and integers only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def signature_holds(public_key_hex: str, signature_hex: str, said: Mapping[str, Any]) -> bool:
    """Whether this key signed this; anything at all may be asked."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key_hex))
        key.verify(bytes.fromhex(signature_hex), canonical(said))
    except (ValueError, InvalidSignature):
        return False
    return True


def key_id(public_key_hex: str) -> str:
    """The short name of a public key."""
    return hashlib.sha256(bytes.fromhex(public_key_hex)).hexdigest()[:16]


class Signer:
    """Seals with one private key of 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(key)
        self.public_key = self._key.public_key().public_bytes_raw().hex()
        self.key_id = key_id(self.public_key)

    def seal(self, **said: Any) -> Seal:
        statement = Statement(key_id=self.key_id, public_key=self.public_key, **said)
        return Seal(statement=statement, signature=self.sign(msgspec.to_builtins(statement)))

    def sign(self, said: Mapping[str, Any]) -> str:
        """The signature (hex) over the canonical form of ``said``."""
        return self._key.sign(canonical(said)).hex()


def encoded(seal: Seal) -> bytes:
    return msgspec.json.format(msgspec.json.encode(seal), indent=2) + b"\n"


def decoded(data: bytes) -> Seal:
    """Raises ``ValueError`` for what is no seal."""
    return msgspec.json.decode(data, type=Seal)
