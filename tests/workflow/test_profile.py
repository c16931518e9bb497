"""Profiles: a table of mistakes, each said before any start; changes by the same names everywhere; opening by hand."""

import pytest
import yaml
from helpers.smoke_at_hand import SMOKE

from kitsnb.files import NOTEBOOKS, Build, write_json
from kitsnb.workflow.opened import RUNNER, NotBuilt, open_study
from kitsnb.workflow.profile import ProfileError, load
from kitsnb.workflow.profile_files import merged, parse_changes
from kitsnb.workflow.trial import unusable_losses

#: What is set in the smoke profile, and what the message must say of it: the key, and where there is one the nearest.
BAD = [
    # names
    ({"trainning": {}}, "unknown setting 'trainning'; did you mean 'training'"),
    ({"training": {"epoch": 3}}, "training: unknown setting 'epoch'; did you mean 'epochs'"),
    ({"stages": ["trainig"]}, r"stages\[0\] must be .*'training'"),
    ({"deviations": {"training.epochs": {"papr": 1}}}, "unknown setting 'papr'; did you mean 'paper'"),
    ({"experiments": [{"name": "a", "los": "dice"}]}, r"experiments\[0\]: unknown setting 'los'; did you mean 'loss'"),
    ({"experiments": [{"name": "a", "title": "T", "loss": "dice"}, {"name": "b", "title": "T", "loss": "dice"}]},
     "experiments must differ, but T is given twice"),
    # types
    ({"training": {"epochs": "3"}}, "training.epochs must be a valid integer, not '3'"),
    ({"seeds": 3}, "seeds must be a valid list"), ({"training": [1]}, "training must be a valid dict"),
    # ranges
    ({"prediction": {"overlap": [16, 24, 24]}}, r"prediction.overlap \[16, 24, 24\] must be below training.patch_size"),
    ({"preprocessing": {"clip": [304, -79]}}, "preprocessing.clip must be"), ({"seeds": []}, "seeds"),
    ({"simulation": {"spacing": [3.0, 0.0, 1.0]}}, r"simulation.spacing\[1\] must be greater than 0"),
    # cases
    ({"data": {"training": [4, 0]}}, r"must be \[low, high\], not \[4, 0\]"),
    ({"data": {"training": [0, 5]}}, "training and validation share cases"),
    ({"data": {"validation": [5, 8]}}, "simulation.cases 8 end before case 8"),
    ({"data": {"excluded": [5, 6, 7]}}, "every case is excluded"),
    ({"data": {"label_map": {3: 7}}}, r"label_map"), ({"data": {"folds": 1}}, "data.folds must be"),
    ({"data": {"source": "phantoms"}}, "data.source must be 'phantom', 'hybrid' or 'folder'"),
    ({"data": {"source": "folder", "folder": "$KITSNB_NOT_THERE"}}, "environment variable KITSNB_NOT_THERE is not set"),
    # names of rows
    ({"results": {"baseline": "log_cosh_dyce"}}, "results.baseline: there is no row .* did you mean 'log_cosh_dice'"),
    ({"losses": {"reference": "dicee"}}, "losses.reference: there is no row .* did you mean 'dice'"),
    ({"experiments": [{"name": "a", "loss": "dice", "compared_with": "b"}]}, "a: there is no row 'b' to be compared with"),
    ({"folder": "/data"}, "folder is no setting of a profile"),
    ({"title": "two\nlines"}, "title must be one line"), ({"title": "costs $5^$"}, "valid mathematics"),
    ({"experiments": []}, "the stage training needs at least one"),
    ({"experiments": [{"name": "a/b", "loss": "dice"}]}, r"experiments\[0\].name .*'a/b'"),
    ({"experiments": [{"name": "a", "loss": "dice", "parameters": {"smooth": float("inf")}}]}, "finite"),
]


def written(folder, change: dict):
    """Write the smoke profile, changed, as a file."""
    path = folder / "changed.yml"
    path.write_text(f"extends: {SMOKE}\n" + yaml.safe_dump(change))
    return path


@pytest.mark.parametrize(("change", "message"), BAD, ids=[str(change)[:60] for change, _ in BAD])
def test_a_mistake_is_named_before_any_kernel_starts(tmp_path, monkeypatch, change, message):
    monkeypatch.delenv("KITSNB_NOT_THERE", raising=False)
    with pytest.raises(ProfileError, match=message) as raised:
        load(written(tmp_path, change))
    assert "pydantic" not in str(raised.value)


def test_all_mistakes_are_said_at_once_and_each_once(tmp_path):
    change = {"seeds": [1, 1], "data": {"training": [4, "x"]}, "training": {"epochs": 0, "epoch": 1}, "titel": "x"}
    with pytest.raises(ProfileError) as raised:
        load(written(tmp_path, change))
    for words in ("seeds must differ", "data.training", "epochs must be", "'epoch'", "'titel'"):
        assert len([line for line in raised.value.problems if words in line]) == 1, (words, raised.value.problems)
    assert len(raised.value.problems) == 5


