"""Every configuration key that effps_solo adds to Detectron2's defaults.

Symbols in the comments are those of the papers: EfficientPS (Mohan & Valada, IJCV 2021) and SOLOv2
(Wang et al., NeurIPS 2020).
"""

from detectron2.config import CfgNode as CN

from effps_solo.utils.version import __version__


def add_effps_solo_config(cfg: CN) -> None:
    """Add the keys of effps_solo to ``cfg`` (a Detectron2 ``get_cfg()`` result), in place."""
    cfg.EFFPS_SOLO = CN()
    # The version that writes this config into a file, for those that read it; see migration.py.
    cfg.EFFPS_SOLO.VERSION = __version__
    # Factors on the losses of classes, by name: [["bicycle", 2.0], ...]; others have 1. Of the semantic head
    # of EfficientPS and of SOLOv2. They fill the two keys CLASS_WEIGHTS below, which are by number.
    cfg.MODEL.CLASS_WEIGHTS = []
    _add_input_keys(cfg)
    _add_backbone_keys(cfg)
    _add_sem_seg_head_keys(cfg)
    _add_solov2_keys(cfg)
    _add_mask_rcnn_keys(cfg)
    _add_fusion_keys(cfg)
    _add_solver_keys(cfg)
    _add_test_keys(cfg)


def _add_input_keys(cfg: CN) -> None:
    """Data sets and input."""
    # Files that describe data sets in COCO panoptic layout, each registered as <name>_<split>; see
    # effps_solo/data/datasets/description.py. Relative to the config file.
    cfg.DATASETS.DESCRIPTIONS = ()
    # The fields of such a file in place of one. NAME "": none.
    cfg.DATASETS.PANOPTIC = CN()
    cfg.DATASETS.PANOPTIC.NAME = ""
    # Folder of the data set; environment variables are expanded. Empty: $DETECTRON2_DATASETS/NAME.
    cfg.DATASETS.PANOPTIC.ROOT = ""
    cfg.DATASETS.PANOPTIC.SPLITS = ("train", "val")  # Each is registered as NAME_<split>.
    # Paths below ROOT; {split} stands for the split.
    cfg.DATASETS.PANOPTIC.IMAGES = "{split}"
    cfg.DATASETS.PANOPTIC.PANOPTIC_PNG = "panoptic_{split}"
    cfg.DATASETS.PANOPTIC.PANOPTIC_JSON = "panoptic_{split}.json"

    # Other images take the place of damaged ones in training; a process that meets more ends the run.
    cfg.DATALOADER.MAX_UNUSABLE_IMAGES = 10

    # "scale_crop": random scale, fixed crop with padding, flip (EfficientPS section 4.2), sized by
    # the keys below.
    # "large_scale_jitter": the same with factors on the size at which an image just fits into
    # CROP_SIZE, at test time, too; published with SCALE_RANGE (0.1, 2.0) (Ghiasi et al., CVPR 2021).
    # "shortest_edge": Detectron2's own INPUT.MIN_SIZE_TRAIN / MAX_SIZE_TRAIN, crop and flip, and
    # INPUT.MIN_SIZE_TEST / MAX_SIZE_TEST; of the keys below only COLOR_JITTER.
    cfg.INPUT.AUGMENTATION = "scale_crop"
    # Images are brought to this shorter edge (pixels) before the factors below, in training and at
    # test time; for data sets whose image sizes differ ("scale_crop" only). 0: an image's own size.
    cfg.INPUT.BASE_SHORTEST_EDGE = 0
    # Range of the random factor on the image size (not "shortest_edge").
    cfg.INPUT.SCALE_RANGE = (0.5, 2.0)
    # (height, width) of the training crop in pixels; smaller images are padded with void (not
    # "shortest_edge").
    cfg.INPUT.CROP_SIZE = (1024, 2048)
    # Probability of a crop that is placed around a random object, for images with few of them
    # (not "shortest_edge"). Images without objects stay in the training.
    cfg.INPUT.CROP_OBJECT_PROB = 0.0
    # Objects of other images that are put into one, at most; their classes are drawn alike.
    cfg.INPUT.COPY_PASTE_OBJECTS = 0
    # Strength of random brightness, contrast and saturation, factors in [1 - x, 1 + x]; 0: none.
    cfg.INPUT.COLOR_JITTER = 0.0
    cfg.INPUT.TEST_SCALE = 1.0  # Factor on the image size at test time (not "shortest_edge").


