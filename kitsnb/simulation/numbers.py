"""Every number of the simulation; a case draws once from each range (lowest, highest).

Places and half-axes are (up, forward, right) in mm, in an adult of ordinary size, from the point between both kidneys.
Source: textbooks of CT; where it says "slabs", real CT around the tumours of KiTS19's training patients (0-165).
"""

# HU (slabs). The cortex's enhancement sets that of all other tissue.
CORTEX_HU = (72, 102, 285)  # lowest, likeliest and highest
UNENHANCED = 0.03  # share of cases without contrast
ENHANCED = {  # HU before contrast; then gain in the arteries' phase and in the latest, as shares of the cortex's
    "artery": (40, 1.5, 0.75),
    "vein": (40, 0.45, 0.75),
    "portal": (40, 0.5, 0.75),
    "liver": (50, 0.15, 0.45),
    "spleen": (48, 0.5, 0.5),
    "bowel": (40, 0.38, 0.38),
}
PLAIN = {
    "fat": (-112, -92),
    "sinus": (-95, -20),  # with the vessels in it
    "muscle": (45, 66),
    "bone": (220, 380),
    "marrow": (120, 240),
    "fluid": (2, 16),
    "necrosis": (10, 40),
    "gas": (-900, -800),
}
TEXTURE_HU = 9  # SD of every tissue's texture over 4.5 mm
MEDULLA = (0.1, 0.6)  # share of the cortex's enhancement in the arteries' phase; in the latest they are alike
TUMOUR_SHARE = (0.2, 0.8)  # of the cortex's enhancement
TUMOUR_TEXTURE = (6, 40)  # SD over 4.5 and 10 mm
NECROSIS_MM = 45  # a tumour's radius over this is the probability of necrosis
NECROSIS_DEPTH = (0.3, 0.7)  # where it begins, as a share of the tumour's depth
CALYX_HU = (30, 320)  # of calyces and vessels in the sinus, above the cortex
AIR_HU = -1000

# Inside the label and around it, in mm (slabs).
INSET_MM = (0, 0.8)  # how far inside the label the organ's surface lies: annotators draw generously
CORTEX_MM = (2, 6)
PYRAMIDS = 0.2  # below the cortex, medulla is where a noise of SD 1 lies below this
SINUS_MM = (11, 17)  # depth at which the sinus begins
CALYX_MM = (1, 6)  # radius
CYSTS = 2.4  # where a noise of SD 1 lies above this
FAT_MM = (2, 20)  # thickness of the fat around
FAT_SPREAD = 0.6  # SD of its logarithm within a case

# The body of an adult of ordinary size, in mm.
HALF_WIDTH = (144, 170)
HALF_DEPTH = (100, 122)
FAT_UNDER_SKIN = (4, 26)
WALL = (8, 16)  # muscle
VERTEBRA = (30, 38)  # height with its disc (Gilad and Nissan 1986)
ORGAN_SIZE = (0.88, 1.18)
BOWEL_MM = (8, 13)  # radius
DIAPHRAGM = (85, 120)  # its height
PATIENT = (0.9, 1.45)  # least and greatest size
ROOM = (74, 118)  # half-axes (forward, right) of the room for kidneys, at least
PLACE = (0, -27, 64)  # where the right kidney lies
SOLID = (  # organ, place, half-axes
    ("bowel", (36, 10, -26), (11, 9, 46)),  # the pancreas
    ("spleen", (68, -26, -96), (54, 44, 30)),
    ("liver", (66, 4, 74), (84, 84, 76)),
    ("liver", (88, 44, 2), (36, 32, 66)),
)
STOMACH = ((62, 34, -42), (40, 35, 40))

# The scanner (slabs).
BLUR_MM = ((1, 2), (0.5, 0.9), (0.5, 0.9))  # sigma of its point spread (slice, height, width)
NOISE_HU = (8, 20)  # SD
NOISE_MM = (1.2, 0.8, 0.8)  # sigma of its correlation

# Phantoms, on coarse grids, so that a hundred take seconds.
PHANTOM = (0.88, 1.12)  # size of the patient
SLICE_MM = (3, 7)
PIXEL_MM = (3, 5)
FIELD_MM = (192, 280, 320)  # an ordinary field of view
KIDNEY_RADII = ((42, 66), (19, 30), (22, 33))  # half-axes
TUMOUR_MM = (14, 42)  # radius
