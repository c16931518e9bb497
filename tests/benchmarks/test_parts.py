"""Time of each part beside its peers, in one process and on one thread: ``make bench``. Trust ratios, not seconds."""

import nibabel as nib
import numpy as np
import pytest
import torch
import torchio as tio
from helpers.volumes_at_hand import simulated_volume
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss, DiceLoss, TverskyLoss

from kitsnb.data.nifti import read_nifti, write_nifti
from kitsnb.inference.sliding_window import predict_probabilities
from kitsnb.losses import build_loss
from kitsnb.metric import kits19_score
from kitsnb.preprocessing.prepare import to_grid
from kitsnb.preprocessing.settings import Preprocessing
from kitsnb.training.patches import PatchSampler
from kitsnb.training.settings import Training
from kitsnb.unet import UNet3D

AFFINE = np.array([[0, 0, -0.8, 0], [0, -0.8, 0, 0], [-3.0, 0, 0, 0], [0, 0, 0, 1]])
SHAPE = (96, 512, 512)


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A made-up CT of noise as a file, its array, and labels with a kidney and a tumour."""
    random = np.random.default_rng(0)
    array = random.normal(40, 60, SHAPE).astype(np.int16)
    labels = np.zeros(SHAPE, np.uint8)
    labels[30:60, 200:300, 100:180] = 1
    labels[40:50, 230:260, 120:150] = 2
    return write_nifti(tmp_path_factory.mktemp("scan") / "imaging.nii.gz", array, AFFINE), array, labels


@pytest.mark.benchmark(group="read a CT")
@pytest.mark.parametrize("who", ["kitsnb", "nibabel"])
def test_reading(benchmark, scan, who):
    if who == "kitsnb":
        benchmark(read_nifti, scan[0])
    else:
        benchmark(lambda: np.asanyarray(nib.load(scan[0]).dataobj))


@pytest.mark.benchmark(group="to the grid")
@pytest.mark.parametrize("who", ["kitsnb", "torchio"])
def test_grid(benchmark, scan, who):
    if who == "kitsnb":
        benchmark(to_grid, scan[1], AFFINE, Preprocessing(resize_in_plane=None))
        return
    image = tio.ScalarImage(tensor=torch.from_numpy(scan[1])[None], affine=AFFINE)
    steps = tio.Compose([tio.Clamp(-79, 304), tio.Resample((3.22, 1.62, 1.62))])
    benchmark.pedantic(steps, (image,), rounds=3)


@pytest.mark.benchmark(group="augmented patch of 80 x 80 x 80")
@pytest.mark.parametrize("who", ["kitsnb", "torchio"])
def test_patch(benchmark, who):
    volume = simulated_volume((128, 200, 200))
    settings = Training(augmentation={"probability": 1.0})
    if who == "kitsnb":
        sampler = PatchSampler([volume], settings)
        steps = iter(range(10_000))
        benchmark(lambda: sampler.batch(next(steps)))
        return
    subject = tio.Subject(ct=tio.ScalarImage(tensor=volume.imaging[None, :80, :80, :80].float()),
                          label=tio.LabelMap(tensor=volume.segmentation[None, :80, :80, :80]))
    transform = tio.Compose([tio.RandomAffine(), tio.RandomElasticDeformation(), tio.RandomFlip((0, 1, 2)),
                             tio.RandomGamma(), tio.RandomNoise()])
    benchmark.pedantic(transform, (subject,), rounds=3)


@pytest.mark.benchmark(group="sliding window, network of one layer")
@pytest.mark.parametrize("who", ["kitsnb", "MONAI"])
def test_window(benchmark, who):
    volume = torch.randn(96, 128, 128)
    network = torch.nn.Conv3d(1, 3, 1).eval()
    if who == "kitsnb":
        benchmark.pedantic(predict_probabilities, (network, volume, (80, 80, 80), (40, 40, 40)), rounds=3)
    else:
        benchmark.pedantic(sliding_window_inference, (volume[None, None], (80, 80, 80), 2, network), rounds=3,
                           kwargs={"overlap": 0.5, "mode": "gaussian"})


@pytest.mark.benchmark(group="KiTS19 score")
@pytest.mark.parametrize("who", ["kitsnb", "boolean arrays"])
def test_score(benchmark, scan, who):
    labels = scan[2]
    predicted = np.roll(labels, 2, 1)

    def official() -> list[float]:
        return [2 * np.logical_and(p, t).sum() / (p.sum() + t.sum())
                for p, t in ((predicted > 0, labels > 0), (predicted > 1, labels > 1))]

    if who == "kitsnb":
        benchmark(kits19_score, predicted, labels)
    else:
        benchmark(official)


PEERS = {"dice": DiceLoss(to_onehot_y=True, softmax=True), "tversky": TverskyLoss(to_onehot_y=True, softmax=True),
         "dice_cross_entropy": DiceCELoss(to_onehot_y=True, softmax=True)}


@pytest.mark.benchmark(group="loss, forward and backward, 80 x 80 x 80")
@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("who", ["kitsnb", "MONAI"])
def test_loss(benchmark, name, who):
    logits = torch.randn(1, 3, 80, 80, 80, requires_grad=True)
    target = torch.randint(3, (1, 1, 80, 80, 80))
    loss = build_loss(name) if who == "kitsnb" else PEERS[name]
    benchmark(lambda: loss(logits, target).backward())


@pytest.mark.benchmark(group="a step of quick's network")
def test_step(benchmark):
    network = UNet3D(base_filters=8, depth=3, normalization="instance", order="norm_relu", negative_slope=0.01)
    network.to(memory_format=torch.channels_last_3d)
    loss = build_loss("dice", batch=True)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    imaging = torch.randn(4, 1, 16, 24, 24)
    labels = torch.randint(3, (4, 16, 24, 24))

    def step() -> None:
        optimizer.zero_grad()
        loss(network(imaging.to(memory_format=torch.channels_last_3d)), labels).backward()
        optimizer.step()

    benchmark(step)
