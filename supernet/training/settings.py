"""Settings of a training: each stands here alone. Imports no torch."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from lanas.errors import UserError
from supernet.settings import AtLeast, Own, Seed

if TYPE_CHECKING:
    from supernet.data.augment import Augment
    from supernet.data.sets import Data
    from supernet.data.tasks import Task

TRAINERS = ("cpu", "cuda", "mps")  # kinds of devices that Lightning knows
PRECISIONS = {"32": "32-true", "tf32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Training"""

    epochs: Annotated[int, AtLeast(1)] = 60
    """passes over the images"""
    batch_size: Annotated[int, AtLeast(1)] = 64
    """images in a batch, all devices together"""
    accumulate: Annotated[int, AtLeast(1)] = 1
    """batches in a step, one after the other, to spare memory"""
    opt: Annotated[str, Own("opt", "my_opt.py:SignSGD")] = "sgd"
    """optimiser of weights: timm's by name, as sgd (with Nesterov momentum), adamw, lamb, or your
    own: my_opt.py:SignSGD (docs/extending.md)"""
    lr: Annotated[float, AtLeast(0)] = 0.05
    """peak learning rate"""
    momentum: Annotated[float, AtLeast(0, below=1)] = 0.9
    """momentum of optimisers that have one"""
    opt_betas: Annotated[tuple[float, ...] | None, AtLeast(0, below=1)] = None
    """betas of optimisers that have them, as 0.9,0.98; null: the optimiser's own"""
    opt_eps: Annotated[float | None, AtLeast(0)] = None
    """epsilon of optimisers that have one; null: the optimiser's own"""
    weight_decay: Annotated[float, AtLeast(0, most=1e6)] = 5e-4
    """weight decay of weights; norms and biases have none"""
    layer_decay: Annotated[float, AtLeast(0, most=1)] = 1.0
    """factor of the learning rate from each layer to the one before it; 1: none"""
    warmup: Annotated[float, AtLeast(0)] = 2.0
    """epochs of linear warm-up, at most half of all; then the rate falls to 0"""
    schedule: Literal["cosine", "linear"] = "cosine"
    """how the learning rate falls after the warm-up"""
    bias_lr: Annotated[float, AtLeast(0, most=1e6)] = 1.0
    """learning rate of biases, those of norms too, as a multiple of lr"""
    freeze_scales: bool = False
    """keep the scales of norms as they begin, at 1; their biases are trained"""
    init: Literal["random", "identity", "pretrained"] = "random"
    """initial weights; identity: convolutions that keep their channels pass their input on;
    pretrained: those that a space of your own loads (docs/own-space.md)"""
    clip: Annotated[float, AtLeast(0)] = 5.0
    """largest norm of the gradient; 0: no clipping"""
    label_smoothing: Annotated[float, AtLeast(0, below=1)] = 0.0
    """label smoothing of the loss"""
    crop: Annotated[int | None, AtLeast(0)] = None
    """pixels of random shift; null: an eighth of the image"""
    flip: bool | Literal["alternating"] | None = None
    """mirror images at random; alternating: each image in every second epoch; null: as is usual
    for the data"""
    cutout: Annotated[int, AtLeast(0)] = 0
    """side in pixels of a square that is left out of each image; 0: none"""
    rand_augment: Annotated[int, AtLeast(0, most=30)] = 0
    """magnitude of RandAugment, two operations on each image (9 is usual); 0: none"""
    random_erasing: Annotated[float, AtLeast(0, most=1)] = 0.0
    """share of images of which a rectangle becomes noise (0.25 is usual); 0: none"""
    mixup: Annotated[float, AtLeast(0)] = 0.0
    """alpha of Mixup, images that are sums of two (0.8 is usual); 0: none"""
    cutmix: Annotated[float, AtLeast(0)] = 0.0
    """alpha of CutMix, images with a rectangle of another (1 is usual); with Mixup either, by
    chance, for each batch; 0: none"""
    ema: Annotated[float, AtLeast(0, below=1)] = 0.0
    """decay of the average of the weights over the steps, which is kept in their place (0.999 to
    0.9999 are usual); 0: none"""
    teacher: str | None = None
    """teacher: labels (none), largest (of a sandwich step; in retrain.py, of the supernet), a timm
    model, or a folder of retrain.py; null: largest with --strategy sandwich, else labels"""
    teacher_weights: str | None = None
    """weights of a timm teacher: pretrained, or the file of a checkpoint"""
    distill: Annotated[float, AtLeast(0, most=1)] = 1.0
    """weight of the distillation loss, 0 to 1"""
    temperature: Annotated[float, AtLeast(0.01, most=1e6)] = 1.0
    """temperature of the teacher's labels"""
    precision: Literal["32", "tf32", "bf16", "fp16"] = "32"
    """precision of the arithmetic; tf32: float32 with products rounded to 10 bits, on a GPU"""
    seed: Seed = 0
    """random seed"""

    def trained_task(self, data: "Data") -> "Task":
        """The data's task, with the loss of these settings."""
        return data.task.training(self.label_smoothing, self.temperature)

    def augmentation(self, data: "Data") -> "Augment":
        """What is drawn at random on an image's way into the network."""
        from supernet.data.augment import Augment

        crop = data.crop if self.crop is None else self.crop
        return Augment(
            data,
            crop=crop,
            flip=self.flip,
            cutout=self.cutout,
            rand_augment=self.rand_augment,
            erasing=self.random_erasing,
            mixup=self.mixup,
            cutmix=self.cutmix,
        )

    def check(self, data: "Data", split: str, devices: int = 1) -> None:
        """UserError, in one line, where a setting does not fit the data, its device or timm."""
        from supernet.training.weights import check_optimiser

        if data.device.type not in TRAINERS:
            raise UserError(
                f"--device {data.device.type}: Lightning trains on {', '.join(TRAINERS)}; take one "
                "of them (--device cpu)"
            )
        if self.precision in ("fp16", "tf32") and data.device.type == "cpu":
            raise UserError(
                f"precision {self.precision!r} needs a GPU; on the processor it is one of 32, bf16"
            )
        data.batches(split, self.batch_size, drop_last=True, share=(0, devices))
        step, there = self.batch_size * self.accumulate, len(data.batches(split, 1))
        if step > there:
            raise UserError(
                f"--accumulate {self.accumulate} batches of {self.batch_size} images are "
                f"{step} a step; allowed is up to {there}, the images of {split}"
            )
        self.trained_task(data)
        self.augmentation(data)
        check_optimiser(self)