def _add_backbone_keys(cfg: CN) -> None:
    """Backbone and feature pyramid."""
    cfg.MODEL.EFFICIENTNET = CN()
    # A timm name: tf_efficientnet_b0 .. b7 or tf_efficientnet_lite0 .. lite4.
    cfg.MODEL.EFFICIENTNET.NAME = "tf_efficientnet_b5"
    cfg.MODEL.EFFICIENTNET.OUT_FEATURES = ["res2", "res3", "res4", "res5"]  # Strides 4 to 32.
    # Squeeze-and-excitation; EfficientPS removes it because it suppresses localisation.
    cfg.MODEL.EFFICIENTNET.SQUEEZE_EXCITE = False
    # res5 is the output of the 1x1 conv_head (as released), not of the last stage.
    cfg.MODEL.EFFICIENTNET.CONV_HEAD = True
    cfg.MODEL.EFFICIENTNET.NORM = "BN"  # BN, SyncBN, GN or FrozenBN.
    # leaky_relu (0.01, EfficientPS), relu6 (lite ImageNet weights), swish (b* ImageNet weights) or relu.
    cfg.MODEL.EFFICIENTNET.ACTIVATION = "leaky_relu"
    # Activation after the pointwise convolution of stage 0 as well (as released).
    cfg.MODEL.EFFICIENTNET.STAGE0_ACTIVATION = True
    # What stays as MODEL.WEIGHTS has it, weights and statistics of batch norms: 0 nothing, 1 the stem,
    # 2 the stages of res2, too, ... 5 all. (MODEL.BACKBONE.FREEZE_AT is that of ResNets.)
    cfg.MODEL.EFFICIENTNET.FREEZE_AT = 0

    cfg.MODEL.TWO_WAY_FPN = CN()
    cfg.MODEL.TWO_WAY_FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]  # Of the backbone.
    cfg.MODEL.TWO_WAY_FPN.OUT_CHANNELS = 256  # Of every level, p2 .. p6.
    cfg.MODEL.TWO_WAY_FPN.NORM = "BN"  # BN, SyncBN, GN or FrozenBN.
    cfg.MODEL.TWO_WAY_FPN.ACTIVATION = "leaky_relu"  # leaky_relu (0.01) or relu.
    # Separable 3x3 output convolutions (the paper); False: full ones (the released code).
    cfg.MODEL.TWO_WAY_FPN.SEPARABLE = True

    # Detectron2's build_resnet_fpn_backbone: p2 .. p6 as those of the two-way FPN.
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]


def _add_sem_seg_head_keys(cfg: CN) -> None:
    """Semantic head."""
    # "": no semantic head; MODEL.OUTPUTS must be ["instances"].
    cfg.MODEL.SEM_SEG_HEAD.NAME = "EfficientPSSemanticHead"
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["p2", "p3", "p4", "p5"]  # Levels of the pyramid.
    # Number of classes C, things and stuff; -1: as many as DATASETS.TRAIN[0] has.
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = -1
    # IGNORE_VALUE, the id of void, always is the ignore_label in the metadata of DATASETS.TRAIN[0].
    cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM = 128  # Channels of its convolutions.
    cfg.MODEL.SEM_SEG_HEAD.NORM = "BN"  # BN, SyncBN, GN or FrozenBN.
    cfg.MODEL.SEM_SEG_HEAD.ACTIVATION = "leaky_relu"  # leaky_relu (0.01) or relu.
    # Fraction of the hardest pixels of an image that the loss keeps, in (0, 1].
    cfg.MODEL.SEM_SEG_HEAD.TOP_FRACTION = 0.25
    # C factors by contiguous id; empty: 1.
    cfg.MODEL.SEM_SEG_HEAD.CLASS_WEIGHTS = []


