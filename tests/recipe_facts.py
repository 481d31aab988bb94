"""Every setting of every recipe, as it was published, and where: `test_recipe_facts.py` compares the recipes with it."""

from facts import (
    DECONV,
    DEEPLAB_CODE,
    DEEPLAB_V1,
    DEEPLAB_V2,
    DEEPLAB_V2_NET,
    DEEPLAB_V3,
    DEEPLAB_V3_PLUS,
    DETECTRON,
    ENCNET,
    ENCODING,
    FCN,
    LARGEFOV_NET,
    LIN,
    OURS,
    PANET,
    PARSENET_NET,
    PSPNET,
    SEMSEG,
    TABLES,
    UNET,
    Fact,
    of,
    ours,
)

# What a recipe does not set. Nobody published these as defaults of a recipe; where a paper has the same value it is said.
DEFAULTS: dict[str, Fact] = {
    **ours(
        data="scenes", root=None, train_split="train", val_split="val", network="fcn8s", backbone=None, stem=None, weights="auto",
        starts_from=None, width=None, padding=None, layer=None, learned_upsampling=None, features=None, fusion=None,
        normalize=None, norm_scale=None, side=None, unpooling=None, batch_norm=None, variant=None, channels=None,
        bands=None, band_ranges=None,
        convolutions=None, norm=None, skips=None, decoder=None, dropout=None, bins=None, pooling=None, reduce=None, lateral=None,
        codewords=None, se_loss=None, auxiliary=None, head=None, rate=None, msc=None, rates=None, scales=None, stride_in=None,
        output_stride=None,
        multi_grid=None, image_pooling=None, norm_momentum=None, separable=None, low_level=None, top_down=None, kernels=None,
        mask_side=None, roi=None, anchors=None, min_size=None, max_size=None, detections=None, bottom_up=None,
        box_head=None, fc_fusion=None,
        blur=0.0, scale_steps=0.0, short_sides=None, long_side=None, group_by_aspect=False,
        scale=1.0, crop=None, scale_jitter=(1.0, 1.0), flip=True, colour=0.0, class_crops=0.0, flip_vertical=False, rotate=0.0,
        fill="mirror",
        elastic=0.0, crops="none", crop_balance=0.5, proposals="edge_boxes", proposal_overlap=0.5,
        minutes=None, epochs=None, patience=None, val_pictures=None,
        steps=1000, batch=8, sampling="shuffled", accumulate=1, optimiser="adamw", lr=1e-3, trunk_lr=1.0,
        trunk_frozen=0, freeze_norm=False, score_lr=1.0,
        bias_lr=1.0, momentum=0.9, decay=1e-4, bias_decay=False, schedule="poly", step_size=None, gamma=0.1,
        milestones=None, warm_up=0,
        loss="cross_entropy", loss_mean="pixels", class_weights="none", statistics_batches=0, separation_weights=0.0,
        separation_class=None, ema=0.0, clip=0.0, mixed_precision=True, channels_last=True, seed=0, device="auto",
        validations=10, measure=None, figure=None, log_every=10, save_every=100, cache_mb=1024,
    ),
    **of("Noh et al., ICCV 2015, section 4.2", crop_enlarge=1.2),
    **of(f"{DECONV}: training/003_make_bn_layer_testable", statistics_batch=28),
    **of(f"{UNET}, equation 2", separation_sigma=5.0),
    **of("facebookresearch/Detectron: lib/core/config.py: SOLVER.WARM_UP_FACTOR", warm_up_from=1 / 3),
}  # fmt: skip

CVPR = "Long et al., CVPR 2015, arXiv:1411.4038v2, section 4.3"
SAVED = ours(save_every=1000)

# FCN by heavy learning: solver.prototxt, train.prototxt, solve.py and the data layers of the authors' repository.
HEAVY = {
    **SAVED,
    **of(f"{FCN}: solver.prototxt", batch=1, accumulate=1, optimiser="sgd", momentum=0.99, decay=5e-4, schedule="constant"),
    **of(f"{FCN}: train.prototxt: rates 1 and 2, decays 1 and 0", bias_lr=2.0, score_lr=1.0, trunk_lr=1.0, bias_decay=False),
    **of(f"{FCN}: train.prototxt: normalize false", loss_mean="pictures", loss="cross_entropy"),
    **of(f"{FCN}: voc_layers.py: one index of all, drawn anew; no crop, flip, scale or balance",
         sampling="replacement", flip=False, crop=None, scale=1.0, class_weights="none", colour=0.0),
    **of(f"{FCN}: net.py: interpolation is frozen", learned_upsampling=None),
}  # fmt: skip
SBD = of(f"{FCN}: data/pascal/README.md", data="voc2012", train_split="sbd_train", val_split="seg11valid")
VOC_HEAVY = {**HEAVY, **SBD, **of(f"{FCN}: voc-fcn*/solve.py: 25 times 4000 steps", steps=100_000, validations=25)}
CONTEXT_HEAVY = {
    **HEAVY,
    **of(f"{FCN}: pascalcontext_layers.py: VOC 2010, outside of the 59 classes is class 0",
         data="context60", train_split="train", val_split="val"),
    **of(f"{FCN}: pascalcontext-fcn*/solve.py: 50 times 8000 steps", steps=400_000, validations=50),
}  # fmt: skip
CONTEXT33_HEAVY = {**CONTEXT_HEAVY, **ours("were trained for the 33 classes, as this one is", data="context33")}
SIFTFLOW = {
    **of(f"{FCN}: data/sift-flow/README.md", data="siftflow", train_split="trainval", val_split="test"),
    **ours("Test is judged once", validations=1),
}
SIFTFLOW_HEAVY = {**HEAVY, **SIFTFLOW, **of(f"{FCN}: siftflow-fcn*/solve.py: 50 times 2000 steps", steps=100_000)}
NYUD = {
    **of(f"{FCN}: data/nyud/README.md", data="nyud", train_split="trainval", val_split="test", network="fcn32s"),
    **ours("Test is judged once", validations=1),
}

