"""From the model's output to the answer: stored with every version, like preprocess.

Self-contained: nothing of this folder is imported.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

CLASSES = ("on time", "late", "very late")
"""Late is an arrival of more than 15 minutes after schedule, very late one of more than 60."""


def postprocess(output: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """Name the class, and sum up the chance of any delay.

    Args:
        output: `label` int64 [n], `probabilities` float64 [n, 3].

    Returns:
        n values a field; `delay_probability` is that of arriving more than 15 minutes late.
    """
    label, probabilities = output["label"], output["probabilities"]
    return {
        "class_id": label,
        "class_name": np.array(CLASSES, dtype=object)[label],
        "confidence": probabilities.max(axis=1),
        "probabilities": {name: probabilities[:, i] for i, name in enumerate(CLASSES)},
        "delay_probability": 1.0 - probabilities[:, 0],
    }
