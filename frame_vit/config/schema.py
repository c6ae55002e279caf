"""The configuration's schema: every key with its default and what it means. `config` reads and writes it.

Every section forbids keys that it does not know. What needs the data to be known (labels `auto`) is checked again by
`labels.LabelSpace.build` once the names are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from frame_vit.images.geometry import GENERATORS
from frame_vit.labels import LabelSpace


def _as_name(value: Any) -> Any:
    """Class names such as 10 are names, not numbers; a truth value is refused (quote it)."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Name = Annotated[str, BeforeValidator(_as_name)]
Names = Annotated[
    Annotated[Literal["auto"], Tag("auto")] | Annotated[list[Name], Field(min_length=2), Tag("list")],
    Discriminator(lambda value: "list" if isinstance(value, list) else "auto"),
]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Source = Annotated[str, Field(min_length=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
PositiveInt = Annotated[int, Field(ge=1)]
Precision = Literal["auto", "fp32", "fp16", "bf16"]
Freeze = Annotated[
    Annotated[int, Field(ge=1), Tag("number")] | Annotated[Literal["none", "backbone"], Tag("word")],
    Discriminator(lambda value: "number" if isinstance(value, int) else "word"),
]


class Section(BaseModel):
    """One block of the YAML file."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class LabelsConfig(Section):
    names: Names = "auto"
    """the classes; this order is the class order; auto takes them from the training set"""
    ok: list[Name] = []
    """the classes that are fine; all others are defects"""
    symmetries: dict[str, dict[Name, Name]] = {}
    """what hflip, vflip, rot180, rot90 (counter-clockwise) do to the classes; classes not named stay as they are"""
    aliases: dict[Name, Name] = {}
    """other spellings found in the data: {spelling: class}"""


class DemoConfig(Section):
    train: PositiveInt = 2000
    """frames drawn where data.train is demo"""
    test: PositiveInt = 500
    """frames drawn, with another seed, where data.test is demo"""
    seed: Seed = 0
    """seed of the drawn training frames; the test frames are drawn with the next one"""


class AuditConfig(Section):
    severity: dict[str, Literal["off", "note", "warning", "error"]] = {}
    """how grave findings of a code are, where you see it otherwise: {FV510: warning}; off: not looked for"""
    allow: dict[str, Annotated[int, Field(ge=0)]] = {}
    """so many findings of a code are a note only: {FV106: 3}"""
    near_duplicate: Annotated[float, Field(ge=0, le=2)] | None = None
    """distance up to which two pictures are nearly the same; null: learnt from the pictures; 0: not looked for"""
    box_margin: Fraction = 0.01
    """share of the picture's side by which a box may reach over its edge"""
    min_per_split: PositiveInt = 1
    """pictures that every class must have in every split"""
    min_per_class: PositiveInt = 20
    """pictures of a class in train, below which they are few"""
    max_imbalance: Annotated[float, Field(ge=1)] = 10.0
    """the most frequent class of train may be so many times the rarest"""
    max_pair_imbalance: Annotated[float, Field(ge=1)] = 2.0
    """the same for two classes that a declared mirror swaps"""
    usual_share: Annotated[float, Field(ge=0.5, lt=1)] = 0.5
    """the size, colour mode or bit depth that more than this share of the pictures has is usual, others are odd"""
    max_aspect: Annotated[float, Field(gt=0)] = 0.02
    """share by which width / height may differ from that of the usual size"""
    min_light: Annotated[float, Field(ge=0, le=255)] = 50.0
    """a picture is very dark where even its brightest spots (2 in 1,000) lie below this grey level (0 to 255)"""
    max_light: Annotated[float, Field(ge=0, le=255)] = 205.0
    """a picture is very bright where even its darkest spots (2 in 1,000) lie above this grey level"""
    min_contrast: Annotated[float, Field(ge=0, le=255)] = 3.0
    """standard deviation of the grey levels below which a picture is flat"""
    min_sharpness: Fraction = 0.3
    """sharpness, as a share of the median picture's, below which a picture is blurred"""
    min_scale: Annotated[float, Field(gt=0)] = 1.0
    """a picture's sides, as a share of the model's input, below which it is small"""
    max_contradiction: Annotated[float, Field(gt=0)] = 0.75
    """how far on the way from its own class to the opposite one a box may lie"""
    min_separation: Annotated[float, Field(ge=0.5, le=1)] = 0.75
    """how often, at least, a box lies where its label says against one of another direction (area under the ROC)"""


class DataConfig(Section):
    train: Source | None = None
    """hub name (owner/name, owner/name@revision) | saved data set | parquet | class folders | CSV or JSONL | demo"""
    test: Source | None = None
    """the same, as a test set of its own; without it the source's own test split, else test_fraction of train"""
    image_column: str = "image"
    """the column with the picture; in a manifest the file's path"""
    response_column: str = "response"
    """the column with a text that holds a dict of bboxes and labels; read first where it exists"""
    label_column: str = "label"
    """the column with a plain label; read where there is no response column"""
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """share of train kept for validation where the source has no validation split"""
    test_fraction: Fraction = 0.2
    """share of train kept for the test where there is no test set at all"""
    calibration_fraction: Fraction = 0.0
    """share of train kept apart to calibrate confidence and thresholds on"""
    seed: Seed = 0
    """seed of the stratified split"""
    group_by: str | None = None
    """what must stay on one side of a division: a column, or an expression over the file's name, such as lot(\\d+)"""
    slice_by: str | None = None
    """the same, for the report: what to tell apart in it, such as a camera or a day"""
    part_by: str | None = None
    """the same, for the report: what names the part, where several pictures show the same one"""
    splits: str | None = None
    """manifest.json of an earlier `prepare`: divide train as it was divided then"""
    exclude: str | None = None
    """CSV file with the column key (and source): rows to leave out; `prepare` writes such a list"""
    on_bad_row: Literal["error", "skip"] = "error"
    """a row or picture that cannot be read: stop and name it, or leave it out, counted and listed"""
    multi: Literal["first", "error"] = "first"
    """several labels in one row: take the first and count it, or treat the row as bad"""
    bit_depth: Annotated[int, Field(ge=8, le=16)] = 8
    """bits a channel really uses in 16-bit pictures (10, 12, 14, 16); 8 refuses such pictures"""
    roi: Annotated[list[float], Field(min_length=4, max_length=4)] | None = None
    """region of interest [x1, y1, x2, y2], the same for all pictures: shares if none is over 1, else pixels"""
    cache: str | None = None
    """folder for decoded pictures and the answers of frozen blocks; null: $FRAMEVIT_CACHE, else ~/.cache/framevit"""
    audit: AuditConfig = AuditConfig()
    """what `prepare` calls a finding"""
    demo: DemoConfig = DemoConfig()
    """how many frames the drawn data sets have"""


class ScratchConfig(Section):
    image_size: PositiveInt = 64
    """side of the square picture in pixels; a multiple of patch_size"""
    patch_size: PositiveInt = 8
    """side of a patch in pixels"""
    hidden_size: PositiveInt = 128
    """width; a multiple of heads"""
    layers: PositiveInt = 4
    """transformer blocks"""
    heads: PositiveInt = 4
    """attention heads"""
    mlp_ratio: PositiveInt = 2
    """width of the hidden layer of a block's MLP, in multiples of hidden_size"""
    dropout: Fraction = 0.0
    """dropout in the blocks"""


class ModelConfig(Section):
    name: str = "google/vit-large-patch16-224"
    """hub name (owner/name, owner/name@revision) or folder of an image classifier with safetensors weights"""
    init: Literal["pretrained", "scratch"] = "pretrained"
    """go on from model.name, or start an untrained ViT of the sizes in model.scratch"""
    scratch: ScratchConfig = ScratchConfig()
    """the sizes of an untrained ViT, used where init is scratch"""


class AugmentConfig(Section):
    hflip: bool | None = None
    """mirror left-right, labels and boxes with it; null: where labels.symmetries declares it"""
    vflip: bool | None = None
    """mirror top-bottom; null: where declared"""
    rot180: bool | None = None
    """half turns; null: where declared"""
    rot90: bool | None = None
    """quarter turns; null: where declared"""
    brightness: Fraction = 0.1
    """largest change of brightness, as a share of white"""
    contrast: Fraction = 0.1
    """largest change of contrast, as a share"""
    shift: Annotated[float, Field(ge=0, le=0.25)] = 0.0
    """largest shift of the whole picture, as a share of its side; off: position is the signal"""


class TrainingConfig(Section):
    epochs: Annotated[float, Field(gt=0, le=10_000)] = 15
    """passes over the training set"""
    batch_size: PositiveInt = 16
    """pictures a step on each device, before accumulation"""
    gradient_accumulation: PositiveInt = 1
    """batches added up before the weights move"""
    gradient_checkpointing: bool = False
    """recompute activations instead of keeping them: slower, much less memory"""
    deterministic: bool = False
    """on CUDA: only algorithms that give the same bits each time, somewhat slower; a CPU gives them anyway"""
    compile: bool = False
    """torch.compile: some minutes of compiling, then somewhat faster steps; for long runs on large cards"""
    freeze: Freeze = "none"
    """what stays as it is: backbone trains the head only, a number freezes the embeddings and so many first blocks.
    What is frozen is computed once for each view, so brightness, contrast and shift are not drawn then"""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-4
    """the highest rate of the schedule"""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """how the rate falls after the warmup"""
    warmup: Fraction = 0.1
    """share of all steps in which the rate rises from nothing"""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    """AdamW's decay; never on norms and biases"""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    """each block learns at this share of the rate of the block above it; 1: all alike (see framevit help training)"""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """validate, choose and keep a moving average of the weights with this decay, such as 0.99; null: the weights"""
    label_smoothing: Fraction = 0.0
    """share of the target spread over all classes"""
    class_weights: Literal["none", "balanced"] = "none"
    """weigh the loss by how rare a class is"""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """gradients longer than this are shortened to it"""
    eval_steps: PositiveInt | None = None
    """validate every so many steps; null: after every epoch"""
    save_steps: PositiveInt | None = None
    """save every so many steps; null: at every validation; a new best is saved in any case"""
    save_total_limit: PositiveInt = 2
    """the newest so many checkpoints are kept, and the best one"""
    early_stopping: PositiveInt | None = None
    """stop after so many validations without a better macro-F1; null: never"""
    logging_steps: PositiveInt = 10
    """steps between two rows of history.csv"""
    precision: Precision = "auto"
    """auto: bf16 on CUDA from capability 8 on and on CPUs with AMX or avx512_bf16, fp16 on older CUDA, else fp32"""
    device: str = "auto"
    """auto | cpu | cuda | cuda:N | mps"""
    seed: Seed = 0
    """seed of the weights that start anew, the order of the pictures and the augmentation"""
    report_to: list[str] = []
    """experiment trackers that transformers' Trainer knows: tensorboard, wandb, mlflow, ..."""


class CostsConfig(Section):
    missed: Annotated[float, Field(ge=0)] = 10.0
    """a bad part that is called fine"""
    false_alarm: Annotated[float, Field(ge=0)] = 1.0
    """a fine part that is called bad"""
    wrong_sign: Annotated[float, Field(ge=0)] = 3.0
    """a displaced part that is said to be displaced the other way: it would be corrected away from its place"""
    wrong_axis: Annotated[float, Field(ge=0)] = 2.0
    """a bad part that is said to be bad in another way"""
    matrix: dict[Name, dict[Name, Annotated[float, Field(ge=0)]]] = {}
    """costs by class, {true: {predicted: cost}}, instead of those above"""


class DecisionConfig(Section):
    max_escape_rate: Annotated[float, Field(gt=0, lt=1)] = 0.005
    """largest share of bad parts that may be accepted; the threshold is chosen so that this can be claimed"""
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    """how sure the claim must be"""
    review_budget: Fraction = 0.03
    """share of the parts that a person can look at: those whose scores lie next above the accepted ones"""
    max_overkill_rate: Annotated[float, Field(gt=0, lt=1)] | None = None
    """instead of the budget: largest share of good parts that may be rejected, as surely; all between is review"""
    bad_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """share of bad parts on the line, for the budget; null: as in the pictures that the thresholds are chosen on"""
    unlike: Literal["review", "note", "off"] = "review"
    """pictures unlike those of the training (size, colour mode, light, sharpness, embedding): review, only told, or not
    looked for"""
    costs: CostsConfig = CostsConfig()
    """what mistakes cost, in any unit"""


class ExportConfig(Section):
    pictures: PositiveInt = 64
    """pictures of the test split on which an exported model is compared with torch"""
    tolerance: Annotated[float, Field(gt=0)] = 1e-3
    """largest difference of a logit up to which the exported model is kept"""
    int8_changed: Fraction = 0.02
    """largest share of these pictures whose decision int8 may change"""


class Config(Section):
    labels: LabelsConfig = LabelsConfig()
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    augment: AugmentConfig = AugmentConfig()
    training: TrainingConfig = TrainingConfig()
    decision: DecisionConfig = DecisionConfig()
    export: ExportConfig = ExportConfig()

    def label_space(self, names: Sequence[str]) -> LabelSpace:
        """The label space over these names (the configured ones, or those the training set has)."""
        return LabelSpace.build(names, self.labels.ok, self.labels.symmetries, self.labels.aliases)

    def flips(self) -> list[str]:
        """The symmetries that augmentation draws from."""
        declared = self.labels.symmetries
        return [key for key in GENERATORS if key in declared and getattr(self.augment, key) is not False]

    def with_names(self, names: Sequence[str]) -> Config:
        """The same configuration with the class names written out."""
        return self.model_copy(update={"labels": self.labels.model_copy(update={"names": list(names)})})