# FCN as in CVPR 2015, on batches of 20.
BATCHES = {
    **SAVED,
    **of(CVPR, batch=20, accumulate=20, optimiser="sgd", momentum=0.9, schedule="constant", bias_lr=2.0, bias_decay=False),
    **of(f"{CVPR}, which prints 5^-4 or 2^-4", decay=5e-4),
    **of(f"{CVPR}: flips and jitter, balance and patches brought no gain",
         flip=False, crop=None, scale_jitter=(1.0, 1.0), class_weights="none", sampling="shuffled"),
    **ours("over what its loss is a mean", loss_mean="parts"),
    **ours("how often it validates", validations=25),
}  # fmt: skip
VOC_BATCHES = {**BATCHES, **of(f"{CVPR}: at least 175 epochs, here of 8,498 pictures", steps=74_400), **SBD}
SEG11 = {
    **BATCHES,
    **of(f"{CVPR}: table 1 is before SBD", data="voc2012", train_split="seg11train", val_split="seg11valid", network="fcn32s"),
    **of(f"{CVPR}: at least 175 epochs, here of 1,112 pictures", steps=9_730),
}
SIFTFLOW_BATCHES = {**BATCHES, **SIFTFLOW, **ours("The paper gives no steps for this set", steps=21_800)}
NYUD_BATCHES = {**BATCHES, **NYUD, **ours("The paper gives no steps for this set", steps=7_000)}
RATE_OF_VGG = of(f"{CVPR}: AlexNet, VGG-16, GoogLeNet 1e-3, 1e-4, 5^-5", lr=1e-4)
RATE_OF_16S = of(f"{CVPR}: 16s at a hundredth of the rate of 32s", lr=1e-6)
INTERMEDIATE = of(f"{CVPR}: all upsampling is learned but the last", learned_upsampling="intermediate")

PARSENET_SOLVER = "VGG_VOC2012ext_solver.prototxt, in a copy (terrychenism/dl_toolbox)"
PARSENET = {
    **ours(save_every=500),
    **of(PARSENET_SOLVER, steps=20_000, batch=8, accumulate=8, optimiser="sgd", lr=1e-8, momentum=0.9, decay=5e-4,
         schedule="poly"),
    **of(f"{PARSENET_SOLVER}: a test every 2000 steps", validations=10),
    **of(f"{PARSENET_NET}: rates of bases 1 and 2, of scores 10 and 20, decays 1 and 0",
         bias_lr=2.0, score_lr=10.0, trunk_lr=1.0, bias_decay=False),
    **of(f"{PARSENET_NET}: normalize false, iter_size 8", loss_mean="pictures"),
    **of(f"{PARSENET_NET}: no crop, flip or scale", flip=False, crop=None, scale_jitter=(1.0, 1.0)),
    **of("Liu et al., arXiv:1506.04579", network="parsenet"),
}  # fmt: skip
PARSENET_VOC = {
    **PARSENET,
    **of("model card of VGG_VOC2012ext: VOC 2012 with SBD", data="voc2012", val_split="val"),
    **ours("whether the authors' pictures of SBD leave out val", train_split="trainaug"),
}

DECONVNET = {
    **ours(save_every=500),
    **ours("On what and how often it validates is ours", val_split="val", validations=4),
    **ours("How often rare classes repeat is not published", crop_balance=0.5),
    **of("Noh et al., ICCV 2015, section 4.2", data="voc2012", train_split="trainvalaug", network="deconvnet", crop_enlarge=1.2),
    **of(f"{DECONV}: training/*/solver.prototxt and train.prototxt", batch=64, accumulate=8, optimiser="sgd", momentum=0.9,
         lr=0.01, schedule="step", gamma=0.1, bias_lr=2.0, bias_decay=False, trunk_lr=1.0, score_lr=1.0),
    **of(f"{DECONV}: training/*/train.prototxt: crops of 224 from 250, mirrored", crop=(224, 224), flip=True),
    **of("HyeonwooNoh/caffe, src/caffe/solver.cpp: 5e-4 is added to the sum over 8 parts", decay=6.25e-5),
    **of(f"{DECONV}: softmax loss, normalised over each part", loss_mean="parts"),
}  # fmt: skip

# The DeepLabs: the experiments of the papers; layers' factors by the prototxts.
DEEPLAB = {
    **ours(save_every=500),
    **of("VOC 2012 with SBD, 10,582 pictures", data="voc2012", train_split="trainaug", val_split="val"),
    **of(f"{DEEPLAB_V1}, {DEEPLAB_V3}: mirrored, whole batches, all pixels alike", optimiser="sgd", momentum=0.9, flip=True,
         accumulate=1, sampling="shuffled", loss="cross_entropy", loss_mean="pixels", class_weights="none", starts_from=None),
}
OFTEN = "How often it validates is ours"
CAFFE_DEEPLAB = {
    **DEEPLAB,
    **of(f"{LARGEFOV_NET}; {DEEPLAB_V2_NET}: factors 1 and 2, of scores 10 and 20, decays 1 and 0", bias_lr=2.0, score_lr=10.0,
         trunk_lr=1.0, bias_decay=False),
    **of(f"{DEEPLAB_V1}, {DEEPLAB_V2}: crops of 321", crop=(321, 321), decay=5e-4),
}
TF_DEEPLAB = {
    **DEEPLAB,
    **of(f"{DEEPLAB_V3}, section 4.1", batch=16, crop=(513, 513), lr=0.007, schedule="poly", steps=30_000),
    **of(f"{DEEPLAB_CODE}/train.py: no factor for the last layer; weights alone are decayed", bias_lr=1.0, score_lr=1.0,
         trunk_lr=1.0, bias_decay=False),
    **of(f"{DEEPLAB_V3}, section 4.1: 0.5 to 2", scale_jitter=(0.5, 2.0)),
    **of(f"{DEEPLAB_CODE}/train.py: steps of 0.25", scale_steps=0.25),
    **ours(OFTEN, validations=10),
}
RESNET_DECAY = of(f"{DEEPLAB_CODE}/train.py: 0.0001 of ResNet", decay=1e-4)
XCEPTION_DECAY = of(f"{DEEPLAB_CODE}/train.py: 0.00004 of Xception", decay=4e-5)
DEEPLAB_CITYSCAPES = {
    **of("Cordts et al., CVPR 2016: the fine pictures", data="cityscapes", train_split="train", val_split="val"),
    **of(f"{DEEPLAB_V3}, {DEEPLAB_CODE}: 90,000 steps of crops of 769", crop=(769, 769), steps=90_000),
}

