"""Rules for the training: what it sees, how often, and for how long."""

import math
from typing import List

import numpy as np

from .choice import Choice
from .fingerprint import Fingerprint
from .frame import Frame
from .machine import GIGABYTE, Machine, StepCost

RARE_IMAGES = 0.25  # of the images: a class on fewer of them is rare
# Of the pixels: classes with less get weights, by the root of how much less.
RARE_PIXELS, MIN_CLASS_WEIGHT, MAX_CLASS_WEIGHT = 0.005, 1.2, 2.0
FULL_OF_OBJECTS, POINT_LOSS_WEIGHT, SEMANTIC_LOSS_WEIGHT = 20, 3.0, 2.0  # objects an image
EMPTY_IMAGES = 0.2  # share of images without objects from which crops look for objects
COMPLETE = 0.01  # share of void below which every pixel is taken to have a class
MAX_STUFF_FRACTION = 0.002  # of the image: twice that of EfficientPS (2048 px of 1024x2048)
STUFF_PERCENT = 2
BATCH_SIZE = {"cpu": 2, "cuda": 8}
REFERENCE_BATCH_SIZE = 2  # of the learning rate
EVALUATION_SHARE = 0.2  # of the time
# Seconds of an evaluation by those of a training step, of equally many pixels: no backward pass, but metrics.
EVALUATION_COST = 0.6
MIN_ITERATIONS, ITERATION_STEP = 50, 10
WARMUP_SHARE, MIN_WARMUP, MAX_WARMUP = 1 / 40, 30, 500
COPY_PASTE_OBJECTS = 3
NUM_CHECKPOINTS, MAX_EVALUATIONS = 10, 4
MIN_TEST_IMAGES = 100
EMA_ITERATIONS = 1000  # an average of fewer holds too many weights of the beginning
# Passes over the images from which on, range of the factor on the size, and colour jitter.
AUGMENTATION = ((0, (0.8, 1.25), 0.0), (5, (0.75, 1.33), 0.2), (100, (0.5, 2.0), 0.3))


def data_choices(data: Fingerprint) -> List[Choice]:
    """Sampling, crops around objects, and what the fusion does with void and small regions."""
    choices = [*_sampling(data), *_class_weights(data), *_points(data)]
    empty = float(np.mean(data.num_objects == 0))
    probability = 0.5 if EMPTY_IMAGES < empty < 1 else 0.0
    reason = f"{100 * empty:.0f} % of the images hold no object"
    reason += "; every other crop looks for one where there are any." if probability else "."
    choices.append(Choice("INPUT.CROP_OBJECT_PROB", probability, reason))
    if probability:
        reason = "Objects of other images are put into one, rare classes as often as others."
        choices.append(Choice("INPUT.COPY_PASTE_OBJECTS", COPY_PASTE_OBJECTS, reason))
    void = max(0.0, 1 - float(data.class_share.sum()))
    complete = void < COMPLETE
    reason = f"{100 * void:.1f} % of the pixels are void"
    reason += (
        ": a pixel that no object claims gets a class of stuff."
        if complete
        else ": a pixel of a thing that no object claims becomes void, too."
    )
    choices.append(Choice("MODEL.PANOPTIC_FUSION.VOID_UNCLAIMED_THINGS", not complete, reason))
    choices.append(
        Choice(
            "MODEL.PANOPTIC_FUSION.SCORE_THRESH",
            0.2,
            "Scores of SOLOv2 are low; `effps-solo tune` finds the best one after training.",
        )
    )
    return [*choices, _stuff_area(data)]


def _sampling(data: Fingerprint) -> List[Choice]:
    occurs = data.num_images_of_class > 0
    shares = np.where(occurs, data.num_images_of_class / data.num_images, np.inf)
    rarest = int(shares.argmin())
    reason = (
        f"The rarest class, {data.names[rarest]}, is on {data.num_images_of_class[rarest]} of "
        f"{data.num_images} images"
    )
    if shares[rarest] >= RARE_IMAGES:
        return [Choice("DATALOADER.SAMPLER_TRAIN", "TrainingSampler", f"{reason}: none is rare.")]
    reason += ": an image comes more often by the root of how rare its rarest class is."
    sampler = Choice("DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler", reason)
    return [sampler, Choice("DATALOADER.REPEAT_THRESHOLD", 1.0)]


def _class_weights(data: Fingerprint) -> List[Choice]:
    shares = [(name, share) for name, share in zip(data.names, data.class_share) if share > 0]
    every = {name: min(MAX_CLASS_WEIGHT, math.sqrt(RARE_PIXELS / share)) for name, share in shares}
    weights = [[name, round(w, 1)] for name, w in every.items() if w >= MIN_CLASS_WEIGHT]
    if not weights:
        return []
    reason = (
        f"Classes with less than {100 * RARE_PIXELS:g} % of the pixels: the root of how much less, at most "
        f"{MAX_CLASS_WEIGHT:g}."
    )
    return [Choice("MODEL.CLASS_WEIGHTS", weights, reason)]


def _points(data: Fingerprint) -> List[Choice]:
    """See docs/decisions/0006-points.md."""
    mean = float(data.num_objects.mean())
    if mean < FULL_OF_OBJECTS:
        return []
    points = Choice(
        "MODEL.SOLOV2.POINT_LOSS_WEIGHT",
        POINT_LOSS_WEIGHT,
        f"{mean:.0f} objects an image, at least {FULL_OF_OBJECTS}: their borders are also learned at points "
        "of the full resolution.",
    )
    if len(data.label_space.stuff_ids) < 2:
        return [points]
    reason = "Against the loss at points, which would outweigh it."
    return [points, Choice("MODEL.SEM_SEG_HEAD.LOSS_WEIGHT", SEMANTIC_LOSS_WEIGHT, reason)]


