"""Every kind of defect that `perpixel check` knows, with its severity, its meaning and its repair.

An error makes scores wrong or training impossible, and training refuses it. A person should look at a warning."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from perpixel.errors import failure_of, printable

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Kind:
    severity: Severity
    means: str
    repair: str


@dataclass(frozen=True)
class Problem:
    """A defect in a file. The last four fields are None where they have no meaning."""

    kind: str  # a key of `KINDS`
    severity: Severity
    file: str
    message: str  # a sentence with all of it
    pixel: tuple[int, int] | None = None  # row and column of the first pixel
    value: str | None = None  # the value of that pixel, or the value in question
    count: int | None = None  # number of pixels, files or entries
    other: str | None = None  # another file that takes part


KINDS: dict[str, Kind] = {
    # which files there are
    "unpaired": Kind("error", "a picture without mask, or a mask without picture", "add the other, or take this one out"),
    "doubly paired": Kind("error", "two files of one name, or a file in two rows of pairs.csv", "keep one"),
    "unused files": Kind("warning", "files that belong to no split or no row", "add them or leave them out"),
    "not a picture": Kind("warning", "a file among pictures or masks of a format that is not read", "save it as PNG or JPEG"),
    "broken link": Kind("error", "a link that leads nowhere", "put the file there, or take the link out"),
    "unreadable name": Kind("error", "a name that is not UTF-8 or has control characters", "rename the file"),
    "case twins": Kind("warning", "two names that differ in upper and lower case alone",
                       "rename one: some systems hold one of them"),
    "swapped folders": Kind("error", "images/ holds masks and masks/ holds pictures", "swap the two folders"),
    "no split to judge": Kind("warning", "pictures to train on, none to judge on", "move some into val"),
    # files that cannot be read
    "empty file": Kind("error", "a file of 0 bytes", "get it again"),
    "damaged": Kind("error", "a picture that is cut short or damaged", "get it again"),
    "cut short": Kind("warning", "a PNG whose end is missing, though its pixels are all there; other programs may refuse it",
                      "get it again"),
    "unreadable": Kind("error", "no picture at all, none that is read, or no file", "convert it, or get it again"),
    "wrong extension": Kind("warning", "a file of another format than its name says", "rename it"),
    # pictures
    "size mismatch": Kind("error", "picture and mask differ in size", "give both the same size"),
    "rotated picture": Kind("error", "a camera's rotation tag turns the picture, the mask is not turned",
                            "drop the tag, so that both lie as they are stored"),
    "mirrored picture": Kind("warning",
                             "a rotation tag turns or mirrors the picture within its size; whether the mask was, no one can say",
                             "look at both, and drop the tag"),
    "16-bit picture": Kind("warning", "a picture of 16 bits, of which networks see the upper 8",
                           "scale it to 8 bits yourself, or name its bands in bands.csv"),
    "transparent picture": Kind("warning", "a picture with transparent pixels; their colour is taken as it is",
                                "drop the alpha channel"),
    "CMYK picture": Kind("warning", "a picture for printing, which is converted without a colour profile", "save it as RGB"),
    "several pages": Kind("warning", "a file of several pictures, of which the first is read", "save one picture per file"),
    "further bands": Kind("warning", "more bands than are read: the first three, or the first",
                          "save the bands that are meant, or name all in bands.csv"),
    "wrong bands": Kind("error", "a picture with another number of bands than bands.csv names",
                        "save those, or correct bands.csv"),
    "pixels without data": Kind("warning", "NaN, infinity or the value of no data: 0 to a network, and void in training",
                                "check that this is meant"),
    "constant band": Kind("warning", "a band whose values are all equal", "leave it out with --bands, or get it again"),
    "12 bits in 16": Kind("warning", "10, 12 or 14 bits in 16, under a range of bands.csv that goes far beyond",
                          "correct the range, or leave low and high empty"),
    "clipped band": Kind("warning", "a range in bands.csv outside which more than 3 % of the values of a band lie",
                         "widen it, or leave low and high empty"),
    "mixed types": Kind("warning", "bands of 8 bits, 16 bits or floats in one set, under one range", "save all with one type"),
    "one colour": Kind("warning", "a picture in which all pixels are equal", "take it out, or get it again"),
    "mixed channels": Kind("warning", "grey pictures among coloured ones, or the reverse", "check that this is meant"),
    # masks
    "unknown value": Kind("error", "a value that is in no class", "add it to classes.csv or correct the mask"),
    "0/255 mask": Kind("error", "0 and 255 where the table has 0 and 1", "write 255 as 1, or change the class to value 255"),
    "foreground is void": Kind("error", "every object has the value of void, so that nothing of it is judged",
                               "write it as its class, or take void out of classes.csv"),
    "scaled mask": Kind("error", "values are class values times a factor, as viewers stretch them", "divide them by the factor"),
    "interpolated mask": Kind("error", "values between two classes at their borders: resized or smoothed",
                              "resize masks by nearest neighbour"),
    "smoothed mask": Kind("error", "classes between two others at their borders: resized or smoothed, all within the table",
                          "resize masks by nearest neighbour"),
    "16-bit mask": Kind("warning", "16 bits per pixel for values that 8 can hold: other programs show it black, or scale it",
                        "save it with 8"),
    "JPEG mask": Kind("error", "a mask saved with loss, as JPEG or lossy WEBP: values near borders are wrong",
                      "export it again as PNG; where its values are few, `perpixel init FOLDER --fix COPY` takes the nearest"),
    "palette expanded": Kind("error", "colours of the class table in place of values",
                             "write the values, as palette or grey PNG"),
    "colour-coded mask": Kind("error", "colours in place of values", "write values, with a table of the colours in classes.csv"),
    "three equal channels": Kind("error", "a grey mask stored three times", "keep one channel"),
    "alpha mask": Kind("error", "a mask with an alpha channel, which may hold the classes itself", "write one value per pixel"),
    "photo as mask": Kind("error", "a photo where a mask should be", "put the mask there"),
    "all void": Kind("warning", "a mask without a pixel that is judged", "take the pair out"),
    "nothing but background": Kind("warning", "a mask of background alone", "check that nothing is to be seen there"),
    "one class alone": Kind("warning", "a mask of 0 alone, where few others are", "check that it was not left empty by mistake"),
    "speckled mask": Kind("warning", "many single pixels unlike all their neighbours", "look at it: noise, or dithering"),
    # instances
    "objects share a number": Kind("warning", "one number for many pieces apart: a mask in place of numbers",
                                   "number each object"),
    "object of several classes": Kind("warning", "an object whose pixels have several classes in the mask",
                                      "correct one of the two"),
    "object on void": Kind("warning", "an object whose pixels are all void in the mask", "correct one of the two"),
    # the set
    "leak": Kind("error", "the same picture in two splits", "take it out of one of the two"),
    "near leak": Kind("warning", "almost the same picture in two splits, as it is or mirrored", "take it out of one of the two"),
    "duplicate": Kind("warning", "the same picture twice in one split", "keep one unless it shall count twice"),
    "contradiction": Kind("warning", "the same picture with two different masks", "keep the right one"),
    "same mask": Kind("warning", "two pictures with one and the same mask of several classes",
                      "check that it was not copied by mistake"),
    "nothing to tell apart": Kind("warning", "one class alone, in the table or in all masks",
                                  "add a class, or masks that show others"),
    "empty class": Kind("warning", "a class without a pixel in any mask", "add masks that show it, or leave it out"),
    "class in one split": Kind("warning", "a class that is in train or val alone", "move a picture that shows it"),
    "class called void": Kind("warning", "a class named as if it were not judged",
                              "name it void in classes.csv, which leaves it out"),
    "mostly void": Kind("warning", "more than half of all pixels are void",
                        "check the values of void: a real class among them is not judged"),
    "colours alike": Kind("warning", "two classes in one colour", "give each its own colour in classes.csv"),
    # annotations in JSON
    "not JSON": Kind("error", "a file that is no JSON of COCO's form", "export it again"),
    "missing field": Kind("error", "an entry without a field that it needs", "export it again with all fields"),
    "missing id": Kind("error", "an entry without a whole number as id", "number the entries"),
    "doubled id": Kind("error", "two entries with one id", "number the entries anew"),
    "unknown category": Kind("error", "an annotation of a category that is not listed", "add the category, or correct its id"),
    "unknown picture": Kind("error", "an annotation of a picture that is not listed",
                            "add the picture, or take the annotation out"),
    "missing picture": Kind("error", "a listed picture that is not there", "add the file"),
    "other size": Kind("error", "a picture of another size than listed", "correct the listed size"),
    "no number": Kind("error", "a coordinate that is nan, infinite, huge or no number", "correct or take out the annotation"),
    "broken polygon": Kind("error", "a polygon of fewer than three points or an odd number of coordinates", "draw it again"),
    "empty polygon": Kind("warning", "a polygon without area", "take it out"),
    "outside the picture": Kind("warning", "a polygon or box that leaves the picture", "cut it at the border"),
    "broken RLE": Kind("error", "run lengths that do not make the picture's size", "export it again"),
    "crowd without RLE": Kind("warning", "a crowd as polygons, which official tools read as one object", "write it as RLE"),
    "no segmentation": Kind("warning", "an annotation with a box alone", "draw its mask, or leave it out"),
    "empty box": Kind("error", "a box of no or negative size", "correct the box"),
    "box beside mask": Kind("warning", "a box that does not hold its mask", "compute the boxes from the masks"),
    "area differs": Kind("warning", "an area unlike that of the mask: small, medium and large are judged by it",
                         "compute it from the mask"),
}  # fmt: skip


def problem(
    kind: str, file: Path | str, clause: str, repair: str | None = None, *, severity: Severity | None = None,
    pixel: tuple[int, int] | None = None, value: object = None, count: int | None = None, other: str | None = None,
) -> Problem:  # fmt: skip
    """A problem with the message `file: clause; repair.` By default severity and repair are those of the kind."""
    kind_entry = KINDS[kind]
    message = printable(f"{file}: {clause}; {repair or kind_entry.repair}.")
    value_text = None if value is None else printable(str(value))
    other_text = None if other is None else printable(other)
    return Problem(kind, severity or kind_entry.severity, printable(file), message, pixel, value_text, count, other_text)


def failed(file: Path | str, error: Exception, kind: str = "unreadable") -> Problem:
    """The problem of a file that cannot be checked, in the words of `error`. Raises `error` for a bug and for a full disk."""
    message = failure_of(file, error)
    if message is None:
        raise error
    return Problem(kind, KINDS[kind].severity, printable(file), printable(message))