UNET_CHOICES = "The paper gives no learning rate, schedule, decay, number of steps and validations"
CELLS = {
    **ours(save_every=500),
    **ours(UNET_CHOICES, lr=1e-3, schedule="poly", decay=0.0, steps=30_000, validations=10),
    **ours("flips, range of rotation and grey value", flip=True, flip_vertical=True, rotate=180.0, colour=0.2),
    **ours("The loss is the mean over weighted pixels", loss_mean="pixels"),
    **of(f"{UNET}, figure 1: 572 -> 388, one channel", network="unet", crop=(388, 388), channels=1),
    **of(f"{UNET}, section 3", optimiser="sgd", batch=1, momentum=0.99),
    **of(f"{UNET}, section 3.1: displacements with a standard deviation of 10 pixels", elastic=10.0),
    **of(f"{UNET}, equation 2: w0 = 10, sigma = 5 pixels", separation_weights=10.0, separation_sigma=5.0),
    **of(f"{UNET}: no pretrained weights, no batch normalisation", starts_from=None, backbone=None, norm=None),
}
TRACKING = {
    **CELLS,
    **ours("trained on film 01 and judged on film 02", train_split="01", val_split="02"),
    **ours("nor a formula for w_c", class_weights="inverse"),
}

PSP = {
    **ours(save_every=500),
    **ours("On how often it validates is ours", validations=10),
    **of(PSPNET, network="pspnet", optimiser="sgd", momentum=0.9, decay=1e-4, schedule="poly", batch=16, auxiliary=None,
         scale_jitter=(0.5, 2.0), flip=True, val_split="val"),
    **of(f"{SEMSEG}: tool/train.py: 0.01, and ten times that for all new modules", lr=0.1, trunk_lr=0.1),
    **of(f"{SEMSEG}: tool/train.py: torch's SGD decays biases too", bias_decay=True),
    **of(f"{SEMSEG}: tool/train.py: batch normalisation over all GPUs", accumulate=1),
    **of(f"{SEMSEG}: no weights of classes", class_weights="none", loss="cross_entropy"),
    **ours("The loss is a mean over the batch", loss_mean="pixels"),
}  # fmt: skip
TURNED = {
    **of(f"{PSPNET}, section 5: rotation between -10 and 10 degrees for ADE20K and VOC", rotate=10.0),
    **of(f"{SEMSEG}: util/transform.py: half of the pictures are blurred", blur=0.5),
    **of(f"{SEMSEG}: util/transform.py: mean colour and void outside a rotated picture", fill="mean"),
}
ENC = {
    **ours(save_every=500),
    **ours("On how often it validates is ours", validations=10),
    **of(f"{ENCODING}: its training script", network="encnet", optimiser="sgd", momentum=0.9, decay=1e-4, schedule="poly",
         batch=16, flip=True, rotate=0.0, val_split="val", variant=None, se_loss=None, auxiliary=None, accumulate=1),
    **of(f"{ENCODING}: its training script: the head at ten times the rate", trunk_lr=0.1),
    **of(f"{ENCODING}: torch's SGD decays biases too", bias_decay=True),
    **of(f"{ENCODING}: datasets/base.py: 0.5 to 2 times the base size", scale_jitter=(0.5, 2.0)),
}  # fmt: skip
ENC_PASCAL = {
    **ENC,
    **of(f"{ENCODING}: crop 480", crop=(480, 480)),
    **of(f"{ENCODING}: 0.001 of the trunk for PASCAL's sets", lr=0.01),
    **of(f"{ENCODING}: models/sseg/encnet.py: data sets whose name starts with p", lateral=None),
    **ours("so that a long side of 500 becomes the code's 520", scale=1.04),
}
OPTIMIZER = f"{DETECTRON}: detectron/modeling/optimizer.py: biases at twice the rate, without decay"
REGIONS = {
    **SAVED,
    **ours("One picture a part", loss_mean="parts"),
    **of(f"{DETECTRON}: detectron/core/config.py", optimiser="sgd", momentum=0.9, flip=True, crop=None, sampling="shuffled"),
    **of(f"{DETECTRON}: configs/12_2017_baselines/e2e_mask_rcnn_R-50-FPN_1x.yaml", decay=1e-4, gamma=0.1, schedule="milestones"),
    **of(OPTIMIZER, bias_lr=2.0, bias_decay=False),
    **of(f"{DETECTRON}: lib/modeling/ResNet.py: FREEZE_AT", trunk_frozen=2),
}
MASK_1X = f"{DETECTRON}: configs/12_2017_baselines/e2e_mask_rcnn_R-50-FPN_1x.yaml"
MASK_CITY = "He et al., arXiv:1703.06870v3, appendix A"
PANET_2X = f"{PANET}: configs/panet/e2e_panet_R-50-FPN_2x_mask.yaml"

MMSEG = "open-mmlab/mmsegmentation, configs"
SEM_FPN = {
    **ours(save_every=1000),
    **ours("How colours change is ours", colour=0.5),
    **ours("here torchvision's", weights="auto"),
    **of(f"{MMSEG}/_base_/models/fpn_r50.py", network="fpn", norm="batch", dropout=0.1),
    **of(f"{MMSEG}/_base_/datasets/cityscapes.py and ade20k.py", scale_jitter=(0.5, 2.0), flip=True),
    **of(f"{MMSEG}/_base_/schedules/schedule_80k.py and schedule_160k.py", optimiser="sgd", lr=0.01, momentum=0.9, decay=5e-4,
         bias_decay=True, schedule="poly", validations=10),
}  # fmt: skip
FPN_CITYSCAPES = {
    **SEM_FPN,
    **of(f"{MMSEG}/sem_fpn/fpn_r50_4xb2-80k_cityscapes-512x1024.py", data="cityscapes", crop=(512, 1024), steps=80_000, batch=8),
}
FPN_ADE20K = {
    **SEM_FPN,
    **of(f"{MMSEG}/sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py", data="ade20k", crop=(512, 512), steps=160_000, batch=16),
    **ours("Pictures are seen at their own size", scale=1.0),
}
ON_RESNET101 = of(f"{MMSEG}/sem_fpn/fpn_r101_*.py", backbone="resnet101")

