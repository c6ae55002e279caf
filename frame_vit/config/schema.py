"""The schema of the configuration: every key with its type, default and meaning. `load` reads and writes it.

The docstring under a key is its documentation: `--print-config` prints it. Every section refuses keys that it does not
know. Class names are often known only after the data is read (labels.names: auto); `LabelSpace.build` checks them
again then.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from frame_vit.images.geometry import GENERATORS
from frame_vit.labels import LabelSpace


def _as_name(value: Any) -> Any:
    """A class name such as 10 becomes a text. A boolean does not, because `no` may be meant; it must be quoted.

    Names are compared in NFC, because an editor and a file system may write the same letter in two ways.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return unicodedata.normalize("NFC", value) if isinstance(value, str) else value


Name = Annotated[str, BeforeValidator(_as_name)]
Names = Annotated[
    Annotated[Literal["auto"], Tag("auto")] | Annotated[list[Name], Field(min_length=2), Tag("list")],
    Discriminator(lambda value: "list" if isinstance(value, list) else "auto"),
]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Source = Annotated[str, Field(min_length=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
PositiveInt = Annotated[int, Field(ge=1, lt=2**31)]
Precision = Literal["auto", "fp32", "fp16", "bf16"]
LearningRate = Annotated[
    Annotated[Literal["auto"], Tag("auto")] | Annotated[float, Field(gt=0, le=1), Tag("number")],
    Discriminator(lambda value: "auto" if value == "auto" else "number"),
]
PRETRAINED_RATE, SCRATCH_RATE, HEAD_RATE = 3e-5, 5e-4, 2e-3
"""What `learning_rate: auto` stands for; `framevit help training` shows how they were chosen."""
Freeze = Annotated[
    Annotated[int, Field(ge=1), Tag("number")] | Annotated[Literal["none", "backbone"], Tag("word")],
    Discriminator(lambda value: "number" if isinstance(value, int) else "word"),
]


class Section(BaseModel):
    """A section of the YAML file. Strict: a text is not taken for a number, nor a number for a boolean."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class LabelsConfig(Section):
    names: Names = "auto"
    """class names; their order defines the class ids; auto takes them from the training set"""
    ok: list[Name] = []
    """names of the good classes; all other classes are defects"""
    symmetries: dict[str, dict[Name, Name]] = {}
    """what hflip, vflip, rot180 and rot90 (counter-clockwise) do to the classes; unnamed classes stay the same"""
    aliases: dict[Name, Name] = {}
    """other spellings of a class in the data: {spelling: class}"""


class DemoConfig(Section):
    train: PositiveInt = 2000
    """number of synthetic frames if data.train is demo"""
    test: PositiveInt = 500
    """number of synthetic frames, drawn with another seed, if data.test is demo"""
    seed: Seed = 0
    """seed of the training frames; the test frames use the next seed"""


class AuditConfig(Section):
    severity: dict[str, Literal["off", "note", "warning", "error"]] = {}
    """severity of a code, if the default does not suit you: {FV510: warning}; off: not reported"""
    allow: dict[str, Annotated[int, Field(ge=0)]] = {}
    """up to this many findings of a code are only a note: {FV106: 3}"""
    near_duplicate: Annotated[float, Field(ge=0, le=2)] | None = None
    """distance up to which two pictures are near duplicates; null: learnt from the data; 0: no search"""
    box_margin: Fraction = 0.01
    """how far a box may reach over the picture's edge, as a share of the side"""
    min_per_split: PositiveInt = 1
    """pictures that every class needs in every split"""
    min_per_class: PositiveInt = 20
    """a class with fewer pictures in train is reported"""
    max_imbalance: Annotated[float, Field(ge=1)] = 10.0
    """the most frequent class of train may have this many times the pictures of the rarest"""
    max_pair_imbalance: Annotated[float, Field(ge=1)] = 2.0
    """of two classes that a declared mirror swaps, one may have this many times the pictures of the other"""
    usual_share: Annotated[float, Field(ge=0.5, lt=1)] = 0.5
    """a size, colour mode or bit depth is usual if more than this share of the pictures has it; others are reported"""
    max_aspect: Annotated[float, Field(gt=0)] = 0.02
    """how far width / height may differ from the usual one, as a share"""
    min_light: Annotated[float, Field(ge=0, le=255)] = 50.0
    """a picture is very dark if even its brightest spots (2 in 1,000) are below this grey level (0 to 255)"""
    max_light: Annotated[float, Field(ge=0, le=255)] = 205.0
    """a picture is very bright if even its darkest spots (2 in 1,000) are above this grey level (0 to 255)"""
    min_contrast: Annotated[float, Field(ge=0, le=255)] = 3.0
    """a picture is flat if the standard deviation of its grey levels is below this"""
    min_sharpness: Fraction = 0.3
    """a picture is blurred if its sharpness is below this share of the median"""
    min_scale: Annotated[float, Field(gt=0)] = 1.0
    """a picture is small if a side is below this share of the model's input"""
    max_contradiction: Annotated[float, Field(gt=0)] = 0.75
    """how far a box may lie on the way from the median of its class (0) to that of the opposite one (1)"""
    min_separation: Annotated[float, Field(ge=0.5, le=1)] = 0.75
    """how well boxes must separate opposite directions (area under the ROC curve; 0.5: not at all, 1: fully)"""


class DataConfig(Section):
    train: Source | None = None
    """hub name (owner/name, owner/name:config, owner/name@revision) | saved data set | parquet | class folders | CSV or
    JSONL | demo"""
    test: Source | None = None
    """test data, in the same forms; null: the test split of data.train if there is one, else test_fraction of train"""
    splits_used: Annotated[list[str], Field(min_length=1)] | None = None
    """splits of data.train to use, by the source's names, such as [train, test]; null: all that have labels. A data set
    whose only split is a test or validation split is trained on only if that is listed here"""
    image_column: str = "image"
    """column with the picture; in a manifest, with the file's path"""
    response_column: str = "response"
    """column with a text that holds a dict of bboxes and labels; used before label_column if it exists"""
    label_column: str = "label"
    """column with a plain label; used if there is no response column"""
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """share of train that is held out for validation if the source has no validation split"""
    test_fraction: Fraction = 0.2
    """share of train that is held out for the test if there is no test set"""
    calibration_fraction: Fraction = 0.0
    """share of train that is held out to calibrate confidence and thresholds on"""
    seed: Seed = 0
    """seed of the stratified split"""
    group_by: str | None = None
    """rows of a group stay in one split: a column, or a regular expression for the file name, such as lot(\\d+)"""
    slice_by: str | None = None
    """what the evaluation report is broken down by, such as a camera or a day; given like group_by"""
    part_by: str | None = None
    """what identifies a part that several pictures show, for audit and report; given like group_by"""
    splits: str | None = None
    """manifest.json of an earlier `framevit prepare`: divide train as it was divided then"""
    exclude: str | None = None
    """CSV file of rows to exclude, with the column key (and source); `framevit prepare` writes such a list"""
    on_bad_row: Literal["error", "skip"] = "error"
    """a row or picture that cannot be read: error stops and names it; skip leaves it out, counted and listed"""
    multi: Literal["first", "error"] = "first"
    """a row with several labels: first uses the first label and counts the row; error treats it as a bad row"""
    bit_depth: Annotated[int, Field(ge=8, le=16)] = 8
    """bits that 16-bit pictures really use (10, 12, 14 or 16); 8 refuses 16-bit pictures"""
    max_megapixels: Annotated[float, Field(gt=0, le=10_000)] = 100.0
    """larger pictures are refused before they are decoded; one of 100 megapixels takes 0.7 GB of memory"""
    fit: Literal["squash", "pad", "processor"] | None = None
    """how a picture is brought to the model's size: squash stretches it to the square, pad keeps its aspect on a black
    ground, processor does what the model's own image processor does; null: that, but squash where it would crop"""
    roi: Annotated[list[float], Field(min_length=4, max_length=4)] | None = None
    """region of interest [x1, y1, x2, y2], the same for all pictures; shares if no number is over 1, else pixels"""
    cache: str | None = None
    """folder for decoded pictures and the outputs of frozen blocks; null: $FRAMEVIT_CACHE, else ~/.cache/framevit"""
    audit: AuditConfig = AuditConfig()
    """thresholds of the audit in `framevit prepare`; `framevit help audit` lists the codes"""
    demo: DemoConfig = DemoConfig()
    """size of the synthetic data sets"""


class ScratchConfig(Section):
    image_size: PositiveInt = 64
    """side of the square input in pixels; a multiple of patch_size"""
    patch_size: PositiveInt = 8
    """side of a patch in pixels"""
    hidden_size: PositiveInt = 128
    """width of the model; a multiple of heads"""
    layers: PositiveInt = 4
    """number of transformer blocks"""
    heads: PositiveInt = 4
    """number of attention heads"""
    mlp_ratio: PositiveInt = 2
    """width of the MLP in a block, in multiples of hidden_size"""
    dropout: Fraction = 0.0
    """dropout rate in the blocks"""


class ModelConfig(Section):
    name: str = "google/vit-large-patch16-224"
    """hub name (owner/name, owner/name@revision) or folder of an image classifier with safetensors weights"""
    init: Literal["pretrained", "scratch"] = "pretrained"
    """pretrained fine-tunes model.name; scratch trains a new ViT of the size in model.scratch"""
    image_size: PositiveInt | None = None
    """side of the square input of a pretrained model in pixels, a multiple of its patch; its position embeddings are
    interpolated to it; null: the size of the model's image processor"""
    scratch: ScratchConfig = ScratchConfig()
    """size of a new ViT, used if init is scratch"""


class AugmentConfig(Section):
    hflip: bool | None = None
    """mirror pictures left-right at random, labels and boxes with them; null: if labels.symmetries declares it"""
    vflip: bool | None = None
    """mirror top-bottom at random; null: if declared"""
    rot180: bool | None = None
    """turn by 180 degrees at random; null: if declared"""
    rot90: bool | None = None
    """turn by quarter turns at random; null: if declared"""
    brightness: Fraction = 0.1
    """largest change of brightness, as a share of white"""
    contrast: Fraction = 0.1
    """largest change of contrast, as a share"""
    shift: Annotated[float, Field(ge=0, le=0.25)] = 0.0
    """largest shift of the whole picture, as a share of its side; 0 by default, because position is the signal"""


class TrainingConfig(Section):
    epochs: Annotated[float, Field(gt=0, le=10_000)] = 15
    """passes over the training set"""
    batch_size: PositiveInt = 16
    """pictures per step on each device, before accumulation"""
    gradient_accumulation: PositiveInt = 1
    """batches whose gradients are added up before the weights are updated"""
    gradient_checkpointing: bool = False
    """recompute activations instead of storing them: slower, but much less memory"""
    deterministic: bool = False
    """on CUDA, use only algorithms that give the same bits each time, somewhat slower; a CPU does so anyway"""
    compile: bool = False
    """torch.compile: minutes of compiling at the start, then somewhat faster steps; for long trainings on large GPUs"""
    freeze: Freeze = "none"
    """what is not trained: backbone fits only the head, by logistic regression; a number freezes the embeddings and
    this many first blocks. Outputs of frozen blocks are computed once per view, without random brightness, contrast
    and shift"""
    head: Literal["fitted", "random"] = "fitted"
    """how the new head of a pretrained model starts: fitted by logistic regression to what the backbone gives before it
    is trained, or random"""
    learning_rate: LearningRate = "auto"
    """highest learning rate of the schedule; auto: 3e-5 for a pretrained model, 5e-4 for a new one (init: scratch),
    2e-3 where only the head is trained"""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """how the learning rate falls after the warmup"""
    warmup: Fraction = 0.1
    """share of all steps in which the learning rate rises from 0"""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    """weight decay of AdamW; never applied to norms and biases"""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    """learning rate of a block as a share of that of the block above it; 1: the same rate for all blocks"""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """validate and save a moving average of the weights with this decay, such as 0.99; null: the weights themselves"""
    label_smoothing: Fraction = 0.0
    """share of the target that is spread over all classes"""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: the rarer a class, the more its pictures weigh in the loss"""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """gradients with a larger norm are clipped to this norm"""
    eval_steps: PositiveInt | None = None
    """steps between validations; null: after every epoch"""
    save_steps: PositiveInt | None = None
    """steps between checkpoints; null: at every validation; a new best model is saved in any case"""
    save_total_limit: PositiveInt = 2
    """checkpoints that are kept: this many of the newest, and the best one"""
    early_stopping: PositiveInt | None = None
    """stop after this many validations without a better macro-F1; null: never"""
    logging_steps: PositiveInt = 10
    """steps between two rows of history.csv"""
    precision: Precision = "auto"
    """auto: bf16 on CUDA from capability 8 on and on CPUs with AMX or avx512_bf16, fp16 on older CUDA, else fp32"""
    device: str = "auto"
    """auto | cpu | cuda | cuda:N | mps"""
    seed: Seed = 0
    """seed of new weights, the order of the pictures and the augmentation"""
    report_to: list[str] = []
    """experiment trackers that transformers' Trainer supports: tensorboard, wandb, mlflow, ..."""


class CostsConfig(Section):
    missed: Annotated[float, Field(ge=0)] = 10.0
    """cost of a bad part that is called good"""
    false_alarm: Annotated[float, Field(ge=0)] = 1.0
    """cost of a good part that is called bad"""
    wrong_sign: Annotated[float, Field(ge=0)] = 3.0
    """cost of a displaced part whose predicted direction is the opposite one: it would be corrected the wrong way"""
    wrong_axis: Annotated[float, Field(ge=0)] = 2.0
    """cost of a bad part that is called bad, but with the wrong axis or the wrong kind of fault"""
    matrix: dict[Name, dict[Name, Annotated[float, Field(ge=0)]]] = {}
    """costs by class, {true: {predicted: cost}}, instead of those above"""


class DecisionConfig(Section):
    max_escape_rate: Annotated[float, Field(gt=0, lt=1)] = 0.005
    """largest share of bad parts that may be accepted; the threshold is chosen so that this can be claimed"""
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    """confidence level of that claim; not the confidence of a prediction"""
    per_class: bool = False
    """hold max_escape_rate in every defect class, with this confidence in all of them together"""
    review_budget: Fraction = 0.03
    """share of the parts that a person can review: those with the lowest scores that are not accepted"""
    max_overkill_rate: Annotated[float, Field(gt=0, lt=1)] | None = None
    """instead of the budget: largest share of good parts that may be rejected, at the same confidence level"""
    bad_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """share of bad parts on the line, for the budget; null: as in the pictures that the thresholds are chosen on"""
    unlike: Literal["review", "note", "off"] = "review"
    """out-of-distribution pictures (size, colour mode, light, sharpness, embedding): send them to review, only note
    them, or do not look for them (off)"""
    tta: Literal["all", "auto"] = "all"
    """test-time augmentation: every picture in all views, or (auto) in one only, where that leaves little doubt"""
    tta_changed: Fraction = 0.02
    """auto may change the decision or the class of at most this share of the validation pictures"""
    costs: CostsConfig = CostsConfig()
    """what mistakes cost, in any unit"""


class ExportConfig(Section):
    pictures: PositiveInt = 64
    """pictures of the test split on which an exported model is compared with torch"""
    tolerance: Annotated[float, Field(gt=0)] = 1e-3
    """an exported model is kept if no logit differs by more than this"""
    int8_changed: Fraction = 0.02
    """an int8 model is kept if it changes the decision or the class of at most this share of the pictures"""


class Config(Section):
    labels: LabelsConfig = LabelsConfig()
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    augment: AugmentConfig = AugmentConfig()
    training: TrainingConfig = TrainingConfig()
    decision: DecisionConfig = DecisionConfig()
    export: ExportConfig = ExportConfig()

    def label_space(self, names: Sequence[str]) -> LabelSpace:
        """The label space over these names: the configured ones, or those of the training set."""
        return LabelSpace.build(names, self.labels.ok, self.labels.symmetries, self.labels.aliases)

    def flips(self) -> list[str]:
        """The symmetries that augmentation uses: those that are declared and not switched off."""
        declared = self.labels.symmetries
        return [key for key in GENERATORS if key in declared and getattr(self.augment, key) is not False]

    def with_rate(self) -> Config:
        """The same configuration with a number instead of `learning_rate: auto`."""
        training = self.training
        if training.learning_rate != "auto":
            return self
        own = PRETRAINED_RATE if self.model.init == "pretrained" else SCRATCH_RATE
        rate = HEAD_RATE if training.freeze == "backbone" else own
        return self.model_copy(update={"training": training.model_copy(update={"learning_rate": rate})})

    def with_names(self, names: Sequence[str]) -> Config:
        """The same configuration with these class names instead of auto."""
        return self.model_copy(update={"labels": self.labels.model_copy(update={"names": list(names)})})