def _add_solov2_keys(cfg: CN) -> None:
    """Instance head, and SOLOv2."""
    cfg.MODEL.INSTANCE_HEAD = CN()
    # "SOLOv2InstanceHead" or "MaskRCNNInstanceHead".
    cfg.MODEL.INSTANCE_HEAD.NAME = "SOLOv2InstanceHead"
    # Number of thing classes T; stands for MODEL.ROI_HEADS.NUM_CLASSES, too. -1: as many as
    # DATASETS.TRAIN[0] has; 0, for data sets without things: no instance head.
    cfg.MODEL.INSTANCE_HEAD.NUM_CLASSES = -1
    # T factors by thing index; empty: 1.
    cfg.MODEL.INSTANCE_HEAD.CLASS_WEIGHTS = []
    # Levels of SOLOv2; Mask R-CNN has MODEL.RPN.IN_FEATURES and MODEL.ROI_HEADS.IN_FEATURES.
    cfg.MODEL.INSTANCE_HEAD.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]

    cfg.MODEL.SOLOV2 = CN()
    # "efficient": separable convolutions, coordinate term, position prior. "full": the published head.
    cfg.MODEL.SOLOV2.VARIANT = "efficient"
    # Depth and width of the category and kernel towers (published: 4 and 512).
    cfg.MODEL.SOLOV2.NUM_CONVS = 3
    cfg.MODEL.SOLOV2.CHANNELS = 192
    # E: channels of the mask features, size of a 1x1 dynamic kernel (published: 256).
    cfg.MODEL.SOLOV2.KERNEL_DIM = 96
    # Channels inside the mask-feature branch (published: 128) and the levels it fuses.
    cfg.MODEL.SOLOV2.MASK_CHANNELS = 96
    cfg.MODEL.SOLOV2.MASK_IN_FEATURES = ["p2", "p3", "p4", "p5"]
    cfg.MODEL.SOLOV2.NORM = "BN"  # Of its three branches: BN, SyncBN, FrozenBN, or GN (published).
    # Grid (S_h, S_w) of every level of IN_FEATURES.
    cfg.MODEL.SOLOV2.NUM_GRIDS = [[40, 80], [36, 72], [24, 48], [16, 32], [12, 24]]
    # The same at inference where test images are larger than the crops, so that cells keep their
    # size in pixels. Empty: NUM_GRIDS.
    cfg.MODEL.SOLOV2.TEST_NUM_GRIDS = []
    # sqrt(w * h) of the objects that a level learns, in pixels of the network input, both ends inclusive.
    cfg.MODEL.SOLOV2.SCALE_RANGES = [[1, 96], [48, 192], [96, 384], [192, 768], [384, 100000]]
    # Half size of the centre region, as a fraction of half the box (sigma).
    cfg.MODEL.SOLOV2.CENTER_SIGMA = 0.2
    cfg.MODEL.SOLOV2.FOCAL_ALPHA = 0.25  # alpha and gamma of the focal loss on the categories.
    cfg.MODEL.SOLOV2.FOCAL_GAMMA = 2.0
    cfg.MODEL.SOLOV2.CATEGORY_LOSS_WEIGHT = 1.0  # Factor on L_cate.
    # lambda of L = L_cate + lambda L_mask.
    cfg.MODEL.SOLOV2.MASK_LOSS_WEIGHT = 3.0
    # Factor on the cross-entropy at points around each object, at full resolution (not "full"). 0: none.
    cfg.MODEL.SOLOV2.POINT_LOSS_WEIGHT = 0.0
    cfg.MODEL.SOLOV2.NUM_POINTS = 112  # Of each mask, most of them where it is uncertain.
    # Positive cells of an image whose masks are in memory at once in the mask loss; more are taken in
    # chunks of this size, each computed twice. 0: all at once.
    cfg.MODEL.SOLOV2.MASK_LOSS_CHUNK = 256
    # Candidates are (cell, class) pairs above this probability.
    cfg.MODEL.SOLOV2.SCORE_THRESH = 0.1
    cfg.MODEL.SOLOV2.NMS_PRE = 500  # Candidates that enter Matrix NMS at most.
    # "gaussian" exp(-sigma iou^2) or "linear" 1 - iou.
    cfg.MODEL.SOLOV2.NMS_KERNEL = "gaussian"
    cfg.MODEL.SOLOV2.NMS_SIGMA = 2.0
    # Instances below this score after Matrix NMS are dropped.
    cfg.MODEL.SOLOV2.UPDATE_THRESH = 0.05
    cfg.MODEL.SOLOV2.MIN_MASK_AREA = 1  # Masks of fewer stride-4 pixels are dropped.
    # Targets, mask loss and decoding as published, also where that is at fault.
    cfg.MODEL.SOLOV2.PARITY = False


