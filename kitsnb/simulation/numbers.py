"""Every number of the simulation: what varies is a plain range, drawn from once per case (or per kidney, where it says so).

Places are (up, forward, right) in mm from the point between both kidneys, in an adult of ordinary size; half-axes alike.
Sources: textbooks of CT for HU and anatomy; "slabs" are the real CT around the tumours of KiTS19's training patients.
"""

from typing import NamedTuple

import numpy as np

KIDNEY, TUMOUR = 1, 2


class Range(NamedTuple):
    """Lowest and highest value."""

    low: float
    high: float

    def draw(self, rng: np.random.Generator) -> float:
        """Draw a value; each is as likely as any other."""
        return rng.uniform(self.low, self.high)


# Contrast, in HU. The enhancement of the cortex sets that of all other tissue; source: slabs.
CORTEX_HU = Range(80, 295)
CORTEX_TYPICAL = 118  # the likeliest value
MEDULLA = Range(0.5, 0.95)  # of the cortex in the arteries' phase; in the latest they are alike
UNENHANCED = 0.05  # share of cases without contrast
TUMOUR_SHARE = Range(0.35, 1.1)  # of the kidney's enhancement
TUMOUR_TEXTURE = Range(4, 20)  # SD over 10 mm
NECROSIS_HU = Range(12, 40)
NECROSIS_MM = 45  # a tumour's radius over this is the probability of necrosis
NECROSIS_DEPTH = Range(0.3, 0.7)  # where it begins, as a share of the tumour's depth
FLUID_HU = 9
SINUS_HU = Range(-100, -30)
CALYX_HU = Range(60, 300)  # of bright calyces and vessels in the sinus, above the cortex
CALYCES = 0.45  # share of kidneys that show them
FAT_HU = Range(-112, -92)
MUSCLE_HU = Range(45, 66)
BONE_HU = Range(250, 420)
MARROW_HU = Range(120, 260)
GAS_HU = -850
AIR_HU = -1000

# Inside the label and around it, per kidney, in mm.
INSET_MM = Range(0, 0.8)  # how far inside the label the organ's surface lies: annotators draw generously
CORTEX_MM = Range(5, 9)
SINUS_MM = Range(11, 17)  # depth at which the sinus begins
CYSTS = 0.45  # mean number (Poisson)
CYST_MM = Range(5, 16)  # radius
FAT_LOG_MM = Range(-0.2, 2.4)  # natural logarithm of the thickness of the fat around
FAT_SPREAD = 0.6  # SD of that logarithm within a kidney

# The body of an adult of ordinary size, in mm.
HALF_WIDTH = Range(144, 170)
HALF_DEPTH = Range(100, 122)
FAT_UNDER_SKIN = Range(4, 22)
WALL = Range(8, 16)  # muscle
VERTEBRA = Range(30, 38)  # height with its disc (Gilad and Nissan 1986)
ORGAN_SIZE = Range(0.88, 1.18)
BOWEL_RADIUS = Range(9, 13)
COLON_RADIUS = Range(13, 24)
PELVIS = Range(-150, -115)  # height of its brim
DIAPHRAGM = Range(85, 120)
PATIENT = Range(0.9, 1.45)  # least and greatest size
ROOM_DEPTH, ROOM_WIDTH = 74, 118  # half-axes of the room that the body gives to kidneys at least
KIDNEY_Y, KIDNEY_X = -27, 64  # where kidneys lie
SOLID = (  # organ, place, half-axes
    ("pancreas", (14, 12, 26), (30, 12, 15)),
    ("pancreas", (36, 10, -26), (11, 9, 46)),
    ("spleen", (68, -26, -96), (54, 44, 30)),
    ("liver", (66, 4, 74), (84, 84, 76)),
    ("liver", (88, 44, 2), (36, 32, 66)),
)
COLON = (  # from the caecum to the rectum
    (-130, -8, 95), (-40, -15, 96), (-5, -8, 93), (14, 20, 82), (-12, 68, 28), (-5, 66, -38),
    (52, 14, -90), (-5, -20, -99), (-95, -8, -94), (-158, 15, -45), (-195, -30, 10), (-300, -48, 0),
)

# The scanner.
BLUR_MM = (Range(1.3, 2.4), Range(0.5, 1.1), Range(0.5, 1.1))  # sigma of its point spread (slice, height, width)
NOISE_HU = Range(6, 15)  # SD
NOISE_MM = (1.6, 1.0, 1.0)  # sigma of its correlation

# Phantoms. Spacings are coarse, so that a hundred cases take seconds.
SLICE_MM = Range(3, 7)
PIXEL_MM = Range(3, 5)
FIELD_MM = (192, 280, 320)  # extent of an ordinary field of view
KIDNEY_RADII = ((42, 66), (19, 30), (22, 33))  # half-axes: up, forward, right
TUMOUR_LOG_MM = (3.3, 0.38)  # mean and SD of the natural logarithm of the radius: 27 mm in the median
TUMOUR_RADIUS = Range(14, 48)  # to which it is limited