# By recipe: every setting of its file, and those published ones that are the default.
RECIPES: dict[str, dict[str, Fact]] = {
    "deeplabv1_voc2012": {
        **CAFFE_DEEPLAB,
        **of(f"{DEEPLAB_V1}, section 5: 0.001, a tenth every 2,000 of 6,000 steps of 20", network="deeplabv1", steps=6_000,
             batch=20, lr=0.001, schedule="step", step_size=2_000, gamma=0.1),
        **of(f"{DEEPLAB_V1}: no scales", scale_jitter=(1.0, 1.0), head=None, rate=None, backbone=None),
        **ours(OFTEN, validations=6),
    },
    "deeplabv2_vgg16_voc2012": {
        **CAFFE_DEEPLAB,
        **of(f"{DEEPLAB_V2}, section 4.1: poly 0.9, 20,000 steps of 10", network="deeplabv2", steps=20_000, batch=10, lr=0.001,
             schedule="poly"),
        **of(f"{DEEPLAB_V2_NET}: one scale, crops and mirrors alone", backbone="vgg16_reduced", scales=(1.0,),
             scale_jitter=(1.0, 1.0), rates=None),
        **ours(OFTEN, validations=10),
    },
    "deeplabv2_voc2012": {
        **CAFFE_DEEPLAB,
        **of(f"{DEEPLAB_V2}, section 4.1: poly 0.9, 20,000 steps of 10, scales of 0.5 to 1.5", network="deeplabv2", steps=20_000,
             batch=10, schedule="poly", scale_jitter=(0.5, 1.5), backbone=None, rates=None, scales=None, norm=None),
        **of("kazuto1011/deeplab-pytorch", lr=2.5e-4),
        **ours(OFTEN, validations=10),
    },
    "deeplabv3_voc2012": {**TF_DEEPLAB, **RESNET_DECAY, **of(DEEPLAB_V3, network="deeplabv3", output_stride=None)},
    "deeplabv3_cityscapes": {**TF_DEEPLAB, **DEEPLAB_CITYSCAPES, **RESNET_DECAY, **of(DEEPLAB_V3, network="deeplabv3")},
    "deeplabv3plus_voc2012": {
        **TF_DEEPLAB, **XCEPTION_DECAY,
        **of(f"{DEEPLAB_V3_PLUS}, section 4", network="deeplabv3plus", backbone=None, separable=None),
    },
    "deeplabv3plus_resnet101_voc2012": {
        **TF_DEEPLAB, **RESNET_DECAY,
        **of(f"{DEEPLAB_V3_PLUS}, table 3", network="deeplabv3plus", backbone="resnet101", separable=False),
    },
    "deeplabv3plus_cityscapes": {
        **TF_DEEPLAB, **DEEPLAB_CITYSCAPES, **XCEPTION_DECAY,
        **of(f"{DEEPLAB_V3_PLUS}, Cityscapes", network="deeplabv3plus", image_pooling=None),
    },
    "deconvnet_stage1_voc2012": {
        **DECONVNET,
        **of("Noh et al., ICCV 2015, section 4.2: boxes of true objects, all else background", crops="objects"),
        **of(f"{DECONV}: training/001_stage_1/solver.prototxt", steps=20_000, step_size=9_000),
        **of(f"{DECONV}: training/003 measures after stage 2", statistics_batches=0),
    },
    "deconvnet_voc2012": {
        **DECONVNET,
        **of("Noh et al., ICCV 2015, section 4.2: edge boxes that overlap the truth", crops="proposals", proposals="edge_boxes"),
        **ours("it is 0.5 here", proposal_overlap=0.5),
        **of(f"{DECONV}: training/002_stage_2/solver.prototxt", steps=40_000, step_size=10_000),
        **of(f"{DECONV}: training/002_stage_2/start_train.sh", starts_from="deconvnet_stage1_voc2012"),
        **of(f"{DECONV}: training/003_make_bn_layer_testable: 1 + 500 passes of 28", statistics_batches=501, statistics_batch=28),
    },
    "fcn32s_voc2012": {**VOC_HEAVY, **of(f"{FCN}: voc-fcn32s/solver.prototxt", network="fcn32s", starts_from=None, lr=1e-10)},
    "fcn16s_voc2012": {
        **VOC_HEAVY,
        **of(f"{FCN}: voc-fcn16s/solver.prototxt", network="fcn16s", starts_from="fcn32s_voc2012", lr=1e-12),
    },
    "fcn8s_voc2012": {
        **VOC_HEAVY,
        **of(f"{FCN}: voc-fcn8s/solver.prototxt", network="fcn8s", starts_from="fcn16s_voc2012", lr=1e-14),
    },
    "fcn8s_atonce_voc2012": {
        **VOC_HEAVY,
        **of(f"{FCN}: voc-fcn8s-atonce/solver.prototxt", network="fcn8s_atonce", starts_from=None, lr=1e-10),
        **of(f"{FCN}: voc-fcn8s-atonce/solve.py: 75 times 4000 steps", steps=300_000, validations=75),
    },
    "fcn_alexnet_voc2012": {
        **VOC_HEAVY,
        **of(f"{FCN}: voc-fcn-alexnet/solver.prototxt", network="fcn32s", backbone="alexnet", lr=1e-4, momentum=0.9),
        **of(f"{FCN}: voc-fcn-alexnet/solver.prototxt: iter_size 20", batch=20, accumulate=20),
        **of(f"{FCN}: voc-fcn-alexnet/train.prototxt: normalize true", loss_mean="parts"),
        **of(f"{FCN}: voc-fcn-alexnet/train.prototxt: rates and decays of the trunk are 1", bias_lr=1.0, bias_decay=True),
    },
    "fcn32s_context": {
        **CONTEXT_HEAVY, **of(f"{FCN}: pascalcontext-fcn32s/solver.prototxt", network="fcn32s", starts_from=None, lr=1e-10),
    },
    "fcn16s_context": {
        **CONTEXT_HEAVY,
        **of(f"{FCN}: pascalcontext-fcn16s/solver.prototxt", network="fcn16s", starts_from="fcn32s_context", lr=1e-12),
    },
    "fcn8s_context": {
        **CONTEXT_HEAVY,
        **of(f"{FCN}: pascalcontext-fcn8s/solver.prototxt", network="fcn8s", starts_from="fcn16s_context", lr=1e-14),
    },
    "fcn32s_context33": {
        **CONTEXT33_HEAVY, **of(f"{FCN}: pascalcontext-fcn32s/solver.prototxt", network="fcn32s", starts_from=None, lr=1e-10),
    },
    "fcn16s_context33": {
        **CONTEXT33_HEAVY,
        **of(f"{FCN}: pascalcontext-fcn16s/solver.prototxt", network="fcn16s", starts_from="fcn32s_context33", lr=1e-12),
    },
    "fcn8s_context33": {
        **CONTEXT33_HEAVY,
        **of(f"{FCN}: pascalcontext-fcn8s/solver.prototxt", network="fcn8s", starts_from="fcn16s_context33", lr=1e-14),
    },
    "fcn32s_siftflow": {
        **SIFTFLOW_HEAVY, **of(f"{FCN}: siftflow-fcn32s/solver.prototxt", network="fcn32s", starts_from=None, lr=1e-10),
    },
    "fcn16s_siftflow": {
        **SIFTFLOW_HEAVY,
        **of(f"{FCN}: siftflow-fcn16s/solver.prototxt", network="fcn16s", starts_from="fcn32s_siftflow", lr=1e-12),
    },
    "fcn8s_siftflow": {
        **SIFTFLOW_HEAVY,
        **of(f"{FCN}: siftflow-fcn8s/solver.prototxt, not 1e-14", network="fcn8s", starts_from="fcn16s_siftflow", lr=1e-12),
    },
    "fcn32s_nyud": {
        **HEAVY, **NYUD,
        **of(f"{FCN}: nyud-fcn32s-color/solve.py: 50 times 2000 steps", steps=100_000),
        **of(f"{FCN}: nyud-fcn32s-color/solver.prototxt", starts_from=None, lr=1e-10),
    },
    "fcn32s_voc2011_cvpr2015": {**VOC_BATCHES, **RATE_OF_VGG, **of(CVPR, network="fcn32s", starts_from=None)},
    "fcn32s_fixed_voc2011_cvpr2015": {
        **VOC_BATCHES, **RATE_OF_VGG, **of(f"{CVPR}: the last layer alone learns", network="fcn32s", trunk_lr=0.0),
    },
    "fcn16s_voc2011_cvpr2015": {
        **VOC_BATCHES, **RATE_OF_16S, **INTERMEDIATE, **of(CVPR, network="fcn16s", starts_from="fcn32s_voc2011_cvpr2015"),
    },
    "fcn8s_voc2011_cvpr2015": {
        **VOC_BATCHES, **INTERMEDIATE, **of(CVPR, network="fcn8s", starts_from="fcn16s_voc2011_cvpr2015"),
        **ours("The learning rate of 8s is not stated", lr=1e-6),
    },
    "fcn32s_vgg16_seg11_cvpr2015": {**SEG11, **RATE_OF_VGG, **of(CVPR, backbone=None)},
    "fcn32s_alexnet_seg11_cvpr2015": {**SEG11, **of(CVPR, backbone="alexnet", lr=1e-3)},
    "fcn32s_googlenet_seg11_cvpr2015": {**SEG11, **of(f"{CVPR}, which prints 5^-5", backbone="googlenet", lr=5e-5)},
    "fcn32s_siftflow_cvpr2015": {**SIFTFLOW_BATCHES, **RATE_OF_VGG, **of(CVPR, network="fcn32s", starts_from=None)},
    "fcn16s_siftflow_cvpr2015": {
        **SIFTFLOW_BATCHES, **RATE_OF_16S, **INTERMEDIATE, **of(CVPR, network="fcn16s", starts_from="fcn32s_siftflow_cvpr2015"),
    },
    "fcn32s_nyud_cvpr2015": {**NYUD_BATCHES, **RATE_OF_VGG},
    "parsenet_voc2012": {
        **PARSENET_VOC, **of(PARSENET_NET, features=None, fusion=None, normalize=None, norm_scale=None, backbone=None),
    },
    "parsenet_baseline_voc2012": {
        **PARSENET_VOC,
        **of("Liu et al., arXiv:1506.04579: neither global context nor norm", features=("fc7",), normalize="none"),
    },
    "parsenet_context": {
        **PARSENET,
        **of("Liu et al., arXiv:1506.04579: on FCN-32s, pool6, fc7, conv5, conv4, conv3", backbone="vgg16",
             features=("pool6", "fc7", "conv5", "conv4", "conv3")),
        **of("weiliu89/caffe: batch_evaluateSegments_PASCAL_Context.m: 60 classes",
             data="context60", train_split="train", val_split="val"),
        **ours("Rate and steps are those of the released VOC network", lr=1e-8, steps=20_000, validations=10),
    },
    "pspnet_voc2012": {
        **PSP, **TURNED,
        **of(f"{PSPNET}, section 5.3: VOC 2012 with SBD, 10,582 pictures", data="voc2012", train_split="trainaug"),
        **of(PSPNET, backbone=None, steps=30_000, crop=(473, 473)),
    },
    "pspnet_cityscapes": {
        **PSP,
        **of(PSPNET, data="cityscapes", train_split="train", backbone=None, steps=90_000, crop=(713, 713), rotate=0.0),
    },
    "pspnet_ade20k": {
        **PSP, **TURNED, **of(PSPNET, data="ade20k", train_split="train", backbone="resnet50", steps=150_000, crop=(473, 473)),
    },
    "encnet_context": {
        **ENC_PASCAL,
        **of(f"{ENCODING}: 59 classes, 80 epochs of 4,998 pictures", data="context59", train_split="train", steps=24_990),
    },
    "encnet_voc2012": {
        **ENC_PASCAL,
        **of(f"{ENCODING}: 80 epochs, here of 10,582 pictures", data="voc2012", steps=52_910),
        **ours("Which pictures of SBD the code trains on was not read", train_split="trainaug"),
    },
    "encnet_ade20k": {
        **ENC,
        **of(f"{ENCODING}: 120 epochs of 20,210 pictures", data="ade20k", train_split="train", steps=151_575),
        **of(f"{ENCODING}: crop 576 for ResNet-101", crop=(576, 576)),
        **of(f"{ENCODING}: 0.01 of the trunk", lr=0.1),
        **of(f"{ENCODING}: models/sseg/encnet.py: data sets whose name starts with p", lateral=False),
        **ours("pictures are seen at their own size", scale=1.0),
    },
    "mask_rcnn_coco": {
        **REGIONS,
        **of(MASK_1X, network="mask_rcnn", backbone=None, lr=0.02, steps=90_000, milestones=(60_000, 80_000), batch=16,
             data="coco", min_size=None, max_size=None),
        **of(f"{DETECTRON}: detectron/core/config.py: SOLVER.WARM_UP_ITERS", warm_up=500),
        **ours("One picture a part", accumulate=16),
        **ours("How often it validates is ours", validations=9),
    },
    "mask_rcnn_cityscapes": {
        **REGIONS,
        **of(MASK_CITY, network="mask_rcnn", backbone=None, lr=0.01, steps=24_000, milestones=(18_000,), batch=8,
             data="cityscapes"),
        **ours("Sides are drawn in steps of 32", min_size=(800, 832, 864, 896, 928, 960, 992, 1024), max_size=2048),
        **ours("One picture a part", accumulate=8),
        **ours("How often it validates is ours", validations=8),
    },
    "panet_coco": {
        **REGIONS,
        **of(PANET_2X, network="panet", lr=0.02, steps=180_000, milestones=(120_000, 160_000), max_size=1400, decay=1e-4,
             schedule="milestones", gamma=0.1),
        **of("Liu et al., CVPR 2018, section 4", batch=16, data="coco"),
        **ours("Test is at 1000 because the last of the sizes is", min_size=(1200, 1200, 800, 600, 400, 1000)),
        **ours("Warm-up and the double rate of biases are Detectron's", warm_up=500, bias_lr=2.0),
        **ours("One picture a part", accumulate=16),
        **ours("How often it validates is ours", validations=18),
    },
    "unet_isbi2012": {
        **CELLS,
        **of(f"{UNET}, section 4", data="isbi2012"),
        **ours("trained on 24 of the 30 slices and judged on every fifth", train_split="rest1of5", val_split="fold1of5"),
        **ours("nor a formula for w_c", class_weights="none"),
    },
    "unet_phc_u373": {**TRACKING, **of(f"{UNET}, section 4", data="phc_u373")},
    "unet_dic_hela": {**TRACKING, **of(f"{UNET}, section 4", data="dic_hela")},
    "fpn_proposals_coco": {
        **ours(save_every=1000),
        **ours("On what and how often it validates is ours", val_split="val", validations=4),
        **ours("pictures are seen 1.67 times as large", scale=1.67),
        **ours("one by one", accumulate=16, loss_mean="parts"),
        **ours("torchvision's ImageNet weights", weights="auto"),
        **ours("it is that of its detectors", decay=1e-4, momentum=0.9),
        **of(f"{LIN}, section 6: COCO train, a single scale of 800, 16 pictures", data="coco", train_split="train2014", batch=16,
             crop=None, scale_jitter=(1.0, 1.0)),
        **of(f"{LIN}, table 6 and appendix", network="fpn_proposals", backbone=None, kernels=None, mask_side=None),
        **of(f"{LIN}, appendix: 0.03 for 60k, a tenth to 80k, and twice that",
             optimiser="sgd", lr=0.03, schedule="step", gamma=0.1, step_size=120_000, steps=160_000),
    },
    "fpn_cityscapes": FPN_CITYSCAPES,
    "fpn_ade20k": FPN_ADE20K,
    "fpn_resnet101_cityscapes": {**FPN_CITYSCAPES, **ON_RESNET101},
    "fpn_resnet101_ade20k": {**FPN_ADE20K, **ON_RESNET101},
}  # fmt: skip

