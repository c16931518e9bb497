"""Profiles: what is written at the start of a run, what is read by hand, and a table of mistakes, each said before any start."""

import subprocess
import sys

import pytest
import torch
import yaml

from kitsnb.files import NOTEBOOKS, ROOT
from kitsnb.training.settings import Training
from kitsnb.workflow.before import what_is_lacking
from kitsnb.workflow.parameters import MODELS, check, read_parameters
from kitsnb.workflow.profile import GIVEN, STAGES, ProfileError, load, recorded_parameters

SMOKE = ROOT / "tests" / "helpers" / "smoke.yml"
#: A loss of a reader that knows two classes only, one that gives no gradient, and one that ends Python.
OWN_LOSSES = """
import torch

def two_classes(logits, target):
    return torch.nn.functional.cross_entropy(logits.reshape(-1, 2), target.reshape(-1).long())

def constant(logits, target):
    return torch.zeros(())

def whole(logits, target):
    return logits.square().mean()

def leaves(logits, target):
    raise SystemExit(3)
"""
#: What is set in the smoke profile, and what the message must say of it: the key, and where there is one the nearest valid one.
BAD = [
    # names
    ({"trainning": {}}, "unknown setting 'trainning'; did you mean 'training'"),
    ({"training": {"epoch": 3}}, "has no parameter 'epoch'; did you mean 'epochs'"),
    ({"training": {"network": {"depht": 3}}}, "training: network: unknown setting 'depht'; did you mean 'depth'"),
    ({"training": {"augmentation": {"scalling": [1, 1]}}}, "'scalling'; did you mean 'scaling'"),
    ({"common": {"simulate": True}}, "no notebook has a parameter 'simulate'; did you mean 'simulated'"),
    ({"stages": ["trainig"]}, r"stages\[0\] must be .*'training'"),
    ({"training": {"seed": 3}}, "training.seed: is given by the runner"),
    ({"experiments": [{"name": "a", "los": "dice"}]}, r"experiments\[0\]: unknown setting 'los'; did you mean 'loss'"),
    ({"experiments": [{"name": "a", "loss": "dyce"}]}, "did you mean 'dice'"),
    ({"experiments": [{"name": "a", "loss": "dice", "parameters": {"smoth": 1}}]}, "did you mean 'smooth'"),
    ({"deviations": [{"setting": "a", "paper": "b", "here": "c", "whi": "d"}]}, r"deviations\[0\]: unknown setting 'whi'; .*'why'"),
    ({"deviations": [{"setting": "a", "paper": "b", "here": "c"}]}, r"deviations\[0\].why Field required"),
    # types
    ({"simulated": "yes"}, "simulated must be a valid boolean, not 'yes'"), ({"title": 3}, "title must be a valid string, not 3"),
    ({"seeds": 3}, "seeds must be a valid list"), ({"folds": 1.5}, "folds"), ({"training": [1]}, "training must be a valid dict"),
    ({"common": {"training": 5}}, "common: training must"), ({"training": {"patch_size": 32}}, "training: patch_size"),
    ({"training": {"epochs": "3"}}, "training: epochs must be a valid integer, not '3'"),
    ({"training": {"epochs": True}}, "epochs must be a valid integer, not True"), ({"losses": {"others": "dice"}}, "losses: others"),
    ({"training": {"learning_rate": "fast"}}, "learning_rate must be a valid number"),
    ({"training": {"schedule": 3}}, "training: schedule must be 'plateau' or 'poly', not 3"),
    # ranges
    ({"folds": 1}, "folds must be greater than or equal to 2"),
    ({"folds": 9}, "8 cases can be cut into 2 to 8 folds, not 9"),
    ({"training": {"epochs": 0}}, "training: epochs must be greater than or equal to 1, not 0"),
    ({"training": {"learning_rate": 0.0}}, "learning_rate must be greater than 0"),
    ({"training": {"learning_rate": float("nan")}}, "learning_rate must be a finite number"),
    ({"training": {"minimum_learning_rate": 0.1}}, "minimum_learning_rate must not be above learning_rate 0.01"),
    ({"training": {"batch_size": 0}}, "batch_size"), ({"training": {"steps_per_epoch": 0}}, "steps_per_epoch"),
    ({"training": {"foreground": 1.5}}, "foreground"), ({"training": {"tumour": float("nan")}}, "tumour"),
    ({"training": {"stop_patience": -1}}, "stop_patience"),
    ({"training": {"precision": "bf16"}}, "precision must be 'auto', '32-true', 'bf16-mixed' or '16-mixed', not 'bf16'"),
    ({"training": {"overlap": [16, 24, 24]}}, r"overlap \[16, 24, 24\] must be below patch_size \[16, 24, 24\]"),
    ({"training": {"patch_size": [16, 24, 22], "overlap": [8, 12, 11]}}, r"patch_size must hold multiples of 4 \(network.depth 2\)"),
    ({"training": {"patch_size": [16, 24]}}, "patch_size"), ({"training": {"patch_size": [0, 24, 24]}}, r"patch_size\[0\]"),
    ({"preprocessing": {"spacing": [8.0, 8.0]}}, "preprocessing: spacing"), ({"preprocessing": {"clip": [304, -79]}}, "clip must be"),
    ({"preprocessing": {"interpolation": "spline"}}, "interpolation must be 'linear' or 'cubic', not 'spline'"),
    ({"preprocessing": {"workers": 0}}, "preprocessing: workers"), ({"losses": {"steps": 1}}, "losses: steps"),
    ({"benchmarks": {"repeats": 0}}, "benchmarks: repeats"), ({"losses": {"case": -1}}, "losses: case"),
    ({"losses": {"extent": [1.0, 1.0, 0.0]}}, r"losses: extent\[2\]"), ({"benchmarks": {"loss_sizes": [[1, 3, 0]]}}, "benchmarks: loss_sizes"),
    ({"data_analysis": {"phantom_seed": 2**40}}, "data_analysis: phantom_seed"),
    ({"seeds": []}, "seeds"), ({"seeds": [-1]}, r"seeds\[0\]"), ({"seeds": [2**32]}, r"seeds\[0\] must be less than 4294967296"),
    ({"seeds": [1, 1]}, "seeds must differ, but 1 is given twice"), ({"seeds": [1.5]}, r"seeds\[0\]"),
    # cases
    ({"common": {"training": [4, 0]}}, r"training: \[4, 0\] is no range"),
    ({"common": {"training": [0, 5]}}, r"training \[0, 5\] and validation \[5, 7\] share cases"),
    ({"common": {"validation": [5, 8]}}, "phantom_cases 8 end before case 8"),
    ({"common": {"validation": [5, 100_000]}}, r"validation\[1\] must be less than or equal to 99999"),
    ({"common": {"excluded": [5, 6, 7]}}, r"validation \[5, 7\]: every case is excluded"),
    ({"common": {"excluded": [0, 1, 2, 3, 4, 5, 6, 7]}}, r"training \[0, 4\]: every case is excluded"),
    ({"common": {"label_map": {3: 7}}}, r"label_map\.?\[?3\]? must be 0, 1 or 2, not 7"),
    ({"common": {"label_map": {"cyst": 1}}}, "label_map"), ({"common": {"label_map": [3]}}, "label_map"),
    ({"common": {"source": "phantoms"}}, "source must be 'phantom', 'hybrid' or 'folder', not 'phantoms'"),
    ({"common": {"source": "folder"}}, 'source is "folder", but folder is None'),
    ({"common": {"simulated": False}}, "make them equal"),
    ({"simulated": False, "common": {"simulated": False}}, "source phantom is simulated CT"),
    ({"simulated": False, "common": {"simulated": False, "source": "hybrid", "folder": "x"}}, "source hybrid is simulated CT"),
    ({"common": {"folder": "$KITSNB_NOT_THERE"}}, "environment variable KITSNB_NOT_THERE is not set"),
    # losses and their names
    ({"results": {"baseline": "log_cosh_dyce"}}, "results.baseline: there is no .* did you mean 'log_cosh_dice'"),
    ({"losses": {"reference": "dicee"}}, "losses.reference: there is no .* did you mean 'dice'"),
    ({"losses": {"others": ["focal_"]}}, "losses.others: there is no 'focal_'; did you mean 'focal'"),
    ({"benchmarks": {"parts": ["loss"]}}, r"benchmarks: parts\[0\] must be 'reading'"), ({"title": "two\nlines"}, "title must be one line"),
    ({"experiments": []}, "the stage training needs at least one"),
    ({"experiments": [{"name": "a", "loss": "weighted_dice", "parameters": {"weights": [1, 2]}}]}, r"experiments\[0\] a: .*weights"),
    ({"experiments": [{"name": "a", "loss": "dice", "parameters": {"smooth": float("nan")}}]}, r"experiments\[0\] a: .*finite"),
    ({"experiments": [{"name": "a", "loss": "focal_tversky", "parameters": {"exponent": "5"}}]}, r"experiments\[0\] a: "),
    ({"experiments": [{"name": "a", "loss": "no.py:loss"}]}, "there is no file"),
    ({"experiments": [{"name": "a", "loss": "OWN:two_class"}]}, "did you mean 'two_classes'"),
    ({"experiments": [{"name": "a", "loss": "OWN:two_classes"}]}, r"experiments\[0\] a: "),
    ({"experiments": [{"name": "a", "loss": "OWN:constant"}]}, r"experiments\[0\] a: .*gradient"),
    ({"experiments": [{"name": "a", "loss": "OWN:leaves"}]}, r"experiments\[0\] a: .*SystemExit"),
    ({"experiments": [{"name": "a/b", "loss": "dice"}]}, r"experiments\[0\].name .*'a/b'"),
    ({"experiments": [{"name": "a" * 101, "loss": "dice"}]}, r"experiments\[0\].name .* at most 100 characters"),
    ({"experiments": [{"name": "a", "loss": "dice"}] * 2}, "experiments must differ, but a is given twice"),
    ({"experiments": [{"name": "a", "title": r"Tversky $\alpa$", "loss": "dice"}]}, r"experiments\[0\].title must be text or valid math"),
    ({"experiments": ["dice"]}, r"experiments\[0\]"), ({"title": "costs $5^$"}, "title must be text or valid mathematics"),
]


