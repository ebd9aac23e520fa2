"""Croissant 1.1 (MLCommons): a bake as JSON-LD, its files with sizes and hashes, its samples as records.

    distribution   a FileObject for each tar, index and entry file; FileSets of what is in the tars, and of the indexes
    recordSet      pictures (key, image), labels (key, label), programs (key, json): the members of the tars
                   variants: columns of the index, joined with the picture of their key
Rule: paths are relative to the bake's folder, where the document belongs; hashes are those of bake.json and receipts.
Nothing that nobody said is in it: no creator, no date, no address.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from mixbake.export.bakes import Described
from mixbake.storage.plan import FLIP_WORDS, Plan, spell_worth

CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
MIME = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp", "npy": "application/octet-stream"}
"""Of pictures, by extension."""
_TERMS = (
    "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject",
    "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5",
    "parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator",
    "source", "subField", "transform",
)  # fmt: skip
CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "description": {"@container": "@language"},
    "name": {"@container": "@language"},
    **{term: f"cr:{term}" for term in _TERMS},
}
"""What the words mean (Croissant 1.1, appendix on JSON-LD context)."""
COLUMNS: Mapping[str, tuple[str, bool]] = {
    "label": ("sc:Integer", False),
    "class": ("sc:Text", False),
    "image": ("sc:Integer", False),
    "number": ("sc:Integer", False),
    "view": ("sc:Text", False),
    "source": ("sc:Text", False),
    "source_sha256": ("sc:Text", False),
    "layer": ("sc:Integer", False),
    "op": ("sc:Text", False),
    "ops": ("sc:Text", True),
    "levels": ("sc:Float", True),
    "blends": ("sc:Text", True),
    "flip": ("sc:Boolean", False),
    "steps": ("sc:Text", False),
}
"""Columns of the index as fields of a record: type, and whether there are several values."""


def write_croissant(described: Described) -> bytes:
    """UTF-8 JSON-LD."""
    bake = described.bake
    document = {
        "@context": dict(CONTEXT),
        "@type": "sc:Dataset",
        "name": re.sub(r"[^A-Za-z0-9_-]+", "-", described.name).strip("-") or "bake",
        "description": _description(described),
        "conformsTo": CONFORMS_TO,
        **({} if described.licence is None else {"license": described.licence}),
        "identifier": f"sha256:{bake.digest}",
        "keywords": ["image classification", "data augmentation", "webdataset", "mixbake"],
        "distribution": [*_files(described), *_file_sets(described)],
        "recordSet": list(_record_sets(bake.plan)),
    }
    return (json.dumps(document, indent=1) + "\n").encode("ascii")


def _description(described: Described) -> str:
    bake, plan = described.bake, described.bake.plan
    document = bake.finished.document
    parameters = ", ".join(f"{name} {value}" for name, value in plan.parameters.items())
    return (
        f"{document['samples']:,} augmented pictures baked by mixbake: {spell_worth(bake.epochs_worth)} of "
        f"{len(bake.images):,} images in {len(plan.classes):,} classes under the recipe {plan.recipe['name']}"
        f"{f' ({parameters})' if parameters else ''}; {plan.size} x {plan.size} pixels, crop {plan.crop}, views "
        f"{plan.views}, flip {FLIP_WORDS[plan.flip]}, seed {plan.seed}. Every picture has the program that made it. "
        f"Source digest {plan.source}; bake digest {bake.digest}. Paths are relative to the folder of the bake."
    )


def _files(described: Described) -> Iterator[dict[str, Any]]:
    bake = described.bake
    document, entry = bake.finished.document, bake.shelf
    for name, mime, sha256 in (
        ("bake.json", "application/json", bake.digest),
        ("manifest.json", "application/json", bake.plan_digest),
        ("images.parquet", "application/x-parquet", document["images_sha256"]),
    ):
        yield _file(name, mime, int(entry.sizes([name])[0]), sha256)
    for _, file in described.shards():
        yield _file(file.name, "application/x-tar", file.size, file.sha256)
    for file in bake.files():
        if file.name.startswith("index/"):
            yield _file(file.name, "application/x-parquet", file.size, file.sha256)


def _file(name: str, mime: str, size: int, sha256: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{size} B",
        "encodingFormat": mime,
        "sha256": sha256,
    }


def _file_sets(described: Described) -> Iterator[dict[str, Any]]:
    extension = described.bake.plan.extension
    tars = [{"@id": file.name} for _, file in described.shards()]
    members = (
        ("picture-files", extension, MIME[extension], "Pictures, KEY and extension."),
        ("label-files", "cls", "text/plain", "Class numbers as digits, perhaps padded with spaces."),
        ("program-files", "json", "application/json", "How each picture was made; `mixbake schema` prints the schema."),
    )
    for name, ending, mime, description in members:
        yield _file_set(name, f"*.{ending}", mime, description) | {"containedIn": tars}
    yield _file_set("index-files", "index/*.parquet", "application/x-parquet", "A row a picture.")


def _file_set(name: str, includes: str, mime: str, description: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": name,
        "name": name,
        "description": description,
        "encodingFormat": mime,
        "includes": includes,
    }


def _record_sets(plan: Plan) -> Iterator[dict[str, Any]]:
    image = "sc:ImageObject" if plan.extension != "npy" else "sc:Text"
    for name, member, data_type, files, ending in (
        ("pictures", "image", image, "picture-files", plan.extension),
        ("labels", "label", "sc:Integer", "label-files", "cls"),
        ("programs", "json", "sc:Text", "program-files", "json"),
    ):
        key = _field(name, "key", "sc:Text", files, {"fileProperty": "filename"})
        key["source"]["transform"] = {"regex": rf"^(.+)\.{ending}$"}
        yield _record_set(name, [key, _field(name, member, data_type, files, {"fileProperty": "content"})])
    key = _field("variants", "key", "sc:Text", "index-files", {"column": "key"})
    picture = _field("variants", "picture", image, "", {})
    joined = {"references": {"field": {"@id": "pictures/key"}}}, {"source": {"field": {"@id": "pictures/image"}}}
    yield _record_set("variants", [key | joined[0], picture | joined[1], *_columns()])


def _columns() -> Iterator[dict[str, Any]]:
    for name, (data_type, several) in COLUMNS.items():
        found = _field("variants", name, data_type, "index-files", {"column": name})
        yield found | ({"repeated": True} if several else {})


def _record_set(name: str, fields: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "key": {"@id": f"{name}/key"},
        "field": fields,
    }


def _field(record_set: str, name: str, data_type: str, files: str, extract: Mapping[str, str]) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{record_set}/{name}",
        "name": name,
        "dataType": data_type,
        "source": {"fileSet": {"@id": files}, "extract": dict(extract)},
    }
