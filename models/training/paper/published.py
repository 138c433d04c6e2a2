"""The settings of EditAR's published training, each with where it is said.

"Paper" is arXiv 2501.04699; `train_edit.py` and `train.sh` are files of its repository, JitengMu/EditAR.
"""

from __future__ import annotations

LEARNING_RATE = 1e-4  # paper; constant, without warm-up (train_edit.py)
BATCH = 64  # paper: samples a step over all processes
STEPS = 40_000  # paper; the --epochs 4 of train.sh are an upper bound
LANES = 8  # train.sh: one node of 8 processes, each with a stream of its own
WORKERS = 4  # train.sh: a process
SEED = 0  # train_edit.py: --global-seed
START_HUB = "peizesun/llamagen_t2i"  # README: LlamaGen's text-to-image XL,
START_FILE = "t2i_XL_stage2_512.pt"  # of its second stage
TEACHER = "facebook/dinov2-base"  # feature_encoders/build.py