def written(folder, change: dict, base: str = "extends: {smoke}\n"):
    """The smoke profile, changed, as a file."""
    (folder / "own.py").write_text(OWN_LOSSES)
    path = folder / "changed.yml"
    path.write_text(base.format(smoke=SMOKE) + yaml.safe_dump(change).replace("OWN:", f"{folder / 'own.py'}:"))
    return path


@pytest.mark.parametrize(("change", "message"), BAD, ids=[str(change)[:60] for change, _ in BAD])
def test_a_mistake_is_named_before_any_kernel_starts(tmp_path, monkeypatch, change, message):
    monkeypatch.delenv("KITSNB_NOT_THERE", raising=False)
    with pytest.raises(ProfileError, match=message) as raised:
        load(written(tmp_path, change))
    assert "pydantic" not in str(raised.value) and "Traceback" not in str(raised.value)


def test_all_mistakes_are_said_at_once_and_each_once(tmp_path):
    change = {"seeds": [1, 1], "common": {"training": [4, 0]}, "training": {"epochs": 0, "epoch": 1}, "titel": "x",
              "experiments": [{"name": "a", "loss": "dyce"}, {"name": "b/", "loss": "dice"}]}
    with pytest.raises(ProfileError) as raised:
        load(written(tmp_path, change))
    problems = raised.value.problems
    for words in ("seeds must differ", "common: training", "epochs must be", "'epoch'", "'titel'", "'dyce'", "b/"):
        assert len([line for line in problems if words in line]) == 1, (words, problems)
    assert len(problems) == 7


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"title: [a, b", "no valid YAML"), (b"title: a\ntitle: b\n", "key 'title' is given twice"), (b"", "holds no keys"),
        ("title: Nierenstück\n".encode("latin-1"), "no UTF-8 text"), ("title: a\n".encode("utf-16"), "no UTF-8 text"),
        (b"- a\n- b\n", "holds no keys"), (b"[" * 100_000, "no valid YAML"), (b"? [a]\n: b\n", "a key must be one word"),
        (b"title: 2001-99-99\n", "no valid YAML"), (b"title: a\0b\n", "no valid YAML"), (b"title: \"\\x\"", "no valid YAML"),
        (b"extends: 3\n", "extends: must name"), (b"extends: changed.yml\n", "extends: must name"),
        (b"extends: not_there.yml\n", "cannot be read"), (b"title: &a [*a]\n", "title"), (b"1: 2\n", "1"), (b"stages: &a [*a]\n", "stages"),
    ],
)
def test_a_file_that_is_no_profile_is_refused_in_a_sentence(tmp_path, content, message):
    path = tmp_path / "changed.yml"
    path.write_bytes(content)
    with pytest.raises(ProfileError, match=message):
        load(path)


