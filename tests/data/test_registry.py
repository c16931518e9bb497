"""Where KiTS19 comes from: all of its labels, at pinned addresses."""

import tomllib
from pathlib import Path

from kitsnb.data import download as subject
from kitsnb.data.download import Sources
from kitsnb.files import ROOT


def official() -> Sources:
    return Sources(Path("unused"), subject.LABELS_ADDRESS, subject.IMAGING_ADDRESS, subject.REGISTRY)


def test_registry_has_all_of_kits19_and_is_shipped():
    sources = official()
    assert sources.numbers == list(range(210)) and len(sources.labels.registry) == 211
    assert subject.COMMIT in subject.REGISTRY.read_text()
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert settings["tool"]["setuptools"]["package-data"]["kitsnb.data"] == [subject.REGISTRY.name]


def test_official_addresses_are_pinned():
    sources = official()
    assert sources.url("case_00012/segmentation.nii.gz") == (
        f"https://raw.githubusercontent.com/neheller/kits19/{subject.COMMIT}/data/case_00012/segmentation.nii.gz")
    assert sources.url("case_00012/imaging.nii.gz") == (
        "https://huggingface.co/datasets/neheller/KiTS-Challenge-Imaging/resolve/"
        f"{subject.REVISION}/images/case_00012.nii.gz")


def test_real_labels_have_the_hashes_of_the_registry(kits19_labels):
    sources = official()
    for name in ("kits.json", *(f"case_{number:05d}/segmentation.nii.gz" for number in (0, 7, 160, 209))):
        assert subject.pooch.file_hash(str(kits19_labels / name)) == sources.labels.registry[name]
