"""What is painted: the numbers of an organ map, and the mean HU that each organ may have in CT."""

#: By number; a case's map is ``organs.nii.gz``, beside its imaging. Numbers stay, new ones go to the end.
ORGANS = dict(enumerate((
    "outside", "fat", "muscle", "bone", "marrow", "lung", "heart", "liver", "spleen", "stomach", "gall_bladder",
    "pancreas", "small_bowel", "colon", "stool", "aorta", "vena_cava", "vessel", "bladder", "table", "kidney", "sinus",
    "tumour", "cyst", "duodenum", "calyx", "stone",
)))
NUMBER = {name: number for number, name in ORGANS.items()}
#: Lowest and highest mean HU of each organ whose HU are drawn anew in training (SynthSeg style, Billot et al. 2023),
#: from unenhanced to the late phases: wider than what is painted. What is not to be drawn anew is left out.
HU_RANGES = {NUMBER[name]: ends for name, ends in {
    "fat": (-120.0, -70.0), "muscle": (35.0, 80.0), "bone": (180.0, 400.0), "marrow": (80.0, 280.0),
    "heart": (30.0, 250.0), "liver": (35.0, 150.0), "spleen": (35.0, 170.0), "stomach": (-79.0, 220.0),
    "gall_bladder": (0.0, 40.0), "pancreas": (25.0, 140.0), "duodenum": (0.0, 160.0), "small_bowel": (0.0, 160.0),
    "colon": (30.0, 120.0), "stool": (-79.0, 250.0), "aorta": (30.0, 304.0), "vena_cava": (30.0, 220.0),
    "vessel": (30.0, 250.0), "bladder": (-5.0, 200.0), "kidney": (25.0, 260.0), "sinus": (-79.0, 20.0),
    "tumour": (15.0, 200.0), "cyst": (-5.0, 30.0), "calyx": (0.0, 500.0),
}.items()}