def _add_mask_rcnn_keys(cfg: CN) -> None:
    """Mask R-CNN: Detectron2's keys with other values, and three more."""
    cfg.MODEL.ROI_HEADS.NAME = "StandardROIHeads"  # A name of Detectron2's ROI_HEADS_REGISTRY.
    cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4", "p5"]  # Levels that boxes are pooled from.
    cfg.MODEL.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5"]  # Levels that propose boxes.
    # Square root of the anchors' areas in pixels of the network input, per level.
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[32], [64], [128], [256]]
    # Anchors stand in the middle of their cells, as in mmdetection and the released code.
    cfg.MODEL.ANCHOR_GENERATOR.OFFSET = 0.5
    # Of MODEL.RPN.HEAD_NAME "SeparableRPNHead" (EfficientPS's paper); "StandardRPNHead" has neither.
    cfg.MODEL.RPN.NORM = "BN"
    cfg.MODEL.RPN.ACTIVATION = "leaky_relu"
    # Proposals before NMS per level, and after it over all levels.
    cfg.MODEL.RPN.PRE_NMS_TOPK_TRAIN = 2000
    cfg.MODEL.RPN.PRE_NMS_TOPK_TEST = 1000
    cfg.MODEL.RPN.POST_NMS_TOPK_TRAIN = 1000
    cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 1000
    # Two fully connected layers over 7 x 7 cells.
    cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    cfg.MODEL.ROI_BOX_HEAD.NUM_FC = 2
    cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 7
    # EfficientPS: separable convolutions over 14 x 14 cells, masks of 28 x 28.
    cfg.MODEL.ROI_MASK_HEAD.NAME = "SeparableMaskHead"
    cfg.MODEL.ROI_MASK_HEAD.NUM_CONV = 4
    cfg.MODEL.ROI_MASK_HEAD.NORM = "BN"
    # Of the separable convolutions: leaky_relu (0.01) or relu.
    cfg.MODEL.ROI_MASK_HEAD.ACTIVATION = "leaky_relu"


def _add_fusion_keys(cfg: CN) -> None:
    """Panoptic fusion, and what a model gives."""
    cfg.MODEL.PANOPTIC_FUSION = CN()
    # "AdaptiveFusion" (EfficientPS) or "HeuristicFusion" (Panoptic FPN).
    cfg.MODEL.PANOPTIC_FUSION.NAME = "AdaptiveFusion"
    # c_t: instances below this score stay out of the panoptic map.
    cfg.MODEL.PANOPTIC_FUSION.SCORE_THRESH = 0.5
    # o_t: an instance is dropped when more than this fraction of it is already taken.
    cfg.MODEL.PANOPTIC_FUSION.OVERLAP_THRESH = 0.5
    # min_sa as a fraction of the image: smaller stuff regions become void (published: 2048 px of 1024x2048).
    cfg.MODEL.PANOPTIC_FUSION.STUFF_AREA_FRACTION = 2048 / (1024 * 2048)
    # Factor on the mask logits ML_A: 1 in the paper, 4 in the released code.
    cfg.MODEL.PANOPTIC_FUSION.INSTANCE_LOGIT_SCALE = 1.0

    # A pixel of a thing class that no instance claims is void (as released).
    # False: it gets the best stuff class.
    cfg.MODEL.PANOPTIC_FUSION.VOID_UNCLAIMED_THINGS = True

    # What inference makes, of "panoptic_seg", "sem_seg" and "instances".
    cfg.MODEL.OUTPUTS = ["panoptic_seg", "sem_seg", "instances"]


