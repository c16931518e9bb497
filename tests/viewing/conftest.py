"""Cases small enough to be shown at once, and a page of a real browser that notes what goes wrong on it."""

import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import nibabel as nib
import numpy as np
import pytest

#: KiTS19's orientation, IPL: the first slice is the highest, the first row in front, the first column on the right.
AFFINE = np.array([[0, 0, -8.0, 40], [0, -8.0, 0, 30], [-9.0, 0, 0, 60], [0, 0, 0, 1]])


def write(path, array, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def write_cases(folder):
    """Two cases; a prediction of the second misses one voxel, invents one, and mixes up one."""
    label = np.zeros((12, 20, 24), np.uint8)
    label[3:9, 5:15, 4:10] = 1
    label[4:7, 6:10, 5:8] = 2
    prediction = label.copy()
    prediction[3, 5, 4] = 0
    prediction[0, 0, 0] = prediction[4, 6, 5] = 1
    for number, name in enumerate(("case_00006", "case_00007")):
        imaging = np.random.default_rng(number).normal(40, 60, label.shape).astype(np.int16)
        write(folder / "data" / name / "imaging.nii.gz", imaging)
        write(folder / "data" / name / "segmentation.nii.gz", label)
    write(folder / "run" / "predictions" / "case_00007.nii.gz", prediction)
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_cases(tmp_path)


@pytest.fixture
def visit(browser):
    """Open what a folder holds from a web server, at ``page.address``; nothing may fail, or be asked of others."""

    @contextmanager
    def visit(folder, width=1000, address=""):
        wrong = []
        with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder)) as server:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            page = browser.new_page(viewport={"width": width, "height": 800})
            here = f"http://127.0.0.1:{server.server_port}/"
            page.on("request", lambda request: request.url.startswith((here, "data:", "blob:")) or wrong.append(request.url))
            page.on("response", lambda response: response.status < 400 or wrong.append(response.url))
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
            page.goto(here + address)
            yield page
            page.close()
            server.shutdown()
        assert not wrong

    return visit
