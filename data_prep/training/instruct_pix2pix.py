"""InstructPix2Pix's own set (Brooks et al. 2023; `timbrooks/instructpix2pix-clip-filtered`, train, 313,010 rows).

Both pictures are generated. There is no test split: any "test" on it is training data of the model.
"""

from __future__ import annotations

REPOSITORY = "timbrooks/instructpix2pix-clip-filtered"
COLUMNS = ("original_prompt", "original_image", "edit_prompt", "edited_prompt", "edited_image")
