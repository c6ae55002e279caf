"""All kinds of findings that an audit can report, each with a stable code: the one list of them.

A code keeps its meaning for ever. A kind that measures something names its threshold, a key of `data.audit`; for the
others, `data.audit.allow` says how many rows of a code are no more than a note. How a finding is made is the business
of `audit/`; this module is standard library only, so that the documentation can be made from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""The most severe first."""


class FindingKind(NamedTuple):
    """A kind of finding: code, title, default severity, its threshold in `data.audit`, and what to do about it."""

    code: str
    title: str
    severity: Severity
    threshold: str
    advice: str
    excludes: bool = False
    """whether its rows are proposed for the exclusion file"""


_RETAKE = "Export or photograph it again, or exclude the row (exclude.csv lists it)"
_CORRECT = "Correct the answer in the data, or exclude the row (exclude.csv lists it)"
_LOOK = "Look at them: a lamp, a lens or a camera setting may have changed. The model sees few pictures like these"
_PLACE = "Put it into a class folder, list it in the table, give it a picture's ending, or move it away"
_FILL = "Add pictures, save those in it in a format that is read (JPEG, PNG, ...), or remove the folder"
_SQUARE = "Set data.fit: pad, which keeps the aspect, or leave rot90 out of labels.symmetries"
_ALL = (
    FindingKind("FV101", "unreadable picture", "error", "", _RETAKE, True),
    FindingKind("FV102", "damaged or truncated picture", "error", "", _RETAKE, True),
    FindingKind("FV103", "file that is not a picture", "error", "", _RETAKE, True),
    FindingKind(
        "FV104",
        "unsupported picture",
        "error",
        "",
        "Follow the reason that is given for it, or exclude the row (exclude.csv lists it)",
        True,
    ),
    FindingKind(
        "FV105",
        "region of interest outside the picture",
        "error",
        "",
        "Change data.roi, or exclude the row (exclude.csv lists it)",
        True,
    ),
    FindingKind(
        "FV106",
        "file with several pictures",
        "warning",
        "",
        "Only the first picture of the file is used. If another one is meant, save it as a file of its own",
    ),
    FindingKind(
        "FV107",
        "file extension of another format",
        "note",
        "",
        "The file is read by its content, whatever its extension; other programs may not read it",
    ),
    FindingKind("FV201", "response that cannot be parsed", "error", "", _CORRECT, True),
    FindingKind("FV202", "different number of boxes and labels", "error", "", _CORRECT, True),
    FindingKind("FV203", "box that is not four numbers", "error", "", _CORRECT, True),
    FindingKind("FV204", "no label", "error", "", _CORRECT, True),
    FindingKind(
        "FV205",
        "unknown label",
        "error",
        "",
        "Add it to labels.names, map it to a class in labels.aliases, or correct it",
        True,
    ),
    FindingKind(
        "FV206",
        "label that differs from a class only by case or blanks",
        "error",
        "",
        "If the class is meant, add an alias such as {'xplus ': Xplus} to labels.aliases; otherwise correct the label",
        True,
    ),
    FindingKind(
        "FV207",
        "row with several labels",
        "warning",
        "",
        "Only the first label is used, because a classifier gives one answer. data.multi: error refuses such rows",
    ),
    FindingKind(
        "FV208",
        "box outside the picture",
        "warning",
        "box_margin",
        "Were the boxes drawn on a picture of another size, or before it was turned by its EXIF tag?",
    ),
    FindingKind(
        "FV209",
        "inverted or empty box",
        "error",
        "",
        "Boxes are x1, y1, x2, y2 with x1 < x2 and y1 < y2; correct these, or remove them",
    ),
    FindingKind(
        "FV210",
        "row with several labels, refused by data.multi",
        "error",
        "",
        "Keep one label, exclude the row (exclude.csv lists it), or set data.multi: first",
        True,
    ),
    FindingKind(
        "FV211",
        "box outside the region of interest",
        "warning",
        "",
        "The model cannot see what lies outside; enlarge data.roi",
    ),
    FindingKind(
        "FV301",
        "same picture twice in a split",
        "warning",
        "",
        "Keep one of them (exclude.csv lists the others)",
        True,
    ),
    FindingKind(
        "FV302",
        "same picture in two splits",
        "error",
        "",
        "The model must not train on what it is tested on: exclude the rows (exclude.csv lists those on the training "
        "side)",
        True,
    ),
    FindingKind(
        "FV303",
        "same picture under two labels",
        "error",
        "",
        "Decide which label is right and exclude the other rows (exclude.csv lists all of them)",
        True,
    ),
    FindingKind(
        "FV304",
        "near duplicate in two splits",
        "warning",
        "near_duplicate",
        "Copies or bursts of one part make a test too easy: keep them in one split with data.group_by, or exclude the "
        "rows (exclude.csv lists those on the training side)",
        True,
    ),
    FindingKind(
        "FV305",
        "near duplicate under labels that do not fit",
        "warning",
        "near_duplicate",
        "Look at both pictures; one label is wrong. A mirror image whose label is not mirrored is reported here, too",
    ),
    FindingKind(
        "FV306",
        "near duplicates that cannot be told from other pictures",
        "note",
        "near_duplicate",
        "Set a limit of your own in data.audit.near_duplicate, or 0 to skip the search",
    ),
    FindingKind(
        "FV307",
        "pictures of one part in two splits",
        "warning",
        "",
        "The test shows parts that the training has seen: set data.group_by to the value of data.part_by",
    ),
    FindingKind(
        "FV401",
        "class missing from a split",
        "error",
        "min_per_split",
        "Add pictures of the class, or remove it from labels.names",
    ),
    FindingKind(
        "FV402",
        "few pictures of a class",
        "warning",
        "min_per_class",
        "Add pictures; declaring symmetries in labels.symmetries helps as well",
    ),
    FindingKind(
        "FV403",
        "classes of very different size",
        "warning",
        "max_imbalance",
        "Add pictures of the rare classes, or set training.class_weights: balanced",
    ),
    FindingKind(
        "FV404",
        "mirror classes of different size",
        "warning",
        "max_pair_imbalance",
        "Is the line off to one side, or are labels mixed up? In training, the declared symmetry evens it out",
    ),
    FindingKind(
        "FV405",
        "data that cannot be divided into splits",
        "error",
        "",
        "A training would stop with this message; follow its advice",
    ),
    FindingKind(
        "FV501",
        "unusual size",
        "warning",
        "usual_share",
        "Is it from another camera, or cropped? All pictures are resized to the model's input",
    ),
    FindingKind(
        "FV502",
        "unusual aspect ratio",
        "warning",
        "max_aspect",
        "Resizing distorts it: crop or pad it like the others",
    ),
    FindingKind(
        "FV503",
        "unusual colour mode",
        "warning",
        "usual_share",
        "Save all pictures in one colour mode; otherwise the model can learn the camera instead of the class",
    ),
    FindingKind("FV504", "unusual bit depth", "warning", "usual_share", "Save all pictures with the same bit depth"),
    FindingKind("FV505", "very dark picture", "warning", "min_light", _LOOK),
    FindingKind("FV506", "very bright picture", "warning", "max_light", _LOOK),
    FindingKind(
        "FV507",
        "flat picture",
        "warning",
        "min_contrast",
        "It shows almost nothing: was the lens covered, or was there no part?",
    ),
    FindingKind("FV508", "blurred picture", "warning", "min_sharpness", _LOOK),
    FindingKind(
        "FV509",
        "picture turned by its EXIF tag",
        "warning",
        "",
        "Training and prediction turn the picture upright. Labels and boxes must be those of the upright picture",
    ),
    FindingKind(
        "FV510",
        "picture smaller than the model's input",
        "note",
        "min_scale",
        "It is enlarged, which adds no detail; a model with a smaller input may be as good and is faster",
    ),
    FindingKind("FV511", "picture that a quarter turn distorts", "error", "", _SQUARE),
    FindingKind(
        "FV601",
        "label that contradicts its box",
        "warning",
        "max_contradiction",
        "Look at them: the box lies where parts with another label lie",
    ),
    FindingKind(
        "FV602",
        "classes whose boxes overlap",
        "warning",
        "min_separation",
        "The boxes do not show the direction that the labels name: are labels mixed up, or do the boxes show something "
        "else?",
    ),
    FindingKind("FV701", "hidden entry passed over", "note", "", "Copies of programs are no data; rename what is data"),
    FindingKind("FV702", "file passed over, not a picture", "note", "", "Name a table of labels as data.train"),
    FindingKind("FV703", "picture that is not used", "warning", "", _PLACE),
    FindingKind("FV704", "class folder without a picture", "warning", "", _FILL),
    FindingKind("FV705", "row without a split among others", "error", "", "Fill in the column split"),
    FindingKind("FV706", "empty row of a table", "note", "", "The row has no cell, so nothing is missing"),
    FindingKind("FV707", "split without labels, left out", "warning", "", "Name the others in data.splits_used"),
    FindingKind("FV708", "class folder with a name that Windows refuses", "warning", "", "Give it another name"),
)
KINDS = {kind.code: kind for kind in _ALL}


