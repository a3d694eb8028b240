"""A version's folder is what its contract says, or it is refused with the file's name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from trivet.contract import Classification, Column, Contract, Runtime
from trivet.errors import ContractUnreadable, VersionCorrupt
from trivet.live import CONTRACT
from trivet.registry.download import verify
from trivet.registry.flavor import sha256

if TYPE_CHECKING:
    from pathlib import Path

MODEL = "model.skops"


def write_version(folder: Path, listed: str = MODEL) -> str:
    """Write a folder with one file and a contract that names it; return the contract's digest."""
    (folder / "trivet").mkdir()
    (folder / MODEL).write_bytes(b"weights")
    contract = Contract(
        model="toy",
        project=None,
        feature_service=None,
        join_keys=(),
        views=(),
        columns=(Column(name="a", source="request", dtype="float64"),),
        lead_seconds=0,
        output=Classification(classes=("no", "yes")),
        runtime=Runtime(kind="pyfunc"),
        files={listed: sha256(folder / MODEL)},
        libraries={},
        golden=(),
    )
    (folder / CONTRACT).write_text(contract.to_json())
    return contract.digest


def test_a_whole_folder_passes_and_gives_its_contract(tmp_path: Path) -> None:
    """The caller need not read the contract again."""
    digest = write_version(tmp_path)
    assert verify(tmp_path, digest, "toy version 1").digest == digest


def test_a_changed_file_is_named(tmp_path: Path) -> None:
    """One byte is enough."""
    digest = write_version(tmp_path)
    (tmp_path / MODEL).write_bytes(b"weightz")
    with pytest.raises(VersionCorrupt, match=r"model\.skops of toy version 1 is not the one"):
        verify(tmp_path, digest, "toy version 1")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A download cut short is refused as well."""
    digest = write_version(tmp_path)
    (tmp_path / MODEL).unlink()
    with pytest.raises(VersionCorrupt, match=r"model\.skops of toy version 1 is missing"):
        verify(tmp_path, digest, "toy version 1")


def test_a_contract_that_was_replaced_is_refused(tmp_path: Path) -> None:
    """Else whoever can write artifacts could replace files and their digests together."""
    write_version(tmp_path)
    with pytest.raises(VersionCorrupt, match="not the one it was registered with"):
        verify(tmp_path, "0" * 64, "toy version 1")


def test_a_folder_without_a_contract_is_refused(tmp_path: Path) -> None:
    """There is nothing to check it against."""
    with pytest.raises(VersionCorrupt, match=r"trivet/contract\.json of toy version 1 is missing"):
        verify(tmp_path, "0" * 64, "toy version 1")


def test_a_contract_of_a_newer_trivet_is_refused_by_a_sentence(tmp_path: Path) -> None:
    """It is neither corrupt nor guessed at."""
    digest = write_version(tmp_path)
    file = tmp_path / CONTRACT
    file.write_text(file.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(ContractUnreadable, match="Upgrade Trivet"):
        verify(tmp_path, digest, "toy version 1")


@pytest.mark.parametrize("outside", ["../secret", "/etc/hostname"])
def test_a_contract_cannot_name_files_outside_its_folder(tmp_path: Path, outside: str) -> None:
    """A contract comes from the registry and is not trusted with the host's files."""
    digest = write_version(tmp_path, listed=outside)
    with pytest.raises(VersionCorrupt, match="outside its folder"):
        verify(tmp_path, digest, "toy version 1")
