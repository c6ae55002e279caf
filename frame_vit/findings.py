"""What an audit can find, each kind with a stable code; the one list of them. Standard library only.

A code, once given, keeps its meaning. What a finding is measured against is a threshold of the config, `data.audit`;
kinds without a measure have `allow`: so many rows of that code are no more than a note.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


class Kind(NamedTuple):
    """A kind of finding: what it is called, how grave it is, its threshold in data.audit, and what to do."""

    code: str
    title: str
    severity: Severity
    threshold: str
    advice: str
    excludes: bool = False
    """whether its rows are proposed for the exclusion file"""


_AGAIN = "Export or photograph it again, or leave it out (exclude.csv lists it)"
_ANSWER = "Mend the answer in the data, or leave the row out (exclude.csv lists it)"
_LOOK = "Look at them: a lamp, a lens or a setting may have changed; the model will see such pictures less often"
_ALL = (
    Kind("FV101", "picture that cannot be read", "error", "", _AGAIN, True),
    Kind("FV102", "damaged or truncated picture", "error", "", _AGAIN, True),
    Kind("FV103", "file that is not a picture", "error", "", _AGAIN, True),
    Kind(
        "FV104", "picture of a kind that is refused", "error", "", "Save it as the reason says, or leave it out", True
    ),
    Kind("FV105", "region of interest outside the picture", "error", "", "Change data.roi, or leave it out", True),
    Kind(
        "FV106",
        "file with several pictures",
        "warning",
        "",
        "The first picture of the file is used; if another is meant, save it as a file of its own",
    ),
    Kind("FV107", "name that says another format", "note", "", "It is read by its content; other programs may not"),
    Kind("FV201", "response that cannot be parsed", "error", "", _ANSWER, True),
    Kind("FV202", "boxes and labels of different number", "error", "", _ANSWER, True),
    Kind("FV203", "box that is not four numbers", "error", "", _ANSWER, True),
    Kind("FV204", "no label", "error", "", _ANSWER, True),
    Kind("FV205", "unknown label", "error", "", "Add it to labels.names, map it in labels.aliases, or mend it", True),
    Kind(
        "FV206",
        "label that differs from a class only by case or blanks",
        "error",
        "",
        "If the class is meant, say so in labels.aliases, such as {'xplus ': Xplus}; else mend the label",
        True,
    ),
    Kind(
        "FV207",
        "several labels in a row",
        "warning",
        "",
        "The first label is taken; data.multi: error refuses such rows; a classifier can give one answer only",
    ),
    Kind(
        "FV208",
        "box outside the picture",
        "warning",
        "box_margin",
        "Were the boxes drawn on a picture of another size, or before it was turned by its EXIF tag?",
    ),
    Kind("FV209", "box that is inverted or empty", "error", "", "Boxes are x1, y1, x2, y2 with x1 < x2 and y1 < y2"),
    Kind(
        "FV210",
        "several labels, refused by data.multi",
        "error",
        "",
        "Decide for one label, leave the row out (exclude.csv lists it), or set data.multi: first",
        True,
    ),
    Kind(
        "FV211",
        "box outside the region of interest",
        "warning",
        "",
        "The model cannot see it: widen data.roi",
    ),
    Kind("FV301", "same picture twice in a split", "warning", "", "Keep one (exclude.csv lists the others)", True),
    Kind(
        "FV302",
        "same picture in two splits",
        "error",
        "",
        "What is tested must not be trained on: leave the rows out (exclude.csv lists those on the training side)",
        True,
    ),
    Kind("FV303", "same picture under two labels", "error", "", "Decide which is right (exclude.csv lists all)", True),
    Kind(
        "FV304",
        "nearly the same picture in two splits",
        "warning",
        "near_duplicate",
        "Copies or bursts of one part make a test easy: keep them on one side with data.group_by, or leave them out "
        "(exclude.csv lists those on the training side)",
        True,
    ),
    Kind(
        "FV305",
        "nearly the same picture under labels that do not fit",
        "warning",
        "near_duplicate",
        "Look at both; also counted: a mirror image whose label is not the mirrored one",
    ),
    Kind(
        "FV306",
        "copies that cannot be told from other pictures",
        "note",
        "near_duplicate",
        "A limit of your own, data.audit.near_duplicate, may tell them; 0 leaves the search out",
    ),
    Kind(
        "FV307",
        "pictures of one part in two splits",
        "warning",
        "",
        "What is tested was half seen in training: let data.group_by say what data.part_by says",
    ),
    Kind(
        "FV401", "class missing from a split", "error", "min_per_split", "Add pictures of it, or take it out of labels"
    ),
    Kind("FV402", "few pictures of a class", "warning", "min_per_class", "Add pictures; symmetries help as well"),
    Kind(
        "FV403",
        "classes of very different size",
        "warning",
        "max_imbalance",
        "Add pictures of the rare ones, or set training.class_weights: balanced",
    ),
    Kind(
        "FV404",
        "mirror classes of different size",
        "warning",
        "max_pair_imbalance",
        "A line that is off to one side, or labels that are mixed up? The declared symmetry evens it out in training",
    ),
    Kind("FV405", "data that cannot be divided", "error", "", "Training would stop with this"),
    Kind(
        "FV501", "odd size", "warning", "usual_share", "Another camera or a crop? All are resized to the model's size"
    ),
    Kind(
        "FV502", "odd aspect ratio", "warning", "max_aspect", "Resizing will squeeze it: crop or pad it like the rest"
    ),
    Kind("FV503", "odd colour mode", "warning", "usual_share", "Grey among colour tells a class by its camera"),
    Kind("FV504", "odd bit depth", "warning", "usual_share", "Save all pictures with the same bit depth"),
    Kind("FV505", "very dark picture", "warning", "min_light", _LOOK),
    Kind("FV506", "very bright picture", "warning", "max_light", _LOOK),
    Kind(
        "FV507", "flat picture", "warning", "min_contrast", "There is next to nothing to see: a covered lens, no part?"
    ),
    Kind("FV508", "blurred picture", "warning", "min_sharpness", _LOOK),
    Kind(
        "FV509",
        "picture turned by its EXIF tag",
        "warning",
        "",
        "The tag is obeyed, here and when predicting. Directions and boxes must be those of the upright picture",
    ),
    Kind("FV510", "picture smaller than the model's input", "note", "min_scale", "It is enlarged; nothing is gained"),
    Kind(
        "FV601",
        "label that contradicts its box",
        "warning",
        "max_contradiction",
        "Look at them: the box lies where parts of another label lie",
    ),
    Kind(
        "FV602",
        "classes whose boxes overlap",
        "warning",
        "min_separation",
        "The boxes do not show the direction that the labels name: mixed-up labels, or boxes of something else?",
    ),
)
KINDS = {kind.code: kind for kind in _ALL}


class Row(NamedTuple):
    """A row that a finding is about, and what there is to say of it."""

    split: str
    key: str
    detail: str = ""
    source: str = ""
    twin: tuple[str, str] | None = None
    """split and key of the row that it is the same as"""


@dataclass(frozen=True)
class Finding:
    """Something found: `count` things, those that are rows (classes and splits are none), and what to say of them."""

    kind: Kind
    severity: Severity
    message: str
    count: int
    rows: Sequence[Row] = ()
    limit: float | None = None

    @property
    def sentence(self) -> str:
        """What there is to say of all, and the first row."""
        first = ": ".join(part for part in self.rows[0][1:3] if part) if self.rows else ""
        return "; ".join(part for part in (self.message, first and f"such as {first}") if part)

    def to_json(self) -> dict[str, Any]:
        """What audit.json says of it: all rows."""
        name = f"data.audit.{self.kind.threshold or 'allow'}"
        return {
            "code": self.kind.code,
            "title": self.kind.title,
            "severity": self.severity,
            "threshold": {"name": name, "value": self.limit},
            "count": self.count,
            "message": self.sentence,
            "advice": self.kind.advice,
            "rows": [row._asdict() for row in self.rows],
        }