def _add_solver_keys(cfg: CN) -> None:
    """Training."""
    cfg.SOLVER.OPTIMIZER = "SGD"  # "SGD" or "AdamW".
    # SOLVER.CLIP_GRADIENTS.CLIP_TYPE also takes "full_model": the L2 norm of all gradients together.
    cfg.SOLVER.BACKBONE_MULTIPLIER = 1.0  # Factor on the learning rate of backbone.bottom_up.
    # LR_SCHEDULER_NAME also takes WarmupPolyLR: (1 - iteration / MAX_ITER) ^ POLY_LR_POWER.
    cfg.SOLVER.POLY_LR_POWER = 0.9
    # The batch size that BASE_LR is meant for: the rate is scaled by IMS_PER_BATCH / this, for AdamW
    # by the square root of it. 0: BASE_LR as it is.
    cfg.SOLVER.REFERENCE_BATCH_SIZE = 0
    # Blocks keep their inputs only and run again in the backward pass: less than half the memory, at most
    # a third more time.
    cfg.SOLVER.ACTIVATION_CHECKPOINTING = False
    # Equal parts of a process' share of SOLVER.IMS_PER_BATCH that pass through the network one after the
    # other before a step: less memory, and with crops of one size and GN or FrozenBN the same result.
    cfg.SOLVER.ACCUMULATION_STEPS = 1
    # Numbered checkpoints that stay; older ones are removed. 0: all.
    cfg.SOLVER.CHECKPOINT_KEEP = 5
    # Steps with a loss or gradient that is NaN or infinite are left out; more of them end the run.
    cfg.SOLVER.MAX_NONFINITE_STEPS = 0
    # The training ends when so many evaluations (TEST.EVAL_PERIOD) in a row have not exceeded the best value
    # of TEST.BEST_METRIC before them. 0: never.
    cfg.SOLVER.EARLY_STOPPING_PATIENCE = 0
    # Exponential moving average of weights and running statistics; evaluated apart as "ema/...".
    cfg.SOLVER.EMA = CN()
    cfg.SOLVER.EMA.ENABLED = False
    # Share of the old average that a step keeps; less in the first steps: (1 + n) / (10 + n).
    cfg.SOLVER.EMA.DECAY = 0.999
    # With SOLVER.AMP.ENABLED: "bf16" or, on a GPU only, "fp16".
    cfg.SOLVER.AMP.PRECISION = "bf16"


def _add_test_keys(cfg: CN) -> None:
    """Evaluation and prediction; Weights & Biases."""
    # --eval-only and predict take the averaged weights (SOLVER.EMA) of a checkpoint that has them.
    cfg.TEST.USE_EMA = True
    # The scalar whose best value during training keeps model_best.pth, where TEST.EVAL_PERIOD is set; of
    # averaged weights, if there are any. "": none. It needs what MODEL.OUTPUTS names.
    cfg.TEST.BEST_METRIC = "panoptic_seg/PQ"
    # --eval-only, predict and load() compute in this format ("bf16" or, on a GPU only, "fp16"), or in fp32.
    cfg.TEST.AMP = CN()
    cfg.TEST.AMP.ENABLED = False
    cfg.TEST.AMP.PRECISION = "bf16"
    # The same run networks that torch.compile has compiled: faster, after minutes at the first image and
    # at the first one of another size.
    cfg.TEST.COMPILE = False
    # TEST.AUG.ENABLED in --eval-only and predict: predictions of these scales - factors on the size at which
    # the network sees an image - and, with TEST.AUG.FLIP, of the mirrored image are merged. A scale
    # costs its square, twice with the mirrored image.
    cfg.TEST.AUG.SCALES = (0.75, 1.0, 1.5, 2.0)
    # Images of each data set that evaluations take, during training and with --eval-only: so many, spread
    # evenly over the set. 0: all.
    cfg.TEST.MAX_IMAGES = 0
    # Images of each data set on which evaluations during training also compute the losses, told as
    # "validation/..."; each costs a forward pass. 0: none.
    cfg.TEST.VALIDATION_LOSS_IMAGES = 16
    # Of the image's diagonal, the band along borders of Boundary PQ: 0.02 for COCO, 0.005 for Cityscapes.
    cfg.TEST.BOUNDARY_RATIO = 0.02
    # With VIS_PERIOD, the iterations between pictures of predictions in TensorBoard: how many images
    # of the first set of DATASETS.TEST.
    cfg.TEST.NUM_PICTURES = 4

    # Scalars and pictures to Weights & Biases, if its package is installed.
    cfg.WANDB = CN()
    cfg.WANDB.ENABLED = False
    cfg.WANDB.PROJECT = "effps_solo"
    # "": the last part of OUTPUT_DIR.
    cfg.WANDB.NAME = ""