def test_the_command_ends_with_one_paragraph(tmp_path):
    for given, words in ((tmp_path, "cannot be read"), ("quik", "did you mean 'quick'?"), (written(tmp_path, {"epochs": 3}), "'epochs'")):
        ended = subprocess.run([sys.executable, "-m", "kitsnb", "run", given], cwd=ROOT, text=True, capture_output=True, timeout=120)
        assert ended.returncode == 1 and words in ended.stderr and "Traceback" not in ended.stderr, ended.stderr


def test_a_profile_that_extends_another_changes_what_it_names(tmp_path):
    path = written(tmp_path, {"training": {"network": {"depth": 1}, "patch_size": [8, 8, 8], "overlap": [4, 4, 4]}, "seeds": [3]})
    changed, smoke = load(path), load(SMOKE)
    assert changed.parameters["training"]["network"] == smoke.parameters["training"]["network"] | {"depth": 1}
    assert changed.parameters["preprocessing"] == smoke.parameters["preprocessing"] and changed.seeds == [3]
    assert changed.name == "changed" and changed.title == smoke.title and changed.build.folder.name == "changed"


def test_what_data_and_machine_lack_is_said_before_any_start(tmp_path, monkeypatch):
    def real(number):
        (tmp_path / "data" / f"case_{number:05d}").mkdir(parents=True)
        (tmp_path / "data" / f"case_{number:05d}" / "segmentation.nii.gz").touch()

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    change = {"simulated": False, "common": {"source": "folder", "folder": str(tmp_path / "data")}, "losses": {"case": 9}}
    assert "no such folder" in what_is_lacking(load(written(tmp_path, change)))[0]
    for number in range(7):
        real(number)
    assert what_is_lacking(load(written(tmp_path, change)))[0] == "case_00007"
    real(7)
    lacking = what_is_lacking(load(written(tmp_path, change)))
    assert "case_00009" in lacking[0] and "parameter case" in lacking[0] and "get them" in lacking[1]
    half = load(written(tmp_path, change | {"losses": {"case": 7}, "training": {"precision": "16-mixed"}}))
    assert 'precision "16-mixed" needs a GPU' in what_is_lacking(half)[0] and what_is_lacking(half, elsewhere=True) == []