class Row(NamedTuple):
    """A row that a finding is about: split and key, a detail, its source, and the row that it is a duplicate of."""

    split: str
    """empty if the row is in no split, because it cannot be used"""
    key: str
    detail: str = ""
    source: str = ""
    duplicate_of: tuple[str, str] | None = None
    """split and key"""

    def to_json(self) -> dict[str, Any]:
        return {
            "split": self.split,
            "key": self.key,
            "detail": self.detail,
            "source": self.source,
            "twin": self.duplicate_of,
        }


@dataclass(frozen=True)
class Finding:
    """One kind of finding in one data set."""

    kind: FindingKind
    severity: Severity
    """as the config has it"""
    message: str
    """about all of it; empty if the rows say enough"""
    count: int
    """how many rows, or classes, or splits"""
    rows: Sequence[Row] = ()
    """all rows; empty if the finding is about classes or splits"""
    limit: float | None = None
    """value of the threshold"""

    @property
    def key(self) -> str:
        """The config key that decides about it."""
        return f"data.audit.{self.kind.threshold or 'allow'}"

    @property
    def sentence(self) -> str:
        """The message, with the first row as an example."""
        first = ": ".join(part for part in (self.rows[0].key, self.rows[0].detail) if part) if self.rows else ""
        return "; ".join(part for part in (self.message, first and f"for example {first}") if part)

    def to_json(self) -> dict[str, Any]:
        """The finding in audit.json, with all rows."""
        return {
            "code": self.kind.code,
            "title": self.kind.title,
            "severity": self.severity,
            "threshold": {"name": self.key, "value": self.limit},
            "count": self.count,
            "message": self.sentence,
            "advice": self.kind.advice,
            "rows": [row.to_json() for row in self.rows],
        }
