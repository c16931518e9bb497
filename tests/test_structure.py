"""The house keeps its shape: imports go one way, the package opens fast, and CONTRIBUTING.md draws what is there."""

import subprocess
import sys

from helpers.rooms import CONTRIBUTING, drawn
from importlinter.cli import lint_imports

import kitsnb
import kitsnb.losses
from kitsnb.files import ROOT

#: What takes long to import, or is needed by a part only.
HEAVY = ["lightning", "matplotlib", "monai", "pandas", "papermill", "pytorch_lightning", "torchio"]


def test_rooms_import_only_from_rooms_below_them(capsys):
    assert lint_imports(str(ROOT / "pyproject.toml"), cache_dir=None, no_cache=True) == 0, capsys.readouterr().out


def test_contributing_draws_the_rooms_as_they_are():
    text = CONTRIBUTING.read_text(encoding="utf-8")
    assert text == drawn(text), "run `.venv/bin/python tests/helpers/rooms.py --write`"


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


def test_every_room_says_what_flows_in_and_out():
    rooms = (ROOT / "kitsnb").glob("*/__init__.py")
    assert all(len(path.read_text(encoding="utf-8").split('"""')[1].split()) >= 20 for path in rooms)