# By recipe: the numbers of "# Paper's score:" and of "# Score to expect:" in their order, in percent but for U-Net.
README = f"{FCN}: README.md; the same weights judged and trained anew by wkentaro/fcn"
PARSENET_SCORES = "model card of VGG_VOC2012ext; Sik-Ho Tsang's review of ParseNet; paper trackers"
SCORES: dict[str, Fact] = {
    "deeplabv1_voc2012": Fact(((62.25, 67.64, 70.3), (62.25,)), f"{DEEPLAB_V1}, section 5"),
    "deeplabv2_vgg16_voc2012": Fact(((68.96, 71.57, 72.6), (68.96,)), f"{DEEPLAB_V2}, section 4.1"),
    "deeplabv2_voc2012": Fact(((76.35, 77.69, 79.7), ()), f"{DEEPLAB_V2}, section 4.1"),
    "deeplabv3_voc2012": Fact(((77.21, 78.51, 79.77, 85.7), (77.21,)), f"{DEEPLAB_V3}, section 4"),
    "deeplabv3_cityscapes": Fact(((77.23, 77.82, 79.30, 81.3), (77.23,)), f"{DEEPLAB_V3}, Cityscapes"),
    "deeplabv3plus_voc2012": Fact(((79.79, 80.02, 81.39, 87.8), (79.79,)), f"{DEEPLAB_V3_PLUS}, section 4"),
    "deeplabv3plus_resnet101_voc2012": Fact(((78.85, 79.35, 80.57), (78.85,)), f"{DEEPLAB_V3_PLUS}, table 3"),
    "deeplabv3plus_cityscapes": Fact(((78.79, 79.14, 82.1), (78.79,)), f"{DEEPLAB_V3_PLUS}, Cityscapes"),
    "deconvnet_stage1_voc2012": Fact(((), ()), "a stage"),
    "deconvnet_voc2012": Fact(((69.6, 70.5, 71.7, 72.5), ()), "Noh et al., ICCV 2015, table of VOC 2012 test"),
    "fcn32s_voc2012": Fact(((63.6, 90.5, 76.5, 83.5), (63.6, 62.8, 63.8)), README),
    "fcn16s_voc2012": Fact(((65.0, 91.0, 78.1, 84.3), (65.0, 64.9, 65.4)), README),
    "fcn8s_voc2012": Fact(((65.5, 67.2), (65.5, 65.5, 65.8)), README),
    "fcn8s_atonce_voc2012": Fact(((65.4, 91.1, 78.5, 84.4), (65.4, 64.7, 65.3)), README),
    "fcn_alexnet_voc2012": Fact(((48.0,), (48.0,)), README),
    "fcn32s_context": Fact(((31.8, 63.8, 42.7, 48.3), (31.8,)), TABLES),
    "fcn16s_context": Fact(((34.8, 65.7, 46.2, 50.7), (34.8,)), TABLES),
    "fcn8s_context": Fact(((35.1, 65.9, 46.5, 51.0), (35.1, 37.8)), f"{TABLES}; the model zoo's card"),
    "fcn32s_context33": Fact(((50.4, 69.8, 65.1, 54.9), (50.4,)), TABLES),
    "fcn16s_context33": Fact(((53.4, 71.8, 68.0, 57.5), (53.4,)), TABLES),
    "fcn8s_context33": Fact(((53.5, 71.8, 67.6, 57.7), (53.5,)), TABLES),
    "fcn32s_voc2011_cvpr2015": Fact(((59.4, 89.1, 73.3, 81.4), (59.4,)), TABLES),
    "fcn32s_fixed_voc2011_cvpr2015": Fact(((45.4, 83.0, 59.7, 72.0), (45.4,)), TABLES),
    "fcn16s_voc2011_cvpr2015": Fact(((62.4, 90.0, 75.7, 83.0), (62.4,)), TABLES),
    "fcn8s_voc2011_cvpr2015": Fact(((62.7, 90.3, 75.9, 83.2, 62.2), (62.7,)), TABLES),
    "fcn32s_vgg16_seg11_cvpr2015": Fact(((56.0,), (56.0,)), TABLES),
    "fcn32s_alexnet_seg11_cvpr2015": Fact(((39.8,), (39.8,)), TABLES),
    "fcn32s_googlenet_seg11_cvpr2015": Fact(((42.5,), (42.5,)), TABLES),
    "fcn32s_siftflow_cvpr2015": Fact(((), (39.5,)), TABLES),
    "fcn16s_siftflow_cvpr2015": Fact(((39.5, 85.2, 51.7, 76.1), (39.5,)), TABLES),
    "fcn32s_nyud_cvpr2015": Fact(((29.2, 60.0, 42.2, 43.9), (29.2,)), TABLES),
    "parsenet_voc2012": Fact(((69.8,), (69.55,)), PARSENET_SCORES),
    "parsenet_baseline_voc2012": Fact(((67.3,), (2.5,)), PARSENET_SCORES),
    "parsenet_context": Fact(((40.4,), ()), PARSENET_SCORES),
    "pspnet_voc2012": Fact(((82.6, 85.4), (79.07, 79.63)), f"{PSPNET}; {SEMSEG}: README"),
    "pspnet_cityscapes": Fact(((78.4, 80.2), (78.63, 79.29)), f"{PSPNET}; {SEMSEG}: README"),
    "pspnet_ade20k": Fact(((41.68, 80.04, 42.78, 80.76, 41.96, 80.64), (41.89, 42.84)), f"{PSPNET}; {SEMSEG}: README"),
    "encnet_context": Fact(((51.7, 52.6), (54.1, 80.7)), f"{ENCNET}, abstract; the article; {ENCODING}: model zoo"),
    "encnet_voc2012": Fact(((85.9, 82.9), ()), f"{ENCNET}, abstract; a review of it"),
    "encnet_ade20k": Fact(((44.65, 81.69, 0.5567), (44.4, 81.3)), f"a review of {ENCNET}; its abstract; {ENCODING}: model zoo"),
    "mask_rcnn_coco": Fact(((33.6, 37.1), (33.9, 37.7)), "He et al., ICCV 2017; Detectron's MODEL_ZOO.md"),
    "mask_rcnn_cityscapes": Fact(((31.5, 26.2), (31.5,)), MASK_CITY),
    "panet_coco": Fact(((37.8, 42.1, 38.2), (38.3, 43.1)), f"Liu et al., CVPR 2018; {PANET}: README.md"),
    "unet_isbi2012": Fact(((0.000353, 0.0382, 0.0611), ()), f"{UNET}, table 1"),
    "unet_phc_u373": Fact(((0.9203,), ()), f"{UNET}, table 2"),
    "unet_dic_hela": Fact(((0.7756,), ()), f"{UNET}, table 2"),
    "fpn_proposals_coco": Fact(((48.1, 32.6, 54.2, 65.6), ()), f"{LIN}, table 6"),
    "fpn_cityscapes": Fact(((), (74.52, 76.08)), f"{MMSEG}/sem_fpn/README.md"),
    "fpn_ade20k": Fact(((), (37.49, 39.09)), f"{MMSEG}/sem_fpn/README.md"),
    "fpn_resnet101_cityscapes": Fact(((), (75.80, 77.40)), f"{MMSEG}/sem_fpn/README.md"),
    "fpn_resnet101_ade20k": Fact(((), (39.35, 40.72)), f"{MMSEG}/sem_fpn/README.md"),
}
AT_SECOND_HAND = ("fcn32s_siftflow", "fcn16s_siftflow", "fcn8s_siftflow", "fcn32s_nyud")  # PAMI's tables were not read

