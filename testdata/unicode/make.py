#!/usr/bin/env python3
"""Makes the documents of this directory from the Debian package `unicode-data`.

    apt-get download unicode-data=15.0.0-1 && dpkg -x unicode-data_*.deb /tmp/unicode-data
    python3 testdata/unicode/make.py /tmp/unicode-data

Writes `characters.ndjson.gz` and `LICENSE-UNICODE.txt` beside itself; the same package gives the same bytes.
What the fields of `UnicodeData.txt` mean: Unicode Standard Annex #44, section 5.7.1.
"""

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def code(point):
    return f"U+{point:04X}"


def codes(field):
    return [code(int(point, 16)) for point in field.split()]


def property_of_code_points(path):
    """A list that has the property's value for each code point, or None."""
    values = [None] * 0x110000
    for line in path.read_text("utf-8").splitlines():
        points, _, value = line.partition("#")[0].partition(";")
        if value:
            first, _, last = points.strip().partition("..")
            for point in range(int(first, 16), int(last or first, 16) + 1):
                values[point] = value.strip()
    return values


def common(values, first, last):
    """The value that all code points of a range share, if they share one."""
    shared = set(values[first : last + 1])
    return shared.pop() if len(shared) == 1 else None


def decomposition(field):
    if not field:
        return None
    kind, closing, points = field.rpartition("> ")
    return {"kind": kind[1:], "to": codes(points)} if closing else {"to": codes(points)}


def document(first, last, fields, properties):
    name, category, combining, bidi, decomposed, _, _, numeric, mirrored, old_name, _, *cases = fields
    shown = first == last and category not in ("Cc", "Cs", "Co")
    members = {
        "id": code(first),
        "last": code(last) if last > first else None,
        "name": name,
        "unicode_1_name": old_name,
        "char": chr(first) if shown else None,
        "category": category,
        **{member: common(values, first, last) for member, values in properties.items()},
        "bidi": bidi,
        "combining": int(combining) or None,
        "decomposition": decomposition(decomposed),
        "numeric": numeric if "/" in numeric else int(numeric) if numeric else None,
        "mirrored": mirrored == "Y",
        **{member: code(int(case, 16)) for member, case in zip(("upper", "lower", "title"), cases) if case},
    }
    # 0 and false are values; what is missing or empty in the package is no member.
    return {member: value for member, value in members.items() if value is not None and value != ""}


def documents(ucd):
    properties = {
        "block": property_of_code_points(ucd / "Blocks.txt"),
        "script": property_of_code_points(ucd / "Scripts.txt"),
        "age": property_of_code_points(ucd / "DerivedAge.txt"),
    }
    lines = iter((ucd / "UnicodeData.txt").read_text("utf-8").splitlines())
    for line in lines:
        point, *fields = line.split(";")
        first = last = int(point, 16)
        if fields[0].endswith(", First>"):
            fields[0] = fields[0].removeprefix("<").removesuffix(", First>")
            last = int(next(lines).split(";")[0], 16)
        yield document(first, last, fields, properties)


def main():
    package = Path(sys.argv[1]) / "usr/share"
    # ASCII alone, so that no tool takes a character like U+2028 for the end of a line.
    lines = [json.dumps(one, separators=(",", ":")) for one in documents(package / "unicode")]
    ndjson = "".join(line + "\n" for line in lines).encode("ascii")
    bundle = subprocess.run(["gzip", "-9", "-n"], input=ndjson, capture_output=True, check=True).stdout
    (HERE / "characters.ndjson.gz").write_bytes(bundle)

    notice = (package / "doc/unicode-data/copyright").read_text("utf-8")
    licence = notice[notice.index("UNICODE, INC. LICENSE AGREEMENT") :].rstrip()
    (HERE / "LICENSE-UNICODE.txt").write_text(licence + "\n", "utf-8")
    print(f"{len(lines)} records, {len(ndjson)} bytes, {len(bundle)} compressed")


if __name__ == "__main__":
    main()
