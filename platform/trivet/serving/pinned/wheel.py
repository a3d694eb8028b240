"""The Trivet that runs, as a wheel: a container gets the very code that built its bento.

Packed from the files of the installed package, so it needs neither a network nor a source checkout,
and does the same for an editable installation. The format is that of
https://packaging.python.org/en/latest/specifications/binary-distribution-format/.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

_TAG = "py3-none-any"
_KEPT = ("METADATA", "entry_points.txt")
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The moment of every file, zip's earliest: the same code always makes the same bytes."""


def pack_wheel(folder: Path) -> Path:
    """Write the wheel into a folder, and return its path."""
    found = distribution("trivet")
    about = f"trivet-{found.version}.dist-info"
    wheel = folder / f"trivet-{found.version}-{_TAG}.whl"
    folder.mkdir(parents=True, exist_ok=True)
    files = {**dict(_package()), **dict(_metadata(found, about))}
    files[f"{about}/WHEEL"] = _wheel_file()
    record = f"{about}/RECORD"
    lines = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in files.items()]
    files[record] = "\n".join([*lines, f"{record},,", ""]).encode()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return wheel


def _package() -> Iterator[tuple[str, bytes]]:
    root = Path(__file__).parents[2]
    for file in sorted(root.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            yield f"trivet/{file.relative_to(root).as_posix()}", file.read_bytes()


def _metadata(found: Distribution, about: str) -> Iterator[tuple[str, bytes]]:
    for file in sorted(found.files or ()):
        if file.parts[0] != about or not (file.name in _KEPT or "licenses" in file.parts):
            continue
        yield file.as_posix(), Path(str(found.locate_file(file))).read_bytes()


def _wheel_file() -> bytes:
    return f"Wheel-Version: 1.0\nGenerator: trivet\nRoot-Is-Purelib: true\nTag: {_TAG}\n".encode()


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