# By recipe: how its header judges it, behind `perpixel evaluate runs/NAME --root DATA`.
BOXES = "--proposals 50 --merge max"
SIX_SCALES = "--scales 0.5,0.75,1,1.25,1.5,1.75"
COMMANDS: dict[str, Fact] = {
    **dict.fromkeys(
        ("deeplabv1_voc2012", "deeplabv2_vgg16_voc2012", "deeplabv2_voc2012"),
        Fact(("--crf deeplab",), f"{DEEPLAB_V1}; {DEEPLAB_V2}: a CRF after the training of the network"),
    ),
    "deconvnet_voc2012": Fact(
        (BOXES, f"{BOXES} --crf deconvnet", f"{BOXES} --ensemble runs/fcn8s", f"{BOXES} --ensemble runs/fcn8s --crf deconvnet"),
        "Noh et al., ICCV 2015: the maximum over the first 50 of about 2,000 edge boxes, the mean with FCN-8s, a CRF",
    ),
    **dict.fromkeys(
        ("fpn_cityscapes", "fpn_ade20k", "fpn_resnet101_cityscapes", "fpn_resnet101_ade20k"),
        Fact(
            ("--scales 0.5,0.75,1,1.25,1.5,1.75 --average mirror",),
            "open-mmlab/mmsegmentation, configs/_base_/datasets/cityscapes.py: img_ratios of its test pipeline, flip",
        ),
    ),
    "fpn_proposals_coco": Fact(
        ("--instances mask --agnostic --most 1000",), f"{LIN}, section 6: AR at 1,000 proposals, whatever their class"
    ),
    "mask_rcnn_coco": Fact(("--instances mask",), "He et al., ICCV 2017, section 4: COCO's mask AP"),
    "panet_coco": Fact(("--instances mask",), "Liu et al., CVPR 2018, section 4: COCO's mask AP"),
    **{
        name: Fact((windows, f"{SIX_SCALES} {windows}"), "hszhao/PSPNet: evaluation: base, crop, stride, scales, mirror")
        for name, windows in (
            ("pspnet_voc2012", "--base 512 --window 473 --average mirror --fuse pspnet"),
            ("pspnet_ade20k", "--base 512 --window 473 --average mirror --fuse pspnet"),
            ("pspnet_cityscapes", "--base 2048 --window 713 --average mirror --fuse pspnet"),
        )
    },
    **{
        name: Fact((f"{SIX_SCALES} {windows}",), f"{ENCODING}: models/sseg/base.py: base, crop, stride, scales, mirror")
        for name, windows in (
            ("encnet_context", "--base 520 --window 480 --average mirror --fuse encnet"),
            ("encnet_voc2012", "--base 520 --window 480 --average mirror --fuse encnet"),
            ("encnet_ade20k", "--base 640 --window 576 --average mirror --fuse encnet"),
        )
    },
    "unet_isbi2012": Fact(("--membranes membrane --average rotations",), f"{UNET}, section 4: mean of 7 rotated versions"),
    "unet_phc_u373": Fact(
        ("--objects cell --average flips --minimum-area 500",), "U-Net's release of 2015: segmentAndTrack2.m: 4 flips, 500 pixels"
    ),
    "unet_dic_hela": Fact(
        ("--objects cell --average flips --minimum-area 500",), "U-Net's release of 2015: segmentAndTrack2.m: 4 flips, 500 pixels"
    ),
}

