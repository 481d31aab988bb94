"""Every setting of every recipe, as it was published, and where: `test_recipe_facts.py` compares the recipes with it."""

from facts import DECONV, FCN, OURS, PARSENET_NET, TABLES, UNET, Fact, of, ours

# What a recipe does not set. Nobody published these as defaults of a recipe; where a paper has the same value it is said.
DEFAULTS: dict[str, Fact] = {
    **ours(
        data="scenes", root=None, train_split="train", val_split="val", network="fcn8s", backbone=None, weights="auto",
        starts_from=None, width=None, padding=None, layer=None, learned_upsampling=None, features=None, fusion=None,
        normalize=None, norm_scale=None, side=None, unpooling=None, batch_norm=None, variant=None, channels=None,
        convolutions=None, norm=None, skips=None, decoder=None, dropout=None,
        blur=0.0, scale_steps=0.0, short_sides=None, long_side=None, group_by_aspect=False,
        scale=1.0, crop=None, scale_jitter=(1.0, 1.0), flip=True, colour=0.0, class_crops=0.0, flip_vertical=False, rotate=0.0,
        elastic=0.0, crops="none", crop_balance=0.5, proposals="edge_boxes", proposal_overlap=0.5,
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

# By recipe: every setting of its file, and those published ones that are the default.
RECIPES: dict[str, dict[str, Fact]] = {
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
    "unet_isbi2012": {
        **CELLS,
        **of(f"{UNET}, section 4", data="isbi2012"),
        **ours("trained on 24 of the 30 slices and judged on every fifth", train_split="rest1of5", val_split="fold1of5"),
        **ours("nor a formula for w_c", class_weights="none"),
    },
    "unet_phc_u373": {**TRACKING, **of(f"{UNET}, section 4", data="phc_u373")},
    "unet_dic_hela": {**TRACKING, **of(f"{UNET}, section 4", data="dic_hela")},
}  # fmt: skip

# By recipe: the numbers of "# Paper's score:" and of "# Score to expect:" in their order, in percent but for U-Net.
README = f"{FCN}: README.md; the same weights judged and trained anew by wkentaro/fcn"
PARSENET_SCORES = "model card of VGG_VOC2012ext; Sik-Ho Tsang's review of ParseNet; paper trackers"
SCORES: dict[str, Fact] = {
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
    "unet_isbi2012": Fact(((0.000353, 0.0382, 0.0611), ()), f"{UNET}, table 1"),
    "unet_phc_u373": Fact(((0.9203,), ()), f"{UNET}, table 2"),
    "unet_dic_hela": Fact(((0.7756,), ()), f"{UNET}, table 2"),
}
AT_SECOND_HAND = ("fcn32s_siftflow", "fcn16s_siftflow", "fcn8s_siftflow", "fcn32s_nyud")  # PAMI's tables were not read

# By recipe: how its header judges it, behind `perpixel evaluate runs/NAME --root DATA`.
BOXES = "--proposals 50 --merge max"
COMMANDS: dict[str, Fact] = {
    "deconvnet_voc2012": Fact(
        (BOXES, f"{BOXES} --crf deconvnet", f"{BOXES} --ensemble runs/fcn8s", f"{BOXES} --ensemble runs/fcn8s --crf deconvnet"),
        "Noh et al., ICCV 2015: the maximum over the first 50 of about 2,000 edge boxes, the mean with FCN-8s, a CRF",
    ),
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
    "unet_isbi2012": Fact({r"": (1, 0)}, f"{OURS}: no decay"),
}  # fmt: skip