def test_loss_parameters_reach_every_loss_of_the_library_that_has_them(tmp_path):
    rows = [{"name": "a", "loss": "dice"}, {"name": "b", "loss": "log_cosh_dice", "parameters": {"batch": False}},
            {"name": "c", "loss": "focal"}, {"name": "d", "loss": "OWN:whole"}]
    path = written(tmp_path, {"loss_parameters": {"batch": True}, "experiments": rows})
    assert [row.parameters for row in load(path).experiments] == [{"batch": True}, {"batch": False}, {}, {}]
    with pytest.raises(ProfileError, match="no loss of the library has a parameter 'bach'.*'batch'"):
        load(written(tmp_path, {"loss_parameters": {"bach": True}}))


def test_own_losses_alone_may_inherit_parameters_of_those_of_the_library(tmp_path):
    for loss in ("OWN:whole", "focal"):
        (row,) = load(written(tmp_path, {"loss_parameters": {"batch": True}, "experiments": [{"name": "a", "loss": loss}]})).experiments
        assert row.parameters == {}


def test_overrides_are_typed_and_reach_within():
    def training(*overrides):
        return load(SMOKE, overrides).parameters["training"]

    assert training("training.weights=last")["weights"] == "last"
    assert training("training.network.depth=1")["network"] == training()["network"] | {"depth": 1}
    assert training("training.learning_rate=1e-3")["learning_rate"] == 1e-3
    for text, message in (("training.epochs=no", "valid integer"), ("training.epochs", "must read"), ("epochs=3", "must read"),
                          ("trainin.epochs=3", "did you mean 'training'"), ("training.epochs=[", "-p training.epochs=\\[")):
        with pytest.raises(ProfileError, match=message):
            load(SMOKE, [text])