# By recipe: factors of the learning rate and of the decay (its multiple, or 0), by the first expression that is found in a
# parameter's name.
MULTIPLIERS: dict[str, Fact] = {
    **dict.fromkeys(
        ("deeplabv1_voc2012", "deeplabv2_vgg16_voc2012"),
        Fact(
            {r"^score.*weight$": (10, 1), r"^score.*bias$": (20, 0), r"bias$": (2, 0), r"weight$": (1, 1)},
            f"{LARGEFOV_NET}; {DEEPLAB_V2_NET}",
        ),
    ),
    "deeplabv2_voc2012": Fact(
        {r"^score.*weight$": (10, 1), r"^score.*bias$": (20, 0), r"weight$": (1, 1)}, "kazuto1011/deeplab-pytorch: no other bias",
    ),
    "fcn8s_voc2012": Fact({r"bias$": (2, 0), r"weight$": (1, 1)}, f"{FCN}: voc-fcn8s/train.prototxt; deconvolutions are frozen"),
    "fcn_alexnet_voc2012": Fact({r"trunk.*bias$": (1, 1), r"": (1, 1)}, f"{FCN}: voc-fcn-alexnet/train.prototxt, of the trunk"),
    "fcn32s_fixed_voc2011_cvpr2015": Fact(
        {r"score.*weight$": (1, 1), r"score.*bias$": (2, 0), r"bias$": (0, 0), r"weight$": (0, 1)},
        f"{CVPR}: the last layer alone learns",
    ),
    "parsenet_voc2012": Fact(
        {
            r"^score.*weight$": (10, 1), r"^score.*bias$": (20, 0), r"^normalize.*scale$": (1, 1), r"^upscore.*bias$": (2, 0),
            r"^upscore": (1, 1), r"bias$": (2, 0), r"weight$": (1, 1),
        },
        PARSENET_NET,
    ),
    "deconvnet_voc2012": Fact(
        {r"norm.*weight$": (1, 0), r"norm.*bias$": (1, 0), r"bias$": (2, 0), r"weight$": (1, 1)},
        f"{DECONV}: train.prototxt; that batch normalisation is not decayed is ours",
    ),
    "pspnet_voc2012": Fact(
        {
            r"^trunk.*(bn\d|conv1\.[14]|downsample\.1)\.": (0.1, 0), r"^trunk": (0.1, 1),
            r"branches\.\d\.1|head\.0\.1|auxiliary\.0\.1": (1, 0), r"": (1, 1),
        },
        f"{SEMSEG}: tool/train.py; that batch normalisation is not decayed is ours",
    ),
    "encnet_context": Fact(
        {
            r"^trunk.*(bn\d|conv1\.[14]|downsample\.1)\.": (0.1, 0), r"^trunk": (0.1, 1),
            r"context\.encoding\.scale|\.norm\.|\.1\.(weight|bias)$": (1, 0), r"": (1, 1),
        },
        f"{ENCODING}: its training script; that batch normalisation and scales are not decayed is ours",
    ),
    "mask_rcnn_coco": Fact({r"bias$": (2, 0), r"weight$": (1, 1)}, OPTIMIZER),
    "unet_isbi2012": Fact({r"": (1, 0)}, f"{OURS}: no decay"),
}  # fmt: skip
