"""The answers of a model and what they decide: one value, made once by the predictor, that everything else reads.

Metrics, slices, robustness, comparisons, reports and the rows of predictions.csv are all computed from it, so they
cannot disagree about a verdict. Arrays only; no files, no data sets, no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from frame_vit.decision.novelty import PictureFlags
from frame_vit.decision.rates import Ids, Logits
from frame_vit.decision.thresholds import Mask, Scores
from frame_vit.decision.verdicts import Verdict, Verdicts
from frame_vit.images.pixel_array import Float32
from frame_vit.labels import LabelSpace


@dataclass(frozen=True)
class JudgedPictures:
    """N pictures: logits (N, C) averaged over the views, scores and verdicts (N,), the novelty flags of each picture.

    `scores` and `verdicts` are None where no class is good.
    """

    logits: Logits
    scores: Scores | None
    verdicts: Verdicts | None
    flags: list[PictureFlags]

    @property
    def predicted(self) -> Ids:
        """The predicted class ids, (N,)."""
        return np.asarray(self.logits.argmax(axis=1))

    @property
    def flagged(self) -> Mask:
        """Which pictures have a novelty flag, (N,)."""
        return np.array([bool(flags) for flags in self.flags], bool)


@dataclass(frozen=True)
class Judged(JudgedPictures):
    """The same of a labelled split, with what the averaged answers are compared with.

    `labels` (N,) are true class ids of `space`. `single_logits` (N, C) and `single_verdicts` (N,) are those of the
    untouched picture alone, without test-time augmentation. `light` (N,) is the mean grey level, 0 to 255.
    """

    space: LabelSpace
    labels: Ids
    single_logits: Logits
    single_verdicts: Verdicts | None
    light: Float32

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def good(self) -> Mask:
        """Which parts are good by their true class, (N,)."""
        return np.isin(self.labels, self.space.ok_ids)

    @property
    def right(self) -> Mask:
        """Where the predicted class is the true one, (N,)."""
        return np.asarray(self.predicted == self.labels)

    @property
    def mishandled(self) -> Mask:
        """Mistakes of any kind, (N,): a wrong class, a bad part that is accepted, a good part that is rejected."""
        if self.verdicts is None:
            return ~self.right
        unwanted = np.where(self.good, Verdict.REJECT, Verdict.ACCEPT)
        return np.asarray(~self.right | (self.verdicts == unwanted))

    def in_classes_of(self, other: Judged) -> Judged:
        """The same answers with the class order and the true labels of `other`, which has classes of the same names."""
        order = [self.space.names.index(name) for name in other.space.names]
        return replace(
            self,
            space=other.space,
            labels=other.labels,
            logits=self.logits[:, order],
            single_logits=self.single_logits[:, order],
        )
