"""The published data sets: addresses, sizes, checksums, licences, and the folders in which our readers look for their files.

Checksums and sizes are published ones, and their source stands beside them. No checksum stands here where none is known;
`perpixel download` then shows and keeps the checksum of the first download. The licence is quoted from the data set's site. Where
the site states none, the text says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

VOC_SITE = "http://host.robots.ox.ac.uk/pascal/VOC"
VOC_MIRROR = "https://thor.robots.ox.ac.uk/pascal/VOC"  # torchvision's addresses
FCN = "https://raw.githubusercontent.com/shelhamer/fcn.berkeleyvision.org/master/data"
COCO = ("http://images.cocodataset.org", "https://s3.amazonaws.com/images.cocodataset.org")
TORCHVISION = "torchvision/datasets/voc.py, sbd.py"
TFDS = "tensorflow_datasets/url_checksums"
TORCH_EM = "torch_em/data/datasets/ctc.py"


@dataclass(frozen=True)
class Files:
    """A rule: `count` files match `pattern`, none of them is empty, and each has its partners."""

    pattern: str  # a glob below the root
    count: int
    partners: tuple[tuple[tuple[str, str], ...], ...] = ()  # one partner: the (old, new) texts that turn the path into its path


@dataclass(frozen=True)
class Lines:
    """A rule: the text file `path` has `count` lines that are not empty."""

    path: str
    count: int


@dataclass(frozen=True)
class Part:
    """One file to fetch: an archive to unpack, or another file to put in its place."""

    name: str
    file: str  # its name in the folder of downloads
    content: str  # in words
    urls: tuple[str, ...]  # empty where a login is needed
    take: Mapping[str, str] = field(default_factory=dict)  # of an archive, as `archives.unpack` takes it
    put: str | None = None  # the path below the root of a file that is no archive
    size: int | None = None  # in bytes, as published
    megabytes: float | None = None  # about, by the site or by users
    digest: str | None = None  # `algorithm:hexadecimal`, as published
    digest_source: str = ""  # the publisher of `digest`
    inner: tuple[tuple[str, Mapping[str, str]], ...] = ()  # archives inside: their paths below the root, and their own take
    holds: tuple[Files | Lines, ...] = ()  # rules that the unpacked files must keep
    extra: bool = False  # fetched only when it is named


@dataclass(frozen=True)
class PublishedSet:
    """A published data set that can be downloaded."""

    title: str
    page: str  # the address of its site
    licence: str
    parts: tuple[Part, ...]
    datasets: tuple[str, ...] = ()  # the names under which `open_dataset` opens it
    steps: tuple[str, ...] = ()  # for a person, where a login is needed


def _voc(year: int, file: str, megabytes: float, digest: str, size: int | None = None, **more: object) -> Part:
    address = f"voc{year}/{file}"
    return Part(
        "voc" if year != 2011 else "voc2011", file, urls=(f"{VOC_MIRROR}/{address}", f"{VOC_SITE}/{address}"),
        size=size, megabytes=megabytes, digest=digest, digest_source=TORCHVISION, **more,  # type: ignore[arg-type]
    )  # fmt: skip


STUFF_THINGS = "http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/stuffthingmaps_trainval2017.zip"


def _coco(name: str, address: str, size: int | None, digest: str | None, content: str, **more: object) -> Part:
    return Part(
        name, address.rpartition("/")[2], content, tuple(f"{site}/{address}" for site in COCO), size=size,
        digest=digest and f"sha256:{digest}", digest_source=f"{TFDS}/coco.txt" if digest else "", **more,  # type: ignore[arg-type]
    )  # fmt: skip


def _cell_tracking(
    folder: str, size: int | None, megabytes: float, digest: str, frames: int, title: str, name: str
) -> PublishedSet:
    address = f"data.celltrackingchallenge.net/training-datasets/{folder}.zip"
    part = Part(
        "train", f"{folder}.zip", "both films with their truth", (f"https://{address}", f"http://{address}"),
        take={folder: folder}, size=size, megabytes=megabytes, digest=f"sha256:{digest}", digest_source=TORCH_EM,
        holds=tuple(Files(f"{folder}/{film}/t*.tif", frames) for film in ("01", "02")),
    )  # fmt: skip
    return PublishedSet(title, "http://celltrackingchallenge.net/2d-datasets/", CELL_TRACKING_TERMS, (part,), (name,))


VOC_TERMS = (
    'The VOC data includes images obtained from the "flickr" website. Use of these images must respect the corresponding terms '
    "of use: https://www.flickr.com/help/terms"
)
CELL_TRACKING_TERMS = (
    "Conditions of use of the Cell Tracking Challenge: cite its Nature Methods paper and acknowledge the challenge; use for the "
    "challenge is free; public scientific use beyond it needs permission of the data providers; commercial use needs explicit "
    "permission of organizers and data providers. In full: http://celltrackingchallenge.net/datasets/"
)
COCO_TERMS = (
    "Annotations: Creative Commons Attribution 4.0. Pictures: the COCO Consortium does not own their copyright; their use must "
    "abide by the Flickr Terms of Use. In full: https://cocodataset.org/#termsofuse"
)
CITYSCAPES_TERMS = (
    "Made freely available to academic and non-academic entities for non-commercial purposes such as academic research, "
    "teaching, scientific publications, or personal experimentation; no redistribution. In full: https://www.cityscapes-dataset.com/license/"
)


def _cityscapes_split(split: str, count: int) -> Files:
    labels = ("labelIds.png", "instanceIds.png", "polygons.json")
    partners = tuple((("leftImg8bit/", "gtFine/"), ("_leftImg8bit.png", f"_gtFine_{kind}")) for kind in labels)
    return Files(f"cityscapes/leftImg8bit/{split}/*/*_*_*_leftImg8bit.png", count, partners)


SIFT_ALBUM = "spatial_envelope_256x256_static_8outdoorcategories"
SOURCES: dict[str, PublishedSet] = {
    "voc2012": PublishedSet(
        "PASCAL VOC 2012, and SBD, which labels more of it",
        f"{VOC_SITE}/voc2012/",
        f"{VOC_TERMS} SBD states no licence of its own; its authors ask to be cited (Hariharan et al., ICCV 2011).",
        (
            _voc(
                2012, "VOCtrainval_11-May-2012.tar", 1999.6, "md5:6cd6e144f989b92b3379bac3b3de84fd", 1_999_639_040,
                content="pictures, masks and lists of train and val", take={"VOCdevkit/VOC2012": "VOCdevkit/VOC2012"},
                holds=(
                    Files("VOCdevkit/VOC2012/JPEGImages/*.jpg", 17125),
                    Files(
                        "VOCdevkit/VOC2012/SegmentationClass/*.png", 2913,
                        ((("SegmentationClass", "SegmentationObject"),), (("SegmentationClass", "JPEGImages"), (".png", ".jpg"))),
                    ),
                    *(Lines(f"VOCdevkit/VOC2012/ImageSets/Segmentation/{split}.txt", count)
                      for split, count in (("train", 1464), ("val", 1449), ("trainval", 2913))),
                ),
            ),
            Part(
                "sbd", "benchmark.tgz", "pictures and masks of SBD, for trainaug",
                ("https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
                 "http://www.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz"),
                take={"benchmark_RELEASE/dataset": "benchmark_RELEASE/dataset"}, megabytes=1400,
                digest="md5:82b4d87ceb2ed10f6038a1cba92111cb", digest_source=TORCHVISION,
                holds=(
                    Files(
                        "benchmark_RELEASE/dataset/cls/*.mat", 11355,
                        ((("/cls/", "/inst/"),), (("/cls/", "/img/"), (".mat", ".jpg"))),
                    ),
                    Lines("benchmark_RELEASE/dataset/train.txt", 8498), Lines("benchmark_RELEASE/dataset/val.txt", 2857),
                ),
            ),
            _voc(
                2011, "VOCtrainval_25-May-2011.tar", 1700, "md5:6c3384ef61512963050cb5d687e5bf1e", extra=True,
                content="lists of VOC 2011 alone, for seg11train and seg11valid",
                take={"TrainVal/VOCdevkit/VOC2011/ImageSets": "VOCdevkit/VOC2011/ImageSets"},
                holds=(
                    Lines("VOCdevkit/VOC2011/ImageSets/Segmentation/train.txt", 1112),
                    Lines("VOCdevkit/VOC2011/ImageSets/Segmentation/val.txt", 1111),
                ),
            ),
        ),
        ("voc2012",),
    ),
    "context": PublishedSet(
        "PASCAL-Context, on the pictures of VOC 2010",
        "https://cs.stanford.edu/~roozbeh/pascal-context/",
        f"{VOC_TERMS} The labels' site states no licence; its authors ask to be cited (Mottaghi et al., CVPR 2014).",
        (
            _voc(
                2010, "VOCtrainval_03-May-2010.tar", 1300, "md5:da459979d0c395079b5c75ee67908abb",
                content="pictures and lists", take={"VOCdevkit/VOC2010": "VOCdevkit/VOC2010"},
                holds=(
                    Files("VOCdevkit/VOC2010/JPEGImages/*.jpg", 11321),
                    Lines("VOCdevkit/VOC2010/ImageSets/Main/train.txt", 4998),
                    Lines("VOCdevkit/VOC2010/ImageSets/Main/val.txt", 5105),
                ),
            ),
            Part(
                "labels", "trainval.tar.gz", "459 labels", ("https://cs.stanford.edu/~roozbeh/pascal-context/trainval.tar.gz",),
                take={"*/trainval": "pascal-context/trainval", "*/labels.txt": "pascal-context/labels.txt"}, megabytes=30.7,
                holds=(Files("pascal-context/trainval/*.mat", 10103), Lines("pascal-context/labels.txt", 459)),
            ),
        ),
        ("context59", "context60", "context33"),
    ),
    "siftflow": PublishedSet(
        "SIFT Flow",
        "http://www.cs.unc.edu/~jtighe/Papers/ECCV10/",
        "No licence is stated; cite Liu et al., CVPR 2009, and Tighe and Lazebnik, ECCV 2010.",
        (
            Part(
                "data", "SiftFlowDataset.zip", "pictures and both labellings",
                ("http://www.cs.unc.edu/~jtighe/Papers/ECCV10/siftflow/SiftFlowDataset.zip",), megabytes=140,
                take={f"*/{folder}": f"sift-flow/{folder}" for folder in ("Images", "SemanticLabels", "GeoLabels")},
                holds=(
                    Files(f"sift-flow/Images/{SIFT_ALBUM}/*.jpg", 2688),
                    *(Files(f"sift-flow/{kind}/{SIFT_ALBUM}/*.mat", 2688) for kind in ("SemanticLabels", "GeoLabels")),
                ),
            ),
            *(Part(split, f"sift-flow-{split}.txt", f"the FCN authors' list {split}", (f"{FCN}/sift-flow/{split}.txt",),
                   put=f"sift-flow/{split}.txt", megabytes=0.1, holds=(Lines(f"sift-flow/{split}.txt", count),))
              for split, count in (("trainval", 2486), ("test", 200))),
        ),
        ("siftflow", "siftflow_geometric"),
    ),
    "nyud": PublishedSet(
        "NYU Depth V2 as the FCN authors pack it",
        "https://cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html",
        "No licence is stated; cite Silberman et al., ECCV 2012, and Gupta et al., CVPR 2013.",
        (
            Part(
                "data", "nyud.tar.gz", "pictures and 40 classes", ("http://dl.caffe.berkeleyvision.org/nyud.tar.gz",),
                take={"*/data/images": "nyud/data/images", "*/segmentation": "nyud/segmentation"},
                holds=(Files("nyud/data/images/img_*.png", 1449), Files("nyud/segmentation/img_*.mat", 1449)),
            ),
            *(Part(split, f"nyud-{split}.txt", f"the FCN authors' list {split}", (f"{FCN}/nyud/{split}.txt",),
                   put=f"nyud/{split}.txt", megabytes=0.1, holds=(Lines(f"nyud/{split}.txt", count),))
              for split, count in (("train", 381), ("val", 414), ("test", 654))),
        ),
        ("nyud",),
    ),
    "isbi2012": PublishedSet(
        "ISBI 2012 challenge, membranes of neurons",
        "https://imagej.net/events/isbi-2012-segmentation-challenge",
        "You are free to use this data set for the purpose of generating or testing non-commercial image segmentation software. "
        "Publications must cite TrakEM2 and Cardona et al., PLoS Biology 2010.",
        (
            Part(
                "stacks", "ISBI-2012-challenge.zip", "both stacks and the training labels",
                ("https://downloads.imagej.net/ISBI-2012-challenge.zip",),
                take={f"*/{name}.tif": f"isbi2012/{name}.tif" for name in ("train-volume", "train-labels", "test-volume")},
                holds=tuple(Files(f"isbi2012/{name}.tif", 1) for name in ("train-volume", "train-labels", "test-volume")),
            ),
        ),
        ("isbi2012",),
    ),
    "phc_u373": _cell_tracking(
        "PhC-C2DH-U373", 43_454_399, 43.5, "b18185c18fce54e8eeb93e4bbb9b201d757add9409bbf2283b8114185a11bc9e", 115,
        "Cell Tracking Challenge, glioblastoma cells", "phc_u373",
    ),
    "dic_hela": _cell_tracking(
        "DIC-C2DH-HeLa", None, 37, "832fed2d05bb7488cf9c51a2994b75f8f3f53b3c3098856211f2d39023c34e1a", 84,
        "Cell Tracking Challenge, HeLa cells", "dic_hela",
    ),
    "coco": PublishedSet(
        "COCO 2017",
        "https://cocodataset.org/#download",
        COCO_TERMS,
        (
            _coco(
                "instances", "annotations/annotations_trainval2017.zip", 252_907_541,
                "113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268", "objects of 80 classes",
                take={f"annotations/instances_{split}2017.json": f"annotations/instances_{split}2017.json"
                      for split in ("train", "val")},
                holds=tuple(Files(f"annotations/instances_{split}2017.json", 1) for split in ("train", "val")),
            ),
            _coco(
                "val", "zips/val2017.zip", 815_585_330,
                "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05", "pictures of val",
                take={"val2017": "val2017"}, holds=(Files("val2017/*.jpg", 5000),),
            ),
            _coco(
                "train", "zips/train2017.zip", 19_336_861_798,
                "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929", "pictures of train",
                take={"train2017": "train2017"}, holds=(Files("train2017/*.jpg", 118287),),
            ),
            _coco(
                "panoptic", "annotations/panoptic_annotations_trainval2017.zip", 860_725_834,
                "c05f76d2129b6b561eb70efe16e7006df62f73fb92889132d373b9d90e31a370", "things and stuff of every pixel", extra=True,
                take={f"annotations/panoptic_{split}2017.{kind}": f"annotations/panoptic_{split}2017.{kind}"
                      for split in ("train", "val") for kind in ("json", "zip")},
                inner=tuple(
                    (f"annotations/panoptic_{split}2017.zip",
                     {f"panoptic_{split}2017": f"annotations/panoptic_{split}2017"}) for split in ("train", "val")
                ),
                holds=(
                    *(Files(f"annotations/panoptic_{split}2017.json", 1) for split in ("train", "val")),
                    Files("annotations/panoptic_train2017/*.png", 118287),
                    Files("annotations/panoptic_val2017/*.png", 5000),
                ),
            ),
            # GluonCV publishes two different SHA-1 of this archive, so no checksum stands here.
            _coco(
                "stuff", "annotations/stuff_annotations_trainval2017.zip", None, None, "91 classes of stuff", extra=True,
                take={f"annotations/stuff_{split}2017{kind}": f"annotations/stuff_{split}2017{kind}"
                      for split in ("train", "val") for kind in (".json", "_pixelmaps.zip")},
                inner=tuple(
                    (f"annotations/stuff_{split}2017_pixelmaps.zip",
                     {f"stuff_{split}2017_pixelmaps": f"annotations/stuff_{split}2017_pixelmaps"})
                    for split in ("train", "val")
                ),
                holds=(
                    *(Files(f"annotations/stuff_{split}2017.json", 1) for split in ("train", "val")),
                    Files("annotations/stuff_train2017_pixelmaps/*.png", 118287),
                    Files("annotations/stuff_val2017_pixelmaps/*.png", 5000),
                ),
            ),
            Part(
                "stuffthings", "stuffthingmaps_trainval2017.zip", "80 things and 91 classes of stuff in one map", (STUFF_THINGS,),
                take={f"{split}2017": f"stuffthingmaps/{split}2017" for split in ("train", "val")}, extra=True,
                holds=(Files("stuffthingmaps/train2017/*.png", 118287), Files("stuffthingmaps/val2017/*.png", 5000)),
            ),
            _coco(
                "test", "zips/test2017.zip", None, None, "pictures of test and testdev", extra=True,
                take={"test2017": "test2017"}, holds=(Files("test2017/*.jpg", 40670),),
            ),
            _coco(
                "test_info", "annotations/image_info_test2017.zip", None, None, "lists of test and testdev", extra=True,
                take={f"annotations/image_info_{kind}.json": f"annotations/image_info_{kind}.json"
                      for kind in ("test2017", "test-dev2017")},
                holds=tuple(Files(f"annotations/image_info_{kind}.json", 1) for kind in ("test2017", "test-dev2017")),
            ),
        ),
        ("coco", "coco_voc21", "coco_stuff171", "coco_stuff92", "coco_panoptic"),
    ),
    "ade20k": PublishedSet(
        "ADE20K, the scene parsing benchmark with 150 classes",
        "http://sceneparsing.csail.mit.edu/",
        "Pictures and annotations for non-commercial research and education; the terms are at "
        "https://groups.csail.mit.edu/vision/datasets/ADE20K/terms/; cite Zhou et al., CVPR 2017.",
        (
            Part(
                "data", "ADEChallengeData2016.zip", "pictures and masks of train and val",
                ("http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",),
                take={"ADEChallengeData2016": "ADEChallengeData2016"}, size=967_382_037,
                digest="sha256:7ff1be44964418441f542a7cc1e1a650e7dc0fc275f5d23252bc9bbdbc977b29",
                digest_source=f"{TFDS}/ade20k.txt",
                holds=tuple(
                    Files(
                        f"ADEChallengeData2016/annotations/{split}/*.png", count,
                        ((("/annotations/", "/images/"), (".png", ".jpg")),),
                    )
                    for split, count in (("training", 20210), ("validation", 2000))
                ),
            ),
        ),
        ("ade20k",),
    ),
    "camvid": PublishedSet(
        "CamVid with its 32 classes",
        "http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/",
        "No licence is stated; cite Brostow et al., ECCV 2008 and Pattern Recognition Letters 2009.",
        (
            Part(
                "pictures", "701_StillsRaw_full.zip", "701 pictures",
                ("https://github.com/johnwlambert/camvid-dataset-mirror/releases/download/v1.0.0/701_StillsRaw_full.zip",
                 "http://web4.cs.ucl.ac.uk/staff/g.brostow/MotionSegRecData/files/701_StillsRaw_full.zip"),
                take={"701_StillsRaw_full": "camvid/701_StillsRaw_full"}, megabytes=561,
                holds=(Files("camvid/701_StillsRaw_full/*.png", 701),),
            ),
            Part(
                "labels", "LabeledApproved_full.zip", "their masks in colours",
                ("http://web4.cs.ucl.ac.uk/staff/g.brostow/MotionSegRecData/data/LabeledApproved_full.zip",
                 "http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/data/LabeledApproved_full.zip"),
                take={"": "camvid/LabeledApproved_full"}, size=16_567_585,
                digest="sha256:0792d4a2eb7150f417cc4745ac5ce51ec3bb4b2aa099c775d212b69c5afe6526",
                digest_source="a record of the original archive in a public repository",
                holds=(Files("camvid/LabeledApproved_full/*_L.png", 701),),
            ),
        ),
        ("camvid32", "camvid11"),
    ),
    "nuclei2018": PublishedSet(
        "Nuclei of the 2018 Data Science Bowl (BBBC038)",
        "https://bbbc.broadinstitute.org/BBBC038",
        "CC0: its publisher has waived all rights; cite Caicedo et al., Nature Methods 2019.",
        (
            Part(
                "train", "stage1_train.zip", "pictures, and a mask for each nucleus",
                ("https://data.broadinstitute.org/bbbc/BBBC038/stage1_train.zip",), take={"": "stage1_train"},
                holds=(Files("stage1_train/*/images/*.png", 670),),
            ),
            Part(
                "test", "stage1_test.zip", "pictures of the first test", extra=True,
                urls=("https://data.broadinstitute.org/bbbc/BBBC038/stage1_test.zip",), take={"": "stage1_test"},
                holds=(Files("stage1_test/*/images/*.png", 65),),
            ),
        ),
        ("nuclei2018",),
    ),
    "cityscapes": PublishedSet(
        "Cityscapes",
        "https://www.cityscapes-dataset.com/downloads/",
        CITYSCAPES_TERMS,
        (
            Part(
                "pictures", "leftImg8bit_trainvaltest.zip", "pictures of train, val and test", (), megabytes=11000,
                take={f"leftImg8bit/{split}": f"cityscapes/leftImg8bit/{split}" for split in ("train", "val", "test")},
                digest="sha1:2c0b77ce9933cc635adda307fbba5566f5d9d404",
                digest_source="gluon-cv scripts/datasets/cityscapes.py",
                holds=tuple(Files(f"cityscapes/leftImg8bit/{split}/*/*_*_*_leftImg8bit.png", count)
                            for split, count in (("train", 2975), ("val", 500), ("test", 1525))),
            ),
            Part(
                "fine", "gtFine_trainvaltest.zip", "their fine labels", (), megabytes=241,
                take={"gtFine": "cityscapes/gtFine"}, digest="sha1:99f532cb1af174f5fcc4c5bc8feea8c66246ddbc",
                digest_source="gluon-cv scripts/datasets/cityscapes.py",
                holds=tuple(_cityscapes_split(split, count) for split, count in (("train", 2975), ("val", 500))),
            ),
            Part(
                "extra", "leftImg8bit_trainextra.zip", "pictures of train_extra", (), megabytes=44000, extra=True,
                take={"leftImg8bit/train_extra": "cityscapes/leftImg8bit/train_extra"},
                holds=(Files("cityscapes/leftImg8bit/train_extra/*/*_*_*_leftImg8bit.png", 19998),),
            ),
            Part(
                "coarse", "gtCoarse.zip", "coarse labels of train, train_extra and val", (), megabytes=1300, extra=True,
                take={"gtCoarse": "cityscapes/gtCoarse"}, digest="sha1:61f23198bfff5286e0d7e316ad5c4dbbaaf4717a",
                digest_source="gluon-cv scripts/datasets/cityscapes.py",
                holds=tuple(Files(f"cityscapes/gtCoarse/{split}/*/*_gtCoarse_labelIds.png", count)
                            for split, count in (("train", 2975), ("train_extra", 19998), ("val", 500))),
            ),
        ),
        ("cityscapes", "cityscapes30", "cityscapes8"),
        (
            "make an account at https://www.cityscapes-dataset.com/register/ and accept the licence there",
            "download {files} from https://www.cityscapes-dataset.com/downloads/, or by csDownload of cityscapesscripts",
            "put the files, still packed, into {folder}",
            "give this command again: it compares checksums, unpacks the files and checks them",
        ),
    ),
}  # fmt: skip