def test_the_profiles_that_are_shipped_are_valid_and_found_by_name(monkeypatch):
    monkeypatch.setenv("KITSNB_DATA", "/data")
    for path in (NOTEBOOKS / "profiles").glob("*.yml"):
        assert load(path.stem).title == load(path).title != path.stem


@pytest.mark.parametrize("stage", [stage for stage, notebook in STAGES.items() if notebook])
def test_what_a_notebook_plays_with_is_what_its_models_take(stage):
    cell = read_parameters(NOTEBOOKS / STAGES[stage])
    own = {name: default for name, (_, default) in cell.items() if default is not None and name not in GIVEN[stage]}
    assert check(stage, cell, {"simulated": True, "source": "phantom", "training": [0, 1], "validation": [2, 3]} | own)[1] == []


def test_a_batch_of_training_is_the_papers_where_a_profile_says_none():
    """Windows of a prediction once had a setting of that name, whose default won."""
    training, _ = check("training", read_parameters(NOTEBOOKS / STAGES["training"]), {"simulated": True, "source": "phantom"})
    assert training["batch_size"] == Training().batch_size == 1
    for stage, models in MODELS.items():
        for name in {name for model in models for name in model.model_fields}:
            fields = [model.model_fields[name] for model in models if name in model.model_fields]
            assert all(field.default == fields[0].default for field in fields), (stage, name)


def test_what_a_build_was_made_with_is_recorded_for_readers_by_hand(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing is built in .* yet: run make"):
        recorded_parameters(tmp_path, "results")
    profile = load(SMOKE, build=str(tmp_path))
    profile.save()
    training = recorded_parameters(tmp_path, "training")
    assert training["patch_size"] == [16, 24, 24] and training["stop_patience"] == 20, "also what the profile leaves to defaults"
    assert "build" not in training and "by_runner" not in training
    results = recorded_parameters(tmp_path, "results")
    assert [row["name"] for row in results["experiments"]] == [row.name for row in profile.experiments]
    assert results["seeds"] == [0] and results["folds"] is None and results["profile"] == profile.summary
    with pytest.raises(KeyError, match="did you mean 'training'"):
        recorded_parameters(tmp_path, "trainin")


def test_a_notebook_that_does_not_take_what_the_runner_gives_is_named(tmp_path):
    for name in filter(None, STAGES.values()):
        text = (NOTEBOOKS / name).read_text()
        (tmp_path / name).write_text(text.replace("by_runner = False", "", 1) if name.startswith("02") else text)
    with pytest.raises(ProfileError, match="(?s)02_preprocessing.py: .*parameters cell must declare 'by_runner'"):
        load(SMOKE, notebooks=tmp_path)
