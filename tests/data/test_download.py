"""Downloads, from a server on this machine that misbehaves; nothing here needs the internet."""

import gzip
import hashlib
import tomllib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.server_at_hand import Server, damaged, drop, missing, page, truncate, whole
from huggingface_hub import constants, file_download

from kitsnb.data import download as subject
from kitsnb.data.cases import discover
from kitsnb.data.checks import check_cases
from kitsnb.data.download import download, parse_cases
from kitsnb.files import ROOT

SHAPE = (40, 48, 50)
CASES = (0, 1, 2)
IMAGES = f"/datasets/{subject.IMAGING_DATA_SET}/resolve/{subject.REVISION}/images"
LABEL, IMAGE = "/labels/case_00001/segmentation.nii.gz", f"{IMAGES}/case_00001.nii.gz"


def volume(number: int, labels: bool, shape: tuple[int, ...] = SHAPE) -> bytes:
    """A ``.nii.gz``; imaging is noise, so that it stays long when packed."""
    array = np.random.default_rng(number).integers(-1000, 1000, shape).astype(np.int16)
    array = (array > 900).astype(np.uint8) if labels else array
    return gzip.compress(nib.Nifti1Image(array, np.diag([3, 3, 3, 1])).to_bytes(), 1, mtime=0)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """What is published, on a server that stands for both official ones."""
    files = {"/labels/kits.json": b"[]"}
    for number in CASES:
        files[f"/labels/case_{number:05d}/segmentation.nii.gz"] = volume(number, labels=True)
        files[f"{IMAGES}/case_{number:05d}.nii.gz"] = volume(number, labels=False)
    registry = tmp_path / "registry.txt"
    lines = [f"{name[8:]} {hashlib.sha256(data).hexdigest()}\n" for name, data in files.items() if "/labels/" in name]
    registry.write_text("".join(lines))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    monkeypatch.setattr(file_download.time, "sleep", lambda _: None)  # between attempts
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 4096)
    with Server(files).running() as server:
        monkeypatch.setattr(subject, "LABELS_ADDRESS", f"{server.address}/labels/")
        monkeypatch.setattr(subject, "REGISTRY", registry)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)  # of HF_ENDPOINT, which is read once
        yield server


def landed(folder: Path, source: str) -> Path:
    if source.startswith("/labels/"):
        return folder / source.removeprefix("/labels/")
    return folder / Path(source).name.removesuffix(".nii.gz") / "imaging.nii.gz"


def check_landed(folder: Path, server: Server, but: tuple[str, ...] = ()) -> None:
    """All files are there, byte for byte; of those in ``but`` none."""
    for source, data in server.files.items():
        if source in but:
            assert not landed(folder, source).exists(), source
        else:
            assert landed(folder, source).read_bytes() == data, source


def test_all_files_land_and_a_second_call_fetches_nothing(server, tmp_path, capsys):
    assert download(tmp_path / "to", CASES) == {}
    check_landed(tmp_path / "to", server)
    assert "3 of 3 cases are there\n" in capsys.readouterr().out
    assert [report.status for report in check_cases(discover(tmp_path / "to"))] == ["warning"] * 3  # none holds a tumour
    server.asked.clear()
    assert download(tmp_path / "to", CASES) == {} and not server.asked
    assert download(tmp_path / "labels", [1], labels_only=True) == {} and set(server.asked) == {LABEL, "/labels/kits.json"}


@pytest.mark.parametrize("answer", [drop, damaged])
def test_a_label_that_fails_once_is_fetched_again(server, tmp_path, answer):
    server.plans[LABEL] = [answer, whole]
    download(tmp_path / "to", CASES)
    assert download(tmp_path / "to", CASES) == {}
    check_landed(tmp_path / "to", server)


def test_imaging_goes_on_where_it_was_cut(server, tmp_path):
    server.plans[IMAGE] = [drop, drop, whole]
    assert download(tmp_path / "to", CASES) == {}
    assert server.asked[IMAGE] == sorted(set(server.asked[IMAGE])) and len(server.asked[IMAGE]) == 3
    check_landed(tmp_path / "to", server)


@pytest.mark.parametrize(
    ("answer", "reason"), [(damaged, "corrupt"), (missing, "404"), (truncate, "corrupt"), (page, "neither a gzip")])
def test_bad_imaging_never_gets_its_name_and_the_rest_lands(server, tmp_path, capsys, answer, reason):
    server.plans[IMAGE] = [answer]
    found = download(tmp_path / "to", CASES)
    assert list(found) == ["case_00001"] and reason in found["case_00001"]
    said = capsys.readouterr().out
    assert f"failed: case_00001: {found['case_00001']}" in said and "2 of 3 cases are there" in said
    check_landed(tmp_path / "to", server, but=(IMAGE,))
    server.plans[IMAGE] = [whole]
    assert download(tmp_path / "to", CASES) == {}


def test_a_web_page_is_never_taken_for_a_label(server, tmp_path):
    server.plans[LABEL] = [page]
    assert "hash" in download(tmp_path / "to", CASES)["case_00001"]
    check_landed(tmp_path / "to", server, but=(LABEL, IMAGE))
    (tmp_path / "to" / "kits.json").unlink()
    server.plans["/labels/kits.json"] = [page]
    with pytest.raises(ValueError, match="hash"):
        download(tmp_path / "to", CASES)


def test_a_label_that_somebody_changed_is_left(server, tmp_path):
    download(tmp_path / "to", CASES)
    mine = landed(tmp_path / "to", LABEL)
    mine.write_bytes(b"my own work")
    assert download(tmp_path / "to", CASES).keys() == {"case_00001"}
    assert mine.read_bytes() == b"my own work"


def test_cases_are_named_by_numbers_and_ranges():
    assert parse_cases("7") == [7] and parse_cases("9, 0-2,1") == [0, 1, 2, 9]
    for text in ("", "a", "3-1", "1-", "-3", "1,,2", "1-2-3", "210"):
        with pytest.raises(ValueError, match="names no cases; give numbers and ranges such as 0-9,15"):
            parse_cases(text)


def test_the_registry_has_all_of_kits19_and_is_shipped():
    names = [line.split()[0] for line in subject.REGISTRY.read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    assert set(names) == {"kits.json", *(f"case_{number:05d}/segmentation.nii.gz" for number in range(210))}
    assert subject.COMMIT in subject.REGISTRY.read_text(encoding="utf-8") and subject.COMMIT in subject.LABELS_ADDRESS
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["tool"]["setuptools"]["package-data"]["kitsnb.data"] == [subject.REGISTRY.name]


def test_real_labels_have_the_hashes_of_the_registry(kits19_labels):
    hashes = dict(line.split() for line in subject.REGISTRY.read_text(encoding="utf-8").splitlines() if line[0] != "#")
    for name in ("kits.json", *(f"case_{number:05d}/segmentation.nii.gz" for number in (0, 7, 160, 209))):
        assert subject.pooch.file_hash(str(kits19_labels / name)) == hashes[name]
