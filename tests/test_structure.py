"""The house keeps its shape: imports go one way, the package opens fast, and CONTRIBUTING.md draws what is there."""

import subprocess
import sys

import grimp
from importlinter.cli import lint_imports

import kitsnb
import kitsnb.losses
from kitsnb.files import ROOT

#: What takes long to import, or is needed by a part only.
HEAVY = ["lightning", "matplotlib", "monai", "pandas", "papermill", "pytorch_lightning", "torchio"]


def test_rooms_import_only_from_rooms_below_them(capsys):
    assert lint_imports(str(ROOT / "pyproject.toml"), cache_dir=None, no_cache=True) == 0, capsys.readouterr().out


def test_contributing_draws_the_rooms_as_they_are():
    picture = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("```")[1]
    graph = grimp.build_graph("kitsnb", cache_dir=None)
    rooms = graph.find_children("kitsnb")
    for room in rooms:
        graph.squash_module(room)
    drawn = {}
    for line in picture.strip().splitlines():
        room, _, uses = line.partition("──>")
        drawn[f"kitsnb.{room.strip()}"] = {f"kitsnb.{other}" for other in uses.split()}
    assert drawn == {room: graph.find_modules_directly_imported_by(room) - {room} for room in rooms}


def test_the_package_gives_losses_network_and_score_and_imports_nothing_heavy():
    code = f"""
import sys, kitsnb
assert "torch" not in sys.modules
assert all(getattr(kitsnb, name) for name in kitsnb.__all__)
print(*sorted(set(sys.modules) & {set(HEAVY)}))"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")
    assert {"UNet3D", "kits19_score", "build_loss", "DiceLoss"} <= set(kitsnb.__all__)
    losses = {name for name in kitsnb.losses.__all__ if name.endswith(("Loss", "LogCosh"))}
    assert losses <= {*kitsnb.__all__, "FunctionLoss"}
