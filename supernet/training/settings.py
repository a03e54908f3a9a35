"""Settings of a training: each stands here alone, with its type, bounds, default and meaning."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from lanas.bounds import OneOf, Within, check_bounds

if TYPE_CHECKING:
    pass

PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained, a supernet or one architecture alone.

    epochs: passes over the training images
    batch_size: images of a batch, of all devices together
    accumulate: batches of one step, run one after the other to spare memory
    opt: optimiser of weights, as timm names it: sgd (with Nesterov's momentum), adamw, lamb, ...
    lr: peak learning rate
    momentum: momentum, of optimisers that have one
    opt_betas: betas of optimisers that have them; by default the optimiser's own
    opt_eps: epsilon of optimisers that have one; by default the optimiser's own
    weight_decay: weight decay, not on norms and biases
    layer_decay: factor of the learning rate from each group of layers to the one before it
    warmup: epochs of linear warm-up, at most half of all; then the learning rate falls by a cosine
    clip: largest gradient norm; 0 for no limit
    label_smoothing: label smoothing, 0 to 1
    crop: pixels by which an image is shifted at random; by default an eighth of its height
    flip: mirror every second image at random; by default as is usual for the data
    cutout: side in pixels of a square that is left out; 0 for none
    teacher: labels, largest (first path of a sandwich step), a timm model, or a retrain.py folder
    teacher_weights: weights of a timm teacher: pretrained, or the file of a checkpoint
    distill: weight of the distillation loss, 0 to 1; the rest is the loss on the labels
    temperature: temperature of the distillation loss
    precision: 32, bf16 or fp16
    seed: random seed

    Raises UserError, in one line, where a value is outside of its bounds.
    """

    epochs: Annotated[int, Within(1)] = 60
    batch_size: Annotated[int, Within(1)] = 64
    accumulate: Annotated[int, Within(1)] = 1
    opt: str = "sgd"
    lr: Annotated[float, Within(0.0)] = 0.05
    momentum: Annotated[float, Within(0.0, below=1.0)] = 0.9
    opt_betas: tuple[float, ...] | None = None
    opt_eps: Annotated[float, Within(0.0)] | None = None
    weight_decay: Annotated[float, Within(0.0)] = 5e-4
    layer_decay: Annotated[float, Within(0.0, most=1.0)] = 1.0
    warmup: Annotated[float, Within(0.0)] = 2.0
    clip: Annotated[float, Within(0.0)] = 5.0
    label_smoothing: Annotated[float, Within(0.0, below=1.0)] = 0.0
    crop: Annotated[int, Within(0)] | None = None
    flip: bool | None = None
    cutout: Annotated[int, Within(0)] = 0
    teacher: str | None = None
    teacher_weights: str | None = None
    distill: Annotated[float, Within(0.0, most=1.0)] = 1.0
    temperature: Annotated[float, Within(0.01)] = 1.0
    precision: Annotated[str, OneOf(*PRECISIONS)] = "32"
    seed: Annotated[int, Within(0)] = 0

    def __post_init__(self) -> None:
        check_bounds(self)