@pytest.mark.parametrize(("row", "message"), [
    ({"loss": "dice", "parameters": {"smoth": 1}}, "'smoth'; it takes ("),
    ({"loss": "weighted_dice", "parameters": {"weights": [1, 2]}}, "weights"),
    ({"loss": "no.py:loss"}, "no.py"), ({"loss": "OWN:constant"}, "gradient"),
])
def test_a_loss_that_cannot_be_trained_is_named(tmp_path, row, message):
    (tmp_path / "own.py").write_text("import torch\nconstant = lambda logits, target: torch.zeros(())\n")
    row = row | {"name": "a", "loss": row["loss"].replace("OWN", str(tmp_path / "own.py"))}
    (found,) = unusable_losses(load(written(tmp_path, {"experiments": [row]})))
    assert found.startswith("experiments[0] a: ") and message in found


def test_defaults_of_losses_are_checked_too(tmp_path):
    change = {"training": {"loss_defaults": {"bach": True}}, "losses": {"others": ["focall"]}}
    first, second = unusable_losses(load(written(tmp_path, change)))
    assert "'bach'; did you mean 'batch'" in first and "'focall'; did you mean 'focal'" in second


@pytest.mark.parametrize(("content", "message"), [
    (b"title: [a, b", "no valid YAML"), (b"title: a\ntitle: b\n", "key 'title' is given twice"), (b"", "holds no keys"),
    ("title: Nierenst\u00fcck\n".encode("latin-1"), "can't decode byte"), (b"- a\n- b\n", "holds no keys"),
    (b"extends: changed.yml\n", "extends itself"), (b"extends: nowhere.yml\n", "cannot be read"),
])
def test_a_file_that_is_no_profile_is_refused(tmp_path, content, message):
    (tmp_path / "changed.yml").write_bytes(content)
    with pytest.raises(ProfileError, match=message):
        load(tmp_path / "changed.yml")


def test_no_other_profile_runs_than_was_asked_for():
    with pytest.raises(ProfileError, match="quick.v2.yml cannot be used.*\n.*did you mean 'quick'"):
        load("quick.v2")
    assert load("quick.yml").name == "quick"


def test_a_change_has_the_same_name_on_the_command_line_and_in_a_notebook(monkeypatch, tmp_path):
    changes = parse_changes(["training.epochs=3", "seeds=[4, 5]", "training.learning_rate=1e-4", "stages=[losses]"])
    assert changes["training.epochs"] == 3 and changes["training.learning_rate"] == 1e-4
    profile = load(SMOKE, changes)
    assert (profile.training.epochs, profile.seeds, profile.stages) == (3, [4, 5], ["losses"])
    made = load(SMOKE, changes, build=tmp_path)
    write_json(Build(tmp_path).profile, made.model_dump(mode="json"))
    monkeypatch.setenv(RUNNER, str(tmp_path))
    study = open_study("a file that was changed or deleted since", changes)
    assert study.profile == made and study.writes and study.build.folder == tmp_path
    assert merged({"a": {"b": 1}, "c": {"d": 2}}, {"a": {}, "c": {"e": 3}}) == {"a": {}, "c": {"d": 2, "e": 3}}
    with pytest.raises(ProfileError, match="must read name=value"):
        parse_changes(["training"])


def test_by_hand_a_build_is_opened_as_it_was_made(tmp_path, monkeypatch):
    monkeypatch.delenv(RUNNER, raising=False)
    with pytest.raises(NotBuilt, match="nothing is built"):
        open_study(tmp_path / "nowhere.yml")
    made = load(SMOKE, {"training.epochs": 7}, build=tmp_path)
    write_json(Build(tmp_path).profile, made.model_dump(mode="json"))
    study = open_study(tmp_path)
    assert study.profile == made and not study.writes
    run = study.run("dice", 0)
    assert run.folder == Build(tmp_path).run("dice", 0) and not run.trains and run.training.epochs == 7
    tried = open_study(tmp_path, {"training.epochs": 3}).run("dice", 0)
    assert tried.trains and tried.folder.parent.name == "by_hand" and tried.training.epochs == 3
    (tmp_path / "stamps").mkdir()
    write_json(tmp_path / "stamps" / "preprocessing.json", {"made_from": "other cases"})
    assert open_study(tmp_path, {"training.epochs": 3}).run("dice", 0).folder != tried.folder
    with pytest.raises(ValueError, match="did you mean 'dice'"):
        study.run("dyce", 0)
    with pytest.raises(ValueError, match="preprocessing.clip cannot be tried on prepared cases"):
        open_study(tmp_path, {"preprocessing.clip": [0.0, 300.0]}).run("dice", 0)
    with pytest.raises(ProfileError, match="did you mean 'epochs'"):
        open_study(tmp_path, {"training.epoch": 3})


def test_every_shipped_profile_is_valid_and_reads_its_own_record(monkeypatch):
    monkeypatch.delenv("KITSNB_DATA", raising=False)
    for path in (NOTEBOOKS / "profiles").glob("*.yml"):
        profile = load(path, data_free=True)
        assert type(profile).model_validate(profile.model_dump(mode="json")) == profile, path
    with pytest.raises(ProfileError, match="KITSNB_DATA is not set"):
        load("kits19")
