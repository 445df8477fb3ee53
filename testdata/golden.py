#!/usr/bin/env python3
"""Golden vectors: the fingerprints, ids and placements of Selfsame, computed a second time.

    python3 -m venv /tmp/golden && /tmp/golden/bin/pip install blake3 xxhash
    /tmp/golden/bin/python testdata/golden.py        # writes testdata/golden.json beside itself
    cargo test -p selfsame-core --test golden        # checks the crate against it

What for: agents of different versions compare digests, so these bytes are frozen. A change of the Rust code
that changes one of them turns `crates/selfsame-core/tests/golden.rs` red, and needs a new algorithm id. So
does a change of this script after which an old vector comes out differently.

This script shares no code with the crate and never calls it. It is written after what the crate's comments
promise, on Python's own JSON grammar and the reference bindings of BLAKE3 and XXH3, so that an error in the
Rust code is not simply copied into what the Rust code is checked against. No number in JSON becomes a float:
`json` hands numbers over as text, and objects as pairs, so that duplicate members are seen.

Whatever might not fit 53 bits stands in the file as text; bytes and digests stand in hexadecimal.
"""

import json
import math
import re
import struct
import uuid
from collections import namedtuple
from pathlib import Path

from blake3 import blake3
from xxhash import xxh3_64_intdigest

ALGORITHM = "selfsame c1"
FLEET, COLLECTION, SECRET = "shop", "products", b"correct horse battery staple"
I64_MIN, I64_MAX = -(2**63), 2**63 - 1

# --- The binary encoding: big-endian integers, and frames (a length of eight bytes, then as many bytes).


def u64(value):
    return value.to_bytes(8, "big")


def i64(value):
    return value.to_bytes(8, "big", signed=True)


def optional_i64(value):
    return b"\0" if value is None else b"\1" + i64(value)


def frame(content):
    return u64(len(content)) + content


# --- Values: Python's own None, bool, str, bytes and list, and these.

Number = namedtuple("Number", "negative digits exponent")  # the exact value ± digits × 10^exponent
NonFinite = namedtuple("NonFinite", "tag")
Object = namedtuple("Object", "members")


class Refused(Exception):
    """A document without a single meaning; the argument is the reason."""