def _stuff_area(data: Fingerprint) -> Choice:
    key = "MODEL.PANOPTIC_FUSION.STUFF_AREA_FRACTION"
    if len(data.label_space.stuff_ids) < 2:
        return Choice(key, 0.0, "There is no other class of stuff to mistake a small region for.")
    areas = np.concatenate([image.stuff_areas for image in data.images])
    smallest = float(np.percentile(areas, STUFF_PERCENT)) if len(areas) else 0.0
    fraction = min(MAX_STUFF_FRACTION, smallest)
    rounded = float(f"{fraction:.0e}")
    reason = (
        f"{STUFF_PERCENT} % of the regions of stuff are smaller than {smallest:.2g} of the image; that, "
        f"at most {MAX_STUFF_FRACTION:g}. Smaller ones become void."
    )
    return Choice(key, rounded, reason)


def batch_choices(machine: Machine, *, one_by_one: bool, recompute: bool) -> List[Choice]:
    """Batch, accumulation, checkpointing of activations, workers."""
    size = BATCH_SIZE[machine.device]
    workers = 0 if machine.num_cores <= 2 else min(8, machine.num_cores // 2)
    choices = [
        Choice(
            "SOLVER.IMS_PER_BATCH",
            size,
            "Many small steps reach more than few large ones."
            if machine.device == "cpu"
            else "Fills a GPU.",
        ),
        Choice("SOLVER.REFERENCE_BATCH_SIZE", REFERENCE_BATCH_SIZE, "Of the learning rate."),
        Choice(
            "DATALOADER.NUM_WORKERS",
            workers,
            "The network wants both cores." if not workers else "One process for two cores.",
        ),
    ]
    memory = f"{machine.memory / GIGABYTE:.0f} GB of memory"
    if recompute:
        choices.append(Choice("SOLVER.ACTIVATION_CHECKPOINTING", True, f"To stay within {memory}."))
    if one_by_one:
        choices.append(Choice("SOLVER.ACCUMULATION_STEPS", size, f"To stay within {memory}."))
    return choices


def num_iterations(cost: StepCost, minutes: float) -> int:
    """How many steps the time allows."""
    possible = (1 - EVALUATION_SHARE) * 60 * minutes / cost.seconds
    return max(MIN_ITERATIONS, ITERATION_STEP * int(possible / ITERATION_STEP))


def schedule_choices(
    data: Fingerprint, frame: Frame, batch_size: int, iterations: int, reason: str
) -> List[Choice]:
    """What follows from the number of iterations; ``reason`` is theirs."""
    passes = iterations * batch_size / data.num_images
    _, scales, jitter = max(row for row in AUGMENTATION if row[0] <= passes)
    factors = tuple(round(frame.test_scale * factor, 2) for factor in scales)
    warmup = round(min(MAX_WARMUP, max(MIN_WARMUP, WARMUP_SHARE * iterations)))
    told = f"{passes:.1f} passes over the images"
    around = f" around the test scale {frame.test_scale:g}" if frame.test_scale != 1 else ""
    average = iterations >= EMA_ITERATIONS
    period = math.ceil(iterations / NUM_CHECKPOINTS)
    return [
        Choice("SOLVER.MAX_ITER", iterations, f"{reason}; {told}."),
        Choice("SOLVER.WARMUP_ITERS", warmup, "A fortieth of it, 30 to 500."),
        Choice("SOLVER.CHECKPOINT_PERIOD", period, "A tenth of the training is lost at most."),
        Choice(
            "SOLVER.EMA.ENABLED",
            average,
            f"Averaged weights pay from about {EMA_ITERATIONS} iterations on.",
        ),
        Choice(
            "INPUT.SCALE_RANGE",
            factors,
            f"{told}: the more, the stronger the augmentation{around}.",
        ),
        Choice("INPUT.COLOR_JITTER", jitter),
    ]


def evaluation_choices(
    num_images: int, seconds_per_image: float, iterations: int, minutes: float
) -> List[Choice]:
    """How often to evaluate on how many of ``num_images``, within what the training leaves of the time."""
    if not num_images:
        return [Choice("TEST.EVAL_PERIOD", 0, "There is no split to evaluate on.")]
    allowed = EVALUATION_SHARE * 60 * minutes
    seconds = num_images * seconds_per_image
    count = min(MAX_EVALUATIONS, int(allowed / seconds))
    told = f"An evaluation of {num_images} images takes about {seconds / 60:.1f} minutes"
    if count > 1:
        period = math.ceil(iterations / count)
        reason = f"{told}: {count} fit into a fifth of the time; the best weights are kept."
        return [Choice("TEST.EVAL_PERIOD", period, reason)]
    choices = [Choice("TEST.EVAL_PERIOD", 0, f"{told}: it comes once, at the end.")]
    affordable = max(MIN_TEST_IMAGES, int(allowed / seconds_per_image))
    if affordable < num_images:
        reason = (
            f"As many as fit into a fifth of the time, at least {MIN_TEST_IMAGES}; 0 takes all."
        )
        choices.append(Choice("TEST.MAX_IMAGES", affordable, reason))
    return choices
