"""The texts of the review's page in English and Korean: `article.en.toml` and `article.ko.toml`, which have the same keys.

A page shows one language and holds both; each text stands there twice, and a rule of style hides one."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache, reduce
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

LANGUAGES = ("en", "ko")
NARROW = "\u202f"  # a space at which no line breaks
CHAPTERS = {  # in the order of the article: the networks of each of its systems
    "fcn": ("fcn32s", "fcn16s", "fcn8s", "fcn8s_atonce"),
    "parsenet": ("parsenet",),
    "deconvnet": ("deconvnet",),
    "unet": ("unet",),
    "fpn": ("fpn", "fpn_proposals"),
    "pspnet": ("pspnet",),
    "mask_rcnn": ("mask_rcnn",),
    "deeplab": ("deeplabv1", "deeplabv2", "deeplabv3", "deeplabv3plus"),
    "panet": ("panet",),
    "encnet": ("encnet",),
}
NAMES = {  # as the papers write them
    "fcn32s": "FCN-32s", "fcn16s": "FCN-16s", "fcn8s": "FCN-8s", "fcn8s_atonce": "FCN-8s at once", "parsenet": "ParseNet",
    "deconvnet": "DeconvNet", "unet": "U-Net", "fpn": "FPN", "fpn_proposals": "FPN proposals", "pspnet": "PSPNet",
    "mask_rcnn": "Mask R-CNN", "deeplabv1": "DeepLab v1", "deeplabv2": "DeepLab v2", "deeplabv3": "DeepLab v3",
    "deeplabv3plus": "DeepLab v3+", "panet": "PANet", "encnet": "EncNet", "segformer": "SegFormer", "upernet": "UPerNet",
    "vit_linear": "ViT, linear",
}  # fmt: skip
Values = Mapping[str, object]


@cache
def texts(language: str) -> dict[str, Any]:
    """All texts of a language."""
    return tomllib.loads((Path(__file__).parent / f"article.{language}.toml").read_text(encoding="utf-8"))


def text(language: str, key: str) -> Any:
    """The text or list with a key such as "table.title"."""
    return reduce(lambda table, part: table[part], key.split("."), texts(language))


def filled(language: str, key: str, values: Values) -> Markup:
    """A text with its braces filled in, and `code` as such. A value that is a mapping has a text for each language."""
    own = {name: value[language] if isinstance(value, Mapping) else value for name, value in values.items()}
    words = text(language, key).strip().replace(" %", NARROW + "%").replace("± ", "±" + NARROW)
    return Markup(re.sub("`([^`]*)`", r"<code>\1</code>", escape(words))).format(**own)


def both(key: str, **values: object) -> Markup:
    """A text in both languages, inside a line."""
    return in_both({language: filled(language, key, values) for language in LANGUAGES})


def in_both(words: Mapping[str, object]) -> Markup:
    """Words that there are already, by language."""
    return Markup("").join(Markup('<span class="{0}" lang="{0}">{1}</span>').format(one, words[one]) for one in LANGUAGES)


def paragraphs(key: str, **values: object) -> Markup:
    """A text of several paragraphs in both languages."""
    return Markup("").join(
        Markup('<p class="{0}" lang="{0}">{1}</p>').format(language, Markup(part.strip()))
        for language in LANGUAGES
        for part in filled(language, key, values).split("\n\n")
    )


def class_name(name: str) -> dict[str, str]:
    """The name of a class in each language; its own where there is no other one."""
    return {language: texts(language)["classes"].get(name, name) for language in LANGUAGES}


def claim_text(name: str, claim: str) -> dict[str, str]:
    """The words of a claim in each language; its own where there are no others."""
    words = claim[:1].upper() + claim[1:]
    return {language: texts(language)["claims"].get(name, words) for language in LANGUAGES}