def number(text):
    """The exact decimal value: no leading and no trailing zeros; zero has no digits, sign or exponent."""
    parts = re.fullmatch(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?", text)
    sign, whole, fraction, written = parts[1], parts[2], parts[3] or "", int(parts[4] or 0)
    if not I64_MIN <= written <= I64_MAX:
        raise Refused("number_range")
    significant = (whole + fraction).lstrip("0")
    digits = significant.rstrip("0")
    if not digits:
        return Number(False, "", 0)
    exponent = written - len(fraction) + len(significant) - len(digits)
    if not I64_MIN <= exponent <= I64_MAX:
        raise Refused("number_range")
    return Number(sign == "-", digits, exponent)


def float_value(bits):
    """The shortest decimal that reads back as the same float, which is what Python's `repr` prints.

    Of several it prints the closest, and of two equally close ones the even one. The crate promises the
    shortest and does not say which of two; so no vector here is a float that has two, like 2^-25.
    """
    value = struct.unpack(">d", u64(bits))[0]
    if math.isfinite(value):
        return number(repr(value))
    return NonFinite(0 if math.isnan(value) else 1 if value > 0 else 2)


def members(pairs):
    if len({name for name, _ in pairs}) < len(pairs):
        raise Refused("duplicate_member")
    return Object(pairs)


def constant(_):
    raise Refused("malformed")  # NaN and Infinity, which Python reads and JSON does not have


def parse(document):
    """Reads one JSON document, given as bytes."""
    try:
        value = json.loads(
            document.decode(),
            parse_int=number,
            parse_float=number,
            parse_constant=constant,
            object_pairs_hook=members,
        )
        canonical(value)
        return value
    except UnicodeError:  # bytes that are not UTF-8, or an escape for half a surrogate pair
        raise Refused("not_unicode") from None
    except json.JSONDecodeError:
        raise Refused("malformed") from None


# --- The canonical form of content.


def canonical(value, depth=0):
    if depth > 128:
        raise Refused("too_deep")  # a value inside more than 128 arrays and objects
    match value:
        case None:
            return b"\0"
        case False:
            return b"\1"
        case True:
            return b"\2"
        case Number():
            return b"\3" + number_body(value)
        case NonFinite(tag):
            return b"\4" + bytes([tag])
        case str():
            return b"\5" + frame(value.encode())
        case bytes():
            return b"\6" + frame(value)
        case list():
            return b"\7" + u64(len(value)) + b"".join(canonical(item, depth + 1) for item in value)
        case Object(pairs):
            named = sorted((name.encode(), canonical(member, depth + 1)) for name, member in pairs)
            return b"\x08" + u64(len(named)) + b"".join(frame(name) + form for name, form in named)
    raise TypeError(value)


def number_body(value):
    return bytes([value.negative]) + frame(value.digits.encode()) + i64(value.exponent)


# --- Digests: keyed BLAKE3 over a domain byte and framed fields.


def fingerprinter_key(fleet, collection, secret):
    material = frame(fleet.encode()) + frame(collection.encode()) + frame(secret)
    return blake3(material, derive_key_context=ALGORITHM).digest()


KEY = fingerprinter_key(FLEET, COLLECTION, SECRET)


def digest(domain, body, length=32, key=KEY):
    return blake3(domain + body, key=key).digest()[:length]


def key_bytes(parts):
    """A key's parts are values: numbers, texts or bytes."""
    tags = {Number: b"\1", str: b"\2", bytes: b"\3"}
    bodies = {Number: number_body, str: lambda text: frame(text.encode()), bytes: frame}
    return b"".join(tags[type(part)] + bodies[type(part)](part) for part in parts)


def part_as_text(part):
    """A key's part under `key_as: string`. Numbers print plainly up to 40 places, scientifically beyond."""
    if not isinstance(part, Number):
        return part if isinstance(part, str) else part.hex()
    sign, (digits, exponent) = "-" * part.negative, part[1:]
    if not digits:
        return "0"
    if exponent >= 0 and len(digits) + exponent <= 40:
        return sign + digits + "0" * exponent
    if -40 < exponent < 0:
        padded = digits.rjust(1 - exponent, "0")
        return f"{sign}{padded[:exponent]}.{padded[exponent:]}"
    return f"{sign}{digits}e{exponent}"


def entry_body(parts, version, expiry, content):
    return frame(key_bytes(parts)) + i64(version) + optional_i64(expiry) + content


def cell_bytes(kind, value):
    match kind:
        case "null":
            return b"\0"
        case "bool":
            return b"\1" + bytes([value])
        case "integer":
            return b"\2" + i64(value)
        case "real":
            return b"\3" + u64(value)  # the float's bits
        case "number" | "text" | "json":
            return {"number": b"\4", "text": b"\5", "json": b"\7"}[kind] + frame(value.encode())
        case "bytes":
            return b"\6" + frame(value)
    raise ValueError(kind)


def row_bytes(cells):
    return b"".join(frame(name.encode()) + cell_bytes(kind, value) for name, kind, value in cells)


def node_sum(digests):
    """The sum modulo 2^256 of digests read as numbers, least significant byte first."""
    total = sum(int.from_bytes(one, "little") for one in digests) % 2**256
    return total.to_bytes(32, "little")


# --- Ids and placement.


def uuid_v8(context, body):
    raw = bytearray(blake3(body, derive_key_context=context).digest()[:16])
    raw[6] = raw[6] & 0x0F | 0x80  # RFC 9562: version 8 …
    raw[8] = raw[8] & 0x3F | 0x80  # … and the variant
    return uuid.UUID(bytes=bytes(raw))


def slot_bytes(kind, value):
    return b"\0" + u64(value) if kind == "scheduled" else b"\1" + value.bytes


def run_id(fleet, collection, slot):
    return uuid_v8("selfsame run", frame(fleet.encode()) + frame(collection.encode()) + frame(slot))


def repair_id(run, node, key, before, after):
    body = run.bytes + frame(node.encode()) + key + frame(before or b"") + frame(after or b"")
    return uuid_v8("selfsame repair", body)


def ranking(agents, collection, shard):
    """Highest score first; of equal scores (which nobody has seen) the later name first."""

    def score(agent):
        return xxh3_64_intdigest(frame(collection.encode()) + u64(shard) + frame(agent.encode()))

    return sorted(agents, key=lambda agent: (score(agent), agent), reverse=True)


# --- What is computed.

DOCUMENTS = {
    "empty object": "{}",
    "empty array": "[]",
    "empty text": '""',
    "null": "null",
    "true": "true",
    "false": "false",
    "null member is not a missing member": '{"a":null}',
    "empty name": '{"":{}}',
    "zero": "0",
    "zero, negative": "-0",
    "zero with fraction and exponent": "-0.000E+77",
    "3000": "3000",
    "3000.00": "3000.00",
    "3e3": "3e3",
    "3E+03": "3E+03",
    "0.3e4": "0.3e4",
    "30000e-1": "30000e-1",
    "an exponent with many leading zeros": "3e" + "0" * 40 + "3",
    "-1.5": "-1.5",
    "0.1": "0.1",
    "0.1 and a bit that no float holds": "0.1000000000000000000000000000000000000001",
    "2^53 - 1": "9007199254740991",
    "2^53": "9007199254740992",
    "2^53 + 1": "9007199254740993",
    "2^64": "18446744073709551616",
    "40 trailing zeros": "-7" + "0" * 40 + "." + "0" * 40,
    "40 digits": "1234567890123456789012345678901234567891",
    "a fraction of 30 places": "0.000000000000000000000000000001",
    "an exponent that no float has": "1e1000000000",
    "a small exponent that no float has": "-25e-1000000000",
    "the largest exponent": "1e9223372036854775807",
    "the smallest exponent": "1e-9223372036854775808",
    "text that looks like a number": '"3000"',
    "escapes": r'"\"\\\/\b\f\n\r\t\u0000\u001f\u007f"',
    "unicode, plain and escaped": '["é€😀","\\u00e9\\u20AC\\ud83d\\uDE00"]',
    "composed and decomposed are two texts": '["\\u00e9","e\\u0301"]',
    "a text longer than a chunk of BLAKE3": json.dumps("Selfsame " * 130),
    "members are sorted": '{"b":1,"a":2,"B":3,"aa":4,"":5,"10":6,"9":7}',
    "white space": ' {\t"a" : [ 1 ,\r\n2 ] , "b" : { } }\n',
    "escaped names": '{"\\u0062":1,"\\u0061":2}',
    "names sort by UTF-8, not by UTF-16": '{"\U00010000":1,"\ue000":2,"z":3,"é":4}',
    "composed and decomposed are two names": '{"\\u00e9":1,"e\\u0301":2}',
    "nested": '{"tags":["x",["y",[]],{}],"size":{"w":1.50,"h":{"unit":"mm","value":-2e-3}},"on":true}',
    "one order of an array": "[1,23]",
    "another split of the same digits": "[12,3]",
    "128 arrays around a number": "[" * 128 + "7" + "]" * 128,
}

REFUSED = {
    "duplicate member": b'{"a":1,"b":2,"a":1}',
    "duplicate member, nested and escaped": b'[{"x":{"a":1,"\\u0061":2}}]',
    "nothing": b"",
    "two values": b"1 2",
    "leading zero": b"01",
    "leading plus": b"+1",
    "no fraction": b"1.",
    "trailing comma": b"[1,]",
    "control character": b'"\x01"',
    "byte order mark": b"\xef\xbb\xbf{}",
    "not a number": b"NaN",
    "infinity": b"-Infinity",
    "not UTF-8": b'"\xff"',
    "half a surrogate pair": b'"\\ud83d"',
    "the other half": b'"\\ude00x"',
    "exponent above 64 bits": b"1e9223372036854775808",
    "exponent of the normal form above 64 bits": b"10e9223372036854775807",
    "exponent of the normal form below 64 bits": b"0.1e-9223372036854775808",
    "zero with an exponent above 64 bits": b"0e9223372036854775808",
    "129 arrays around a number": b"[" * 129 + b"7" + b"]" * 129,
}

FLOATS = {
    "0": 0x0000000000000000,
    "-0": 0x8000000000000000,
    "3000": 0x40A7700000000000,
    "0.1": 0x3FB999999999999A,
    "-1.5": 0xBFF8000000000000,
    "2^53": 0x4340000000000000,
    "1e23, which lies between two floats": 0x44B52D02C7E14AF6,
    "2^-44, shortest in 16 places": 0x3D30000000000000,
    "2^-25, between two shortest decimals": 0x3E60000000000000,
    "largest": 0x7FEFFFFFFFFFFFFF,
    "smallest normal": 0x0010000000000000,
    "smallest": 0x0000000000000001,
    "nan": 0x7FF8000000000000,
    "another nan": 0xFFF0000000000001,
    "infinity": 0x7FF0000000000000,
    "-infinity": 0xFFF0000000000000,
}

KEYS = {
    "0": [number("0")],
    "1": [number("1")],
    "1 as text": ["1"],
    "1 as bytes": [b"1"],
    "-1": [number("-1")],
    "1000, whose zeros are no digits": [number("1000")],
    "largest 64-bit integer": [number(str(I64_MAX))],
    "smallest 64-bit integer": [number(str(I64_MIN))],
    "2^53 + 1": [number("9007199254740993")],
    "a decimal": [number("-12.50")],
    "a small decimal": [number("0.00075")],
    "40 places": [number("1e39")],
    "41 places": [number("1e40")],
    "39 decimal places": [number("5e-39")],
    "40 decimal places": [number("5e-40")],
    "empty text": [""],
    "text": ["U+0041"],
    "unicode": ["Größe 😀"],
    "text with a zero": ["a\0b"],
    "text of 300 bytes": ["0123456789" * 30],
    "no bytes": [b""],
    "bytes": [bytes.fromhex("00ff80")],
    "uuid as bytes": [bytes(range(16))],
    "text and number": ["eu", number("7")],
    "two texts": ["ab", "c"],
    "two texts, split elsewhere": ["a", "bc"],
    "two numbers": [number("1"), number("2")],
    "text, bytes and a decimal": ["eu", b"\0\1", number("2.5")],
}
SHARD_COUNTS = [1, 2, 3, 16, 64, 1000, 4096]
DEPTHS = range(6)

SECOND = 1_000_000
ENTRIES = {
    "version 0, never expires": ([number("1")], 0, None, "{}"),
    "with a version": (["U+0041"], 1_700_000_000 * SECOND, None, '{"name":"A"}'),
    "with an expiry": (["U+0041"], 1_700_000_000 * SECOND, 1_800_000_000 * SECOND, '{"name":"A"}'),
    "expiry 0 is not never": ([number("1")], 0, 0, "{}"),
    "negative version and expiry": ([number("1")], -1, -2, "{}"),
    "largest version": ([b"\0"], I64_MAX, I64_MAX, "[]"),
    "smallest version": ([b"\0"], I64_MIN, I64_MIN, "[]"),
    "composite key": (["eu", number("7")], 42, None, '{"price":1.50,"tags":["x","y"]}'),
}

ROWS = {
    "no cells": [],
    "a document column": [("id", "integer", 1), ("body", "text", '{"a":1}')],
    "the same text as json": [("id", "integer", 1), ("body", "json", '{"a":1}')],
    "spelling counts": [("id", "integer", 1), ("body", "json", '{"a":1.0}')],
    "order counts": [("body", "text", '{"a":1}'), ("id", "integer", 1)],
    "every kind": [
        ("null", "null", None),
        ("false", "bool", False),
        ("true", "bool", True),
        ("integer", "integer", I64_MIN),
        ("real", "real", 0xBFF8000000000000),
        ("number", "number", "3.00"),
        ("größe", "text", "é\0"),
        ("bytes", "bytes", b"\xff\0"),
        ("json", "json", "[1, 2]"),
    ],
    "-0 is not 0 in a stored byte": [("real", "real", 0x8000000000000000)],
    "nor are two nans the same": [("real", "real", 0x7FF8000000000001)],
    "empty name, text and bytes": [("", "text", ""), ("b", "bytes", b"")],
}

HALF = bytes(31) + b"\x80"  # 2^255
ONES = b"\xff" * 32
CARRY = b"\1" + bytes(31)

FINGERPRINTERS = {
    "with a secret": (FLEET, COLLECTION, SECRET),
    "without a secret": (FLEET, COLLECTION, b""),
    "another collection": (FLEET, "users", SECRET),
    "another fleet": ("shop-2", COLLECTION, SECRET),
    "the same letters, framed elsewhere": ("shopp", "roducts", SECRET),
    "a secret that is no text": (FLEET, COLLECTION, b"\xff\0\x80"),
    "a secret longer than a chunk of BLAKE3": (FLEET, COLLECTION, bytes(range(256)) * 5),
}

AD_HOC = uuid.UUID("01234567-89ab-7cde-8f01-23456789abcd")
RUNS = {
    "first slot": (FLEET, COLLECTION, "scheduled", 0),
    "a slot": (FLEET, COLLECTION, "scheduled", 5_666_666),
    "last slot": (FLEET, COLLECTION, "scheduled", 2**64 - 1),
    "ad hoc": (FLEET, COLLECTION, "ad_hoc", AD_HOC),
    "another collection": (FLEET, "users", "scheduled", 5_666_666),
    "another fleet": ("größe", COLLECTION, "scheduled", 5_666_666),
}

AGENTS = ["agent-0", "agent-1", "agent-2", "agent-3", "agent-4"]
PLACEMENTS = {
    "one agent": (COLLECTION, AGENTS[:1]),
    "three agents": (COLLECTION, AGENTS[:3]),
    "five agents": (COLLECTION, AGENTS),
    "five agents, another collection": ("users", AGENTS),
    "three agents, long names": ("c" * 63, ["a" * 63, "b" * 63, "a" * 62 + "b"]),
}


def part(value):
    """A part of a key as it stands in the file."""
    match value:
        case Number(negative, digits, exponent):
            return {"number": ("-" * negative + digits + f"e{exponent}") if digits else "0"}
        case str():
            return {"text": value}
        case bytes():
            return {"bytes": value.hex()}
    raise TypeError(value)


def cell(name, kind, value):
    """A cell as it stands in the file."""
    if kind in ("integer", "real"):
        value = str(value) if kind == "integer" else f"{value:016x}"
    return {"name": name, "kind": kind, "value": value.hex() if isinstance(value, bytes) else value}


def text_or_none(value):
    return None if value is None else str(value)


def documents():
    for name, document in DOCUMENTS.items():
        form = canonical(parse(document.encode()))
        yield {
            "name": name,
            "json": document,
            "canonical": form.hex(),
            "content_digest": digest(b"c", form).hex(),
        }


def refused():
    for name, document in REFUSED.items():
        try:
            parse(document)
        except Refused as reason:
            yield {"name": name, "bytes": document.hex(), "reason": str(reason)}
        else:
            raise AssertionError(f"{name} was read")


def values_beyond_json():
    for name, bits in FLOATS.items():
        form = canonical(float_value(bits))
        yield {
            "name": name,
            "float_bits": f"{bits:016x}",
            "canonical": form.hex(),
            "content_digest": digest(b"c", form).hex(),
        }
    for name, content in {"no bytes": b"", "bytes": b"\0a\xff"}.items():
        form = canonical(content)
        yield {
            "name": name,
            "bytes": content.hex(),
            "canonical": form.hex(),
            "content_digest": digest(b"c", form).hex(),
        }


def keys():
    for name, parts in KEYS.items():
        form = key_bytes(parts)
        key = digest(b"k", form, 16)
        prefix = int.from_bytes(key[:8], "big")
        yield {
            "name": name,
            "parts": [part(value) for value in parts],
            "bytes": form.hex(),
            "digest": key.hex(),
            "shards": {str(count): int.from_bytes(key[8:], "big") % count for count in SHARD_COUNTS},
            "buckets": [prefix >> (64 - 4 * depth) for depth in DEPTHS],
            "as_text": [part_as_text(value) for value in parts],
        }


def entry_digests():
    for parts, version, expiry, content in ENTRIES.values():
        content_digest = digest(b"c", canonical(parse(content.encode())))
        yield content_digest, digest(b"e", entry_body(parts, version, expiry, content_digest))


def entries():
    for (name, entry), (content_digest, entry_digest) in zip(ENTRIES.items(), entry_digests()):
        parts, version, expiry, content = entry
        yield {
            "name": name,
            "key": [part(value) for value in parts],
            "version": str(version),
            "expiry": text_or_none(expiry),
            "json": content,
            "content_digest": content_digest.hex(),
            "digest": entry_digest.hex(),
        }


def rows():
    for name, cells in ROWS.items():
        form = row_bytes(cells)
        yield {
            "name": name,
            "cells": [cell(*one) for one in cells],
            "bytes": form.hex(),
            "digest": digest(b"r", form).hex(),
        }


def nodes():
    all_entries = [entry_digest for _, entry_digest in entry_digests()]
    for name, digests in {
        "empty": [],
        "one entry": all_entries[:1],
        "all entries above": all_entries,
        "an entry twice": [all_entries[0]] * 2,
        "a sum of zero with a count of two": [HALF, HALF],
        "a carry through every byte": [ONES, CARRY],
        "no carry past the last byte": [ONES, ONES, HALF],
    }.items():
        total, count = node_sum(digests), len(digests)
        yield {
            "name": name,
            "digests": [one.hex() for one in digests],
            "sum": total.hex(),
            "count": count,
            "hash": digest(b"n", total + u64(count), 16).hex(),
        }


def fingerprinters():
    for name, (fleet, collection, secret) in FINGERPRINTERS.items():
        key = fingerprinter_key(fleet, collection, secret)
        yield {
            "name": name,
            "fleet": fleet,
            "collection": collection,
            "secret": secret.hex(),
            "key": key.hex(),
            "check_value": digest(b"v", b"", 16, key).hex(),
            "other_digest_of_abc": digest(b"o", b"abc", 16, key).hex(),
            "digest_of_key_1": digest(b"k", key_bytes([number("1")]), 16, key).hex(),
        }


def runs():
    for name, (fleet, collection, kind, value) in RUNS.items():
        slot = slot_bytes(kind, value)
        yield {
            "name": name,
            "fleet": fleet,
            "collection": collection,
            kind: str(value),
            "slot_bytes": slot.hex(),
            "id": str(run_id(fleet, collection, slot)),
        }


def repairs():
    run = run_id(FLEET, COLLECTION, slot_bytes("scheduled", 5_666_666))
    key = digest(b"k", key_bytes([number("1")]), 16)
    one, other = digest(b"r", b""), digest(b"r", row_bytes(ROWS["a document column"]))
    for name, (node, before, after) in {
        "insert": ("node-a", None, one),
        "update": ("node-a", one, other),
        "the way back": ("node-a", other, one),
        "delete": ("node-a", one, None),
        "another node": ("node-b", one, None),
    }.items():
        yield {
            "name": name,
            "run": str(run),
            "node": node,
            "key_digest": key.hex(),
            "before": before and before.hex(),
            "after": after and after.hex(),
            "id": str(repair_id(run, node, key, before, after)),
        }


def placements():
    for name, (collection, agents) in PLACEMENTS.items():
        # By shard, from 0: the agents' places in the list, the shard's owner first.
        rankings = [ranking(agents, collection, shard) for shard in range(32)]
        yield {
            "name": name,
            "collection": collection,
            "agents": agents,
            "rankings": [" ".join(str(agents.index(agent)) for agent in ranked) for ranked in rankings],
        }


def main():
    sections = [
        fingerprinters,
        documents,
        refused,
        values_beyond_json,
        keys,
        entries,
        rows,
        nodes,
        runs,
        repairs,
        placements,
    ]
    golden = {
        "about": "Written by golden.py, which says what this is. Do not edit.",
        "algorithm": ALGORITHM,
        "fleet": FLEET,
        "collection": COLLECTION,
        "secret": SECRET.hex(),
        **{section.__name__: list(section()) for section in sections},
    }
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
